//! x_0 from a mixture of round Gaussians in any number of dimensions: several modes, and still an exact score.

use crate::likelihood::{mean_error, normal_mass, variance_mismatch};
use crate::parameterisation::Prediction;
use crate::process::Process;
use crate::sampler::Step;
use std::array;
use std::f64::consts::PI;

/// One mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component<const D: usize> {
    /// Share of the data, positive; shares need not sum to 1.
    pub weight: f64,
    /// Mean of x_0 in this mode.
    pub mean: [f64; D],
    /// Standard deviation of x_0 in this mode, in every direction, >= 0.
    pub std: f64,
}

/// A mixture of at least one mode, in `D` dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureData<const D: usize> {
    /// The modes.
    pub components: Vec<Component<D>>,
}

/// What is known of x_0 from x_t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior<const D: usize> {
    /// E[x_0 | x_t].
    pub mean: [f64; D],
    /// E[|x_0 - mean|^2 | x_t] / D: the variance, averaged over dimensions.
    pub variance: f64,
}

/// A round Gaussian.
#[derive(Clone, Copy)]
struct Mode<const D: usize> {
    mean: [f64; D],
    variance: f64,
}

impl<const D: usize> MixtureData<D> {
    /// Each mode's normalised share and its law of x_t.
    fn modes(&self, process: &Process, t: usize) -> Vec<(f64, Mode<D>)> {
        let total: f64 = self.components.iter().map(|c| c.weight).sum();
        let alpha_bar = process.alpha_bar(t);
        let law =
            |c: &Component<D>| Mode { mean: c.mean.map(|m| alpha_bar.sqrt() * m), variance: alpha_bar * c.std * c.std + 1.0 - alpha_bar };
        self.components.iter().map(|c| (c.weight / total, law(c))).collect()
    }

    /// q(x_t) at `x`.
    pub fn density(&self, process: &Process, t: usize, x: [f64; D]) -> f64 {
        self.modes(process, t).iter().map(|(w, q)| w * libm::exp(q.log_density(x))).sum()
    }

    /// The posterior weight of each mode given x_t, computed in logarithms so that far tails stay accurate.
    fn responsibilities(&self, process: &Process, t: usize, xt: [f64; D]) -> Vec<(f64, Mode<D>)> {
        let modes = self.modes(process, t);
        let logs: Vec<f64> = modes.iter().map(|(w, q)| libm::log(*w) + q.log_density(xt)).collect();
        let top = logs.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|l| libm::exp(l - top)).sum();
        modes.iter().zip(&logs).map(|((_, q), l)| (libm::exp(l - top) / sum, *q)).collect()
    }

    /// The gradient of ln q(x_t) with respect to x_t.
    pub fn score(&self, process: &Process, t: usize, xt: [f64; D]) -> [f64; D] {
        let shares = self.responsibilities(process, t, xt);
        array::from_fn(|d| shares.iter().map(|(r, q)| r * (q.mean[d] - xt[d]) / q.variance).sum())
    }

    /// Mean and variance of x_0 given x_t.
    pub fn x0_given_xt(&self, process: &Process, t: usize, xt: [f64; D]) -> Posterior<D> {
        let a = process.alpha_bar(t).sqrt();
        let noise = 1.0 - process.alpha_bar(t);
        let of_mode = |c: &Component<D>, q: &Mode<D>| {
            let s2 = c.std * c.std;
            let mean: [f64; D] = array::from_fn(|d| c.mean[d] + a * s2 / q.variance * (xt[d] - q.mean[d]));
            (mean, s2 * noise / q.variance)
        };
        let parts: Vec<(f64, ([f64; D], f64))> =
            self.components.iter().zip(self.responsibilities(process, t, xt)).map(|(c, (r, q))| (r, of_mode(c, &q))).collect();
        let mean: [f64; D] = array::from_fn(|d| parts.iter().map(|(r, (m, _))| r * m[d]).sum());
        let variance = parts.iter().map(|(r, (m, v))| r * (v + squared_distance(*m, mean) / D as f64)).sum();
        Posterior { mean, variance }
    }

    /// E[eps | x_t]: the optimal noise prediction.
    pub fn best_eps(&self, process: &Process, t: usize, xt: [f64; D]) -> [f64; D] {
        let (a, s) = process.q_sample_coefficients(t);
        let x0 = self.x0_given_xt(process, t, xt).mean;
        array::from_fn(|d| (xt[d] - a * x0[d]) / s)
    }

    /// E[|x_{t-1} - E[x_{t-1} | x_t]|^2 | x_t] / D: of all reverse variances that are round, the one that makes the bound least at `xt`.
    pub fn optimal_sigma2(&self, process: &Process, t: usize, xt: [f64; D]) -> f64 {
        process.posterior_variance(t) + process.posterior_mean_coef_x0(t).powi(2) * self.x0_given_xt(process, t, xt).variance
    }

    /// E[L_{t-1}] in nats per dimension with the optimal mean and reverse variance `exp(log_sigma2)`; at t = 1 the density -ln p(x_0 | x_1).
    /// Exact but for the quadrature over x_t.
    pub fn expected_term(&self, process: &Process, t: usize, log_sigma2: f64) -> f64 {
        let spread = self.mean_spread(process, t);
        if t == 1 {
            return 0.5 * (libm::log(2.0 * PI) + log_sigma2) + mean_error(spread, log_sigma2);
        }
        let log_posterior = libm::log(process.posterior_variance(t));
        variance_mismatch(log_posterior, log_sigma2) + mean_error(process.posterior_mean_coef_x0(t).powi(2) * spread, log_sigma2)
    }

    /// E[Var(x_0 | x_t)], averaged over dimensions: what no network can know of x_0 from x_t.
    pub fn mean_spread(&self, process: &Process, t: usize) -> f64 {
        self.integral(process, t, |x| self.density(process, t, x) * self.x0_given_xt(process, t, x).variance)
    }

    /// The integral over x_t of what vanishes where q(x_t) does.
    fn integral(&self, process: &Process, t: usize, f: impl Fn([f64; D]) -> f64) -> f64 {
        // Trapezoids over all that has mass: for smooth integrands that vanish at both ends they converge faster than any power.
        let modes = self.modes(process, t);
        let narrowest = modes.iter().map(|(_, q)| q.variance.sqrt()).fold(f64::INFINITY, f64::min);
        let axes: [(f64, f64, usize); D] = array::from_fn(|d| {
            let reach =
                |side: f64| modes.iter().map(|(_, q)| side * q.mean[d] + 10.0 * q.variance.sqrt()).fold(f64::NEG_INFINITY, f64::max);
            let (low, high) = (-reach(-1.0), reach(1.0));
            let n = (8.0 * (high - low) / narrowest).ceil() as usize;
            (low, (high - low) / n as f64, n + 1)
        });
        let points: usize = axes.iter().map(|(.., n)| n).product();
        let cell: f64 = axes.iter().map(|(_, h, _)| h).product();
        let at = |mut i: usize| {
            axes.map(|(low, h, n)| {
                let place = i % n;
                i /= n;
                low + place as f64 * h
            })
        };
        (0..points).map(|i| f(at(i))).sum::<f64>() * cell
    }

    /// P(low < x_0 < high) in every dimension; bounds may be infinite.
    pub fn mass(&self, low: [f64; D], high: [f64; D]) -> f64 {
        let total: f64 = self.components.iter().map(|c| c.weight).sum();
        let of_mode = |c: &Component<D>| -> f64 {
            (0..D).map(|d| normal_mass((low[d] - c.mean[d]) / c.std, (high[d] - c.mean[d]) / c.std)).product()
        };
        self.components.iter().map(|c| c.weight / total * of_mode(c)).sum()
    }

    /// The x_0 that a number in [0, 1) and standard normals make: the number says which mode.
    pub fn draw(&self, which: f64, normals: [f64; D]) -> [f64; D] {
        let total: f64 = self.components.iter().map(|c| c.weight).sum();
        let mut left = which * total;
        let chosen = self.components.iter().find(|c| {
            left -= c.weight;
            left < 0.0
        });
        // Rounding may leave a trace beyond the last one.
        let c = chosen.unwrap_or(&self.components[self.components.len() - 1]);
        array::from_fn(|d| c.mean[d] + c.std * normals[d])
    }
}

impl MixtureData<1> {
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
                let x0 = self.x0_given_xt(process, step.t, [*x]).mean[0];
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
}

impl<const D: usize> Mode<D> {
    fn log_density(&self, x: [f64; D]) -> f64 {
        -0.5 * (squared_distance(x, self.mean) / self.variance + D as f64 * libm::log(2.0 * PI * self.variance))
    }
}

fn squared_distance<const D: usize>(a: [f64; D], b: [f64; D]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
