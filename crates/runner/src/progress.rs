//! Progress: a job writes where it is into its folder; whoever wants to know reads it there.

use crate::stop;
use crate::store::atomic::PART;
use crate::store::{Machine, read_json};
use anyhow::Result;
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
    /// Seconds that this stage will take on, at its speed so far.
    pub seconds_left: Option<f64>,
    /// What it runs on.
    pub device: String,
}

/// Writes a job's progress at most twice a second. It is a courtesy: what cannot be written is not an error.
pub struct Reporter {
    path: Option<PathBuf>,
    last: Option<Instant>,
    stage: Instant,
    /// What was done when the stage was first told of, and when that was.
    first: Option<(u64, Instant)>,
}

impl Reporter {
    /// Into `dir`.
    pub fn new(dir: &Path) -> Reporter {
        Reporter { path: Some(dir.join("progress.json")), last: None, stage: Instant::now(), first: None }
    }

    /// Nowhere.
    pub fn silent() -> Reporter {
        Reporter { path: None, last: None, stage: Instant::now(), first: None }
    }

    /// A new stage begins: rates count from here.
    pub fn begin(&mut self) {
        self.stage = Instant::now();
        (self.last, self.first) = (None, None);
    }

    /// `images` have passed since the stage began. An error where the process was asked to stop: every stage passes here often.
    pub fn tell(&mut self, stage: &str, done: u64, total: u64, images: u64, loss: Option<f64>) -> Result<()> {
        stop::check()?;
        let Some(path) = &self.path else { return Ok(()) };
        if self.last.is_some_and(|last| last.elapsed() < Duration::from_millis(500)) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let images_per_s = images as f64 / self.stage.elapsed().as_secs_f64().max(1e-9);
        let (before, since) = *self.first.get_or_insert((done, Instant::now()));
        let each = since.elapsed().as_secs_f64() / done.saturating_sub(before) as f64;
        let seconds_left = Some(each * total.saturating_sub(done) as f64).filter(|s| s.is_finite());
        let progress = Progress { stage: stage.into(), done, total, images_per_s, loss, seconds_left, device: Machine::here().device };
        let part = path.with_file_name(format!("{PART}progress"));
        if let Ok(text) = serde_json::to_string(&progress)
            && fs::write(&part, text).is_ok()
        {
            let _ = fs::rename(&part, path);
        }
        Ok(())
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
