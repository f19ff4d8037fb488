//! The forward process q and everything it fixes: the tables that training and sampling read.

use crate::error::Error;
use crate::schedule::{BetaScale, Schedule};

/// Mean and variance of a Gaussian over one dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaussian {
    /// Mean.
    pub mean: f64,
    /// Variance, >= 0.
    pub variance: f64,
}

/// The chain q(x_1:T | x_0) of a list of betas (eq. 2), with all that follows from it (eqs. 4, 7).
///
/// Steps are numbered 1..=T; asking for another step is a bug in the caller and panics.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    betas: Vec<f64>,
    /// alpha_bar_0 = 1, alpha_bar_1, ..., alpha_bar_T.
    alpha_bars: Vec<f64>,
}

impl Process {
    /// From beta_1..beta_T. Errors: T < 2; a beta outside (0, 1]; an alpha_bar of 0 before the last step, from a beta of 1 or from f64
    /// underflow.
    pub fn new(betas: Vec<f64>) -> Result<Process, Error> {
        let timesteps = betas.len();
        if timesteps < 2 {
            return Err(Error::TooFewTimesteps { got: timesteps });
        }
        for (i, &beta) in betas.iter().enumerate() {
            if !(beta > 0.0 && beta <= 1.0) {
                return Err(Error::Beta { t: i + 1, got: beta });
            }
        }
        let mut alpha_bars = vec![1.0];
        for beta in &betas {
            alpha_bars.push(alpha_bars[alpha_bars.len() - 1] * (1.0 - beta));
        }
        if let Some(t) = alpha_bars[..timesteps].iter().position(|alpha_bar| *alpha_bar == 0.0) {
            return Err(Error::EarlyCollapse { t, timesteps });
        }
        Ok(Process { betas, alpha_bars })
    }

    /// From a schedule.
    pub fn from_schedule(schedule: &Schedule, timesteps: usize, scale: BetaScale) -> Result<Process, Error> {
        Process::new(schedule.betas(timesteps, scale)?)
    }

    /// The chain that visits only `steps` (ascending, within 1..=T, at least 2): its alpha_bars are those of the visited steps.
    /// With all steps it is this chain, up to rounding. Source: Nichol & Dhariwal 2021, section 4.
    pub fn respaced(&self, steps: &[usize]) -> Result<Process, Error> {
        self.check_steps(steps)?;
        let mut previous = 1.0;
        let betas = steps
            .iter()
            .map(|&t| {
                let beta = 1.0 - self.alpha_bar(t) / previous;
                previous = self.alpha_bar(t);
                beta
            })
            .collect();
        Process::new(betas)
    }

    /// Errors unless `steps` is ascending, within 1..=T, and has at least two entries.
    pub fn check_steps(&self, steps: &[usize]) -> Result<(), Error> {
        let ascending = steps.windows(2).all(|w| w[0] < w[1]);
        let inside = steps.first().is_some_and(|&t| t >= 1) && steps.last().is_some_and(|&t| t <= self.timesteps());
        if steps.len() >= 2 && ascending && inside {
            return Ok(());
        }
        Err(Error::Subsequence {
            expected: format!("at least 2 steps, ascending, within 1..={}", self.timesteps()),
            got: format!("{} steps from {:?} to {:?}, ascending: {ascending}", steps.len(), steps.first(), steps.last()),
        })
    }

    /// T, at least 2.
    pub fn timesteps(&self) -> usize {
        self.betas.len()
    }

    /// beta_t, in (0, 1].
    pub fn beta(&self, t: usize) -> f64 {
        self.betas[t - 1]
    }

    /// alpha_t = 1 - beta_t, in [0, 1).
    pub fn alpha(&self, t: usize) -> f64 {
        1.0 - self.beta(t)
    }

    /// alpha_bar_t = product of alpha_1..alpha_t; 1 at t = 0. In [0, 1].
    pub fn alpha_bar(&self, t: usize) -> f64 {
        self.alpha_bars[t]
    }

    /// Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t). Strictly falling in t.
    pub fn snr(&self, t: usize) -> f64 {
        self.alpha_bar(t) / (1.0 - self.alpha_bar(t))
    }

    /// q(x_t | x_{t-1}) (eq. 2).
    pub fn q_step(&self, x_prev: f64, t: usize) -> Gaussian {
        Gaussian { mean: self.alpha(t).sqrt() * x_prev, variance: self.beta(t) }
    }

    /// q(x_t | x_0) (eq. 4). At t = 0: x_0 itself.
    pub fn q_marginal(&self, x0: f64, t: usize) -> Gaussian {
        Gaussian { mean: self.alpha_bar(t).sqrt() * x0, variance: 1.0 - self.alpha_bar(t) }
    }

    /// Coefficients (a, s) of x_t = a x_0 + s eps: sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t).
    pub fn q_sample_coefficients(&self, t: usize) -> (f64, f64) {
        (self.alpha_bar(t).sqrt(), (1.0 - self.alpha_bar(t)).sqrt())
    }

    /// q(x_{t-1} | x_t, x_0): mean mu_tilde_t and variance beta_tilde_t (eqs. 6, 7). The variance is 0 at t = 1.
    pub fn q_posterior(&self, x0: f64, xt: f64, t: usize) -> Gaussian {
        Gaussian { mean: self.posterior_mean_coef_x0(t) * x0 + self.posterior_mean_coef_xt(t) * xt, variance: self.posterior_variance(t) }
    }

    /// The factor of x_0 in mu_tilde_t: sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t) (eq. 7). 1 at t = 1.
    pub fn posterior_mean_coef_x0(&self, t: usize) -> f64 {
        self.beta(t) * self.alpha_bar(t - 1).sqrt() / (1.0 - self.alpha_bar(t))
    }

    /// The factor of x_t in mu_tilde_t: sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) (eq. 7). 0 at t = 1.
    pub fn posterior_mean_coef_xt(&self, t: usize) -> f64 {
        (1.0 - self.alpha_bar(t - 1)) * self.alpha(t).sqrt() / (1.0 - self.alpha_bar(t))
    }

    /// beta_tilde_t = beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) (eq. 7), in [0, beta_t]. 0 at t = 1.
    pub fn posterior_variance(&self, t: usize) -> f64 {
        self.beta(t) * (1.0 - self.alpha_bar(t - 1)) / (1.0 - self.alpha_bar(t))
    }

    /// ln beta_tilde_t, with t = 2's value at t = 1 where beta_tilde is 0: the authors' CIFAR-10 code, not the paper.
    pub fn log_sigma2_small(&self, t: usize) -> f64 {
        libm::log(self.posterior_variance(t.max(2)))
    }

    /// ln beta_t, with ln beta_tilde_2 at t = 1: the authors' CIFAR-10 code ("to get a better decoder log likelihood").
    pub fn log_sigma2_large(&self, t: usize) -> f64 {
        if t == 1 { self.log_sigma2_small(1) } else { libm::log(self.beta(t)) }
    }

    /// The first step with alpha_bar = 0, if there is one (the last step of schedule jsd).
    pub fn signal_vanishes_at(&self) -> Option<usize> {
        (1..=self.timesteps()).find(|&t| self.alpha_bar(t) == 0.0)
    }
}
