//! x_0 from a mixture of Gaussians in one dimension: several modes, and still an exact score.

use crate::likelihood::{mean_error, normal_mass, variance_mismatch};
use crate::parameterisation::Prediction;
use crate::process::{Gaussian, Process};
use crate::sampler::Step;
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

    /// The posterior weight of each mode given x_t, computed in logarithms so that far tails stay accurate.
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

    /// E[L_{t-1}] in nats with the optimal mean and reverse variance `exp(log_sigma2)`; at t = 1 the density -ln p(x_0 | x_1). Exact but
    /// for the quadrature over x_t.
    pub fn expected_term(&self, process: &Process, t: usize, log_sigma2: f64) -> f64 {
        let spread = self.mean_spread(process, t);
        if t == 1 {
            return 0.5 * ((2.0 * PI).ln() + log_sigma2) + mean_error(spread, log_sigma2);
        }
        let log_posterior = process.posterior_variance(t).ln();
        variance_mismatch(log_posterior, log_sigma2) + mean_error(process.posterior_mean_coef_x0(t).powi(2) * spread, log_sigma2)
    }

    /// E[Var(x_0 | x_t)]: what no network can know of x_0 from x_t.
    pub fn mean_spread(&self, process: &Process, t: usize) -> f64 {
        // Trapezoids over all that has mass: for smooth integrands that vanish at both ends they converge faster than any power.
        let modes = self.modes(process, t);
        let reach = |side: f64| modes.iter().map(|(_, q)| side * q.mean + 10.0 * q.variance.sqrt()).fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = (-reach(-1.0), reach(1.0));
        let narrowest = modes.iter().map(|(_, q)| q.variance.sqrt()).fold(f64::INFINITY, f64::min);
        let n = (8.0 * (high - low) / narrowest).ceil() as usize;
        let h = (high - low) / n as f64;
        (0..=n).map(|i| low + i as f64 * h).map(|x| self.density(process, t, x) * self.x0_given_xt(process, t, x).variance * h).sum()
    }

    /// The distribution of a sampler's output when it starts from N(0, 1) and uses the optimal network for `prediction`, unclipped: the
    /// masses of the cells between neighbouring `edges` (ascending, at least 2). Exact as the cells shrink: a cell's mass moves with its
    /// midpoint.
    ///
    /// # Panics
    /// Where a step looks back at the one before: a cell does not say where its mass came from.
    pub fn sampler_law(&self, process: &Process, steps: &[Step], prediction: Prediction, edges: &[f64]) -> Vec<f64> {
        // Nine standard deviations hold all of a normal's mass that f64 can tell from all.
        let cells = |mean: f64, sigma: f64| {
            let from = edges.partition_point(|e| *e < mean - 9.0 * sigma).saturating_sub(1);
            let to = (edges.partition_point(|e| *e < mean + 9.0 * sigma) + 1).min(edges.len());
            let share = move |e: &[f64]| normal_mass((e[0] - mean) / sigma, (e[1] - mean) / sigma);
            edges[from..to].windows(2).enumerate().map(move |(i, e)| (from + i, share(e)))
        };
        let middles: Vec<f64> = edges.windows(2).map(|e| 0.5 * (e[0] + e[1])).collect();
        let mut masses = vec![0.0; middles.len()];
        cells(0.0, 1.0).for_each(|(cell, share)| masses[cell] = share);
        for step in steps {
            assert_eq!(step.x0_before, 0.0, "a step that looks back has no law on cells");
            let mut next = vec![0.0; masses.len()];
            for (x, mass) in middles.iter().zip(&masses).filter(|(_, mass)| **mass > 1e-15) {
                let x0 = self.x0_given_xt(process, step.t, *x).mean;
                let reading = prediction.from_x0(process, step.t);
                let output = reading.xt * x + reading.output * x0;
                let mean = step.xt * x + step.x0 * x0 + step.output * output;
                let sigma = step.noise.sigma(0.0);
                if sigma > 0.0 {
                    cells(mean, sigma).for_each(|(cell, share)| next[cell] += mass * share);
                } else if let Some(cell) = edges.windows(2).position(|e| e[0] <= mean && mean < e[1]) {
                    next[cell] += mass;
                }
            }
            masses = next;
        }
        masses
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
