//! `ddpm run`: one job, in this process.

use super::{Unusable, print};
use crate::exit::Exit;
use crate::job::Job;
use crate::stages;
use crate::store::Store;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct Run {
    /// The job as JSON (as `plan --json` lists them: id, training_id, config, seed); - is standard input
    job: PathBuf,
    /// Where results are kept
    #[arg(long, default_value = "results")]
    results: PathBuf,
    /// Seconds between checkpoints
    #[arg(long, default_value_t = 30)]
    checkpoint_every: u64,
}

impl Run {
    pub fn run(self) -> Result<Exit> {
        let origin = self.job.display().to_string();
        let text = if self.job.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(&self.job) };
        let text = text.with_context(|| format!("{origin}: cannot be read")).context(Unusable)?;
        let job: Job = serde_json::from_str(&text).with_context(|| format!("{origin}: is not a job"))?;
        ensure!(
            ![&job.id, &job.training_id].iter().any(|id| id.contains(['/', '\\']) || id.starts_with('.')),
            "{origin}: a name leaves the results folder"
        );
        let config = crate::config::Config::checked(&serde_json::to_value(&job.config)?, &origin)?;
        let data = config.data.load().context(Unusable)?;
        config.check_images(&origin, data.shape, data.train.len(data.shape), data.held_out.len(data.shape))?;
        let record = stages::run(&Store::new(&self.results), &job, &data, Duration::from_secs(self.checkpoint_every))?;
        print(&format!("{}\n", serde_json::to_string(&record.metrics)?));
        Ok(Exit::Ok)
    }
}
