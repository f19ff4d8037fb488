//! Adam with warm-up, gradient clipping and moving averages, as the authors train; each deviation is a named value.

use crate::error::{Error, Result};
use crate::parameters::{Parameter, Weights};
use crate::process_group::{Alone, ProcessGroup};
use crate::train_state::TrainState;
use candle_core::Tensor;
use ddpm_kernels::adam::{AdamState, Epsilon, Update, adam, add_scaled, average, sum_of_squares};
use ddpm_kernels::random::{Random, Stream};
use serde::{Deserialize, Serialize};

/// The optimiser's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Where epsilon is added: `hat` as in TensorFlow 1 and the authors' code, `corrected` as in PyTorch.
    #[serde(default)]
    pub epsilon_mode: EpsilonMode,
    /// Largest norm of a gradient over all parameters; longer ones are scaled down to it. The authors: 1. Absent: no limit.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// Pieces of the batch whose gradients are clipped one by one before they are averaged. The authors: 8 (one per TPU core).
    #[serde(default = "one")]
    pub clip_shards: usize,
    /// Decay of the moving average of the weights that is sampled from and scored; 0 is the weights themselves. The paper: 0.9999.
    pub ema_decay: f64,
    /// Decays of the moving averages that training keeps, rising, where they are more than `ema_decay` alone. Cells of a grid that differ
    /// in nothing but `ema_decay` keep each other's, and so share one training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ema_kept: Vec<f64>,
}

/// Where Adam's epsilon is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
        let error = |key, expected: &str, got: String| Err(Error::InvalidKey { key, expected: expected.into(), got });
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return error("learning_rate", "a positive number", self.learning_rate.to_string());
        }
        for (key, decay) in [("beta1", self.beta1), ("beta2", self.beta2), ("ema_decay", self.ema_decay)] {
            if !(0.0..1.0).contains(&decay) {
                return error(key, "a number in [0, 1)", decay.to_string());
            }
        }
        if let Some(decay) = self.ema_kept.iter().find(|decay| !(**decay > 0.0 && **decay < 1.0)) {
            return error("ema_kept", "numbers in (0, 1): the weights themselves, of decay 0, are always there", decay.to_string());
        }
        if !self.ema_kept.is_sorted_by(|a, b| a < b) {
            return error("ema_kept", "rising numbers", format!("{:?}", self.ema_kept));
        }
        if !self.ema_kept.is_empty() && !self.keeps(self.ema_decay) {
            return error("ema_kept", &format!("the ema_decay {} among them", self.ema_decay), format!("{:?}", self.ema_kept));
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

    /// Decays of the averages that training keeps.
    pub fn kept(&self) -> &[f64] {
        if self.ema_kept.is_empty() { std::slice::from_ref(&self.ema_decay) } else { &self.ema_kept }
    }

    /// Whether a training with these values ends with the average of this decay; that of 0 is the weights themselves.
    pub fn keeps(&self, decay: f64) -> bool {
        decay == 0.0 || self.kept().contains(&decay)
    }

    /// Whether a gradient of this norm is clipped; of several shards, whether one of them is for certain.
    pub fn clips(&self, norm: f64) -> bool {
        self.clip_norm.is_some_and(|limit| norm > limit)
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let share = if self.warmup_steps == 0 { 1.0 } else { (step as f64 / self.warmup_steps as f64).min(1.0) };
        self.learning_rate * share
    }
}

/// A network in training: all parameters concatenated, and the state of Adam and of the moving averages.
pub struct Training {
    parameters: Vec<Parameter>,
    optimiser: Optimiser,
    state: TrainState,
    gradient: Vec<f32>,
    /// The shards' clipped gradients added up, where there are several.
    sum: Vec<f32>,
    /// Steps made so far.
    step: u64,
    rate_scale: f64,
}

impl Training {
    /// As the network begins under `seed`: moments 0, averages equal to the weights.
    pub fn new(parameters: &[Parameter], optimiser: Optimiser, seed: u64, stream: Stream) -> Training {
        let random = Random::new(seed, stream);
        let theta: Vec<f32> = parameters.iter().enumerate().flat_map(|(i, p)| p.initial(&random, i)).collect();
        let state = TrainState::new(theta, optimiser.kept());
        Training::resume(parameters, optimiser, state, 0)
    }

    /// From the state after `step` steps.
    pub fn resume(parameters: &[Parameter], optimiser: Optimiser, state: TrainState, step: u64) -> Training {
        let n: usize = parameters.iter().map(Parameter::len).sum();
        assert!(state.rows().iter().all(|row| row.len() == n), "{n} numbers in each row");
        assert_eq!(state.decays(), optimiser.kept(), "the averages that the optimiser keeps");
        let sum = vec![0f32; if optimiser.clip_shards > 1 { n } else { 0 }];
        Training { parameters: parameters.to_vec(), optimiser, state, gradient: vec![0f32; n], sum, step, rate_scale: 1.0 }
    }

    /// Steps made so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The optimiser.
    pub fn optimiser(&self) -> &Optimiser {
        &self.optimiser
    }

    /// Takes over what was trained elsewhere, up to `step`.
    pub fn replace(&mut self, state: TrainState, step: u64) {
        let sizes = |state: &TrainState| state.rows().iter().map(|row| row.len()).collect::<Vec<_>>();
        assert!(sizes(&state) == sizes(&self.state) && state.decays() == self.state.decays(), "as many numbers as before");
        (self.state, self.step) = (state, step);
    }

    /// Multiplies the rate of the steps to come by `share`, for schedules beyond the warm-up.
    pub fn scale_rate(&mut self, share: f64) {
        self.rate_scale = share;
    }

    /// Multiplies the matrices and filters by 1 - `share`, and leaves biases and norms: decoupled weight decay, where called before
    /// each step with the rate times the decay (Loshchilov and Hutter 2019, Algorithm 2).
    pub fn shrink(&mut self, share: f64) {
        let mut rest = self.state.theta.as_mut_slice();
        for parameter in &self.parameters {
            let (now, later) = rest.split_at_mut(parameter.len());
            if parameter.shape.len() > 1 {
                now.iter_mut().for_each(|w| *w *= (1.0 - share) as f32);
            }
            rest = later;
        }
    }

    /// Everything needed to resume training from here, except the step.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// The parameters in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The weights.
    pub fn weights(&self) -> &[f32] {
        &self.state.theta
    }

    /// The moving average of the weights that is sampled from and scored.
    pub fn average(&self) -> &[f32] {
        self.state.average(self.optimiser.ema_decay).expect("kept, as checked")
    }

    /// One step on the mean of the gradients that `gradient(weights, shard, out)` writes for the shards 0..clip_shards, each clipped by
    /// itself. Returns the norm of the gradient before clipping (its root mean square over shards).
    pub fn update(&mut self, gradient: impl FnMut(&[f32], usize, &mut [f32]) -> Result<()>) -> Result<f64> {
        self.update_in(&mut Alone, gradient)
    }

    /// The same in a group: `gradient` is called for this rank's shards only. Every rank takes the same step, bit-identical to that of a
    /// single process; the number of shards must be a multiple of the group's size.
    pub fn update_in(
        &mut self,
        group: &mut dyn ProcessGroup,
        mut gradient: impl FnMut(&[f32], usize, &mut [f32]) -> Result<()>,
    ) -> Result<f64> {
        let shards = self.optimiser.clip_shards;
        assert!(shards.is_multiple_of(group.size()), "{shards} shards for {} ranks", group.size());
        let clip = |square: f64| self.optimiser.clip_norm.map_or(1.0, |limit| (limit / square.sqrt().max(f64::MIN_POSITIVE)).min(1.0));
        let (mut squares, mut kept) = (Vec::new(), Vec::new());
        let mine = group.share(shards);
        self.sum.fill(0.0);
        for shard in mine.clone() {
            gradient(&self.state.theta, shard, &mut self.gradient)?;
            let square = sum_of_squares(&self.gradient);
            squares.push(square);
            let scale = (clip(square) / shards as f64) as f32;
            if group.size() > 1 {
                // Kept until the sum of the preceding ranks has arrived.
                kept.push((
                    scale,
                    if mine.len() > 1 { std::mem::replace(&mut self.gradient, vec![0.0; self.state.theta.len()]) } else { Vec::new() },
                ));
            } else if shards > 1 {
                add_scaled(&mut self.sum, scale, &self.gradient);
            }
        }
        if group.size() > 1 {
            let last = &self.gradient;
            group.add_up(&mut self.sum, &mut |sum| {
                kept.iter().for_each(|(scale, g)| add_scaled(sum, *scale, if g.is_empty() { last } else { g }))
            })?;
            squares = group.gather(squares)?;
        }
        let scale = if shards > 1 { 1.0 } else { clip(squares[0]) };
        self.apply(scale);
        Ok((squares.iter().sum::<f64>() / shards as f64).sqrt())
    }

    /// The same on the losses that `loss(weights, shard)` gives, differentiated by candle.
    pub fn update_traced(&mut self, mut loss: impl FnMut(&Weights, usize) -> Result<Tensor>) -> Result<f64> {
        let parameters = self.parameters.clone();
        self.update(|weights, shard, out| {
            let variables = Weights::from_numbers(&parameters, weights)?.variables()?;
            let mut store = loss(&Weights::of_variables(&variables), shard)?.backward()?;
            let mut rest = out;
            for (variable, parameter) in variables.iter().zip(&parameters) {
                // One that is missing is an error, not a parameter that silently stays.
                let found = store.remove(variable).ok_or_else(|| Error::NoGradient { name: parameter.name.clone() })?;
                let (now, later) = rest.split_at_mut(parameter.len());
                now.copy_from_slice(&found.flatten_all()?.to_vec1::<f32>()?);
                rest = later;
            }
            Ok(())
        })
    }

    fn apply(&mut self, gradient_scale: f64) {
        let o = &self.optimiser;
        // As in the authors' code, the first update copies the weights.
        let first = self.step == 0;
        let decay = |decay: f64| if first { 0.0 } else { decay };
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
            gradient_scale,
            ema_decay: decay(self.state.averages[0].decay),
        };
        let TrainState { theta, m, v, averages } = &mut self.state;
        let gradient = if self.sum.is_empty() { &self.gradient } else { &self.sum };
        let [first, others @ ..] = &mut averages[..] else { unreachable!("an optimiser keeps one average at least") };
        adam(&update, AdamState { theta, m, v, ema: &mut first.numbers }, gradient);
        others.iter_mut().for_each(|other| average(decay(other.decay), theta, &mut other.numbers));
        self.step += 1;
    }
}
