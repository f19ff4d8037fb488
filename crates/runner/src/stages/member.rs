//! The other side of a training in several processes: one that was started by its leader.

use super::batches::Batches;
use super::ranks::Briefing;
use super::stepper::diverged;
use crate::base::data::Dataset;
use crate::base::device::Device;
use crate::base::error::Meaning;
use crate::experiment::Job;
use anyhow::{Context, Result};
use ddpm_model::optimiser::Training;
use ddpm_model::process_group::{Link, Member, ProcessGroup};
use ddpm_model::train_state::TrainState;
use std::io::{Stdin, Stdout};

/// Joins the training run described by the first line of standard input, led by the process that wrote it.
pub fn member(input: Stdin, output: Stdout) -> Result<()> {
    let mut line = String::new();
    input.read_line(&mut line).needed()?;
    let briefing: Briefing = serde_json::from_str(&line).context("standard input: is not what rank 0 writes").needed()?;
    let data = briefing.job.config.data.load(&briefing.cache)?;
    let unet = briefing.job.config.unet(data.info.shape);
    // Standard input is buffered: what lies behind the line is not lost.
    let mut leader = Link::new(0, output, input);
    let n: usize = unet.parameters().iter().map(|p| p.len()).sum();
    let optimiser = briefing.job.config.training.optimiser.clone();
    let mut state = TrainState::zeros(n, optimiser.kept());
    state.rows_mut().into_iter().try_for_each(|row| leader.receive(row))?;
    let training = Training::resume(unet.parameters(), optimiser, state, briefing.step);
    follow(&briefing.job, briefing.until, &data, training, &mut Member::new(briefing.rank, briefing.ranks, leader))
}

/// Makes the steps of `training` up to `until` as a member of a group, or until it diverges or rank 0 is gone.
fn follow(job: &Job, until: u64, data: &Dataset, mut training: Training, group: &mut dyn ProcessGroup) -> Result<()> {
    let config = &job.config.training;
    let diffusion = job.config.diffusion();
    let mut batches = Batches::new(data, diffusion, job, group.share(config.optimiser.clip_shards));
    let mut engine = Device::here().engine(&job.config.unet(data.info.shape), config.precision)?;
    while training.step() < until {
        let step = training.step();
        training.scale_rate(config.decay.share(step, config.steps));
        let (loss, norm) = batches.step(&mut engine, &mut training, group, step)?;
        if diverged(loss, norm) {
            break;
        }
    }
    Ok(())
}
