//! Executors, and how jobs are grouped for them.

use crate::base::data::DatasetInfo;
use crate::experiment::Job;
use crate::plan::Costs;
use anyhow::Result;
use std::collections::HashMap;

/// How jobs are done.
pub trait Executor {
    /// Does all `jobs`; returns once each has left a record, or is in other hands. Errors are of the executor itself, not of a job.
    fn execute(&self, jobs: &[Job]) -> Result<()>;
}

/// Jobs that share a training: the first one trains, so they go one after the other.
pub type JobGroup = Vec<Job>;

/// The jobs in groups, the longest group first: the machine is not left waiting for one that began last.
pub fn groups(jobs: &[Job], data: &DatasetInfo) -> Vec<JobGroup> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<(f64, JobGroup)> = Vec::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;

    /// A training costs its group once, what is sampled and measured for each job; the longest goes first.
    #[test]
    fn groups_share_a_training_and_the_longest_is_first() {
        let data = few("d", 9, 1);
        let small = ["timesteps=4", "beta_scale=as-given", "training.batch=16", "evaluation.held_out=1", "evaluation.train=1"];
        let job = |steps: u64, count: usize| {
            let sets = [format!("training.steps={steps}"), format!("sampling.count={count}")];
            tiny(&data, &[&small[..], &[&sets[0], &sets[1]]].concat())
        };
        let lengths = |jobs: &[Job]| -> Vec<Vec<(u64, usize)>> {
            let one = |job: &Job| (job.config.training.steps, job.config.sampling.count);
            groups(jobs, &data.info).iter().map(|group| group.iter().map(one).collect()).collect()
        };
        // In forward passes of one image: 960 for 20 steps, 720 for 15, 480 for 10, and 48 to 52 beside the training for each job.
        let even = [job(10, 10), job(20, 10), job(10, 11), job(15, 10)];
        assert_eq!(lengths(&even), [vec![(20, 10)], vec![(15, 10)], vec![(10, 10), (10, 11)]]);
        // 4,000 for many samples.
        let many = [job(20, 10), job(10, 10), job(15, 10), job(10, 1000)];
        assert_eq!(lengths(&many), [vec![(10, 10), (10, 1000)], vec![(20, 10)], vec![(15, 10)]]);
    }
}
