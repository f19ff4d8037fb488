//! `ddpm ablate` and `ddpm report`.

use super::experiment::{ExperimentArgs, Loaded};
use crate::base::device::{Device, Devices};
use crate::base::error::Unusable;
use crate::base::exit::Exit;
use crate::base::stop;
use crate::execute::slurm::{self, Allocation};
use crate::execute::{Executor, Local, Slurm};
use crate::experiment::Job;
use crate::plan::State;
use crate::stages::ranks;
use crate::store::submissions::submissions;
use anyhow::{Context, Result};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Ablate {
    #[command(flatten)]
    experiment: ExperimentArgs,
    #[command(flatten)]
    local: LocalArgs,
    /// Who does the jobs
    #[arg(long, value_enum, default_value = "local")]
    executor: Who,
    /// What each element of a Slurm array asks for: a YAML file, as experiments/slurm.yaml
    #[arg(long)]
    allocation: Option<PathBuf>,
    /// Stay until Slurm has nothing of this experiment in hand
    #[arg(long)]
    wait: bool,
}

/// How jobs are done on one machine.
#[derive(Debug, Args)]
pub struct LocalArgs {
    /// Devices: auto, or a list of cpu and cuda:N
    #[arg(long, default_value = "auto")]
    devices: Devices,
    /// Jobs at a time on each; the machine's cores are shared out among all
    #[arg(long, visible_alias = "jobs", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs_per_device: u16,
    /// Processes that train each job together, each on its shards of every batch (training.optimiser.clip_shards)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    ranks: u16,
    /// How often a job is tried again after a cause that may pass: a lost device, no memory, a kill
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=10))]
    retries: u32,
    /// Seconds between checkpoints
    #[arg(long, default_value_t = 30)]
    checkpoint_every: u64,
}

/// Who does the jobs.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Who {
    /// Processes on this machine
    Local,
    /// A job array of a Slurm cluster
    Slurm,
}

impl LocalArgs {
    /// Does `jobs` here, at most as many at a time as there are.
    pub fn execute(&self, store: &crate::store::Store, data: &crate::base::data::Dataset, jobs: &[Job]) -> Result<()> {
        let Devices(devices) = &self.devices;
        devices.iter().try_for_each(|device| device.check()).context(Unusable)?;
        let each = (0..self.jobs_per_device).flat_map(|_| devices.iter().copied());
        let slots: Vec<Device> = each.take(jobs.len()).collect();
        let ranks = self.ranks as usize;
        jobs.iter()
            .flat_map(|job| devices.iter().map(move |device| (job, *device)))
            .try_for_each(|(job, device)| ranks::check(&job.config, device, ranks))?;
        // On a cluster's node, the share that was asked for.
        let given = std::env::var("SLURM_CPUS_PER_TASK").ok().and_then(|n| n.parse().ok());
        let cores = given.map_or_else(|| std::thread::available_parallelism().map(|n| n.get()), Ok)?;
        let threads = (cores / (slots.len() * ranks).max(1)).max(1);
        let (program, checkpoint_every, retries) = (std::env::current_exe()?, self.checkpoint_every, self.retries);
        Local { store, data, program, slots, threads, ranks, checkpoint_every, retries }.execute(jobs)
    }
}

impl Ablate {
    pub fn run(self) -> Result<Exit> {
        stop::listen()?;
        let allocation = self.allocation.as_deref().map_or(Ok(Allocation::default()), Allocation::read)?;
        let loaded = self.experiment.load()?;
        let mut outstanding = Vec::new();
        for (_, job) in &loaded.jobs {
            if let Err(why) = loaded.store.record(&job.id) {
                eprintln!("{why:#}; the job is done anew");
            }
            if !State::of(&loaded.store, job)?.is_done() {
                outstanding.push(job.clone());
            }
        }
        let done = loaded.jobs.len() - outstanding.len();
        eprintln!("{}: {} jobs, {done} done, {} to do", loaded.experiment.name, loaded.jobs.len(), outstanding.len());
        if !outstanding.is_empty() {
            make(loaded.store.root())?;
            match self.executor {
                Who::Local => self.local.execute(&loaded.store, &loaded.data, &outstanding)?,
                Who::Slurm => {
                    let (store, data, program) = (&loaded.store, &loaded.data, std::env::current_exe()?);
                    Slurm { store, data, program, allocation: &allocation, wait: self.wait }.execute(&outstanding)?;
                    if !self.wait {
                        eprintln!("come back with the same command, or see `ddpm status`");
                        return Ok(Exit::Ok);
                    }
                }
            }
        }
        finish(&loaded)
    }
}

fn make(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("{}: cannot be made", dir.display())).context(Unusable)
}

/// The report, and whether all jobs are there.
fn finish(loaded: &Loaded) -> Result<Exit> {
    #[cfg(feature = "report")]
    crate::base::text::print(&crate::report::write(&loaded.experiment, &loaded.jobs, &loaded.store, &loaded.data)?);
    let mut failed = Vec::new();
    let in_slurm =
        if !submissions(&loaded.store)?.is_empty() && slurm::is_there() { slurm::known(&loaded.store)? } else { BTreeMap::new() };
    for (_, job) in &loaded.jobs {
        match State::of(&loaded.store, job)? {
            State::Done { .. } => {}
            State::Failed { reason } => failed.push((job, reason)),
            State::Running { process, .. } => failed.push((job, format!("{process} is at it"))),
            State::Partial { .. } | State::Missing {} => {
                failed.push((job, in_slurm.get(&job.id).map_or_else(|| "not done".into(), slurm::Element::words)))
            }
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
