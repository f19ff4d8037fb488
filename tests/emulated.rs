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
    "network.block_size=4",
    "network.multipliers=[1]",
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
    jobs("experiments/grids/variance.yaml", &sets).remove(2)
}

fn work(results: &Path, device: &str, fault: Option<String>) -> std::process::Output {
    work_in(results, device, 1, fault)
}

fn work_in(results: &Path, device: &str, ranks: usize, fault: Option<String>) -> std::process::Output {
    work_with(results, &job(), &["--device", device, "--ranks", &ranks.to_string()], fault.map(|fault| ("DDPM_FAULT", fault)))
}

fn work_with(results: &Path, job: &Value, words: &[&str], environment: Option<(&str, String)>) -> std::process::Output {
    let mut command = ddpm();
    command.args(["run", "-", "--checkpoint-every", "0"]).args(words).arg("--results").arg(results);
    command.envs(environment);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses the device may have ended before it reads.
    let _ = child.stdin.take().unwrap().write_all(job_text(job).as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_job_on_a_device_is_the_hosts_and_goes_on_bit_for_bit() {
    let [host, whole, parts] = [(); 3].map(|_| results());
    for (dir, device) in [(&host, "cpu"), (&whole, "emulated")] {
        let done = work(dir.path(), device, None);
        assert!(done.status.success(), "{}", stderr(&done));
    }
    let ((on_host, host_training), (on_device, training)) = (numbers(host.path(), &job()), numbers(whole.path(), &job()));
    let near = |a: &Value, b: &Value, what: &str| {
        let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
        assert!((a - b).abs() < 1e-4 * b.abs(), "{what}: {a} on the device, {b} on the host");
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

/// Images that come to the device beside its steps, from memory or decoded on the way: the same job, and its record says how they came.
#[test]
fn images_may_come_beside_the_steps() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("images");
    std::fs::create_dir(&folder).unwrap();
    for i in 0..50u8 {
        let grey = |x: u32, y: u32| image::Luma([(x * 9 + y * 5) as u8 ^ i.wrapping_mul(37)]);
        image::GrayImage::from_fn(28, 28, grey).save(folder.join(format!("{i:02}.png"))).unwrap();
    }
    let set = format!("data={{kind: folder, path: {}, held_out: 20}}", text(&folder));
    // Steps of two windows, and a snapshot in the midst of one.
    let more = ["training.steps=34", "timesteps=24", "evaluation.batch=2", "evaluation.at=[10]", &set];
    let sets: Vec<&str> = SETS.iter().copied().chain(more).collect();
    let job = jobs("experiments/grids/variance.yaml", &sets).into_iter().filter(|job| job["at"].is_null()).nth(2).unwrap();
    let of = |words: &[&str], way: &str| {
        let results = results();
        let done = work_with(results.path(), &job, &[&["--device", "emulated"], words].concat(), Some(("DDPM_IMAGES", way.into())));
        assert!(done.status.success(), "{}", stderr(&done));
        let id = job["training_id"].as_str().unwrap();
        let record = std::fs::read_to_string(results.path().join("training").join(id).join("training.json")).unwrap();
        let loading = serde_json::from_str::<Value>(&record).unwrap()["loading"].clone();
        assert_eq!(loading["delivery"], way);
        let snapshot = std::fs::read(results.path().join("training").join(id).join("at-10.safetensors")).unwrap();
        let tensors = ddpm_model::checkpoint::shapes(&snapshot).unwrap();
        let tensors: Vec<Vec<f32>> = tensors.iter().map(|(name, _)| ddpm_model::checkpoint::read_f32(&snapshot, name).unwrap()).collect();
        let found = (numbers(results.path(), &job), tensors);
        (loading["form"].as_str().unwrap().to_string(), loading["waited_s"].as_f64().unwrap(), found)
    };
    let (form, waited, expected) = of(&[], "resident");
    assert_eq!((form.as_str(), waited), ("memory", 0.0));
    let cache = |name: &str| dir.path().join(name);
    for form in ["memory", "compressed"] {
        let at = cache(form);
        let words = ["--cache", text(&at)];
        if form == "compressed" {
            let grid = dir.path().join("grid.yaml");
            std::fs::write(&grid, "question: Which?\nbase: fashion-smoke\ngrid: {}\n").unwrap();
            let done = run(&["data", "prepare", text(&grid), "--set", &set, "--form", form, "--cache", text(&at)]);
            assert!(done.status.success(), "{}", stderr(&done));
        }
        let (found_form, waited, found) = of(if form == "memory" { &[] } else { &words }, "streamed");
        // For the first window at least.
        assert!(found_form == form && waited > 0.0 && found == expected, "{form}");
    }
    let fresh = results();
    let wrong = work_with(fresh.path(), &job, &["--device", "emulated"], Some(("DDPM_IMAGES", "later".into())));
    assert_eq!(wrong.status.code(), Some(4));
    assert!(stderr(&wrong).contains("DDPM_IMAGES: expected resident or streamed, got later"), "{}", stderr(&wrong));
}

/// Every operation of training and sampling beside its emulation: one that was broken on purpose is named, by the first place where it is.
#[test]
fn a_broken_operation_is_named() {
    let operations = |broken: Option<&str>| {
        let mut command = ddpm();
        command.args(["doctor", "--device", "emulated", "--operations"]);
        command.envs(broken.map(|name| ("DDPM_FAULT", format!("operation {name}"))));
        command.output().unwrap()
    };
    let whole = operations(None);
    assert!(whole.status.success(), "{}", stdout(&whole));
    assert_eq!(stdout(&whole).lines().filter(|line| line.contains("operations agree")).count(), 6, "{}", stdout(&whole));
    for (name, first) in
        [("norm_backward_bf16", "training in bf16"), ("convolution_forward_f32", "training in f32"), ("walk_f32", "sampling in f32")]
    {
        let told = operations(Some(name));
        assert_eq!(told.status.code(), Some(1));
        let line = stdout(&told).lines().find(|line| line.contains("FAILED")).unwrap().to_string();
        assert!(line.starts_with(first) && line.contains(&format!(", {name} of ")), "{line}");
    }
}

/// Libraries against plain loops: here they are the plain loops.
#[test]
fn a_device_is_opened_and_tried() {
    let tried = ddpm().args(["doctor", "--device", "emulated"]).output().unwrap();
    assert!(tried.status.success() && stdout(&tried).ends_with("39 of 39 are right\n"), "{}", stdout(&tried));
    let cpu = ddpm().args(["doctor", "--device", "cpu"]).output().unwrap();
    assert_eq!(cpu.status.code(), Some(4));
    assert!(stderr(&cpu).contains("expected a GPU"), "{}", stderr(&cpu));
}

/// The sums of a plan are those of the program that runs.
#[test]
fn a_plan_counts_what_runs() {
    let network = ["--channels", "8", "--groups", "4", "--mult", "1,2", "--blocks", "1", "--attention", "4", "--side", "8", "--batch", "2"];
    for work in ["train-step", "forward"] {
        let bench = |flags: &[&str]| -> Value {
            let done = ddpm().arg("bench").arg(work).args(network).args(flags).arg("--json").output().unwrap();
            serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(&done)))
        };
        let plan = bench(&["--plan"]);
        let run = bench(&["--device", "emulated", "--steps", "1", "--warmup", "0", "--breakdown"]);
        let sums = |parts: &Value| {
            let of = |key: &str| parts.as_array().unwrap().iter().map(|part| part[key].as_f64().unwrap()).sum::<f64>();
            (of("count"), of("bytes"), of("flops"))
        };
        assert_eq!(sums(&plan), sums(&run["operations"]));
        assert!(run["operations"].as_array().unwrap().iter().all(|part| part["s"].as_f64().unwrap() > 0.0));
        // Of the network itself: its multiplications and additions are the plan's, but for the attention's and padding's share.
        let (flops, of_network) = (sums(&plan).2, run["flops_per_image"].as_f64().unwrap() * 2.0);
        assert!(flops > 0.8 * of_network && flops < 2.0 * of_network, "{flops} {of_network}");
    }
}

/// The script of a first run with a GPU, the emulated device in its place: every part has a row and a file, and one that fails is shown.
#[test]
#[cfg(unix)]
fn a_first_run_tells_everything() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["run.sh", "parts.sh", "first-run.sh", "kernels.py"] {
        std::fs::copy(root().join("tests/gpu").join(name), at(name)).unwrap();
    }
    symlink(ddpm().get_program(), at("ddpm")).unwrap();
    symlink(root().join("experiments"), at("experiments")).unwrap();
    // Three tests: one is right, one is wrong, one has no device.
    let tests = r#"#!/bin/sh
        case $1 in
        device::) printf 'device::right: test\ndevice::wrong: test\ndevice::absent: test\n' ;;
        device::wrong) echo "checked: $DDPM_CUDA" && exit 101 ;;
        device::absent) echo 'SKIPPED: no GPU' ;;
        esac
    "#;
    std::fs::write(at("gpu-tests"), tests).unwrap();
    std::fs::set_permissions(at("gpu-tests"), PermissionsExt::from_mode(0o755)).unwrap();
    let first = std::process::Command::new("bash")
        .arg(at("first-run.sh"))
        .envs([("DEVICE", "emulated"), ("PYTHON", "no-python"), ("LIMIT", "2000"), ("PATH", "/usr/bin:/bin")])
        .env("OUT", at("out"))
        .output()
        .unwrap();
    let text = stdout(&first);
    assert_eq!(first.status.code(), Some(1), "{text}{}", stderr(&first));
    let row = |name: &str| text.lines().find(|l| l.split(' ').next() == Some(name)).unwrap_or_else(|| panic!("{name}: {text}")).to_string();
    for name in ["libraries", "operations", "algorithms", "right", "step", "step-json", "step-eager", "sampling"] {
        assert!(row(name).ends_with(" ok"), "{text}");
    }
    assert!(row("wrong").ends_with("FAILED: ended with 101"), "{text}");
    assert!(text.contains("checked: checked"), "{text}");
    assert!(row("absent").ends_with("FAILED: skipped, there is no device"), "{text}");
    assert!(row("torch").ends_with("absent"), "{text}");
    // What came home is whole.
    assert_eq!(std::fs::read_to_string(at("out/rows.txt")).unwrap().lines().count(), text.lines().filter(|l| l.contains(" s  ")).count());
    let listed = std::process::Command::new("tar").arg("-tf").arg(at("out/first-run.tar.xz")).output().unwrap();
    for file in ["first-run/operations.txt", "first-run/step-json.txt", "first-run/wrong-checked.txt", "first-run/rows.txt"] {
        assert!(stdout(&listed).lines().any(|line| line == file), "{file}: {}", stdout(&listed));
    }
    let step: Value =
        serde_json::from_str(std::fs::read_to_string(at("work/first-run/step-json.txt")).unwrap().lines().last().unwrap()).unwrap();
    assert!(step["operations"].as_array().unwrap().len() > 20);
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
