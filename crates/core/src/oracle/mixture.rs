//! x_0 from a mixture of Gaussians in one dimension: several modes, and still an exact score.

use crate::process::{Gaussian, Process};
use std::f64::consts::PI;

/// One mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component {
    /// Share of the data, positive; shares need not sum to 1.
    pub weight: f64,
    /// Mean of x_0 in this mode.
    pub mean: f64,
    /// Standard deviation of x_0 in this mode, >= 0.
    pub std: f64,
}

/// A mixture of at least one mode.
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureData {
    /// The modes.
    pub components: Vec<Component>,
}

impl MixtureData {
    /// Each mode's normalised share and its law of x_t.
    fn modes(&self, process: &Process, t: usize) -> Vec<(f64, Gaussian)> {
        let total: f64 = self.components.iter().map(|c| c.weight).sum();
        let alpha_bar = process.alpha_bar(t);
        let law = |c: &Component| Gaussian { mean: alpha_bar.sqrt() * c.mean, variance: alpha_bar * c.std * c.std + 1.0 - alpha_bar };
        self.components.iter().map(|c| (c.weight / total, law(c))).collect()
    }

    /// q(x_t) at `x`.
    pub fn density(&self, process: &Process, t: usize, x: f64) -> f64 {
        self.modes(process, t).iter().map(|(w, q)| w * density(*q, x)).sum()
    }

    /// The share of each mode in q(. | x_t), from logarithms so that far tails keep their digits.
    fn responsibilities(&self, process: &Process, t: usize, xt: f64) -> Vec<(f64, Gaussian)> {
        let modes = self.modes(process, t);
        let logs: Vec<f64> = modes.iter().map(|(w, q)| w.ln() + log_density(*q, xt)).collect();
        let top = logs.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|l| (l - top).exp()).sum();
        modes.iter().zip(&logs).map(|((_, q), l)| ((l - top).exp() / sum, *q)).collect()
    }

    /// d/dx ln q(x_t).
    pub fn score(&self, process: &Process, t: usize, xt: f64) -> f64 {
        self.responsibilities(process, t, xt).iter().map(|(r, q)| r * (q.mean - xt) / q.variance).sum()
    }

    /// Mean and variance of x_0 given x_t.
    pub fn x0_given_xt(&self, process: &Process, t: usize, xt: f64) -> Gaussian {
        let a = process.alpha_bar(t).sqrt();
        let noise = 1.0 - process.alpha_bar(t);
        let posterior = |c: &Component, q: &Gaussian| {
            let s2 = c.std * c.std;
            (c.mean + a * s2 / q.variance * (xt - q.mean), s2 * noise / q.variance)
        };
        let parts: Vec<(f64, (f64, f64))> =
            self.components.iter().zip(self.responsibilities(process, t, xt)).map(|(c, (r, q))| (r, posterior(c, &q))).collect();
        let mean = parts.iter().map(|(r, (m, _))| r * m).sum();
        let variance = parts.iter().map(|(r, (m, v))| r * (v + (m - mean) * (m - mean))).sum();
        Gaussian { mean, variance }
    }

    /// E[eps | x_t]: the optimal noise prediction.
    pub fn best_eps(&self, process: &Process, t: usize, xt: f64) -> f64 {
        let (a, s) = process.q_sample_coefficients(t);
        (xt - a * self.x0_given_xt(process, t, xt).mean) / s
    }
}

fn log_density(q: Gaussian, x: f64) -> f64 {
    -0.5 * ((x - q.mean).powi(2) / q.variance + (2.0 * PI * q.variance).ln())
}

fn density(q: Gaussian, x: f64) -> f64 {
    log_density(q, x).exp()
}
