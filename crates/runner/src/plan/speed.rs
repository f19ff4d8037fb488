//! How fast this machine is, measured.

use super::cost::Cost;
use crate::experiment::Job;
use anyhow::Result;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::network::ImageShape;
use ddpm_model::optimiser::{Optimiser, Training};
use ddpm_model::tensor::{DType, Device, Tensor};
use ddpm_model::{Engine, Network, Precision};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Floating-point operations a second of this machine on a network, measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// In training steps.
    pub train: f64,
    /// In forward passes.
    pub forward: f64,
}

impl Speed {
    /// Measured now on images of `shape`, on a job's own network and batch (fewer images where that would take long), the best of three passes.
    pub fn measure(job: &Job, shape: ImageShape) -> Result<Speed> {
        let (unet, diffusion) = (job.config.unet(shape), job.config.diffusion());
        // Three training steps of about a teraflop together.
        let n = job.config.training.batch.min((1e12 / (3.0 * unet.training_flops())) as usize).max(1);
        // The contents of the images do not affect the time.
        let noise = Random::new(0, Stream::TrainNoise).normals(0, 0, n, shape.len());
        let x0 = Tensor::from_vec(noise, (n, shape.height, shape.width, shape.channels), &Device::Cpu)?;
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
        Ok(Speed { train: unet.training_flops() * n as f64 / train, forward: unet.forward_flops() * n as f64 / forward })
    }

    /// Seconds for all of `cost`.
    pub fn seconds(self, cost: Cost) -> f64 {
        cost.train_flops / self.train + (cost.sample_flops + cost.evaluate_flops) / self.forward
    }
}

/// Seconds after which no further network is measured.
const PATIENCE: Duration = Duration::from_secs(5);

/// Speeds of networks, each measured once.
#[derive(Debug, Default)]
pub struct Speeds {
    known: Vec<((Network, usize, Precision), Speed)>,
    spent: Duration,
}

impl Speeds {
    /// The speed of a job's network for images of `shape`, at its batch size and precision. If a grid has so many networks that measuring
    /// them takes seconds, the rest are assumed to be as fast as the last one.
    pub fn of(&mut self, job: &Job, shape: ImageShape) -> Result<Speed> {
        let key = (job.config.network.clone(), job.config.training.batch, job.config.training.precision);
        if let Some((_, speed)) = self.known.iter().find(|(known, _)| *known == key) {
            return Ok(*speed);
        }
        if let Some((_, last)) = self.known.last()
            && self.spent > PATIENCE
        {
            return Ok(*last);
        }
        let start = Instant::now();
        let speed = Speed::measure(job, shape)?;
        self.spent += start.elapsed();
        self.known.push((key, speed));
        Ok(speed)
    }

    /// What was measured.
    pub fn all(&self) -> impl Iterator<Item = Speed> {
        self.known.iter().map(|(_, speed)| *speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_of_training_and_of_forward_passes() {
        let cost = Cost { train_flops: 60.0, sample_flops: 20.0, evaluate_flops: 7.0, checkpoint_bytes: 1000, sample_bytes: 1000 };
        assert_eq!(Speed { train: 4.0, forward: 3.0 }.seconds(cost), 15.0 + 9.0);
    }
}
