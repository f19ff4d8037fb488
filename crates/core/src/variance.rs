//! The variance sigma2_t of the reverse step p(x_{t-1} | x_t) (section 3.2).

use crate::process::Process;
use serde::{Deserialize, Serialize};

/// Where the reverse variance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ReverseVariance {
    /// beta_tilde_t: optimal for data that is a single point.
    FixedSmall,
    /// beta_t: optimal for x_0 ~ N(0, I).
    FixedLarge,
    /// The network's second output is ln sigma2 itself, without clamp or offset (the authors' code).
    Learned,
    /// The network's second output r in [-1, 1] interpolates ln sigma2 between beta_tilde and beta (Nichol & Dhariwal 2021, eq. 15).
    LearnedRange,
}

impl ReverseVariance {
    /// All of them.
    pub const ALL: [ReverseVariance; 4] =
        [ReverseVariance::FixedSmall, ReverseVariance::FixedLarge, ReverseVariance::Learned, ReverseVariance::LearnedRange];

    /// Whether the network has a second output.
    pub fn is_learned(self) -> bool {
        match self {
            ReverseVariance::FixedSmall | ReverseVariance::FixedLarge => false,
            ReverseVariance::Learned | ReverseVariance::LearnedRange => true,
        }
    }

    /// ln sigma2_t as `offset + scale * r` of the network's second output r; scale is 0 where the variance is fixed.
    pub fn log_sigma2(self, process: &Process, t: usize) -> LogSigma2 {
        let small = process.log_sigma2_small(t);
        match self {
            ReverseVariance::FixedSmall => LogSigma2 { offset: small, scale: 0.0 },
            ReverseVariance::FixedLarge => LogSigma2 { offset: process.log_sigma2_large(t), scale: 0.0 },
            ReverseVariance::Learned => LogSigma2 { offset: 0.0, scale: 1.0 },
            ReverseVariance::LearnedRange => {
                // (r + 1)/2 ln beta + (1 - r)/2 ln beta_tilde
                let large = libm::log(process.beta(t));
                LogSigma2 { offset: 0.5 * (large + small), scale: 0.5 * (large - small) }
            }
        }
    }
}

/// `offset + scale * r`, in nats of variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSigma2 {
    /// Value at r = 0.
    pub offset: f64,
    /// Change per unit of r.
    pub scale: f64,
}

impl LogSigma2 {
    /// The value for the network's second output `r` (ignored where the variance is fixed).
    pub fn at(self, r: f64) -> f64 {
        self.offset + self.scale * r
    }
}
