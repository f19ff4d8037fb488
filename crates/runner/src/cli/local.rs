//! How jobs are done on this machine: flags that several commands have.

use crate::base::data::DatasetInfo;
use crate::base::device::{Device, Devices};
use crate::execute::{Executor, Local};
use crate::experiment::Job;
use crate::stages::ranks;
use crate::store::Store;
use anyhow::Result;
use clap::Args;

/// How jobs are done on one machine.
#[derive(Debug, Args)]
pub struct LocalArgs {
    /// Devices: auto, or a list of cpu and cuda:N
    #[arg(long, default_value = "auto")]
    devices: Devices,
    /// Concurrent jobs per device; the machine's cores are divided among all jobs
    #[arg(long, visible_alias = "jobs", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs_per_device: u16,
    /// Processes that train each job together, each on its shards of every batch (training.optimiser.clip_shards)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    ranks: u16,
    /// Retries of a job after a transient failure: a lost device, out of memory, a kill
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=10))]
    retries: u32,
    /// Seconds between checkpoints
    #[arg(long, default_value_t = 30)]
    checkpoint_every: u64,
}

impl LocalArgs {
    /// Does `jobs` here, at most as many at a time as there are.
    pub fn execute(&self, store: &Store, data: &DatasetInfo, jobs: &[Job]) -> Result<()> {
        let Devices(devices) = &self.devices;
        devices.iter().try_for_each(|device| device.check())?;
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
