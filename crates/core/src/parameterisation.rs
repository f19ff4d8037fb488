//! What the network's output stands for, and the maps between the four readings.
//!
//! At one step t, x_0, eps, v and the posterior mean mu determine each other once x_t is known, each by an affine map
//! `a x_t + b output`. All go through x_0, except where both sides are the same.

use crate::linear::Linear;
use crate::process::Process;
use serde::{Deserialize, Serialize};

/// The quantity that the network predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The posterior mean mu_tilde (eq. 8).
    Mu,
    /// The clean image.
    X0,
    /// The noise (eq. 11). The paper's choice.
    Eps,
    /// v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 (Salimans & Ho 2022).
    V,
}

/// `xt * x_t + output * y`: how one reading follows from another at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Factor of x_t.
    pub xt: f64,
    /// Factor of the other reading.
    pub output: f64,
}

impl Affine {
    /// The identity on the reading.
    pub const IDENTITY: Affine = Affine { xt: 0.0, output: 1.0 };

    /// Applies the map.
    pub fn apply<V: Linear>(self, xt: &V, output: &V) -> Result<V, V::Error> {
        V::combine(&[(self.xt, xt), (self.output, output)])
    }

    /// First `self`, then `next`, at the same x_t.
    pub fn then(self, next: Affine) -> Affine {
        Affine { xt: next.xt + next.output * self.xt, output: next.output * self.output }
    }
}

impl Prediction {
    /// All of them, in the order of the paper.
    pub const ALL: [Prediction; 4] = [Prediction::Mu, Prediction::X0, Prediction::Eps, Prediction::V];

    /// x_0 from this reading at step t. Infinite for [`Prediction::Eps`] where alpha_bar_t = 0.
    pub fn to_x0(self, process: &Process, t: usize) -> Affine {
        let (a, s) = process.q_sample_coefficients(t);
        match self {
            Prediction::X0 => Affine::IDENTITY,
            Prediction::Eps => Affine { xt: 1.0 / a, output: -s / a },
            Prediction::V => Affine { xt: a, output: -s },
            Prediction::Mu => {
                let (c_x0, c_xt) = (process.posterior_mean_coef_x0(t), process.posterior_mean_coef_xt(t));
                Affine { xt: -c_xt / c_x0, output: 1.0 / c_x0 }
            }
        }
    }

    /// This reading from x_0 at step t.
    pub fn from_x0(self, process: &Process, t: usize) -> Affine {
        let (a, s) = process.q_sample_coefficients(t);
        match self {
            Prediction::X0 => Affine::IDENTITY,
            Prediction::Eps => Affine { xt: 1.0 / s, output: -a / s },
            Prediction::V => Affine { xt: a / s, output: -1.0 / s },
            Prediction::Mu => Affine { xt: process.posterior_mean_coef_xt(t), output: process.posterior_mean_coef_x0(t) },
        }
    }

    /// `to` from this reading at step t.
    pub fn convert(self, to: Prediction, process: &Process, t: usize) -> Affine {
        if self == to { Affine::IDENTITY } else { self.to_x0(process, t).then(to.from_x0(process, t)) }
    }

    /// The training target as coefficients of (x_0, eps): the output of a perfect prediction.
    pub fn target(self, process: &Process, t: usize) -> (f64, f64) {
        let (a, s) = process.q_sample_coefficients(t);
        let from_x0 = self.from_x0(process, t);
        match self {
            Prediction::X0 => (1.0, 0.0),
            Prediction::Eps => (0.0, 1.0),
            Prediction::V => (-s, a),
            Prediction::Mu => (from_x0.output + from_x0.xt * a, from_x0.xt * s),
        }
    }

    /// |d output / d eps| at fixed x_t: an error e in eps is an error of this size times e in this reading.
    pub fn gain_of_eps(self, process: &Process, t: usize) -> f64 {
        Prediction::Eps.convert(self, process, t).output.abs()
    }
}
