//! The other side of a training in several processes: one that was started by its leader.

use super::batches::Batches;
use super::course::diverged;
use super::ranks::Told;
use crate::base::data::Dataset;
use crate::base::device::Device;
use crate::base::error::Meaning;
use crate::experiment::Job;
use anyhow::{Context, Result};
use ddpm_model::group::{Group, Link, Member};
use ddpm_model::optimiser::{ROWS, Training};
use std::io::{Stdin, Stdout};

/// Does what the first line of standard input says, with the process that wrote it.
pub fn member(input: Stdin, output: Stdout) -> Result<()> {
    let mut line = String::new();
    input.read_line(&mut line).needed()?;
    let told: Told = serde_json::from_str(&line).context("standard input: is not what rank 0 writes").needed()?;
    let data = told.job.config.data.load()?;
    let unet = told.job.config.unet(data.info.shape);
    // Standard input is buffered: what lies behind the line is not lost.
    let mut leader = Link::new(0, output, input);
    let n: usize = unet.parameters().iter().map(|p| p.len()).sum();
    let mut rows: [Vec<f32>; ROWS] = std::array::from_fn(|_| vec![0.0; n]);
    rows.iter_mut().try_for_each(|row| leader.receive(row))?;
    let optimiser = told.job.config.training.optimiser.clone();
    let training = Training::resume(unet.parameters(), optimiser, rows, told.step);
    follow(&told.job, &data, training, &mut Member::new(told.rank, told.ranks, leader))
}

/// Makes the steps of `training` as a member of a group, until the training ends or rank 0 is gone.
fn follow(job: &Job, data: &Dataset, mut training: Training, group: &mut dyn Group) -> Result<()> {
    let config = &job.config.training;
    let diffusion = job.config.diffusion();
    let mut batches = Batches::new(data, diffusion, job);
    let mut engine = Device::here().engine(&job.config.unet(data.info.shape), config.precision)?;
    while training.step() < config.steps {
        let step = training.step();
        training.scale_rate(config.decay.share(step, config.steps));
        let (loss, norm) = batches.step(&mut engine, &mut training, group, step)?;
        if diverged(loss, norm) {
            break;
        }
    }
    Ok(())
}
