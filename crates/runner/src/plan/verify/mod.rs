//! Verifies everything in the store, and finds what no table needs.

use crate::base::{atomic, lock, sealed};
use crate::store::checkpoints::{self, DAMAGED};
use crate::store::submissions::{self, PLAN};
use crate::store::{
    CHECKPOINTS, FORMAT, MANIFEST, Manifest, Outcome, RECORD, Record, Store, TRAINING_RECORD, TrainingRecord, history, step_of_snapshot,
};
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
        } else if let Some(step) = step_of_snapshot(&name) {
            out.check(&path, "the next ablate that needs it makes it anew by training", || {
                let meta = checkpoints::describe(&fs::read(&path)?)?;
                ensure!(meta.step == step, "is of step {}", meta.step);
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

/// What can be made again, and goes only where that is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Also {
    /// Samples: checkpoints make them again.
    pub samples: bool,
    /// Snapshots along trainings that have ended: only training anew makes them again.
    pub snapshots: bool,
}

/// What no table and no later run needs, and `also` what can be made again. Nothing that belongs to a running process.
pub fn removable(store: &Store, also: Also) -> Result<Vec<Removable>> {
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
            let record = store.training_record(&id).ok().flatten();
            // Of one that has not ended, they may be what it goes on from.
            let has_record = record.is_some();
            let ended = record.is_some_and(|r| r.outcome == Outcome::Finished {});
            let over = ended || matches!(store.done(&id), Ok(Some(_)));
            for path in entries(&dir)? {
                let name = file_name(&path);
                match name.as_str() {
                    _ if is_part(&path) => add(&path, "unfinished")?,
                    "progress.json" => add(&path, "of a process that has ended")?,
                    DAMAGED => add(&path, "damaged")?,
                    _ if also.snapshots && has_record && step_of_snapshot(&name).is_some() => add(&path, "training anew makes it again")?,
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
    for path in entries(&store.root().join("samples"))?.iter().filter(|path| also.samples && !is_part(path)) {
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
mod tests;
