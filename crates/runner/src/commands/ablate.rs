//! `ddpm ablate` and `ddpm report`.

use super::{ExperimentArgs, Loaded, Unusable};
use crate::executor::{Executor, Local};
use crate::exit::Exit;
use crate::job::Job;
use crate::plan::State;
use anyhow::{Context, Result};
use clap::Args;

#[derive(Debug, Args)]
pub struct Ablate {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Jobs at a time; the machine's cores are shared out among them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Seconds between checkpoints
    #[arg(long, default_value_t = 30)]
    checkpoint_every: u64,
}

impl Ablate {
    pub fn run(self) -> Result<Exit> {
        let loaded = self.experiment.load()?;
        let mut outstanding = Vec::new();
        for (_, job) in &loaded.jobs {
            if !State::of(&loaded.store, job)?.is_done() {
                outstanding.push(job.clone());
            }
        }
        let done = loaded.jobs.len() - outstanding.len();
        eprintln!("{}: {} jobs, {done} done, {} to do", loaded.experiment.name, loaded.jobs.len(), outstanding.len());
        if !outstanding.is_empty() {
            let cores = std::thread::available_parallelism()?.get();
            let workers = (self.jobs as usize).min(outstanding.len());
            let executor = Local {
                store: &loaded.store,
                data: &loaded.data,
                program: std::env::current_exe()?,
                workers,
                threads: (cores / workers).max(1),
                checkpoint_every: self.checkpoint_every,
            };
            std::fs::create_dir_all(loaded.store.root()).context(loaded.store.root().display().to_string()).context(Unusable)?;
            executor.execute(&outstanding)?;
        }
        finish(&loaded)
    }
}

/// The report, and whether all jobs are there.
fn finish(loaded: &Loaded) -> Result<Exit> {
    #[cfg(feature = "report")]
    super::print(&crate::report::write(&loaded.experiment, &loaded.jobs, &loaded.store, &loaded.data)?);
    let mut failed = Vec::new();
    for (_, job) in &loaded.jobs {
        match State::of(&loaded.store, job)? {
            State::Done { .. } => {}
            State::Failed { reason } => failed.push((job, reason)),
            State::Partial { .. } | State::Missing {} => failed.push((job, "not done".into())),
        }
    }
    Ok(say(&failed))
}

fn say(failed: &[(&Job, String)]) -> Exit {
    if failed.is_empty() {
        return Exit::Ok;
    }
    eprintln!("{} jobs are not done:", failed.len());
    for (job, reason) in failed {
        eprintln!("  {}: {reason}", job.id);
    }
    Exit::SomeJobsFailed
}

#[cfg(feature = "report")]
#[derive(Debug, Args)]
pub struct Report {
    #[command(flatten)]
    experiment: ExperimentArgs,
}

#[cfg(feature = "report")]
impl Report {
    pub fn run(self) -> Result<Exit> {
        finish(&self.experiment.load()?)
    }
}
