//! Verifies everything in the store, and finds what no table needs.

use crate::base::{atomic, lock, sealed};
use crate::store::checkpoints::{self, DAMAGED};
use crate::store::submissions::{self, PLAN};
use crate::store::{CHECKPOINTS, FORMAT, MANIFEST, Manifest, Outcome, RECORD, Record, Store, TRAINING_RECORD, TrainingRecord, history};
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::checkpoint;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Unfinished files this old belong to nobody.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// Something in the store that is not as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub advice: &'static str,
}

/// Files that were read, and what was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    /// Records, checkpoints, samples and features that were read.
    pub read: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

const ANEW: &str = "the next ablate computes it anew";
const BEFORE: &str = "the training goes on from the checkpoint before it, if that is good; else move it away to train anew";
const FOREIGN: &str = "nothing reads it; move it away if it is not wanted";

/// Reads everything in the store and checks digests, names and formats.
pub fn verify(store: &Store) -> Result<Verified> {
    let mut out = Verified::default();
    for dir in folders(&store.root().join("training"), &mut out)? {
        training(&dir, &mut out)?;
    }
    for dir in folders(&store.root().join("runs"), &mut out)? {
        run(&dir, &mut out)?;
    }
    for kind in ["samples", "features"] {
        for path in entries(&store.root().join(kind))? {
            if is_part(&path) {
                continue;
            }
            out.check(&path, ANEW, || {
                let about = checkpoint::description(&fs::read(&path)?)?.context("has no description: it is no file of this program")?;
                let about: serde_json::Value = serde_json::from_str(&about)?;
                ensure!(kind != "samples" || about["id"] == stem(&path), "holds the samples {}", about["id"]);
                Ok(())
            });
        }
    }
    for folder in entries(store.root())?.into_iter().filter(|folder| folder.join(MANIFEST).exists()) {
        out.check(&folder.join(MANIFEST), "the next ablate or report writes it anew", || Manifest::read(&folder).map(drop));
    }
    Ok(out)
}

impl Verified {
    fn check(&mut self, path: &Path, advice: &'static str, good: impl FnOnce() -> Result<()>) {
        self.read += 1;
        let result = if path.is_symlink() { Err(anyhow::anyhow!("is a link; what is stored lies in the store")) } else { good() };
        if let Err(why) = result {
            self.findings.push(Finding { path: path.into(), problem: format!("{why:#}"), advice });
        }
    }

    fn foreign(&mut self, path: &Path, problem: &str) {
        self.findings.push(Finding { path: path.into(), problem: problem.into(), advice: FOREIGN });
    }
}

fn training(dir: &Path, out: &mut Verified) -> Result<()> {
    for path in entries(dir)? {
        let name = file_name(&path);
        if name == TRAINING_RECORD {
            out.check(&path, "the next ablate makes it again from the checkpoint", || {
                let record: TrainingRecord = sealed::read(&path)?.context("has vanished")?;
                named(&record.id, dir, record.format)
            });
        } else if CHECKPOINTS.contains(&name.as_str()) {
            out.check(&path, BEFORE, || {
                let meta = checkpoints::describe(&fs::read(&path)?)?;
                named(&meta.training_id, dir, meta.format)
            });
        } else if name == DAMAGED {
            out.foreign(&path, "is a damaged checkpoint that was set aside");
        } else if !is_bookkeeping(&name) {
            out.foreign(&path, "does not belong here");
        }
    }
    Ok(())
}

fn run(dir: &Path, out: &mut Verified) -> Result<()> {
    for path in entries(dir)? {
        let name = file_name(&path);
        if name == RECORD {
            out.check(&path, ANEW, || {
                let record: Record = sealed::read(&path)?.context("has vanished")?;
                named(&record.id, dir, record.format)
            });
        } else if !(is_bookkeeping(&name) || name == "config.yaml" || name == "progress.json" || name.ends_with(".png")) {
            out.foreign(&path, "does not belong here");
        }
    }
    Ok(())
}

fn named(id: &str, dir: &Path, format: u32) -> Result<()> {
    ensure!(id == file_name(dir), "belongs to {id}, not here");
    if format != FORMAT {
        bail!("has format {format}, this program reads and writes {FORMAT}");
    }
    Ok(())
}

/// Something that can go.
#[derive(Clone, Debug, PartialEq)]
pub struct Removable {
    /// The file or folder.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Why it can go.
    pub why: &'static str,
}

/// What no table and no later run needs. With `samples`, also samples, which the checkpoints can make again. Nothing that belongs to a
/// running process.
pub fn removable(store: &Store, samples: bool) -> Result<Vec<Removable>> {
    let mut found = Vec::new();
    let mut add = |path: &Path, why: &'static str| -> Result<()> {
        found.push(Removable { path: path.into(), bytes: size(path)?, why });
        Ok(())
    };
    for kind in ["training", "runs"] {
        for dir in entries(&store.root().join(kind))?.into_iter().filter(|d| d.is_dir() && !d.is_symlink()) {
            if lock::holder(&dir).is_some() {
                continue;
            }
            let id = file_name(&dir);
            let ended = store.training_record(&id).ok().flatten().is_some_and(|r| r.outcome == Outcome::Finished {});
            let over = ended || matches!(store.done(&id), Ok(Some(_)));
            for path in entries(&dir)? {
                let name = file_name(&path);
                match name.as_str() {
                    _ if is_part(&path) => add(&path, "unfinished")?,
                    "progress.json" => add(&path, "of a process that has ended")?,
                    DAMAGED => add(&path, "damaged")?,
                    _ if ended && name == CHECKPOINTS[1] => add(&path, "the training has ended with a later one")?,
                    // A job that is not done may be in the middle of being locked, by a process that relies on the number that it found.
                    _ if over && lock::is_lock(&name) => add(&path, "given up")?,
                    _ => {}
                }
            }
        }
    }
    for dir in shared(store)? {
        let old = |path: &Path| Ok::<_, std::io::Error>(fs::metadata(path)?.modified()?.elapsed().is_ok_and(|age| age > FORGOTTEN));
        for path in entries(&dir)?.iter().filter(|path| is_part(path)) {
            if old(path)? {
                add(path, "unfinished")?;
            }
        }
    }
    for path in entries(&store.root().join("samples"))?.iter().filter(|path| samples && !is_part(path)) {
        add(path, "can be made again")?;
    }
    for folder in submissions::submissions(store)? {
        let jobs = submissions::plan(&folder.join(PLAN))?;
        if jobs.iter().flatten().all(|job| matches!(store.done(&job.id), Ok(Some(_)))) {
            add(&folder, "all its jobs are done")?;
        }
    }
    Ok(found)
}

/// The folders into which any process may be writing: samples, features, reports and their figures.
fn shared(store: &Store) -> Result<Vec<PathBuf>> {
    let mut found = ["samples", "features"].map(|kind| store.root().join(kind)).to_vec();
    for report in entries(store.root())?.into_iter().filter(|folder| folder.join(MANIFEST).exists()) {
        found.extend([report.clone(), report.join("figures")]);
    }
    Ok(found)
}

/// Removes it.
pub fn remove(what: &Removable) -> Result<()> {
    let result = if what.path.is_dir() { fs::remove_dir_all(&what.path) } else { fs::remove_file(&what.path) };
    result.with_context(|| format!("{}: cannot be removed", what.path.display()))
}

fn size(path: &Path) -> Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    entries(path)?.iter().map(|path| size(path)).sum()
}

/// The folders in one; what else is there is named.
fn folders(dir: &Path, out: &mut Verified) -> Result<Vec<PathBuf>> {
    let (folders, others): (Vec<_>, Vec<_>) = entries(dir)?.into_iter().partition(|path| path.is_dir() && !path.is_symlink());
    others.iter().for_each(|path| out.foreign(path, "does not belong here"));
    Ok(folders)
}

/// What is in a folder, in the order of the names; nothing where it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut found = read().with_context(|| format!("{}: cannot be read", dir.display()))?;
    found.sort();
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_part(path: &Path) -> bool {
    is_unfinished(&file_name(path))
}

/// Whether a file's name is one that is given while it is written: by this program, or by what earlier versions wrote checkpoints with.
fn is_unfinished(name: &str) -> bool {
    name.starts_with(atomic::PART) || name.starts_with(".tmp")
}

/// Locks, histories and unfinished files: they belong to processes, not to results.
fn is_bookkeeping(name: &str) -> bool {
    lock::is_lock(name) || history::is_history(name) || is_unfinished(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::base::lock::Lock;
    use crate::experiment::tiny;
    use std::time::SystemTime;

    fn names(store: &Store, samples: bool) -> Vec<String> {
        removable(store, samples).unwrap().iter().map(|r| r.path.strip_prefix(store.root()).unwrap().display().to_string()).collect()
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
        assert_eq!(found.read, 3 + 9);
        let told: Vec<_> = found
            .findings
            .iter()
            .map(|f| (f.path.strip_prefix(dir.path()).unwrap().to_str().unwrap(), f.problem.as_str(), f.advice))
            .collect();
        let again = "the next ablate makes it again from the checkpoint";
        let older = format!("has format {}, this program reads and writes {FORMAT}", FORMAT - 1);
        let expected = [
            ("training/loose", "does not belong here", FOREIGN),
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
}
