//! Progress: a job writes into its folder how far it has come, and every other process reads it there.

use crate::base::atomic::PART;
use crate::base::{json, stop};
use crate::store::Machine;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a job is at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Training, in steps.
    Train,
    /// Sampling, in samples.
    Sample,
    /// What a feature network sees, in images.
    Features,
    /// The bound, or what a study looks at, in image evaluations.
    Evaluate,
}

impl Stage {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Train => "train",
            Stage::Sample => "sample",
            Stage::Features => "features",
            Stage::Evaluate => "evaluate",
        }
    }

    /// Approximate fraction of a job's time that has passed when `part` of the stage is done: most of it is training.
    pub fn share(self, part: f64) -> f64 {
        let (before, mine) = match self {
            Stage::Train => (0.0, 0.75),
            Stage::Sample => (0.75, 0.12),
            Stage::Features => (0.87, 0.05),
            Stage::Evaluate => (0.92, 0.08),
        };
        before + mine * part
    }
}

/// The progress of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The current stage.
    pub stage: Stage,
    /// How much of it is done, in the stage's unit.
    pub done: u64,
    /// The total, in the same unit.
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

/// Writes a job's progress at most twice a second. Best effort: a failed write is not an error.
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

    /// Reports progress; `images` were processed since the stage began. An error if the process was asked to stop: every stage calls this
    /// often.
    pub fn tell(&mut self, stage: Stage, done: u64, total: u64, images: u64, loss: Option<f64>) -> Result<()> {
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
        let progress = Progress { stage, done, total, images_per_s, loss, seconds_left, device: Machine::here().device };
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

/// A job's last progress report.
pub fn of(dir: &Path) -> Option<Progress> {
    json::read(&dir.join("progress.json")).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut reporter = Reporter::new(dir.path());
        reporter.begin();
        std::thread::sleep(Duration::from_millis(20));
        let told = Instant::now();
        reporter.tell(Stage::Train, 5, 25, 40, Some(0.5)).unwrap();
        let first = of(dir.path()).unwrap();
        assert_eq!((first.stage, first.done, first.total, first.loss), (Stage::Train, 5, 25, Some(0.5)));
        // 40 images in 20 ms or more, and in less than a minute on any machine; of one look no time can be said.
        assert!(first.images_per_s > 40.0 / 60.0 && first.images_per_s <= 40.0 / 0.02 && first.seconds_left.is_none(), "{first:?}");
        // At most twice a second.
        reporter.tell(Stage::Train, 6, 25, 48, None).unwrap();
        let seen = of(dir.path()).unwrap();
        assert!(seen == first || told.elapsed() >= Duration::from_millis(500), "{seen:?}");
        std::thread::sleep(Duration::from_millis(510));
        reporter.tell(Stage::Train, 15, 25, 120, None).unwrap();
        let (second, waited) = (of(dir.path()).unwrap(), reporter.first.unwrap().1.elapsed().as_secs_f64());
        // Ten steps since the first look, ten are left: as long again.
        assert!(second.done == 15 && second.seconds_left.is_some_and(|s| (0.51..=waited).contains(&s)), "{second:?}, {waited}");
        assert!(second.images_per_s <= 120.0 / 0.53, "{second:?}");
        // A stage's own beginning counts.
        reporter.begin();
        reporter.tell(Stage::Sample, 1, 2, 1, None).unwrap();
        assert!(of(dir.path()).unwrap().seconds_left.is_none());
        reporter.end();
        assert_eq!((of(dir.path()), fs::read_dir(dir.path()).unwrap().count()), (None, 0));
    }

    /// The shares fill a job's time, in the order of the stages.
    #[test]
    fn stages_follow_each_other() {
        let all = [Stage::Train, Stage::Sample, Stage::Features, Stage::Evaluate];
        assert!((all[0].share(0.0), all[3].share(1.0)) == (0.0, 1.0));
        for (stage, next) in all.iter().zip(&all[1..]) {
            assert!((stage.share(1.0) - next.share(0.0)).abs() < 1e-12 && stage.share(0.5) < stage.share(1.0), "{stage:?}");
        }
        assert!(all.iter().all(|stage| serde_json::to_value(stage).unwrap() == stage.name()));
    }
}
