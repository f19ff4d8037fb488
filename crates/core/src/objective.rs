//! Training objectives, and the weight that each of them puts on errors at step t.

use crate::parameterisation::Prediction;
use crate::process::Process;
use crate::weighting::{Space, Weight};
use serde::{Deserialize, Serialize};
use std::f64::consts::LN_2;

/// What a training step minimises, averaged over t ~ Uniform{1..T}, images and noise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// One term of the bound (eq. 5) at a random t, in bits/dim: the authors' loss type "kl". Its mean is (bound - L_T) / T.
    Vlb {},
    /// The same times T, so that its mean is the bound without L_T (Improved DDPM's rescaled KL).
    VlbRescaled {},
    /// Mean squared error of the predicted quantity, without factors: eq. 14 where that is eps.
    Simple {},
    /// L_simple + lambda * L_vlb, the latter rescaled by T and with its gradient to the mean stopped (Nichol & Dhariwal 2021, eq. 16).
    Hybrid {
        /// Weight of the variance's term, positive. 0.001 there.
        #[serde(default = "lambda")]
        lambda: f64,
    },
    /// Mean squared error, measured in one space and weighted by step, whatever is predicted.
    Weighted {
        /// What the error is an error of.
        space: Space,
        /// How the steps are weighted.
        weight: Weight,
    },
}

fn lambda() -> f64 {
    0.001
}

impl Objective {
    /// The hybrid with the published weight.
    pub fn hybrid() -> Objective {
        Objective::Hybrid { lambda: lambda() }
    }

    /// Whether the loss depends on the reverse variance.
    pub fn sees_variance(&self) -> bool {
        match self {
            Objective::Vlb {} | Objective::VlbRescaled {} | Objective::Hybrid { .. } => true,
            Objective::Simple {} | Objective::Weighted { .. } => false,
        }
    }

    /// Weight of the squared error of the network's own output in the loss at step t: 0 where the loss is the bound alone.
    pub fn error_weight(&self, prediction: Prediction, process: &Process, t: usize) -> f64 {
        match *self {
            Objective::Vlb {} | Objective::VlbRescaled {} => 0.0,
            Objective::Simple {} | Objective::Hybrid { .. } => 1.0,
            Objective::Weighted { space, weight } => weight.at(process.snr(t)) * space.gain(prediction, process, t).powi(2),
        }
    }

    /// Weight of `||eps - eps_theta||^2` (mean over dimensions) in the loss at step t, for a reverse variance `exp(log_sigma2)`.
    ///
    /// For the bound: beta^2 / (2 sigma2 alpha (1 - alpha_bar)) (eq. 12), in bits; at t = 1 the decoder counts as the Gaussian
    /// density it discretises. For the hybrid: what reaches the mean, so the simple loss's.
    pub fn eps_weight(&self, prediction: Prediction, process: &Process, t: usize, log_sigma2: f64) -> f64 {
        let bound = || Prediction::Mu.gain_of_eps(process, t).powi(2) / (2.0 * libm::exp(log_sigma2)) / LN_2;
        match self {
            Objective::Vlb {} => bound(),
            Objective::VlbRescaled {} => process.timesteps() as f64 * bound(),
            Objective::Simple {} | Objective::Hybrid { .. } => prediction.gain_of_eps(process, t).powi(2),
            Objective::Weighted { space, weight } => weight.at(process.snr(t)) * space.gain(Prediction::Eps, process, t).powi(2),
        }
    }
}
