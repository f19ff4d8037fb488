//! Adam with warm-up, gradient clipping and a moving average, as the authors train; each deviation is a named value.

use crate::error::{Error, Result};
use crate::parameters::{Parameter, Weights};
use candle_core::{DType, Tensor, Var};
use ddpm_kernels::adam::{Epsilon, Update, adam, sum_of_squares};
use ddpm_kernels::random::Stream;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The optimiser's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimiser {
    /// Learning rate after the warm-up. The paper: 2e-4.
    pub learning_rate: f64,
    /// Steps over which the rate rises linearly from 0 (which the first step has). The authors: 5000.
    pub warmup_steps: u64,
    /// Decay of the first moment. The authors: 0.9.
    #[serde(default = "beta1")]
    pub beta1: f64,
    /// Decay of the second moment. The authors: 0.999.
    #[serde(default = "beta2")]
    pub beta2: f64,
    /// Adam's epsilon. The authors: 1e-8.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Where epsilon stands: `hat` as TensorFlow 1 and the authors, `corrected` as PyTorch.
    #[serde(default)]
    pub epsilon_mode: EpsilonMode,
    /// Largest norm of a gradient over all parameters; longer ones are scaled down to it. The authors: 1. Absent: no limit.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// Pieces of the batch whose gradients are clipped one by one before they are averaged. The authors: 8 (one per TPU core).
    #[serde(default = "one")]
    pub clip_shards: usize,
    /// Decay of the moving average of the weights. The paper: 0.9999.
    pub ema_decay: f64,
}

/// Where Adam's epsilon stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpsilonMode {
    /// lr sqrt(1 - b2^k) / (1 - b1^k) m / (sqrt(v) + epsilon).
    #[default]
    Hat,
    /// lr m_hat / (sqrt(v_hat) + epsilon).
    Corrected,
}

fn beta1() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.999
}
fn epsilon() -> f64 {
    1e-8
}
fn one() -> usize {
    1
}

impl Optimiser {
    /// Whether the numbers make sense for batches of `batch`; the error names the key.
    pub fn check(&self, batch: usize) -> Result<()> {
        let error = |key, expected: &str, got: String| Err(Error::Network { key, expected: expected.into(), got });
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return error("learning_rate", "a positive number", self.learning_rate.to_string());
        }
        for (key, decay) in [("beta1", self.beta1), ("beta2", self.beta2), ("ema_decay", self.ema_decay)] {
            if !(0.0..1.0).contains(&decay) {
                return error(key, "a number in [0, 1)", decay.to_string());
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return error("epsilon", "a positive number", self.epsilon.to_string());
        }
        if let Some(norm) = self.clip_norm.filter(|norm| !(*norm > 0.0 && norm.is_finite())) {
            return error("clip_norm", "a positive number, or nothing", norm.to_string());
        }
        if self.clip_shards == 0 || !batch.is_multiple_of(self.clip_shards) {
            return error("clip_shards", &format!("a divisor of the batch size {batch}"), self.clip_shards.to_string());
        }
        Ok(())
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let share = if self.warmup_steps == 0 { 1.0 } else { (step as f64 / self.warmup_steps as f64).min(1.0) };
        self.learning_rate * share
    }
}

/// A network in training: variables that gradients are traced to, and beside each its master state.
pub struct Training {
    parameters: Vec<Parameter>,
    optimiser: Optimiser,
    variables: Vec<Var>,
    /// `[4, n]` for each parameter: value, first moment, second moment, moving average.
    states: Vec<Tensor>,
    /// Steps made so far.
    step: u64,
    rate_scale: f64,
}

impl Training {
    /// As the network begins under `seed`: moments 0, average equal to the weights.
    pub fn new(parameters: &[Parameter], optimiser: Optimiser, seed: u64, stream: Stream) -> Result<Training> {
        let weights = Weights::initial(parameters, seed, stream, DType::F32)?;
        let states = weights
            .0
            .iter()
            .map(|w| {
                let row = w.flatten_all()?.unsqueeze(0)?;
                Tensor::cat(&[&row, &row.zeros_like()?, &row.zeros_like()?, &row], 0)
            })
            .collect::<candle_core::Result<_>>()?;
        Training::resume(parameters, optimiser, states, 0)
    }

    /// From saved states.
    pub fn resume(parameters: &[Parameter], optimiser: Optimiser, states: Vec<Tensor>, step: u64) -> Result<Training> {
        let parameters = parameters.to_vec();
        let variables = rows(&parameters, &states, 0)?.variables()?;
        Ok(Training { parameters, optimiser, variables, states, step, rate_scale: 1.0 })
    }

    /// Steps made so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Multiplies the rate of the steps to come by `share`, for schedules beyond the warm-up.
    pub fn scale_rate(&mut self, share: f64) {
        self.rate_scale = share;
    }

    /// The master states, `[4, n]` each.
    pub fn states(&self) -> &[Tensor] {
        &self.states
    }

    /// The parameters in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The weights, traced.
    pub fn weights(&self) -> Weights {
        Weights::of_variables(&self.variables)
    }

    /// The moving average of the weights: what samples and scores are made with.
    pub fn average(&self) -> Result<Weights> {
        rows(&self.parameters, &self.states, 3)
    }

    /// One step on the mean of the losses that `loss` gives for the shards 0..clip_shards, each clipped by itself.
    /// Returns the norm of the gradient before clipping (its root mean square over shards).
    pub fn update(&mut self, mut loss: impl FnMut(&Weights, usize) -> Result<Tensor>) -> Result<f64> {
        let weights = self.weights();
        let shards = self.optimiser.clip_shards;
        let (mut sum, mut squares): (Option<Vec<Tensor>>, f64) = (None, 0.0);
        for shard in 0..shards {
            let gradients = self.gradients(&loss(&weights, shard)?)?;
            let square = gradients.par_iter().map(sum_of_squares).collect::<candle_core::Result<Vec<f64>>>()?.iter().sum::<f64>();
            squares += square;
            let scale =
                self.optimiser.clip_norm.map_or(1.0, |limit| (limit / square.sqrt().max(f64::MIN_POSITIVE)).min(1.0)) / shards as f64;
            let add = |(sum, g): (&Tensor, &Tensor)| sum + (g * scale)?;
            sum = Some(match sum {
                None if scale == 1.0 => gradients,
                None => gradients.iter().map(|g| g * scale).collect::<candle_core::Result<_>>()?,
                Some(sum) => sum.iter().zip(&gradients).map(add).collect::<candle_core::Result<_>>()?,
            });
        }
        self.apply(&sum.expect("at least one shard"))?;
        Ok((squares / shards as f64).sqrt())
    }

    /// Gradients in the parameters' order; one that is missing is an error, not a parameter that silently stays.
    fn gradients(&self, loss: &Tensor) -> Result<Vec<Tensor>> {
        let mut store = loss.backward()?;
        let take = |(variable, parameter): (&Var, &Parameter)| {
            store.remove(variable).ok_or_else(|| Error::NoGradient { name: parameter.name.clone() })
        };
        self.variables.iter().zip(&self.parameters).map(take).collect()
    }

    fn apply(&mut self, gradients: &[Tensor]) -> Result<()> {
        let o = &self.optimiser;
        let update = Update {
            learning_rate: o.rate(self.step) * self.rate_scale,
            beta1: o.beta1,
            beta2: o.beta2,
            epsilon: o.epsilon,
            epsilon_mode: match o.epsilon_mode {
                EpsilonMode::Hat => Epsilon::Hat,
                EpsilonMode::Corrected => Epsilon::Corrected,
            },
            k: self.step + 1,
            gradient_scale: 1.0,
            // The authors' first update copies.
            ema_decay: if self.step == 0 { 0.0 } else { o.ema_decay },
        };
        self.states.par_iter().zip(gradients).zip(&self.variables).try_for_each(|((state, gradient), variable)| {
            adam(state, gradient, update)?;
            variable.set(&state.narrow(0, 0, 1)?.reshape(variable.dims())?)
        })?;
        self.step += 1;
        Ok(())
    }
}

/// Row `row` of every state in its parameter's shape.
fn rows(parameters: &[Parameter], states: &[Tensor], row: usize) -> Result<Weights> {
    let shaped = |(p, s): (&Parameter, &Tensor)| s.narrow(0, row, 1)?.reshape(p.shape.as_slice());
    Ok(Weights(parameters.iter().zip(states).map(shaped).collect::<candle_core::Result<_>>()?))
}
