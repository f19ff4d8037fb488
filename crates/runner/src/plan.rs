//! The plan: every job of an experiment, what state it is in, and what it will cost.

use crate::data::Dataset;
use crate::job::Job;
use crate::progress::{self, Progress};
use crate::store::{FORMAT, Outcome, Record, Store, claim};
use anyhow::Result;
use ddpm_kernels::random::Stream;
use ddpm_model::optimiser::{Optimiser, Training};
use ddpm_model::tensor::{DType, Device, Tensor};
use ddpm_model::{Engine, Network};
use serde::Serialize;
use std::time::Instant;

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Its record is there. A divergence is a result too.
    Done {
        /// Whether it ended as it should or diverged.
        outcome: Outcome,
    },
    /// It failed; it will be done again.
    Failed {
        /// Why.
        reason: String,
    },
    /// A process is at it.
    Running {
        /// Which.
        process: String,
        /// What it last told.
        progress: Option<Progress>,
    },
    /// A checkpoint or its whole training is there.
    Partial {
        /// What it last told, if it is running or was killed.
        progress: Option<Progress>,
        /// Whether the training has ended.
        trained: bool,
    },
    /// Nothing is there.
    Missing {},
}

impl State {
    /// Of a job in the store.
    pub fn of(store: &Store, job: &Job) -> Result<State> {
        let record = match store.record(&job.id) {
            Ok(record) => record,
            Err(e) => return Ok(State::Failed { reason: format!("{e:#}") }),
        };
        let record = record.filter(|r| r.format == FORMAT);
        if !record.as_ref().is_some_and(|r| !matches!(r.outcome, Outcome::Failed { .. }))
            && let Some(holder) = claim::holder(&store.run(&job.id))
        {
            return Ok(State::Running { process: holder.words(), progress: progress::of(&store.run(&job.id)) });
        }
        if let Some(record) = record {
            return Ok(match record.outcome {
                Outcome::Failed { reason, .. } => State::Failed { reason },
                outcome => State::Done { outcome },
            });
        }
        // A damaged one is made again, from the checkpoint.
        let trained = matches!(store.training_record(&job.training_id), Ok(Some(_)));
        if trained || store.has_checkpoint(&job.training_id) {
            return Ok(State::Partial { progress: progress::of(&store.run(&job.id)), trained });
        }
        Ok(State::Missing {})
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        matches!(self, State::Done { .. })
    }

    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            State::Done { outcome: Outcome::Diverged { .. } } => "diverged",
            State::Done { .. } => "done",
            State::Failed { .. } => "failed",
            State::Running { .. } => "running",
            State::Partial { trained: true, .. } => "trained",
            State::Partial { .. } => "started",
            State::Missing {} => "to do",
        }
    }
}

/// What a job computes and stores, whatever of it is there already.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Floating-point operations of training: three forward passes for each image of each step.
    pub train_flops: f64,
    /// Floating-point operations of sampling and of the bound.
    pub forward_flops: f64,
    /// Bytes of its checkpoint.
    pub disk_bytes: u64,
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
        let evaluations = config.diffusion().setup.sampling_plan(&config.diffusion().process, &config.sampling.sampler);
        let samples = config.sampling.count as f64 * evaluations.map_or(0, |steps| steps.len()) as f64;
        let bound = (config.evaluation.held_out + config.evaluation.train) as f64 * config.diffusion.timesteps as f64;
        Cost {
            train_flops: 3.0 * forward * config.training.batch as f64 * config.training.steps as f64,
            forward_flops: forward * (samples + bound),
            // The last two checkpoints.
            disk_bytes: 32 * parameters as u64,
        }
    }
}

/// Floating-point operations a second of this machine on a network, measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// In training steps.
    pub train: f64,
    /// In forward passes.
    pub forward: f64,
}

impl Speed {
    /// Measured now, on a job's own network and batch (fewer images where that would take long), the best of three passes.
    pub fn measure(job: &Job, data: &Dataset) -> Result<Speed> {
        let (unet, diffusion) = (job.config.unet(data.shape), job.config.diffusion());
        // Three training steps of about a teraflop together.
        let n = job.config.training.batch.min((1e12 / (18.0 * unet.macs() as f64)) as usize).max(1);
        let indices: Vec<usize> = (0..n).collect();
        let x0 = data.train.tensor(data.shape, &indices, |_| false)?;
        let batch = diffusion.batch(
            x0.clone(),
            Tensor::zeros(x0.dims(), DType::F32, &Device::Cpu)?,
            vec![1 + job.config.diffusion.timesteps / 2; n],
        )?;
        let whole = Optimiser { clip_shards: 1, ..job.config.training.optimiser.clone() };
        let mut training = Training::new(unet.parameters(), whole, 0, Stream::Init);
        let precision = job.config.training.precision;
        let mut sampling = Engine::with_weights(&unet, precision, training.weights().to_vec())?;
        let mut engine = Engine::new(&unet, precision)?;
        let (mut forward, mut train) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..3 {
            let start = Instant::now();
            sampling.forward(&batch.xt, &batch.t)?;
            forward = forward.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            let loss = |output: &Tensor| Ok(diffusion.loss(output, &batch)?.mean);
            training.update(|w, _, gradient| engine.gradient(w, &batch.xt, &batch.t, None, loss, gradient))?;
            train = train.min(start.elapsed().as_secs_f64());
        }
        let flops = 2.0 * unet.macs() as f64 * n as f64;
        Ok(Speed { train: 3.0 * flops / train, forward: flops / forward })
    }

    /// Seconds for all of `cost`.
    pub fn seconds(self, cost: Cost) -> f64 {
        cost.train_flops / self.train + cost.forward_flops / self.forward
    }
}

/// The records of those jobs that have one, in the jobs' order.
pub fn records(store: &Store, jobs: &[(usize, Job)]) -> Result<Vec<(usize, Record)>> {
    let mut found = Vec::new();
    for (cell, job) in jobs {
        // What cannot be read is shown as not run, and `status` says why.
        if let Ok(Some(record)) = store.record(&job.id)
            && record.format == FORMAT
        {
            found.push((*cell, record));
        }
    }
    Ok(found)
}
