//! x_0 ~ N(mean, std^2) in one dimension: every conditional of the chain is Gaussian, so everything is linear.

use crate::likelihood::{gaussian_kl, mean_error, variance_mismatch};
use crate::parameterisation::{Affine, Prediction};
use crate::process::{Gaussian, Process};
use crate::sampler::Step;
use std::f64::consts::PI;

/// A Gaussian data law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianData {
    /// Mean of x_0.
    pub mean: f64,
    /// Standard deviation of x_0, >= 0 (0: a single point).
    pub std: f64,
}

impl GaussianData {
    /// q(x_t). At t = 0 the data.
    pub fn marginal(&self, process: &Process, t: usize) -> Gaussian {
        let alpha_bar = process.alpha_bar(t);
        Gaussian { mean: alpha_bar.sqrt() * self.mean, variance: alpha_bar * self.std * self.std + 1.0 - alpha_bar }
    }

    /// d/dx ln q(x_t).
    pub fn score(&self, process: &Process, t: usize, xt: f64) -> f64 {
        let q = self.marginal(process, t);
        (q.mean - xt) / q.variance
    }

    /// q(x_0 | x_t).
    pub fn x0_given_xt(&self, process: &Process, t: usize, xt: f64) -> Gaussian {
        let line = self.best_x0(process, t);
        let variance = self.std * self.std * (1.0 - process.alpha_bar(t)) / self.marginal(process, t).variance;
        Gaussian { mean: line.constant + line.slope * xt, variance }
    }

    /// The optimal network: E[reading | x_t] as a line in x_t.
    pub fn best(&self, prediction: Prediction, process: &Process, t: usize) -> Line {
        let Affine { xt, output } = prediction.from_x0(process, t);
        let x0 = self.best_x0(process, t);
        Line { constant: output * x0.constant, slope: xt + output * x0.slope }
    }

    fn best_x0(&self, process: &Process, t: usize) -> Line {
        let q = self.marginal(process, t);
        let slope = process.alpha_bar(t).sqrt() * self.std * self.std / q.variance;
        Line { constant: self.mean - slope * q.mean, slope }
    }

    /// Var(x_{t-1} | x_t): the reverse variance that makes the bound least, since the reverse conditional is exactly Gaussian.
    /// beta_t for N(0, 1); beta_tilde_t for a single point (section 3.2).
    pub fn optimal_sigma2(&self, process: &Process, t: usize) -> f64 {
        let spread = self.x0_given_xt(process, t, 0.0).variance;
        process.posterior_variance(t) + process.posterior_mean_coef_x0(t).powi(2) * spread
    }

    /// E[L_{t-1}] in nats with the optimal mean and reverse variance `exp(log_sigma2)`; at t = 1 the density -ln p(x_0 | x_1).
    pub fn expected_term(&self, process: &Process, t: usize, log_sigma2: f64) -> f64 {
        let spread = self.x0_given_xt(process, t, 0.0).variance;
        if t == 1 {
            return 0.5 * ((2.0 * PI).ln() + log_sigma2) + mean_error(spread, log_sigma2);
        }
        let log_posterior = process.posterior_variance(t).ln();
        variance_mismatch(log_posterior, log_sigma2) + mean_error(process.posterior_mean_coef_x0(t).powi(2) * spread, log_sigma2)
    }

    /// The expected L_T in nats: KL(q(x_T | x_0) || N(0, 1)) averaged over the data.
    pub fn expected_prior_term(&self, process: &Process) -> f64 {
        let q = process.q_marginal(0.0, process.timesteps());
        let mean_squared = process.alpha_bar(process.timesteps()) * (self.mean * self.mean + self.std * self.std);
        gaussian_kl(0.0, q.variance.ln(), 0.0, 0.0) + mean_error(mean_squared, 0.0)
    }

    /// Differential entropy of the data, in nats: no bound can be lower.
    pub fn entropy(&self) -> f64 {
        0.5 * (2.0 * PI * std::f64::consts::E * self.std * self.std).ln()
    }

    /// The exact law of a sampler's output that starts from N(0, 1) and has the optimal network of `prediction`, unclipped.
    pub fn sampler_law(&self, process: &Process, steps: &[Step], prediction: Prediction) -> Gaussian {
        let mut law = Gaussian { mean: 0.0, variance: 1.0 };
        // Of the x_0 predicted at the step before: its mean, its covariance with x_t, its variance.
        let (mut before, mut covariance, mut before_variance) = (0.0, 0.0, 0.0);
        for step in steps {
            let (x0, output) = (self.best_x0(process, step.t), self.best(prediction, process, step.t));
            let slope = step.xt + step.x0 * x0.slope + step.output * output.slope;
            let constant = step.x0 * x0.constant + step.output * output.constant;
            let k = step.x0_before;
            let mean = slope * law.mean + constant + k * before;
            let variance = slope * slope * law.variance + 2.0 * slope * k * covariance + k * k * before_variance;
            // x' and the x_0 predicted here, which is the next step's past.
            let next_covariance = x0.slope * (slope * law.variance + k * covariance);
            (before, before_variance) = (x0.at(law.mean), x0.slope * x0.slope * law.variance);
            covariance = next_covariance;
            law = Gaussian { mean, variance: variance + step.noise.sigma(0.0).powi(2) };
        }
        law
    }
}

/// `constant + slope x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Value at 0.
    pub constant: f64,
    /// Change per unit.
    pub slope: f64,
}

impl Line {
    /// The value at `x`.
    pub fn at(self, x: f64) -> f64 {
        self.constant + self.slope * x
    }
}
