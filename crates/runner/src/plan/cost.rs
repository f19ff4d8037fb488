//! What jobs compute and store.

use super::State;
use crate::data::Dataset;
use crate::grid::{MIXTURES, Study};
use crate::job::Job;
use crate::store::Store;
use ddpm_model::Network;
use serde::Serialize;
use std::collections::HashSet;

/// What a job computes and stores, whatever of it is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Floating-point operations of training: three forward passes for each image of each step.
    pub train_flops: f64,
    /// Floating-point operations of the samples.
    pub sample_flops: f64,
    /// Floating-point operations of the network in what is measured or looked at: the bound, a study's walks.
    pub evaluate_flops: f64,
    /// Bytes of its training's last two checkpoints.
    pub checkpoint_bytes: u64,
    /// Bytes of its samples.
    pub sample_bytes: u64,
}

impl Cost {
    /// All floating-point operations.
    pub fn flops(self) -> f64 {
        self.train_flops + self.sample_flops + self.evaluate_flops
    }

    /// All bytes.
    pub fn disk_bytes(self) -> u64 {
        self.checkpoint_bytes + self.sample_bytes
    }
}

/// Costs of jobs; what is known of a network is kept, since grids have many jobs and few networks.
#[derive(Debug, Default)]
pub struct Costs {
    /// Network, its output channels; multiplications and parameters.
    networks: Vec<(Network, usize, (u64, usize))>,
}

impl Costs {
    /// Of a job on `data`.
    pub fn of(&mut self, job: &Job, data: &Dataset) -> Cost {
        let config = &job.config;
        let out = config.diffusion().out_channels(data.shape.channels);
        let known = self.networks.iter().find(|(network, channels, _)| *channels == out && *network == config.network);
        let (macs, parameters) = match known {
            Some((_, _, size)) => *size,
            None => {
                let unet = config.unet(data.shape);
                let size = (unet.macs(), unet.parameter_count());
                self.networks.push((config.network.clone(), out, size));
                size
            }
        };
        let forward = 2.0 * macs as f64;
        let (samples, evaluations) = passes(job);
        Cost {
            train_flops: 3.0 * forward * config.training.batch as f64 * config.training.steps as f64,
            sample_flops: forward * samples as f64,
            evaluate_flops: forward * evaluations as f64,
            checkpoint_bytes: 32 * parameters as u64,
            sample_bytes: if samples > 0 { (config.sampling.count * data.shape.len()) as u64 } else { 0 },
        }
    }
}

/// Images that pass through the network for a job's samples, and for what it looks at beside them.
fn passes(job: &Job) -> (usize, usize) {
    let config = &job.config;
    let walk = config.diffusion().setup.sampling_plan(&config.diffusion().process, &config.sampling.sampler).unwrap_or_default();
    let samples = config.sampling.count * walk.len();
    // Steps of the walk from a share of T on.
    let rest = |share: &f64| {
        let t = (share * config.diffusion.timesteps as f64).round() as usize;
        walk.iter().filter(|step| step.t <= t).count()
    };
    match &job.study {
        None => (samples, (config.evaluation.held_out + config.evaluation.train) * config.diffusion.timesteps),
        Some(Study::ReverseTime { .. } | Study::Neighbours { .. }) => (samples, 0),
        Some(Study::SharedLatents { at, images }) => (0, at.iter().map(|share| walk.len() - rest(share) + images * rest(share)).sum()),
        Some(Study::Interpolation { at, pairs }) => (0, at.iter().map(|share| pairs * (MIXTURES + 2) * rest(share)).sum()),
    }
}

/// What is left to do of an experiment's jobs, in their order: what jobs share is counted with the first.
#[derive(Debug, Default)]
pub struct Left {
    trainings: HashSet<String>,
    samples: HashSet<String>,
}

impl Left {
    /// Of the next job, which would cost `whole`.
    pub fn of(&mut self, store: &Store, job: &Job, state: &State, whole: Cost) -> Cost {
        if state.is_done() {
            return Cost::default();
        }
        let trained = matches!(store.training_record(&job.training_id), Ok(Some(_)));
        let training = if self.trainings.insert(job.training_id.clone()) && !trained { untrained(state) } else { 0.0 };
        let there = || store.samples(&job.sampling_id).exists();
        let sampled = whole.sample_flops > 0.0 && (!self.samples.insert(job.sampling_id.clone()) || there());
        // One that looks at the walk itself makes it whatever samples are there.
        let walks = job.study.as_ref().is_some_and(Study::walks);
        Cost {
            train_flops: training * whole.train_flops,
            sample_flops: if sampled && !walks { 0.0 } else { whole.sample_flops },
            evaluate_flops: whole.evaluate_flops,
            checkpoint_bytes: if training > 0.0 { whole.checkpoint_bytes } else { 0 },
            sample_bytes: if sampled { 0 } else { whole.sample_bytes },
        }
    }
}

/// The share of a job's training that is still to do.
fn untrained(state: &State) -> f64 {
    match state {
        State::Done { .. } | State::Partial { trained: true, .. } => 0.0,
        State::Running { progress: Some(p), .. } | State::Partial { progress: Some(p), .. } if p.stage == "train" => {
            1.0 - p.done as f64 / p.total.max(1) as f64
        }
        State::Running { progress: Some(_), .. } => 0.0,
        State::Running { .. } | State::Partial { .. } | State::Failed { .. } | State::Missing {} => 1.0,
    }
}
