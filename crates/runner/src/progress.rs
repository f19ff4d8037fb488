//! Progress: a job writes where it is into its folder; whoever wants to know reads it there.

use crate::store::read_json;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// `train`, `sample`, `score` or `evaluate`.
    pub stage: String,
    /// Steps, samples or image evaluations done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// Images a second through this stage.
    pub images_per_s: f64,
    /// Mean loss of the last point of the curve.
    pub loss: Option<f64>,
}

/// Writes a job's progress at most twice a second. It is a courtesy: what cannot be written is not an error.
pub struct Reporter {
    path: Option<PathBuf>,
    last: Option<Instant>,
    stage: Instant,
}

impl Reporter {
    /// Into `dir`.
    pub fn new(dir: &Path) -> Reporter {
        Reporter { path: Some(dir.join("progress.json")), last: None, stage: Instant::now() }
    }

    /// Nowhere.
    pub fn silent() -> Reporter {
        Reporter { path: None, last: None, stage: Instant::now() }
    }

    /// A new stage begins: rates count from here.
    pub fn begin(&mut self) {
        self.stage = Instant::now();
        self.last = None;
    }

    /// `images` have passed since the stage began.
    pub fn tell(&mut self, stage: &str, done: u64, total: u64, images: u64, loss: Option<f64>) {
        let Some(path) = &self.path else { return };
        if self.last.is_some_and(|last| last.elapsed() < Duration::from_millis(500)) {
            return;
        }
        self.last = Some(Instant::now());
        let images_per_s = images as f64 / self.stage.elapsed().as_secs_f64().max(1e-9);
        let progress = Progress { stage: stage.into(), done, total, images_per_s, loss };
        let part = path.with_extension("part");
        if let Ok(text) = serde_json::to_string(&progress)
            && fs::write(&part, text).is_ok()
        {
            let _ = fs::rename(&part, path);
        }
    }

    /// Nothing more will be told.
    pub fn end(&self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// What a job last told.
pub fn of(dir: &Path) -> Option<Progress> {
    read_json(&dir.join("progress.json")).ok().flatten()
}
