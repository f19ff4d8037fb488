//! Files in the store that are not as they were written.

use crate::*;
use std::fs;

/// Flips and cuts in every kind of file, each told by `store verify` by name; then the same before `ablate`, which recovers or refuses.
pub fn damage(effort: Effort) -> Found {
    let mut chance = Chance::by_the_clock();
    let dir = results();
    expect(&output(ablate(dir.path(), &[])), 0);
    let files = stored(dir.path());
    assert!(files.len() > 4 * 2 + 2 * 2 + 2, "{files:?}");
    let (damages, first) = (effort.of(200, 12), chance.below(files.len()));
    for i in 0..damages {
        let path = &files[(first + i) % files.len()];
        let good = fs::read(path).unwrap();
        fs::write(path, damaged(&good, &mut chance)).unwrap();
        let output = run(&["store", "verify", "--results", dir.path().to_str().unwrap()]);
        expect(&output, 5);
        assert!(stdout(&output).contains(path.to_str().unwrap()) && stdout(&output).contains("1 findings"), "{}", stdout(&output));
        fs::write(path, good).unwrap();
    }
    for foreign in ["runs/notes.txt", "training/x.bin"] {
        fs::write(dir.path().join(foreign), "not ours").unwrap();
        let output = run(&["store", "verify", "--results", dir.path().to_str().unwrap()]);
        assert!(stdout(&output).contains(foreign), "{}", stdout(&output));
        fs::remove_file(dir.path().join(foreign)).unwrap();
    }
    let mut recovered = 0;
    for _ in 0..effort.of(10, 1) {
        // Records: done anew.
        let runs = folders(&dir.path().join("runs"));
        let record = runs[chance.below(runs.len())].join(RECORD);
        fs::write(&record, damaged(&fs::read(&record).unwrap(), &mut chance)).unwrap();
        let output = output(ablate(dir.path(), &[]));
        expect(&output, 0);
        assert!(stderr(&output).contains(record.to_str().unwrap()) && stderr(&output).contains("done anew"), "{}", stderr(&output));
        recovered += same(dir.path());
        // The newest checkpoint of a training that is needed again: the one before it is used.
        let trainings = folders(&dir.path().join("training"));
        let training = &trainings[chance.below(trainings.len())];
        forget(dir.path(), training);
        let newest = training.join("checkpoint.safetensors");
        assert!(training.join("checkpoint.previous.safetensors").exists());
        fs::write(&newest, damaged(&fs::read(&newest).unwrap(), &mut chance)).unwrap();
        let output = crate::output(ablate(dir.path(), &[]));
        // The job's own words are not the parent's; the file that was set aside says what happened.
        expect(&output, 0);
        assert!(training.join("checkpoint.damaged.safetensors").exists(), "{}", stderr(&output));
        recovered += same(dir.path());
        fs::remove_file(training.join("checkpoint.damaged.safetensors")).unwrap();
        // Both of them: refused, named, and nothing is overwritten.
        forget(dir.path(), training);
        for name in ["checkpoint.safetensors", "checkpoint.previous.safetensors"] {
            fs::write(training.join(name), "rubbish").unwrap();
        }
        let output = crate::output(ablate(dir.path(), &[]));
        expect(&output, 3);
        assert!(
            stderr(&output).contains("cannot be resumed from") && stderr(&output).contains(newest.to_str().unwrap()),
            "{}",
            stderr(&output)
        );
        assert_eq!(fs::read(&newest).unwrap(), b"rubbish");
        fs::remove_dir_all(training).unwrap();
        expect(&crate::output(ablate(dir.path(), &[])), 0);
        recovered += same(dir.path());
    }
    Found::Seen(format!(
        "{damages} of {damages} damages and 2 of 2 foreign files told by name; {recovered} recoveries, tables equal byte for byte"
    ))
}

/// 1 where the tables are the undisturbed ones.
fn same(results: &Path) -> usize {
    for (name, bytes) in tables(results) {
        assert!(bytes == undisturbed()[&name], "{name} differs");
    }
    1
}

/// Forgets what was made with a training's weights, and that it has ended: its checkpoint is needed.
fn forget(results: &Path, training: &Path) {
    fs::remove_file(training.join("training.json")).unwrap();
    for run in folders(&results.join("runs")) {
        let record: Value = serde_json::from_str(&fs::read_to_string(run.join(RECORD)).unwrap()).unwrap();
        if record["training_id"] == training.file_name().unwrap().to_str().unwrap() {
            fs::remove_file(run.join(RECORD)).unwrap();
        }
    }
    fs::remove_dir_all(results.join("samples")).unwrap();
}

/// A flipped bit or a cut.
fn damaged(good: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let at = chance.below(bytes.len());
    if chance.below(4) == 0 {
        bytes.truncate(at);
    } else {
        bytes[at] ^= 1 << chance.below(8);
    }
    bytes
}

/// Every file that has a digest.
fn stored(results: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for kind in ["training", "runs"] {
        for dir in folders(&results.join(kind)) {
            let names = ["training.json", "checkpoint.safetensors", "checkpoint.previous.safetensors", "record.json"];
            found.extend(names.map(|name| dir.join(name)).into_iter().filter(|p| p.exists()));
        }
    }
    for kind in ["samples", "features"] {
        found.extend(fs::read_dir(results.join(kind)).unwrap().map(|e| e.unwrap().path()));
    }
    found.extend(folders(results).into_iter().map(|folder| folder.join("experiment.json")).filter(|p| p.exists()));
    found
}
