//! What can be wrong with a diffusion set-up. Every variant is found before anything runs.

use thiserror::Error as ThisError;

/// An invalid set-up, with the numbers involved and what to choose instead.
#[derive(Clone, Debug, PartialEq, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The chain is too short: the clipped posterior variance of t = 1 is borrowed from t = 2.
    #[error("timesteps: expected at least 2, got {got}")]
    TooFewTimesteps {
        /// The number of steps asked for.
        got: usize,
    },
    /// A beta outside (0, 1], or not finite.
    #[error("beta at t = {t}: expected a number in (0, 1], got {got}")]
    Beta {
        /// The step, from 1.
        t: usize,
        /// The value found.
        got: f64,
    },
    /// alpha_bar = 0 before the last step: everything after it would be pure noise.
    #[error("alpha_bar is 0 at t = {t}, before the last step {timesteps}: no signal is left for the steps after it; choose smaller betas")]
    EarlyCollapse {
        /// The step, from 1.
        t: usize,
        /// The length of the chain.
        timesteps: usize,
    },
    /// A schedule parameter outside its range.
    #[error("{name}: expected {expected}, got {got}")]
    Parameter {
        /// The parameter's name, as written in a configuration.
        name: &'static str,
        /// The range in words.
        expected: &'static str,
        /// The value found.
        got: f64,
    },
    /// eps cannot be turned into x0 where nothing of x0 is left.
    #[error("prediction eps needs alpha_bar > 0 at every step, but it is 0 at t = {t}: choose prediction x0, v or mu, or another schedule")]
    EpsWithoutSignal {
        /// The step, from 1.
        t: usize,
    },
    /// A Langevin step rescales x to the next level, which is impossible from a level without signal.
    #[error(
        "sampler langevin needs alpha_bar > 0 at every level, but it is 0 at t = {t}: choose another schedule, or steps that leave t = {t} out"
    )]
    LangevinWithoutSignal {
        /// The step, from 1.
        t: usize,
    },
    /// A squared error does not depend on the variance, so nothing would train it.
    #[error("objective {objective} does not train a learned variance: choose objective hybrid or vlb, or a fixed variance")]
    UntrainedVariance {
        /// The objective's kind.
        objective: &'static str,
    },
    /// A weight that single precision cannot hold.
    #[error(
        "objective weighted: the weight of the prediction's error at t = {t} is {got:e}, which single precision cannot hold: choose another space, weight, prediction or schedule"
    )]
    WeightTooLarge {
        /// The step, from 1.
        t: usize,
        /// The weight.
        got: f64,
    },
    /// The hybrid's second term has its mean gradient stopped: with a fixed variance it trains nothing.
    #[error("objective hybrid trains only the variance by its second term, but the variance is fixed: choose objective simple or vlb")]
    HybridWithFixedVariance,
    /// A learned variance belongs to one step of the full chain.
    #[error(
        "a learned one-step variance cannot be used on a sub-sequence of steps: choose variance learned-range or fixed, sampler ddim, or all steps"
    )]
    LearnedVarianceOnSubsequence,
    /// A sub-sequence of steps that is empty, unordered, too long or leaves 1..=T.
    #[error("steps: expected {expected}, got {got}")]
    Subsequence {
        /// What was expected, in words.
        expected: String,
        /// What was found, in words.
        got: String,
    },
    /// The sinusoidal embedding divides by dim/2 - 1.
    #[error("embedding dimension: expected at least 4, got {got}")]
    EmbeddingDimension {
        /// The dimension asked for.
        got: usize,
    },
}
