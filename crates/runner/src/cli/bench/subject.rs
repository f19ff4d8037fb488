//! What is measured: a network, what a step of it does, and the paper's settings beside it.

use crate::base::data::Dataset;
use anyhow::Result;
use ddpm_core::{BetaScale, Objective, Prediction, ReverseVariance, Schedule, Setup};
use ddpm_model::network::{ImageShape, Network};
use ddpm_model::optimiser::{EpsilonMode, Optimiser};
use ddpm_model::{Diffusion, Precision, UNet};
use serde::Serialize;

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Noise, forward, loss, backward, clipping, Adam and moving average.
    TrainStep,
    /// The network alone, as in sampling.
    Forward,
}

impl StepKind {
    /// Floating-point operations of a step for each image.
    pub fn flops(self, unet: &UNet) -> f64 {
        match self {
            StepKind::TrainStep => unet.training_flops(),
            StepKind::Forward => unet.forward_flops(),
        }
    }
}

/// The network, and on what it is measured.
pub struct Subject {
    pub network: Network,
    pub image: ImageShape,
    pub batch: usize,
    pub precision: Precision,
    /// What it is trained on; noise where absent.
    pub data: Option<Dataset>,
}

impl Subject {
    pub fn unet(&self, diffusion: &Diffusion) -> Result<UNet> {
        Ok(UNet::new(&self.network, self.image, diffusion.out_channels(self.image.channels))?)
    }
}

/// The paper's diffusion: trained on L_simple, or on the bound with a learned variance.
pub fn diffusion(bound: bool) -> Result<Diffusion> {
    let (variance, objective) = match bound {
        true => (ReverseVariance::Learned, Objective::Vlb {}),
        false => (ReverseVariance::FixedLarge, Objective::Simple {}),
    };
    Ok(Diffusion::new(Setup {
        timesteps: 1000,
        schedule: Schedule::Linear { beta_start: 1e-4, beta_end: 0.02 },
        beta_scale: BetaScale::AsGiven,
        prediction: Prediction::Eps,
        variance,
        objective,
    })?)
}

/// The paper's optimiser for CIFAR-10, at its full rate.
pub fn optimiser() -> Optimiser {
    Optimiser {
        learning_rate: 2e-4,
        warmup_steps: 0,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        epsilon_mode: EpsilonMode::Hat,
        clip_norm: Some(1.0),
        clip_shards: 1,
        ema_decay: 0.9999,
        ema_kept: Vec::new(),
    }
}
