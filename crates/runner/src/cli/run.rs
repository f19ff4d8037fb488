//! `ddpm run`: one job, in this process.

use super::cache::CacheArgs;
use crate::base::cause::{Cause, Failed};
use crate::base::device::Device;
use crate::base::error::{ConfigError, Meaning};
use crate::base::exit::Exit;
use crate::base::stop;
use crate::base::text::print;
use crate::execute::STOP;
use crate::experiment::{Asked, Job};
use crate::stages::{self, RunOptions, ranks};
use crate::store::Store;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct Run {
    /// The job as JSON (as `plan --json` lists them: id, training_id, sampling_id, config, seed, study, at); - is standard input
    job: PathBuf,
    /// Where results are kept
    #[arg(long, default_value = "results")]
    results: PathBuf,
    #[command(flatten)]
    cache: CacheArgs,
    /// Seconds between checkpoints
    #[arg(long, default_value_t = 30)]
    checkpoint_every: u64,
    /// The device: auto, cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Data-parallel processes, each training on its shards of every batch (training.optimiser.clip_shards): bit-identical results
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    ranks: u16,
    /// Read the job as one line; save a checkpoint and exit on the line "stop", exit at once when standard input is closed
    #[arg(long)]
    leashed: bool,
    /// End with code 6 where another process is running the job, instead of waiting for it
    #[arg(long)]
    no_wait: bool,
}

impl Run {
    /// A failure's kind is for the program that reads stdout; its words are on stderr too.
    pub fn run(self) -> Result<Exit> {
        self.job_done().inspect_err(|error| {
            let failed = Failed { cause: Cause::of(error), reason: format!("{error:#}") };
            print(&format!("{}\n", serde_json::to_string(&failed).unwrap_or_default()));
        })
    }

    fn job_done(self) -> Result<Exit> {
        stop::listen()?;
        self.device.choose()?;
        let origin = self.job.display().to_string();
        let text = match (self.leashed, self.job.as_os_str() == "-") {
            (true, _) => first_line(),
            (false, true) => std::io::read_to_string(std::io::stdin()),
            (false, false) => std::fs::read_to_string(&self.job),
        };
        let text = text.with_context(|| format!("{origin}: cannot be read")).needed()?;
        let wrong = |problem: String| ConfigError::new(&origin, "", problem);
        let job: Job = serde_json::from_str(&text).map_err(|e| wrong(format!("is not a job: {e}")))?;
        let store = Store::new(&self.results).with_cache(self.cache.folder());
        let data = job.config.data.load(store.cache())?;
        job.config.check_data(&origin, &data.info)?;
        // A name encodes what the numbers depend on; with a wrong one, the results would be stored as another job's.
        let features = job.config.evaluation.features.name_for(data.info.shape)?;
        let asked = Asked { cell_index: 0, seed: job.seed, study: job.study.clone(), at: job.at };
        let named = Job::named(job.config.clone(), asked, &data.info.identity(), &features);
        if (&named.id, &named.training_id, &named.sampling_id) != (&job.id, &job.training_id, &job.sampling_id) {
            return Err(wrong(format!("is named {}, but its configuration and data make it {}", job.id, named.id)).into());
        }
        if let Some(step) = job.at.filter(|step| !job.config.measured_at().contains(step)) {
            return Err(wrong(format!("scores the weights after step {step}, which its evaluation.at does not name")).into());
        }
        ranks::check(&job.config, self.device, self.ranks as usize)?;
        let checkpoint_every = Duration::from_secs(self.checkpoint_every);
        let options = RunOptions { checkpoint_every, wait: !self.no_wait, ranks: self.ranks as usize };
        let record = stages::run(&store, &job, &data, options)?;
        print(&format!("{}\n", serde_json::to_string(&record.metrics)?));
        Ok(Exit::Ok)
    }
}

/// The first line of standard input; a thread reads on, and asks this process to stop or ends it.
fn first_line() -> std::io::Result<String> {
    let mut first = String::new();
    std::io::stdin().read_line(&mut first)?;
    std::thread::spawn(|| {
        for line in std::io::stdin().lines() {
            if line.is_ok_and(|line| line == STOP) {
                stop::request();
            }
        }
        std::process::exit(Exit::Failure as i32);
    });
    Ok(first)
}
