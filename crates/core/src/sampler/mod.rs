//! Samplers as coefficients: each reverse step is one linear combination, written once and run on numbers and on tensors. A sampler is
//! a file that says what its steps are.

mod ancestral;
mod ddim;
mod dpm_solver;
mod langevin;

use crate::error::Error;
use crate::linear::Linear;
use crate::parameterisation::Prediction;
use crate::process::Process;
use crate::variance::{LogSigma2, ReverseVariance};
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

/// The scale of the noise that a step adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// A number, 0 where the step is deterministic.
    Fixed(f64),
    /// exp(ln sigma2 / 2), from the network's second output.
    Learned(LogSigma2),
}

impl Noise {
    /// The standard deviation for the network's second output `r`.
    pub fn sigma(self, r: f64) -> f64 {
        match self {
            Noise::Fixed(sigma) => sigma,
            Noise::Learned(log_sigma2) => libm::exp(0.5 * log_sigma2.at(r)),
        }
    }
}

/// One reverse step: x' = xt x_t + x0 x_0_hat + x0_before x_0_hat' + output y + noise z, for the network's output y, the x_0 that it
/// implies, and the x_0_hat' that the step before predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The step whose noise level x_t has: the network is fed t - 1.
    pub t: usize,
    /// Factor of x_t.
    pub xt: f64,
    /// Factor of the predicted x_0, after clipping where the sampler clips.
    pub x0: f64,
    /// Factor of the x_0 that the step before predicted, clipped likewise; 0 in the first step of a walk.
    pub x0_before: f64,
    /// Factor of the network's output as it is.
    pub output: f64,
    /// Scale of z ~ N(0, I).
    pub noise: Noise,
}

impl Step {
    /// The mean of x' given x_t. `x0_before` is what the step before predicted; none where the walk begins here, so that `x0_hat` stands in
    /// for it and the step is of first order.
    pub fn mean<V: Linear>(&self, xt: &V, x0_hat: &V, x0_before: Option<&V>, output: &V) -> Result<V, V::Error> {
        let [xt, x0, output] = [(self.xt, xt), (self.x0, x0_hat), (self.output, output)];
        if self.x0_before == 0.0 {
            return V::combine(&[xt, x0, output]);
        }
        V::combine(&[xt, x0, (self.x0_before, x0_before.unwrap_or(x0_hat)), output])
    }
}

/// `n` steps spread evenly over 1..=T, both ends included. Errors unless 2 <= n <= T.
pub fn even_steps(timesteps: usize, n: usize) -> Result<Vec<usize>, Error> {
    if n < 2 || n > timesteps {
        return Err(Error::Subsequence { expected: format!("a number of steps in 2..={timesteps}"), got: n.to_string() });
    }
    let stride = (timesteps - 1) as f64 / (n - 1) as f64;
    Ok((0..n).map(|i| 1 + (i as f64 * stride).round() as usize).collect())
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

/// The steps from each visited one to the next below it, the last one to 0.
fn pairs(visited: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let below = visited.iter().rev().skip(1).chain(std::iter::once(&0));
    visited.iter().rev().copied().zip(below.copied())
}
