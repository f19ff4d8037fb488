//! What runs leave behind: a folder for each training, a folder for each job, a folder for each experiment's report.
//!
//! `training/ID/` holds the checkpoint and, when it is over, `training.json`; `samples/ID` the samples of one sampler; `features/` what
//! feature networks see in real images; `runs/ID/` holds `record.json` and pictures. All are named by content, so experiments that
//! overlap share them. Every file is whole or absent.

pub mod atomic;
mod record;

pub use record::{CourseAt, FORMAT, Findings, Machine, Outcome, Point, Record, Shown, Split, TermAt, TrainingRecord};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The results folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// At `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Store {
        Store { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a training.
    pub fn training(&self, id: &str) -> PathBuf {
        self.root.join("training").join(id)
    }

    /// The folder of a job.
    pub fn run(&self, id: &str) -> PathBuf {
        self.root.join("runs").join(id)
    }

    /// The samples of a trained network under one sampler.
    pub fn samples(&self, sampling_id: &str) -> PathBuf {
        self.root.join("samples").join(format!("{sampling_id}.safetensors"))
    }

    /// The checkpoint of a training.
    pub fn checkpoint(&self, training_id: &str) -> PathBuf {
        self.training(training_id).join("checkpoint.safetensors")
    }

    /// A job's record; none where it has not left one.
    pub fn record(&self, id: &str) -> Result<Option<Record>> {
        read_json(&self.run(id).join("record.json"))
    }

    /// The record of a job that need not be done again.
    pub fn done(&self, id: &str) -> Result<Option<Record>> {
        Ok(self.record(id)?.filter(|r| r.format == FORMAT && !matches!(r.outcome, Outcome::Failed { .. })))
    }

    /// A training's record; none while it has not ended.
    pub fn training_record(&self, id: &str) -> Result<Option<TrainingRecord>> {
        read_json(&self.training(id).join("training.json"))
    }

    /// Takes a training for this process until the guard is dropped or the process ends, however it ends. Waits where another
    /// process has it.
    pub fn lock(&self, training_id: &str) -> Result<File> {
        let dir = self.training(training_id);
        fs::create_dir_all(&dir).with_context(|| format!("{}: cannot be made", dir.display()))?;
        let path = dir.join("lock");
        let file = File::create(&path).with_context(|| format!("{}: cannot be written", path.display()))?;
        file.lock().with_context(|| format!("{}: cannot be locked", path.display()))?;
        Ok(file)
    }
}

/// Writes `value` as indented JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    atomic::write(path, text.as_bytes())
}

/// Reads JSON; none where there is no file, an error where it is something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("{}: cannot be read", path.display())),
    };
    let advice = "is not a record of this version; move its folder away to compute it anew";
    Ok(Some(serde_json::from_str(&text).with_context(|| format!("{}: {advice}", path.display()))?))
}
