//! One training in several processes: this one leads, and starts the others as `ddpm rank` with a pipe each way.

use crate::base::data::Cache;
use crate::base::device::Device;
use crate::base::error::ConfigError;
use crate::experiment::{Config, Job};
use anyhow::{Context, Result};
use ddpm_model::optimiser::Training;
use ddpm_model::process_group::{Alone, Leader, Link, ProcessGroup};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// What a member is told first, as a line of JSON; the training's rows follow as bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Briefing {
    /// The job that is trained.
    pub job: Job,
    /// The member's rank, in 1..`ranks`; the leader's is 0.
    pub rank: usize,
    /// Number of ranks, the leader included.
    pub ranks: usize,
    /// Number of training steps made before the member joins.
    pub step: u64,
    /// Number of training steps made when it leaves.
    pub until: u64,
    /// Where prepared data sets are.
    pub cache: Cache,
}

/// The leader and the processes that it has started.
struct RankGroup {
    leader: Option<Leader>,
    members: Vec<Child>,
}

impl Drop for RankGroup {
    fn drop(&mut self) {
        // Members end when their pipes close.
        self.leader = None;
        for member in &mut self.members {
            let _ = member.wait();
        }
    }
}

impl RankGroup {
    fn leader(&mut self) -> &mut Leader {
        self.leader.as_mut().expect("there until it is dropped")
    }
}

impl ProcessGroup for RankGroup {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        self.members.len() + 1
    }
    fn add_up(&mut self, sum: &mut [f32], add: &mut dyn FnMut(&mut [f32])) -> ddpm_model::error::Result<()> {
        self.leader().add_up(sum, add)
    }
    fn gather(&mut self, mine: Vec<f64>) -> ddpm_model::error::Result<Vec<f64>> {
        self.leader().gather(mine)
    }
}

/// Whether a job can be trained by so many ranks on a device.
pub fn check(config: &Config, device: Device, ranks: usize) -> Result<(), ConfigError> {
    if ranks > 1 && device != Device::Cpu {
        // The members would compute on the processor, and the result would match neither device bit for bit.
        let problem = format!("expected 1 on {device}: several ranks train on the processor only");
        return Err(ConfigError::new(&format!("--ranks {ranks}"), "", problem));
    }
    let shards = config.training.optimiser.clip_shards;
    if shards.is_multiple_of(ranks) {
        return Ok(());
    }
    let problem = format!("expected a multiple of the {ranks} ranks, got {shards}: each rank computes whole shards");
    Err(ConfigError::new(&format!("--ranks {ranks}"), "training.optimiser.clip_shards", problem))
}

/// The group in which a job goes on training, this process first; it starts the others from `training`'s state.
pub fn lead(ranks: usize, (job, until): (&Job, u64), training: &Training, cache: &Cache) -> Result<Box<dyn ProcessGroup>> {
    if ranks == 1 || training.step() == until {
        return Ok(Box::new(Alone));
    }
    let (mut links, mut members) = (Vec::new(), Vec::new());
    for rank in 1..ranks {
        let mut command = Command::new(std::env::current_exe()?);
        // A process group of its own: this process handles Ctrl-C, and the member keeps running until the state is saved.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let member = command.arg("rank").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut member = member.with_context(|| format!("rank {rank} cannot be started"))?;
        let mut to = member.stdin.take().expect("piped");
        let from = member.stdout.take().expect("piped");
        members.push(member);
        let told = Briefing { job: job.clone(), rank, ranks, step: training.step(), until, cache: cache.clone() };
        writeln!(to, "{}", serde_json::to_string(&told)?).with_context(|| format!("rank {rank} does not answer"))?;
        let mut link = Link::new(rank, to, from);
        training.state().rows().into_iter().try_for_each(|row| link.send(row))?;
        links.push(link);
    }
    Ok(Box::new(RankGroup { leader: Some(Leader::new(links)), members }))
}
