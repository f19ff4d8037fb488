//! Every kind of damage, and every kind of thing that can go.

use super::*;

use crate::base::data::few;
use crate::base::lock::Lock;
use crate::experiment::tiny;
use std::time::SystemTime;

fn names(store: &Store, samples: bool) -> Vec<String> {
    removable(store, Also { samples, snapshots: samples })
        .unwrap()
        .iter()
        .map(|r| r.path.strip_prefix(store.root()).unwrap().display().to_string())
        .collect()
}

/// Samples go only where that is asked; what a process is at stays, and goes once it has ended.
#[test]
fn only_what_nobody_needs_can_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let training = store.training("t");
    fs::create_dir_all(&training).unwrap();
    fs::create_dir_all(dir.path().join("samples")).unwrap();
    fs::write(store.samples("s"), b"x").unwrap();
    fs::write(training.join(format!("{}checkpoint", atomic::PART)), b"x").unwrap();
    assert_eq!(names(&store, true), [format!("training/t/{}checkpoint", atomic::PART), "samples/s.safetensors".into()]);
    assert_eq!(names(&store, false).len(), 1);
    // What a killed process of an earlier version left of a checkpoint.
    fs::write(training.join(".tmpIcr7Qh"), b"x").unwrap();
    assert_eq!(names(&store, false).len(), 2);
    fs::remove_file(training.join(".tmpIcr7Qh")).unwrap();
    let lock = Lock::attempt(&training).unwrap().ok().unwrap();
    assert!(names(&store, false).is_empty());
    drop(lock);
    assert_eq!(names(&store, false).len(), 1);
}

/// States along a training that has ended go where that is asked, with or without samples; those of one that has not may be needed.
#[test]
fn snapshots_go_where_that_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    fs::create_dir_all(store.training("t")).unwrap();
    for name in ["at-40.safetensors", "at-040.safetensors", "at-x.safetensors"] {
        fs::write(store.training("t").join(name), b"x").unwrap();
    }
    let of = |also: Also| removable(&store, also).unwrap().into_iter().map(|found| (found.path, found.bytes)).collect::<Vec<_>>();
    let all = Also { samples: false, snapshots: true };
    assert!(of(all).is_empty());
    let record = serde_json::json!({
        "format": FORMAT, "id": "t", "outcome": { "kind": "finished" }, "steps": 50, "parameters": 1, "curve": [], "wall_s": 0.0, "flops": 0.0,
        "machine": { "commit": "c", "device": "d", "threads": 1 },
    });
    store.leave_training_record(&serde_json::from_value(record).unwrap()).unwrap();
    assert!(of(Also::default()).is_empty() && of(Also { samples: true, snapshots: false }).is_empty());
    assert_eq!(of(all), [(store.snapshot("t", 40), 1)]);
}

/// Every kind of thing that does not belong where it lies, and every kind of damage, is named with its path, what is wrong and what to
/// do; what is as it should be is counted and not named.
#[test]
fn everything_in_the_store_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    assert_eq!(verify(&store).unwrap(), Verified::default());
    let data = few("d", 20, 3);
    let job = tiny(&data, &[]);
    let at = |path: &str| dir.path().join(path);
    let put = |path: &str, bytes: &[u8]| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), bytes).unwrap();
    };
    let record = |id: &str, format| Record { id: id.into(), format, ..Record::of(&job, "d", Outcome::Finished {}) };
    let sealed = |path: &str, record: &Record| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        sealed::write(&at(path), record).unwrap();
    };
    let file_of = |id: &str| checkpoint::to_bytes(&[], &format!(r#"{{"id":"{id}"}}"#)).unwrap();
    // As it should be: read, or another process's.
    sealed("runs/good/record.json", &record("good", FORMAT));
    put("samples/good.safetensors", &file_of("good"));
    put("features/any.safetensors", &file_of("its name says nothing"));
    put(&format!("x/{MANIFEST}"), b"{}");
    let damaged = verify(&store).unwrap();
    assert!(damaged.read == 4 && damaged.findings[0].path == at(&format!("x/{MANIFEST}")), "{damaged:?}");
    fs::remove_file(at(&format!("x/{MANIFEST}"))).unwrap();
    for name in ["claim-3", "history.jsonl", "config.yaml", "progress.json", "samples.png"] {
        put(&format!("runs/good/{name}"), b"x");
    }
    for folder in ["training/t", "runs/good", "samples", "features"] {
        put(&format!("{folder}/{}x", atomic::PART), b"x");
    }
    assert_eq!(verify(&store).unwrap(), Verified { read: 3, findings: vec![] });
    // And as it should not be.
    put("training/loose", b"x");
    put("training/t/checkpoint.damaged.safetensors", b"x");
    put("training/t/checkpoint.previous.safetensors", b"x");
    put("training/t/checkpoint.safetensors", &file_of("t"));
    put("training/t/at-7.safetensors", b"x");
    put("training/t/at-07.safetensors", b"x");
    put("training/t/config.yaml", b"x");
    put("training/t/training.json", b"x");
    put("runs/loose.png", b"x");
    put("runs/good/notes.txt", b"x");
    sealed("runs/moved/record.json", &record("good", FORMAT));
    sealed("runs/old/record.json", &record("old", FORMAT - 1));
    put("samples/moved.safetensors", &file_of("good"));
    put("samples/none.safetensors", b"x");
    put("features/none.safetensors", b"x");
    std::os::unix::fs::symlink(at("features/any.safetensors"), at("features/to-any.safetensors")).unwrap();
    let found = verify(&store).unwrap();
    assert_eq!(found.read, 3 + 10);
    let told: Vec<_> =
        found.findings.iter().map(|f| (f.path.strip_prefix(dir.path()).unwrap().to_str().unwrap(), f.problem.as_str(), f.advice)).collect();
    let again = "the next ablate makes it again from the checkpoint";
    let older = format!("has format {}, this program reads and writes {FORMAT}", FORMAT - 1);
    let expected = [
        ("training/loose", "does not belong here", FOREIGN),
        ("training/t/at-07.safetensors", "does not belong here", FOREIGN),
        ("training/t/at-7.safetensors", "header too small", "the next ablate that needs it makes it anew by training"),
        ("training/t/checkpoint.damaged.safetensors", "is a damaged checkpoint that was set aside", FOREIGN),
        ("training/t/checkpoint.previous.safetensors", "header too small", BEFORE),
        ("training/t/checkpoint.safetensors", "is not a checkpoint of this version", BEFORE),
        ("training/t/config.yaml", "does not belong here", FOREIGN),
        ("training/t/training.json", "is damaged or of an older version", again),
        ("runs/loose.png", "does not belong here", FOREIGN),
        ("runs/good/notes.txt", "does not belong here", FOREIGN),
        ("runs/moved/record.json", "belongs to good, not here", ANEW),
        ("runs/old/record.json", older.as_str(), ANEW),
        ("samples/moved.safetensors", "holds the samples \"good\"", ANEW),
        ("samples/none.safetensors", "", ANEW),
        ("features/none.safetensors", "", ANEW),
        ("features/to-any.safetensors", "is a link", ANEW),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.0 == expected.0 && told.1.contains(expected.1) && told.2 == expected.2, "{told:?}, not {expected:?}");
    }
}

/// What another process may be writing at this moment stays, what was left long ago goes; finished features always stay.
#[test]
fn parts_go_when_they_are_old() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let old = |kind: &str| format!("{kind}/{}old", atomic::PART);
    for kind in ["samples", "features", "a-report", "a-report/figures"] {
        fs::create_dir_all(dir.path().join(kind)).unwrap();
        fs::write(dir.path().join(kind).join("whole.safetensors"), b"x").unwrap();
        for (name, age) in [("new", FORGOTTEN / 2), ("old", FORGOTTEN * 2)] {
            let part = fs::File::create(dir.path().join(kind).join(format!("{}{name}", atomic::PART))).unwrap();
            part.set_modified(SystemTime::now() - age).unwrap();
        }
    }
    assert_eq!(names(&store, false), [old("samples"), old("features")]);
    fs::write(dir.path().join("a-report").join(MANIFEST), b"x").unwrap();
    let parts = ["samples", "features", "a-report", "a-report/figures"].map(old);
    assert_eq!(names(&store, false), parts);
    assert_eq!(names(&store, true), [&parts[..], &["samples/whole.safetensors".into()]].concat());
}

/// The plan of an array is kept until the last of its jobs is done.
#[test]
fn a_plan_goes_with_its_last_job() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let data = few("d", 20, 3);
    let jobs = ["sampling.count=10", "sampling.count=11"].map(|set| tiny(&data, &[set]));
    let folder = dir.path().join("slurm/one");
    fs::create_dir_all(&folder).unwrap();
    let lines: String = jobs.iter().map(|job| format!("{}\n", serde_json::json!([job]))).collect();
    fs::write(folder.join(PLAN), lines).unwrap();
    let left = |n: usize| {
        jobs[..n].iter().for_each(|job| {
            fs::create_dir_all(store.run(&job.id)).unwrap();
            store.leave_record(&Record::of(job, "d", Outcome::Finished {})).unwrap();
        });
        names(&store, false).iter().any(|name| name.starts_with("slurm"))
    };
    assert_eq!([left(0), left(1), left(2)], [false, false, true]);
}
