//! One step's term of the variational bound for one image, in f64 from the network's numbers: what bits/dim are added up from.

use crate::diffusion::Diffusion;
use ddpm_core::Prediction;
use ddpm_core::likelihood::{DecoderCdf, bits, decoder_log_likelihood, mean_error, variance_mismatch};

/// L_{t-1} of one image and what it is made of, in bits/dim; `total` is the sum of the three parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Term {
    /// The part of the KL that remains when the means agree; 0 at t = 1.
    pub variance_mismatch: f64,
    /// The part of the KL due to the difference of the means; 0 at t = 1.
    pub mean_error: f64,
    /// The decoder's negative log-likelihood; 0 except at t = 1.
    pub decoder: f64,
    /// The decoder's negative log-likelihood under the variance that fixed-small and fixed-large share at t = 1; 0 at all other steps.
    pub decoder_fixed: f64,
    /// Mean squared difference of the means, mu_tilde - mu, not in bits; 0 at t = 1.
    pub mean_squared: f64,
    /// Mean squared error of the predicted x_0 (clipped) on the [-1, 1] scale.
    pub mse_x0: f64,
    /// Mean squared error of the predicted eps, from the unclipped output; not a number where alpha_bar_t = 0.
    pub mse_eps: f64,
    /// Where a learned ln sigma2_t lies between ln beta_tilde_t (0) and ln beta_t (1), the mean over the image's numbers; outside of \[0, 1\]
    /// where the variance does. Not a number where the variance is fixed, and at t = 1, which has no such ends.
    pub log_share: f64,
    /// Mean of the squares of what [`Term::log_share`] is the mean of.
    pub log_share_squared: f64,
}

impl Term {
    /// L_{t-1} in bits/dim.
    pub fn total(&self) -> f64 {
        self.variance_mismatch + self.mean_error + self.decoder
    }
}

/// One image at one step, as the authors evaluate: x_0 is clipped to [-1, 1] before the mean is formed, except with prediction mu,
/// where the mean is the output itself.
pub struct Observed<'a> {
    /// The step, 1..=T.
    pub t: usize,
    /// The clean image: H W C numbers.
    pub x0: &'a [f32],
    /// The noisy image.
    pub xt: &'a [f32],
    /// The network's output: for each pixel the readings of all channels, then the second outputs where there are.
    pub output: &'a [f32],
    /// C.
    pub channels: usize,
}

impl Diffusion {
    /// The term of one observed image.
    pub fn term(&self, seen: &Observed, decoder: DecoderCdf) -> Term {
        let &Observed { t, x0, xt, output, channels } = seen;
        let (process, prediction) = (&self.process, self.setup.prediction);
        let per_pixel = self.out_channels(channels);
        assert_eq!((x0.len(), output.len()), (xt.len(), x0.len() / channels * per_pixel), "one output for each number");
        let to_x0 = prediction.to_x0(process, t);
        let to_eps = prediction.convert(Prediction::Eps, process, t);
        let (a, s) = process.q_sample_coefficients(t);
        let (c_x0, c_xt) = (process.posterior_mean_coef_x0(t), process.posterior_mean_coef_xt(t));
        let log_posterior = process.log_sigma2_small(t);
        let log_sigma2 = self.setup.variance.log_sigma2(process, t);
        let share = |of: f64| (of - log_posterior) / (process.log_sigma2_large(t) - log_posterior);
        let learned = t > 1 && self.setup.variance.is_learned();
        let mut sum = Term::default();
        for i in 0..x0.len() {
            let at = i / channels * per_pixel + i % channels;
            let (x0, xt, y) = (x0[i] as f64, xt[i] as f64, output[at] as f64);
            let second = if per_pixel > channels { output[at + channels] as f64 } else { 0.0 };
            let x0_hat = (to_x0.xt * xt + to_x0.output * y).clamp(-1.0, 1.0);
            let mean = if prediction == Prediction::Mu { y } else { c_x0 * x0_hat + c_xt * xt };
            let log_sigma2 = log_sigma2.at(second);
            if learned {
                sum.log_share += share(log_sigma2);
                sum.log_share_squared += share(log_sigma2).powi(2);
            }
            if t == 1 {
                sum.decoder -= decoder_log_likelihood(x0, mean, 0.5 * log_sigma2, decoder);
                sum.decoder_fixed -= decoder_log_likelihood(x0, mean, 0.5 * log_posterior, decoder);
            } else {
                sum.variance_mismatch += variance_mismatch(log_posterior, log_sigma2);
                let squared = (c_x0 * x0 + c_xt * xt - mean).powi(2);
                sum.mean_error += mean_error(squared, log_sigma2);
                sum.mean_squared += squared;
            }
            sum.mse_x0 += (x0_hat - x0).powi(2);
            sum.mse_eps += (to_eps.xt * xt + to_eps.output * y - (xt - a * x0) / s).powi(2);
        }
        let n = x0.len() as f64;
        Term {
            variance_mismatch: bits(sum.variance_mismatch / n),
            mean_error: bits(sum.mean_error / n),
            decoder: bits(sum.decoder / n),
            decoder_fixed: bits(sum.decoder_fixed / n),
            mean_squared: sum.mean_squared / n,
            mse_x0: sum.mse_x0 / n,
            mse_eps: if a == 0.0 { f64::NAN } else { sum.mse_eps / n },
            log_share: if learned { sum.log_share / n } else { f64::NAN },
            log_share_squared: if learned { sum.log_share_squared / n } else { f64::NAN },
        }
    }
}
