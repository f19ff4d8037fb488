//! Jobs on a device, end to end: the CUDA kernels' source on the processor stands for a GPU.

mod support;

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use support::*;

/// Small enough for kernels that are emulated, with all that a training step has.
const SETS: [&str; 11] = [
    "network.channels=8",
    "network.groups=4",
    "network.block_size=1",
    "network.multipliers=[1, 1, 1]",
    "network.attention=[7]",
    "training.steps=40",
    "training.batch=4",
    "training.optimiser.clip_shards=2",
    "sampling={sampler: {kind: ddim, steps: 4}, count: 12, batch: 8}",
    "evaluation.held_out=2",
    "evaluation.train=0",
];

fn job() -> Value {
    let sets: Vec<&str> = SETS.iter().copied().chain(["timesteps=24", "evaluation.batch=2"]).collect();
    jobs("experiments/grids/variance.yaml", &sets).remove(1)
}

fn work(results: &Path, device: &str, fault: Option<String>) -> std::process::Output {
    work_in(results, device, 1, fault)
}

fn work_in(results: &Path, device: &str, ranks: usize, fault: Option<String>) -> std::process::Output {
    let mut command = ddpm();
    command.args(["run", "-", "--device", device, "--ranks", &ranks.to_string(), "--checkpoint-every", "0", "--results"]).arg(results);
    command.envs(fault.map(|fault| ("DDPM_FAULT", fault)));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses the device may have ended before it reads.
    let _ = child.stdin.take().unwrap().write_all(job_text(&job()).as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_job_on_a_device_is_the_hosts_and_goes_on_bit_for_bit() {
    let [host, whole, parts] = [(); 3].map(|_| tempfile::tempdir().unwrap());
    for (dir, device) in [(&host, "cpu"), (&whole, "emulated")] {
        let done = work(dir.path(), device, None);
        assert!(done.status.success(), "{}", stderr(&done));
    }
    let ((on_host, host_training), (on_device, training)) = (numbers(host.path(), &job()), numbers(whole.path(), &job()));
    let near = |a: &Value, b: &Value, what: &str| {
        let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
        assert!((a - b).abs() < 1e-2 * b.abs(), "{what}: {a} on the device, {b} on the host");
    };
    near(&on_device["metrics"]["bits-per-dim"]["value"], &on_host["metrics"]["bits-per-dim"]["value"], "bits/dim");
    let (curve, host_curve) = (training["curve"].as_array().unwrap(), host_training["curve"].as_array().unwrap());
    assert_eq!((curve.len(), host_curve.len()), (40, 40));
    for (point, host_point) in curve.iter().zip(host_curve) {
        near(&point["loss"], &host_point["loss"], &format!("loss at step {}", point["step"]));
    }
    // Lost after some steps, and taken up again: what is left is what was left without that.
    let lost = work(parts.path(), "emulated", Some(format!("device-lost 35 {}", job()["training_id"].as_str().unwrap())));
    assert!(!lost.status.success() && stderr(&lost).contains("the device was lost"), "{}", stderr(&lost));
    let done = work(parts.path(), "emulated", None);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(numbers(parts.path(), &job()), numbers(whole.path(), &job()));
}

#[test]
fn what_is_not_here_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let refused = work(dir.path(), "cuda:7", None);
    assert_eq!(refused.status.code(), Some(5));
    assert!(stderr(&refused).contains("cuda:7"), "{}", stderr(&refused));
    // Members would compute on the processor.
    let refused = work_in(dir.path(), "emulated", 2, None);
    assert_eq!(refused.status.code(), Some(4));
    assert!(stderr(&refused).contains("expected 1 on emulated"), "{}", stderr(&refused));
}
