//! Doing jobs: on this machine, one process for each, or as a job array of a Slurm cluster.

mod local;
mod process;
mod screen;
pub mod slurm;

pub use local::Local;
pub use process::STOP;
pub use slurm::Slurm;

use crate::data::Dataset;
use crate::job::Job;
use crate::plan::Costs;
use anyhow::Result;
use std::collections::HashMap;

/// How jobs are done.
pub trait Executor {
    /// Does all `jobs`; returns once each has left a record, or is in other hands. Errors are of the executor itself, not of a job.
    fn execute(&self, jobs: &[Job]) -> Result<()>;
}

/// Jobs that share a training: the first one trains, so they go one after the other.
pub type Group = Vec<Job>;

/// The jobs in groups, the longest group first: the machine is not left waiting for one that began last.
pub fn groups(jobs: &[Job], data: &Dataset) -> Vec<Group> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<(f64, Group)> = Vec::new();
    let mut costs = Costs::default();
    for job in jobs {
        let cost = costs.of(job, data);
        let place = *places.entry(&job.training_id).or_insert_with(|| {
            groups.push((cost.train_flops, Vec::new()));
            groups.len() - 1
        });
        groups[place].0 += cost.sample_flops + cost.evaluate_flops;
        groups[place].1.push(job.clone());
    }
    // Stable: groups of one cost stay in the grid's order.
    groups.sort_by(|a, b| b.0.total_cmp(&a.0));
    groups.into_iter().map(|(_, group)| group).collect()
}
