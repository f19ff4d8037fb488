//! What runs leave behind: a folder for each training, a folder for each job, a folder for each experiment's report.
//!
//! `training/ID/` holds the checkpoint and, when it is over, `training.json`; `samples/ID` the samples of one sampler; `features/` what
//! feature networks see in real images; `runs/ID/` holds `record.json`, its history and pictures; `slurm/` what was submitted. All are
//! named by content, so experiments that overlap share them. Every file is whole or absent, and whoever makes one holds the folder's
//! claim.

pub mod atomic;
pub mod checkpoints;
pub mod claim;
pub mod history;
mod record;
pub mod sealed;
pub mod verify;

pub use record::{CourseAt, FORMAT, Findings, Machine, Outcome, Point, Record, Shown, Split, TermAt, TrainingRecord};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::{Path, PathBuf};

/// A job's record in its folder.
pub const RECORD: &str = "record.json";
/// A training's.
pub const TRAINING_RECORD: &str = "training.json";

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

    /// Whether a training has left a checkpoint.
    pub fn has_checkpoint(&self, training_id: &str) -> bool {
        checkpoints::FILES.iter().any(|name| self.training(training_id).join(name).exists())
    }

    /// A job's record; none where it has not left one.
    pub fn record(&self, id: &str) -> Result<Option<Record>> {
        sealed::read(&self.run(id).join(RECORD))
    }

    /// The record of a job that need not be done again.
    pub fn done(&self, id: &str) -> Result<Option<Record>> {
        Ok(self.record(id)?.filter(|r| r.format == FORMAT && !matches!(r.outcome, Outcome::Failed { .. })))
    }

    /// A training's record; none while it has not ended.
    pub fn training_record(&self, id: &str) -> Result<Option<TrainingRecord>> {
        sealed::read(&self.training(id).join(TRAINING_RECORD))
    }

    /// Leaves a job's record.
    pub fn leave_record(&self, record: &Record) -> Result<()> {
        sealed::write(&self.run(&record.id).join(RECORD), record)
    }

    /// Leaves a training's record.
    pub fn leave_training_record(&self, record: &TrainingRecord) -> Result<()> {
        sealed::write(&self.training(&record.id).join(TRAINING_RECORD), record)
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
