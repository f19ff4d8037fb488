//! What a sampler is made of: steps that are linear combinations.

use crate::error::Error;
use crate::linear::Linear;
use crate::variance::LogSigma2;

/// The scale of the noise that a step adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// A number, 0 where the step is deterministic.
    Fixed(f64),
    /// exp(ln sigma2 / 2), from the network's second output.
    Learned(LogSigma2),
}

impl Noise {
    /// The standard deviation for the network's second output `r`.
    pub fn sigma(self, r: f64) -> f64 {
        match self {
            Noise::Fixed(sigma) => sigma,
            Noise::Learned(log_sigma2) => libm::exp(0.5 * log_sigma2.at(r)),
        }
    }
}

/// One reverse step: x' = xt x_t + x0 x_0_hat + x0_before x_0_hat' + output y + noise z, for the network's output y, the x_0 that it
/// implies, and the x_0_hat' that the step before predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The step whose noise level x_t has: the network is fed t - 1.
    pub t: usize,
    /// Factor of x_t.
    pub xt: f64,
    /// Factor of the predicted x_0, after clipping where the sampler clips.
    pub x0: f64,
    /// Factor of the x_0 that the step before predicted, clipped likewise; 0 in the first step of a walk.
    pub x0_before: f64,
    /// Factor of the network's output as it is.
    pub output: f64,
    /// Scale of z ~ N(0, I).
    pub noise: Noise,
}

impl Step {
    /// The mean of x' given x_t. `x0_before` is what the step before predicted; none where the walk begins here, so that `x0_hat` stands in
    /// for it and the step is of first order.
    pub fn mean<V: Linear>(&self, xt: &V, x0_hat: &V, x0_before: Option<&V>, output: &V) -> Result<V, V::Error> {
        let [xt, x0, output] = [(self.xt, xt), (self.x0, x0_hat), (self.output, output)];
        if self.x0_before == 0.0 {
            return V::combine(&[xt, x0, output]);
        }
        V::combine(&[xt, x0, (self.x0_before, x0_before.unwrap_or(x0_hat)), output])
    }
}

/// `n` steps spread evenly over 1..=T, both ends included. Errors unless 2 <= n <= T.
pub fn even_steps(timesteps: usize, n: usize) -> Result<Vec<usize>, Error> {
    if n < 2 || n > timesteps {
        return Err(Error::Subsequence { expected: format!("a number of steps in 2..={timesteps}"), got: n.to_string() });
    }
    let stride = (timesteps - 1) as f64 / (n - 1) as f64;
    Ok((0..n).map(|i| 1 + (i as f64 * stride).round() as usize).collect())
}

/// The steps from each visited one to the next below it, the last one to 0.
pub fn pairs(visited: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let below = visited.iter().rev().skip(1).chain(std::iter::once(&0));
    visited.iter().rev().copied().zip(below.copied())
}
