//! Where everything lies, and the records.

use super::record::{Outcome, Record, TrainingRecord};
use crate::base::data::Cache;
use crate::base::sealed;
use crate::experiment::FORMAT;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// A job's record in its folder.
pub const RECORD: &str = "record.json";
/// A training's.
pub const TRAINING_RECORD: &str = "training.json";

/// In a job's folder: a row for each of its first samples, the x_0 predicted on the way and the sample itself.
pub const REVERSE: &str = "reverse.png";
/// In an experiment's folder: the first real images, held-out ones where there are any.
pub const REAL: &str = "real.png";

/// A training's checkpoints, newest first.
pub const CHECKPOINTS: [&str; 2] = ["checkpoint.safetensors", "checkpoint.previous.safetensors"];

/// Begins the name of a snapshot; its step follows.
const SNAPSHOT: &str = "at-";

/// The name of the snapshot of a step in its training's folder.
pub fn snapshot_name(step: u64) -> String {
    format!("{SNAPSHOT}{step}.safetensors")
}

/// The step whose snapshot a file in a training's folder is, by its name; none where it is no snapshot.
pub fn step_of_snapshot(name: &str) -> Option<u64> {
    let step = name.strip_prefix(SNAPSHOT)?.strip_suffix(".safetensors")?.parse().ok()?;
    (name == snapshot_name(step)).then_some(step)
}

/// The results folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    cache: Cache,
}

impl Store {
    /// At `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Store {
        let root = root.into();
        Store { cache: Cache::beside(&root), root }
    }

    /// With prepared data sets in a folder of their own, where one is given.
    pub fn with_cache(self, dir: Option<&Path>) -> Store {
        Store { cache: dir.map_or(self.cache, Cache::at), ..self }
    }

    /// Where prepared data sets are.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a training.
    pub fn training(&self, id: &str) -> PathBuf {
        self.root.join("training").join(id)
    }

    /// A training's state after some of its steps, kept to be scored.
    pub fn snapshot(&self, training_id: &str, step: u64) -> PathBuf {
        self.training(training_id).join(snapshot_name(step))
    }

    /// The steps whose snapshots a training has left, rising.
    pub fn snapshots(&self, training_id: &str) -> Vec<u64> {
        let files = std::fs::read_dir(self.training(training_id)).into_iter().flatten().flatten();
        let mut steps: Vec<u64> = files.filter_map(|file| step_of_snapshot(&file.file_name().to_string_lossy())).collect();
        steps.sort_unstable();
        steps
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
        CHECKPOINTS.iter().any(|name| self.training(training_id).join(name).exists())
    }

    /// The folder of an experiment's report.
    pub fn report(&self, experiment: &str) -> PathBuf {
        self.root.join(experiment)
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
