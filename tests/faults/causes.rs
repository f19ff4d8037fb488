//! Jobs that fail by themselves.

use crate::*;
use std::fs;

/// A lost device, memory that is not there, a divergence: that job alone is recorded with its cause, the others end.
pub fn causes(_: Effort) -> Found {
    let job = &jobs()[0];
    let training = job["training_id"].as_str().unwrap();
    for (fault, cause) in [("device-lost", "device"), ("out-of-memory", "memory")] {
        let dir = results();
        let mut command = ablate(dir.path(), &["--retries", "1"]);
        command.env("DDPM_FAULT", format!("{fault} 7 {training}"));
        let output = output(command);
        expect(&output, 3);
        for run in folders(&dir.path().join("runs")) {
            let record: Value = serde_json::from_str(&fs::read_to_string(run.join(RECORD)).unwrap()).unwrap();
            // Both jobs of that training meet it.
            let expected = if record["training_id"] == training { ("failed", cause, 2) } else { ("finished", "", 0) };
            let outcome = &record["outcome"];
            let found =
                (outcome["kind"].as_str().unwrap(), outcome["cause"].as_str().unwrap_or(""), outcome["attempts"].as_u64().unwrap_or(0));
            assert_eq!(found, expected, "{}", stderr(&output));
        }
        assert!(stderr(&output).contains("tried again in 1 s") && stderr(&output).contains("4 jobs are not done"), "{}", stderr(&output));
        expect(&crate::output(ablate(dir.path(), &[])), 0);
        for (name, bytes) in tables(dir.path()) {
            assert!(bytes == undisturbed()[&name], "{name} differs after {fault}");
        }
    }
    // One cell's rate is beyond all reason.
    let dir = results();
    let grid = dir.path().join("rates.yaml");
    let rates = "question: q\nset: {training.optimiser.clip_norm: 1.0e+30, training.optimiser.warmup_steps: 0, training.steps: 20, sampling.count: 10, evaluation.held_out: 4}\ngrid: {learning_rate: [1.0e-3, 1.0e+30]}\n";
    fs::write(&grid, rates).unwrap();
    let results = dir.path().join("results");
    let output = run(&["ablate", grid.to_str().unwrap(), "--base", BASE, "--results", results.to_str().unwrap()]);
    expect(&output, 0);
    assert!(stdout(&output).contains("training diverged at step"), "{}", stdout(&output));
    let histories: Vec<usize> = folders(&results.join("runs")).iter().map(|run| history(run).len()).collect();
    assert_eq!(histories, [2, 2], "a divergence is not tried again");
    Found::Seen(
        "lost device and no memory: 1 retry, then recorded with the cause, the others end; a divergence: recorded, not retried".into(),
    )
}

fn jobs() -> Vec<Value> {
    let output = run(&["plan", GRID, "--base", BASE, "--json", "--results", NOWHERE]);
    expect(&output, 0);
    let plan: Value = serde_json::from_str(&stdout(&output)).unwrap();
    plan["jobs"].as_array().unwrap().clone()
}
