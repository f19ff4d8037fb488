//! The variational bound (eq. 5) term by term: KL of Gaussians, the discretised decoder (eq. 13), the prior term.

use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_1_SQRT_2, LN_2, PI};

/// Nats to bits.
pub fn bits(nats: f64) -> f64 {
    nats / LN_2
}

/// KL(N(mean1, e^log_var1) || N(mean2, e^log_var2)), in nats per dimension. >= 0, and 0 iff the two are equal.
pub fn gaussian_kl(mean1: f64, log_var1: f64, mean2: f64, log_var2: f64) -> f64 {
    variance_mismatch(log_var1, log_var2) + mean_error((mean1 - mean2).powi(2), log_var2)
}

/// The part of [`gaussian_kl`] that is left when the means agree, in nats. >= 0.
pub fn variance_mismatch(log_var1: f64, log_var2: f64) -> f64 {
    let d = log_var1 - log_var2;
    // e^d - 1 - d, without cancellation near d = 0.
    0.5 * (libm::expm1(d) - d)
}

/// The part of [`gaussian_kl`] that the means' squared difference makes, in nats. >= 0.
pub fn mean_error(squared_difference: f64, log_var2: f64) -> f64 {
    0.5 * squared_difference * libm::exp(-log_var2)
}

/// ln of the variance that minimises the average [`gaussian_kl`] when the squared difference of the means is `mean_squared` on average:
/// e^log_var1 + mean_squared (Bao et al. 2022, eq. 8, in the form of the posterior mean). The remaining KL is half of the amount by
/// which this exceeds `log_var1`.
pub fn optimal_log_var(log_var1: f64, mean_squared: f64) -> f64 {
    libm::log(libm::exp(log_var1) + mean_squared)
}

/// L_T per dimension, in nats: KL(q(x_T | x_0) || N(0, 1)), for the mean of x_0^2 over the dimensions.
pub fn prior_term(mean_x0_squared: f64, alpha_bar_last: f64) -> f64 {
    let variance = 1.0 - alpha_bar_last;
    0.5 * (alpha_bar_last * mean_x0_squared + variance - 1.0 - libm::log(variance))
}

/// Which cumulative distribution function the discretised decoder integrates with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DecoderCdf {
    /// 0.5 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), probabilities floored at 1e-12: the authors' code.
    #[default]
    Tanh,
    /// The normal distribution function itself, floored only at the smallest positive normal `f64`.
    Erf,
}

/// The least probability that the authors' decoder gives a bin.
pub const TANH_FLOOR: f64 = 1e-12;

/// ln p(x_0 | x_1) of one dimension (eq. 13), in nats: N(mean, e^(2 log_sigma)) integrated over the bin of `x`.
///
/// `x` is a level of 8-bit data scaled to [-1, 1]; bins reach 1/255 to both sides, the outermost ones to infinity.
pub fn decoder_log_likelihood(x: f64, mean: f64, log_sigma: f64, cdf: DecoderCdf) -> f64 {
    let inv_sigma = libm::exp(-log_sigma);
    let upper = if x > 0.999 { f64::INFINITY } else { (x - mean + 1.0 / 255.0) * inv_sigma };
    let lower = if x < -0.999 { f64::NEG_INFINITY } else { (x - mean - 1.0 / 255.0) * inv_sigma };
    match cdf {
        DecoderCdf::Tanh => libm::log((tanh_cdf(upper) - tanh_cdf(lower)).max(TANH_FLOOR)),
        DecoderCdf::Erf => libm::log(normal_mass(lower, upper).max(f64::MIN_POSITIVE)),
    }
}

/// The authors' approximation of the normal distribution function. In [0, 1].
pub fn tanh_cdf(x: f64) -> f64 {
    if x.is_infinite() {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    0.5 * (1.0 + libm::tanh((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))))
}

/// P(lower < Z < upper) of a standard normal Z, from the tail in which the two lie, so that small masses keep their digits.
pub fn normal_mass(lower: f64, upper: f64) -> f64 {
    let tail = |x: f64| 0.5 * libm::erfc(x * FRAC_1_SQRT_2);
    if lower > 0.0 { tail(lower) - tail(upper) } else { tail(-upper) - tail(-lower) }
}

/// The bound of one image or the mean of many, in bits/dim, with what it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// L_T.
    pub prior: f64,
    /// Sum over t >= 2 of the KL that is left when the means agree.
    pub variance_mismatch: f64,
    /// Sum over t >= 2 of the KL that the means' difference makes.
    pub mean_error: f64,
    /// L_0: the discretised decoder.
    pub decoder: f64,
}

impl Bound {
    /// The bound itself, in bits/dim.
    pub fn total(&self) -> f64 {
        self.prior + self.variance_mismatch + self.mean_error + self.decoder
    }
}

/// Bounds, in bits/dim, that one trained mean would have under other reverse variances for t >= 2. At t = 1 all three have the variance
/// that `fixed-small` and `fixed-large` share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnderVariances {
    /// beta_tilde_t.
    pub fixed_small: f64,
    /// beta_t.
    pub fixed_large: f64,
    /// At each t >= 2 the one variance, for all pixels and images, that makes their bound least, [`optimal_log_var`]; at t = 1 the fixed one.
    /// A learned variance, which differs between pixels, may be better.
    pub optimal: f64,
}
