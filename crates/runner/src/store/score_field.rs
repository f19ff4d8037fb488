//! What a study of the score in the plane found.

use crate::metrics::Measured;
use serde::{Deserialize, Serialize};

/// The exact score of a mixture's noised points beside the learned one, and walks that follow each of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreField {
    /// Modes of the law: mean and standard deviation.
    pub modes: Vec<([f64; 2], f64)>,
    /// The score at some steps, falling.
    pub fields: Vec<FieldAt>,
    /// Walks of samplers, all from the same x_T and with the same noise.
    pub walks: Vec<WalksOf>,
}

/// Scores at one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldAt {
    /// The step.
    pub t: usize,
    /// sqrt(alpha_bar_t).
    pub signal: f64,
    /// sqrt(1 - alpha_bar_t).
    pub noise: f64,
    /// Where the arrows stand.
    pub arrows: Vec<Arrow>,
    /// E |learned - exact|^2 / E |exact|^2, over q(x_t): the share of the score that was not learned.
    pub error: f64,
}

/// Scores at one point, each times sqrt(1 - alpha_bar_t): the noise that is predicted, the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arrow {
    /// x_t.
    pub at: [f64; 2],
    /// The exact one.
    pub exact: [f64; 2],
    /// The network's.
    pub learned: [f64; 2],
}

/// Walks of one sampler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalksOf {
    /// The sampler, as cells name it.
    pub sampler: String,
    /// Scores that are asked for on the way of one sample.
    pub evaluations: usize,
    /// With the exact score.
    pub exact: Walks,
    /// With the network's.
    pub learned: Walks,
}

/// Walks with one score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Walks {
    /// The first samples' paths from x_T to x_0; absent where they left every range.
    pub paths: Option<Vec<Vec<[f64; 2]>>>,
    /// Where the first samples came to, some of which are beyond [-1, 1]; none where they left every range.
    pub ends: Vec<[f64; 2]>,
    /// The divergence of all samples from the law.
    pub divergence: Option<Measured>,
    /// Why there is none.
    pub blank: Option<String>,
}

impl ScoreField {
    /// Whether every number that is drawn is one.
    pub fn is_finite(&self) -> bool {
        let arrows = self.fields.iter().flat_map(|field| &field.arrows).flat_map(|arrow| arrow.exact.iter().chain(&arrow.learned));
        let errors = self.fields.iter().map(|field| &field.error);
        arrows.chain(errors).all(|v| v.is_finite())
    }
}
