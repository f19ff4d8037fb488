//! What the harness itself costs. Times are reported, not judged: the machine may be busy.

use crate::*;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// Many tiny jobs, and a plan of ten thousand.
pub fn overhead(effort: Effort) -> Found {
    let dir = tempfile::tempdir().unwrap();
    let (jobs, results) = (effort.of(200, 6), dir.path().join("results"));
    let seeds: Vec<String> = (0..jobs).map(|s| s.to_string()).collect();
    let grid = dir.path().join("seeds.yaml");
    let text = format!(
        "question: q\nset: {{training.steps: 30, sampling.count: 10, evaluation.held_out: 4, evaluation.train: 4}}\ngrid: {{prediction: [eps]}}\nseeds: [{}]\n",
        seeds.join(", ")
    );
    fs::write(&grid, text).unwrap();
    let (memory, output) = watched(&["ablate", grid.to_str().unwrap(), "--base", BASE, "--results", results.to_str().unwrap()]);
    expect(&output, 0);
    once_each(&results, jobs);
    let said = stderr(&output);
    let line = said.lines().find(|l| l.contains("between jobs")).unwrap_or_else(|| panic!("{said}")).to_string();

    let grid = dir.path().join("many.yaml");
    let seeds: Vec<String> = (0..effort.of(2500, 250)).map(|s| s.to_string()).collect();
    fs::write(
        &grid,
        format!("question: q\ngrid: {{prediction: [eps, mu], variance: [fixed-large, fixed-small]}}\nseeds: [{}]\n", seeds.join(", ")),
    )
    .unwrap();
    let started = Instant::now();
    let (plan_memory, output) = watched(&["plan", grid.to_str().unwrap(), "--base", BASE, "--results", NOWHERE]);
    expect(&output, 0);
    let planned = stdout(&output).lines().filter(|l| l.starts_with("to do")).count();
    assert_eq!(planned, 4 * seeds.len());
    Found::Seen(format!(
        "{jobs} jobs: {line}, {memory} MB; a plan of {planned} jobs: {:.1} s, {plan_memory} MB",
        started.elapsed().as_secs_f64()
    ))
}

/// Runs the program; the most memory that it held, in MB, and what it said.
fn watched(arguments: &[&str]) -> (u64, Output) {
    let child = ddpm().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let watcher = std::thread::spawn(move || {
        let mut most = 0;
        while let Ok(text) = fs::read_to_string(&status) {
            let Some(line) = text.lines().find(|l| l.starts_with("VmHWM")) else { break };
            most = most.max(line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
        most / 1000
    });
    let output = child.wait_with_output().unwrap();
    (watcher.join().unwrap(), output)
}
