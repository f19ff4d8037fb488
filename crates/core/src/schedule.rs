//! Variance schedules: how much noise each forward step adds.
//!
//! The first six are the authors' (`get_beta_schedule` of their CIFAR-10 code), with the same defaults for T = 1000. The authors do
//! not rescale beta with T; [`BetaScale::Per1000Steps`] does, as Improved DDPM's code, so that short chains end in noise too.

use crate::error::Error;
use serde::{Deserialize, Serialize};

/// Where beta_1..beta_T come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// beta linear in t. The paper's choice: 1e-4 to 0.02.
    Linear {
        /// beta_1, in (0, 1).
        #[serde(default = "beta_start")]
        beta_start: f64,
        /// beta_T, in (0, 1).
        #[serde(default = "beta_end")]
        beta_end: f64,
    },
    /// sqrt(beta) linear in t.
    Quad {
        /// beta_1, in (0, 1).
        #[serde(default = "beta_start")]
        beta_start: f64,
        /// beta_T, in (0, 1).
        #[serde(default = "beta_end")]
        beta_end: f64,
    },
    /// beta_end at every step.
    Const {
        /// Every beta, in (0, 1).
        #[serde(default = "beta_end")]
        beta_end: f64,
    },
    /// Linear over the first tenth of the chain, then constant.
    Warmup10 {
        /// beta_1, in (0, 1).
        #[serde(default = "beta_start")]
        beta_start: f64,
        /// beta after the warm-up, in (0, 1).
        #[serde(default = "beta_end")]
        beta_end: f64,
    },
    /// Linear over the first half of the chain, then constant.
    Warmup50 {
        /// beta_1, in (0, 1).
        #[serde(default = "beta_start")]
        beta_start: f64,
        /// beta after the warm-up, in (0, 1).
        #[serde(default = "beta_end")]
        beta_end: f64,
    },
    /// 1/T, 1/(T-1), ..., 1: alpha_bar falls linearly to exactly 0 (Sohl-Dickstein 2015).
    Jsd {},
    /// alpha_bar = f(t)/f(0), f(t) = cos^2((t/T + s)/(1 + s) pi/2) (Nichol & Dhariwal 2021, eq. 17).
    Cosine {
        /// The offset that keeps beta_1 from vanishing, in [0, 1). 0.008 there.
        #[serde(default = "cosine_s")]
        s: f64,
        /// Upper limit of beta, in (0, 1). 0.999 there.
        #[serde(default = "max_beta")]
        max_beta: f64,
    },
    /// alpha_bar = (S(end) - S(start + u (end - start))) / (S(end) - S(start)), u = t/T, S(x) = sigmoid(x/tau) (Jabri 2022, Alg. 1).
    Sigmoid {
        /// Left end of the sigmoid's argument. -3 there.
        #[serde(default = "sigmoid_start")]
        start: f64,
        /// Right end, greater than start. 3 there.
        #[serde(default = "sigmoid_end")]
        end: f64,
        /// Temperature, positive. 1 there.
        #[serde(default = "sigmoid_tau")]
        tau: f64,
        /// Upper limit of beta, in (0, 1).
        #[serde(default = "max_beta")]
        max_beta: f64,
    },
}

fn beta_start() -> f64 {
    1e-4
}
fn beta_end() -> f64 {
    0.02
}
fn cosine_s() -> f64 {
    0.008
}
fn max_beta() -> f64 {
    0.999
}
fn sigmoid_start() -> f64 {
    -3.0
}
fn sigmoid_end() -> f64 {
    3.0
}
fn sigmoid_tau() -> f64 {
    1.0
}

/// Whether beta_start and beta_end are meant for the chain as it is, or for 1000 steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BetaScale {
    /// As the authors: the numbers are used as they stand, whatever T is.
    #[default]
    AsGiven,
    /// beta_start and beta_end are multiplied by 1000/T (Improved DDPM's code), so that alpha_bar_T depends little on T.
    #[serde(rename = "per-1000-steps")]
    Per1000Steps,
}

impl Schedule {
    /// Every kind with its default parameters.
    pub fn all() -> [Schedule; 8] {
        let (beta_start, beta_end) = (beta_start(), beta_end());
        [
            Schedule::Linear { beta_start, beta_end },
            Schedule::Quad { beta_start, beta_end },
            Schedule::Const { beta_end },
            Schedule::Warmup10 { beta_start, beta_end },
            Schedule::Warmup50 { beta_start, beta_end },
            Schedule::Jsd {},
            Schedule::Cosine { s: cosine_s(), max_beta: max_beta() },
            Schedule::Sigmoid { start: sigmoid_start(), end: sigmoid_end(), tau: sigmoid_tau(), max_beta: max_beta() },
        ]
    }

    /// The schedule of that name with its default parameters.
    pub fn named(kind: &str) -> Option<Schedule> {
        Schedule::all().into_iter().find(|schedule| schedule.kind() == kind)
    }

    /// The kind's name in a configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Schedule::Linear { .. } => "linear",
            Schedule::Quad { .. } => "quad",
            Schedule::Const { .. } => "const",
            Schedule::Warmup10 { .. } => "warmup10",
            Schedule::Warmup50 { .. } => "warmup50",
            Schedule::Jsd {} => "jsd",
            Schedule::Cosine { .. } => "cosine",
            Schedule::Sigmoid { .. } => "sigmoid",
        }
    }

    /// beta_1..beta_T, each in (0, 1] (1 only at the end of [`Schedule::Jsd`]).
    ///
    /// Errors where T < 2 or a parameter, after scaling, leaves its range.
    pub fn betas(&self, timesteps: usize, scale: BetaScale) -> Result<Vec<f64>, Error> {
        if timesteps < 2 {
            return Err(Error::TooFewTimesteps { got: timesteps });
        }
        let scaled = |name, beta: f64| match scale {
            BetaScale::AsGiven => open_unit(name, beta),
            BetaScale::Per1000Steps => open_unit(name, beta * 1000.0 / timesteps as f64),
        };
        let both = |start, end| Ok((scaled("beta_start", start)?, scaled("beta_end", end)?));
        match *self {
            Schedule::Linear { beta_start, beta_end } => {
                let (start, end) = both(beta_start, beta_end)?;
                Ok(linspace(start, end, timesteps))
            }
            Schedule::Quad { beta_start, beta_end } => {
                let (start, end) = both(beta_start, beta_end)?;
                Ok(linspace(start.sqrt(), end.sqrt(), timesteps).into_iter().map(|b| b * b).collect())
            }
            Schedule::Const { beta_end } => Ok(vec![scaled("beta_end", beta_end)?; timesteps]),
            Schedule::Warmup10 { beta_start, beta_end } => {
                let (start, end) = both(beta_start, beta_end)?;
                Ok(warmup(start, end, timesteps, 0.1))
            }
            Schedule::Warmup50 { beta_start, beta_end } => {
                let (start, end) = both(beta_start, beta_end)?;
                Ok(warmup(start, end, timesteps, 0.5))
            }
            Schedule::Jsd {} => Ok((0..timesteps).map(|i| 1.0 / (timesteps - i) as f64).collect()),
            Schedule::Cosine { s, max_beta } => {
                if !(0.0..1.0).contains(&s) {
                    return Err(Error::Parameter { name: "s", expected: "a number in [0, 1)", got: s });
                }
                let max_beta = open_unit("max_beta", max_beta)?;
                let f = |u: f64| libm::cos((u + s) / (1.0 + s) * std::f64::consts::FRAC_PI_2).powi(2);
                Ok(from_alpha_bar(f, timesteps, max_beta))
            }
            Schedule::Sigmoid { start, end, tau, max_beta } => {
                if !(start.is_finite() && end.is_finite() && end > start) {
                    return Err(Error::Parameter { name: "end", expected: "a finite number greater than start", got: end });
                }
                if !(tau.is_finite() && tau > 0.0) {
                    return Err(Error::Parameter { name: "tau", expected: "a positive number", got: tau });
                }
                let max_beta = open_unit("max_beta", max_beta)?;
                let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x / tau));
                Ok(from_alpha_bar(|u| sigmoid(end) - sigmoid(start + u * (end - start)), timesteps, max_beta))
            }
        }
    }
}

fn open_unit(name: &'static str, value: f64) -> Result<f64, Error> {
    if value > 0.0 && value < 1.0 {
        Ok(value)
    } else {
        Err(Error::Parameter { name, expected: "a number in (0, 1), after scaling to T", got: value })
    }
}

/// numpy's linspace: `n` points with both ends, the last one exact.
fn linspace(start: f64, end: f64, n: usize) -> Vec<f64> {
    if n == 1 {
        return vec![start];
    }
    let step = (end - start) / (n - 1) as f64;
    let mut points: Vec<f64> = (0..n).map(|i| start + i as f64 * step).collect();
    points[n - 1] = end;
    points
}

fn warmup(start: f64, end: f64, timesteps: usize, fraction: f64) -> Vec<f64> {
    let n = (timesteps as f64 * fraction) as usize;
    let mut betas = vec![end; timesteps];
    betas[..n].copy_from_slice(&if n == 0 { Vec::new() } else { linspace(start, end, n) });
    betas
}

/// beta_t = min(1 - f(t/T) / f((t-1)/T), max_beta), bounded below by the machine epsilon of f64.
fn from_alpha_bar(f: impl Fn(f64) -> f64, timesteps: usize, max_beta: f64) -> Vec<f64> {
    let n = timesteps as f64;
    (0..timesteps).map(|i| (1.0 - f((i + 1) as f64 / n) / f(i as f64 / n)).clamp(f64::EPSILON, max_beta)).collect()
}
