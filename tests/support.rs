//! What the tests that cross crates share. Each test file includes it and uses some of it.
#![allow(dead_code)]

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A results folder that does not exist and that nothing makes.
pub const NOWHERE: &str = "target/no-results";

/// The built program.
pub fn ddpm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpm"));
    command.current_dir(root());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    ddpm().args(arguments).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The jobs of a grid on the smoke base with `sets`, as `plan --json` lists them.
pub fn jobs(grid: &str, sets: &[&str]) -> Vec<Value> {
    // A results folder that is not there: the tests do not depend on what was run before.
    let mut arguments = vec!["plan", grid, "--base", "fashion-smoke", "--json", "--results", NOWHERE];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    planned(&arguments)
}

/// The jobs that a `plan --json` lists.
pub fn planned(arguments: &[&str]) -> Vec<Value> {
    let output = run(arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let plan: Value = serde_json::from_str(&stdout(&output)).unwrap();
    plan["jobs"].as_array().unwrap().clone()
}

/// A job as `ddpm run` reads it.
pub fn job_text(job: &Value) -> String {
    serde_json::json!({ "id": job["id"], "training_id": job["training_id"], "sampling_id": job["sampling_id"], "config": job["config"],
        "seed": job["seed"], "study": job["study"], "at": job["at"] })
    .to_string()
}

/// A record without what may differ between runs: times and machine.
pub fn numbers(results: &Path, job: &Value) -> (Value, Value) {
    let read = |path: PathBuf| -> Value {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut value: Value = serde_json::from_str(&text).unwrap();
        for key in ["wall_s", "machine", "blake3", "loading"] {
            value.as_object_mut().unwrap().remove(key);
        }
        value
    };
    (
        read(results.join("runs").join(job["id"].as_str().unwrap()).join("record.json")),
        read(results.join("training").join(job["training_id"].as_str().unwrap()).join("training.json")),
    )
}

/// The processes that a process has started.
pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut found: Vec<u32> = text.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    // Those started by other threads of it.
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|w| w.parse::<u32>().ok()));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// A new folder for results in which the features of the embedded data set are there already: they take longer than all the rest of a
/// small job. Each test program has them computed once, by the program that it tests.
pub fn results() -> TempDir {
    static FEATURES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let files = FEATURES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let small = ["steps=1", "sampling.count=10", "evaluation.held_out=1", "evaluation.train=1", "sampler={kind: ddim, steps: 2}"];
        let job = job_text(&jobs("experiments/grids/table2.yaml", &small)[5]);
        let mut child = ddpm().args(["run", "-", "--results"]).arg(dir.path()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(job.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        let files = std::fs::read_dir(dir.path().join("features")).unwrap().map(|e| e.unwrap().path());
        files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), std::fs::read(path).unwrap())).collect()
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("features")).unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join("features").join(name), bytes).unwrap());
    dir
}

/// A byte of an image, stripes or noise: no two axes, images or channels can be exchanged without a change. `tests/golden/pinned.py` has
/// the same.
pub fn byte(i: u32, y: u32, x: u32, c: u32) -> u8 {
    let [i, y, x, c] = [i, y, x, c].map(u64::from);
    let stripes = i * 53 + y * y * 3 + x * (11 + i % 7) + c * (40 + 9 * x) + i * x * y % 31;
    let noise = (i * 1009 + y * 257 + x * 17 + c * 5).pow(2) * 31 / 64;
    (if i % 3 == 0 { noise } else { stripes } % 256) as u8
}
