//! Samplers as coefficients: each reverse step is one linear combination, written once and run on numbers and on tensors.

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

/// One reverse step: x' = xt x_t + x0 x_0_hat + output y + noise z, for the network's output y and the x_0 that it implies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The step whose noise level x_t has: the network is fed t - 1.
    pub t: usize,
    /// Factor of x_t.
    pub xt: f64,
    /// Factor of the predicted x_0, after clipping where the sampler clips.
    pub x0: f64,
    /// Factor of the network's output as it is.
    pub output: f64,
    /// Scale of z ~ N(0, I).
    pub noise: Noise,
}

impl Step {
    /// The mean of x' given x_t.
    pub fn mean<V: Linear>(&self, xt: &V, x0_hat: &V, output: &V) -> Result<V, V::Error> {
        V::combine(&[(self.xt, xt), (self.x0, x0_hat), (self.output, output)])
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
            Sampler::Ancestral { clip, .. } | Sampler::Ddim { clip, .. } => clip,
            Sampler::Langevin { .. } => false,
        }
    }

    /// The steps visited, ascending.
    pub fn visited(&self, timesteps: usize) -> Result<Vec<usize>, Error> {
        match *self {
            Sampler::Ancestral { steps, .. } | Sampler::Ddim { steps, .. } | Sampler::Langevin { steps, .. } => match steps {
                None => Ok((1..=timesteps).collect()),
                Some(n) => even_steps(timesteps, n),
            },
        }
    }

    /// The whole walk from x_T, in the order in which it is made. Its length is the number of network evaluations.
    ///
    /// Errors where a parameter leaves its range or a learned one-step variance meets a sub-sequence.
    pub fn plan(&self, process: &Process, prediction: Prediction, variance: ReverseVariance) -> Result<Vec<Step>, Error> {
        let visited = self.visited(process.timesteps())?;
        match *self {
            Sampler::Ancestral { steps, .. } => {
                if steps.is_some() && visited.len() < process.timesteps() && variance == ReverseVariance::Learned {
                    return Err(Error::LearnedVarianceOnSubsequence);
                }
                // All steps: the chain as it is, to the last digit.
                let all = visited.len() == process.timesteps();
                let chain = if all { process.clone() } else { process.respaced(&visited)? };
                let step = |i: usize| {
                    if all {
                        ancestral_step(&chain, i, i, prediction, variance)
                    } else {
                        ancestral_step(&chain, i, visited[i - 1], Prediction::X0, variance)
                    }
                };
                Ok((1..=visited.len()).rev().map(step).collect())
            }
            Sampler::Ddim { eta, .. } => {
                if !(0.0..=1.0).contains(&eta) {
                    return Err(Error::Parameter { name: "eta", expected: "a number in [0, 1]", got: eta });
                }
                let from = visited.iter().rev();
                let to = visited.iter().rev().skip(1).chain(std::iter::once(&0));
                Ok(from.zip(to).map(|(&t, &s)| ddim_step(process, t, s, eta)).collect())
            }
            Sampler::Langevin { step_size, inner, .. } => {
                if !(step_size > 0.0 && step_size < 2.0) {
                    return Err(Error::Parameter { name: "step_size", expected: "a number in (0, 2)", got: step_size });
                }
                if inner == 0 || visited.len().checked_mul(inner).is_none_or(|steps| steps > MOST_STEPS) {
                    return Err(Error::Parameter {
                        name: "inner",
                        expected: "at least 1, and no more than a million steps in all",
                        got: inner as f64,
                    });
                }
                if let Some(&t) = visited.iter().find(|t| process.alpha_bar(**t) == 0.0) {
                    return Err(Error::LangevinWithoutSignal { t });
                }
                Ok(langevin_steps(process, &visited, prediction, step_size, inner))
            }
        }
    }
}

/// Steps of a walk that are still taken for what somebody wants, and not for a slip.
const MOST_STEPS: usize = 1_000_000;

/// Algorithm 2 from step `i` of `chain`, which is step `t` of the network. With prediction mu the mean is the output itself, which
/// clipping x_0 does not touch (the authors' code).
fn ancestral_step(chain: &Process, i: usize, t: usize, prediction: Prediction, variance: ReverseVariance) -> Step {
    let log_sigma2 = variance.log_sigma2(chain, i);
    let noise = match (i, variance.is_learned()) {
        (1, _) => Noise::Fixed(0.0),
        (_, true) => Noise::Learned(log_sigma2),
        (_, false) => Noise::Fixed(libm::exp(0.5 * log_sigma2.at(0.0))),
    };
    match prediction {
        Prediction::Mu => Step { t, xt: 0.0, x0: 0.0, output: 1.0, noise },
        Prediction::X0 | Prediction::Eps | Prediction::V => {
            Step { t, xt: chain.posterior_mean_coef_xt(i), x0: chain.posterior_mean_coef_x0(i), output: 0.0, noise }
        }
    }
}

/// x_s = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps + sigma z, eps being what x_t and the predicted x_0 imply.
fn ddim_step(process: &Process, t: usize, s: usize, eta: f64) -> Step {
    let (alpha_bar_t, alpha_bar_s) = (process.alpha_bar(t), process.alpha_bar(s));
    let sigma2 = eta * eta * (1.0 - alpha_bar_s) / (1.0 - alpha_bar_t) * (1.0 - alpha_bar_t / alpha_bar_s);
    let eps_factor = (1.0 - alpha_bar_s - sigma2).max(0.0).sqrt();
    let eps = Prediction::Eps.from_x0(process, t);
    Step { t, xt: eps_factor * eps.xt, x0: alpha_bar_s.sqrt() + eps_factor * eps.output, output: 0.0, noise: Noise::Fixed(sigma2.sqrt()) }
}

/// At each level `inner` steps x + d/2 score + sqrt(d) z with d = step_size (1 - alpha_bar_t); the last one of a level also brings the
/// signal to the next level's scale. The last step answers with the predicted x_0.
fn langevin_steps(process: &Process, visited: &[usize], prediction: Prediction, step_size: f64, inner: usize) -> Vec<Step> {
    let mut steps = Vec::with_capacity(visited.len() * inner + 1);
    for &t in visited.iter().rev() {
        let variance = 1.0 - process.alpha_bar(t);
        let delta = step_size * variance;
        let eps = prediction.convert(Prediction::Eps, process, t);
        let pull = -0.5 * delta / variance.sqrt();
        let step = Step { t, xt: 1.0 + pull * eps.xt, x0: 0.0, output: pull * eps.output, noise: Noise::Fixed(delta.sqrt()) };
        steps.extend(std::iter::repeat_n(step, inner));
    }
    // Between levels x moves from scale sqrt(alpha_bar_t) to sqrt(alpha_bar_s): folded into the last step of the level above.
    for (level, pair) in visited.windows(2).rev().enumerate() {
        let rise = (process.alpha_bar(pair[0]) / process.alpha_bar(pair[1])).sqrt();
        let last = &mut steps[(level + 1) * inner - 1];
        last.xt *= rise;
        last.output *= rise;
        if let Noise::Fixed(sigma) = &mut last.noise {
            *sigma *= rise;
        }
    }
    steps.push(Step { t: visited[0], xt: 0.0, x0: 1.0, output: 0.0, noise: Noise::Fixed(0.0) });
    steps
}
