//! How errors of a prediction are weighted: the space in which they are measured, and a weight that depends on the signal-to-noise ratio.
//!
//! At one step the readings of the network's output are affine in each other ([`crate::parameterisation`]), so a squared error in any of
//! them is a squared error in any other times a factor. Which one is predicted and which one is measured are therefore two choices.

use crate::error::Error;
use crate::parameterisation::Prediction;
use crate::process::Process;
use serde::{Deserialize, Serialize};

/// The quantity whose squared error is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Space {
    /// The posterior mean mu_tilde (eq. 8).
    Mu,
    /// The clean image.
    X0,
    /// The noise (eq. 14).
    Eps,
    /// v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 (Salimans & Ho 2022).
    V,
    /// The score of q(x_t | x_0), which is -eps / sqrt(1 - alpha_bar): what denoising score matching measures (Vincent 2011).
    Score,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 5] = [Space::Mu, Space::X0, Space::Eps, Space::V, Space::Score];

    /// |d here / d prediction| at fixed x_t: an error e of the prediction is one of this size times e here. Exactly 1 where both are the
    /// same; 0 for [`Space::Eps`] and [`Space::Score`] where alpha_bar_t = 0 and eps is not what is predicted: x_t is eps there, whatever x_0.
    pub fn gain(self, prediction: Prediction, process: &Process, t: usize) -> f64 {
        let of = |to| prediction.convert(to, process, t).output.abs();
        match self {
            Space::Mu => of(Prediction::Mu),
            Space::X0 => of(Prediction::X0),
            Space::Eps => of(Prediction::Eps),
            Space::V => of(Prediction::V),
            Space::Score => of(Prediction::Eps) / process.q_sample_coefficients(t).1,
        }
    }
}

/// The weight of step t's squared error, as a function of SNR = alpha_bar / (1 - alpha_bar). The papers that introduced them measure the
/// error in the space named with each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Weight {
    /// 1 at every step.
    Constant {},
    /// SNR: on errors of x0 what 1 is on errors of eps.
    Snr {},
    /// max(SNR, 1), on errors of x0 (Salimans & Ho 2022, section 4).
    TruncatedSnr {},
    /// min(SNR, gamma), on errors of x0 (Hang et al. 2023).
    MinSnr {
        /// The largest weight, positive. 5 there.
        #[serde(default = "min_snr_gamma")]
        gamma: f64,
    },
    /// 1 / (k + SNR)^gamma, on errors of eps (Choi et al. 2022).
    P2 {
        /// Added to SNR, positive. 1 there.
        #[serde(default = "one")]
        k: f64,
        /// The power, positive. 0.5 or 1 there.
        #[serde(default = "one")]
        gamma: f64,
    },
}

fn min_snr_gamma() -> f64 {
    5.0
}

fn one() -> f64 {
    1.0
}

impl Weight {
    /// Its value at a signal-to-noise ratio, >= 0.
    pub fn at(self, snr: f64) -> f64 {
        match self {
            Weight::Constant {} => 1.0,
            Weight::Snr {} => snr,
            Weight::TruncatedSnr {} => snr.max(1.0),
            Weight::MinSnr { gamma } => snr.min(gamma),
            Weight::P2 { k, gamma } => libm::pow(k + snr, -gamma),
        }
    }

    /// Errors where a parameter is not a positive number.
    pub fn check(self) -> Result<(), Error> {
        let positive = |name, got: f64| {
            let is_fine = got > 0.0 && got.is_finite();
            if is_fine { Ok(()) } else { Err(Error::Parameter { name, expected: "a positive number", got }) }
        };
        match self {
            Weight::Constant {} | Weight::Snr {} | Weight::TruncatedSnr {} => Ok(()),
            Weight::MinSnr { gamma } => positive("gamma", gamma),
            Weight::P2 { k, gamma } => positive("k", k).and_then(|()| positive("gamma", gamma)),
        }
    }
}
