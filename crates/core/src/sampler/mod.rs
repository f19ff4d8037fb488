//! Samplers as coefficients: each reverse step is one linear combination, written once and run on numbers and on tensors. A sampler is
//! a file that says what its steps are.

mod ancestral;
mod ddim;
mod dpm_solver;
mod langevin;
mod step;

pub use step::{Noise, Step, even_steps};

use crate::error::Error;
use crate::parameterisation::Prediction;
use crate::process::Process;
use crate::variance::ReverseVariance;
use serde::{Deserialize, Serialize};

/// How to walk from x_T to x_0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sampler {
    /// Algorithm 2, on all steps or on an even sub-sequence of them (the chain is respaced then).
    Ancestral {
        /// Whether the predicted x_0 is clipped to [-1, 1], as the authors' code does and Algorithm 2 does not.
        #[serde(default = "yes")]
        clip: bool,
        /// Number of steps visited, 2..=T; all where absent.
        #[serde(default)]
        steps: Option<usize>,
    },
    /// Song, Meng & Ermon 2021, eq. 12: eta = 0 is deterministic, eta = 1 is ancestral sampling with the posterior variance.
    Ddim {
        /// Share of the posterior's noise, in [0, 1].
        #[serde(default)]
        eta: f64,
        /// Whether the predicted x_0 is clipped to [-1, 1].
        #[serde(default = "yes")]
        clip: bool,
        /// Number of steps visited, 2..=T; all where absent.
        #[serde(default)]
        steps: Option<usize>,
    },
    /// Annealed Langevin dynamics (Song & Ermon 2019, Alg. 1) with the score -eps / sqrt(1 - alpha_bar_t), ending in the predicted x_0.
    Langevin {
        /// Step size as a share of the level's noise variance 1 - alpha_bar_t, in (0, 2).
        #[serde(default = "step_size")]
        step_size: f64,
        /// Langevin steps at each noise level, at least 1.
        #[serde(default = "inner")]
        inner: usize,
        /// Number of noise levels visited, 2..=T; all where absent.
        #[serde(default)]
        steps: Option<usize>,
    },
    /// DPM-Solver++(2M) (Lu et al. 2022, Alg. 2): second order on the probability flow, from the x_0 predicted at this step and the one
    /// before; deterministic.
    #[serde(rename = "dpmpp-2m")]
    DpmSolver2m {
        /// Whether the predicted x_0 is clipped to [-1, 1].
        #[serde(default = "yes")]
        clip: bool,
        /// Number of steps visited, 2..=T; all where absent.
        #[serde(default)]
        steps: Option<usize>,
    },
}

fn yes() -> bool {
    true
}
fn step_size() -> f64 {
    0.1
}
fn inner() -> usize {
    3
}

impl Sampler {
    /// Algorithm 2 as the authors run it.
    pub fn ancestral() -> Sampler {
        Sampler::Ancestral { clip: true, steps: None }
    }

    /// Whether the predicted x_0 is clipped.
    pub fn clips(&self) -> bool {
        match *self {
            Sampler::Ancestral { clip, .. } | Sampler::Ddim { clip, .. } | Sampler::DpmSolver2m { clip, .. } => clip,
            Sampler::Langevin { .. } => false,
        }
    }

    /// The steps visited, ascending.
    pub fn visited(&self, timesteps: usize) -> Result<Vec<usize>, Error> {
        let (Sampler::Ancestral { steps, .. }
        | Sampler::Ddim { steps, .. }
        | Sampler::Langevin { steps, .. }
        | Sampler::DpmSolver2m { steps, .. }) = *self;
        steps.map_or_else(|| Ok((1..=timesteps).collect()), |n| even_steps(timesteps, n))
    }

    /// The whole walk from x_T, in the order in which it is made. Its length is the number of network evaluations.
    ///
    /// Errors if a parameter is out of range or a learned one-step variance is combined with a sub-sequence.
    pub fn plan(&self, process: &Process, prediction: Prediction, variance: ReverseVariance) -> Result<Vec<Step>, Error> {
        let visited = self.visited(process.timesteps())?;
        match *self {
            Sampler::Ancestral { .. } => ancestral::walk(process, &visited, prediction, variance),
            Sampler::Ddim { eta, .. } => ddim::walk(process, &visited, eta),
            Sampler::Langevin { step_size, inner, .. } => langevin::walk(process, &visited, prediction, step_size, inner),
            Sampler::DpmSolver2m { .. } => Ok(dpm_solver::walk(process, &visited)),
        }
    }
}
