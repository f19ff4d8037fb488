//! One training in several processes: this one leads, and starts the others as `ddpm rank` with a pipe each way.

use super::train::follow;
use crate::config::{Config, ConfigError};
use crate::device::Device;
use crate::job::Job;
use anyhow::{Context, Result};
use ddpm_model::group::{Alone, Group, Leader, Link, Member};
use ddpm_model::optimiser::{ROWS, Training};
use serde::{Deserialize, Serialize};
use std::io::{Stdin, Stdout, Write};
use std::process::{Child, Command, Stdio};

/// What a member is told first, as a line of JSON; the training's rows follow as bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    job: Job,
    rank: usize,
    ranks: usize,
    step: u64,
}

/// The leader and the processes that it has started.
struct Led {
    leader: Option<Leader>,
    members: Vec<Child>,
}

impl Drop for Led {
    fn drop(&mut self) {
        // Members end when their pipes close.
        self.leader = None;
        for member in &mut self.members {
            let _ = member.wait();
        }
    }
}

impl Led {
    fn leader(&mut self) -> &mut Leader {
        self.leader.as_mut().expect("there until it is dropped")
    }
}

impl Group for Led {
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
        // The members would compute on the processor, and the bits would be neither's.
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
pub fn lead(ranks: usize, job: &Job, training: &Training) -> Result<Box<dyn Group>> {
    if ranks == 1 || training.step() == job.config.training.steps {
        return Ok(Box::new(Alone));
    }
    let (mut links, mut members) = (Vec::new(), Vec::new());
    for rank in 1..ranks {
        let mut command = Command::new(std::env::current_exe()?);
        // A group of its own: Ctrl-C is this process's to answer, and the member goes on until the state is saved.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let member = command.arg("rank").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut member = member.with_context(|| format!("rank {rank} cannot be started"))?;
        let mut to = member.stdin.take().expect("piped");
        let from = member.stdout.take().expect("piped");
        members.push(member);
        let told = Told { job: job.clone(), rank, ranks, step: training.step() };
        writeln!(to, "{}", serde_json::to_string(&told)?).with_context(|| format!("rank {rank} does not answer"))?;
        let mut link = Link::new(rank, to, from);
        training.rows().iter().try_for_each(|row| link.send(row))?;
        links.push(link);
    }
    Ok(Box::new(Led { leader: Some(Leader::new(links)), members }))
}

/// The other side: does what the first line of standard input says, with the process that wrote it.
pub fn member(input: Stdin, output: Stdout) -> Result<()> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let told: Told = serde_json::from_str(&line).context("standard input: is not what rank 0 writes")?;
    let data = told.job.config.data.load()?;
    let unet = told.job.config.unet(data.shape);
    // Standard input is buffered: what lies behind the line is not lost.
    let mut leader = Link::new(0, output, input);
    let n: usize = unet.parameters().iter().map(|p| p.len()).sum();
    let mut rows: [Vec<f32>; ROWS] = std::array::from_fn(|_| vec![0.0; n]);
    rows.iter_mut().try_for_each(|row| leader.receive(row))?;
    let optimiser = told.job.config.training.optimiser.clone();
    let training = Training::resume(unet.parameters(), optimiser, rows, told.step);
    follow(&told.job, &data, training, &mut Member::new(told.rank, told.ranks, leader))
}
