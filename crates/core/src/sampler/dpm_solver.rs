//! DPM-Solver++(2M) (Lu, Zhou, Bao, Chen, Li & Zhu 2022, Algorithm 2): the probability flow in lambda = ln(alpha / sigma), where its
//! linear part is solved exactly and x_0 is extrapolated from two predictions.

use super::step::{Noise, Step, pairs};
use crate::process::Process;

pub fn walk(process: &Process, visited: &[usize]) -> Vec<Step> {
    let mut h_before = None;
    let step = |(t, s)| {
        let (step, h) = step(process, t, s, h_before);
        h_before = Some(h);
        step
    };
    pairs(visited).map(step).collect()
}

/// From t to s, and h = lambda_s - lambda_t. With D the predicted x_0 and D' the one before,
/// x_s = sigma_s / sigma_t x_t + alpha_s (1 - e^-h) ((1 + 1/2r) D - 1/2r D'), r = h_before / h.
fn step(process: &Process, t: usize, s: usize, h_before: Option<f64>) -> (Step, f64) {
    let (alpha_t, sigma_t) = process.q_sample_coefficients(t);
    let (alpha_s, sigma_s) = process.q_sample_coefficients(s);
    // e^-h; 0 where the chain begins without signal or ends without noise.
    let shrink = alpha_t * sigma_s / (alpha_s * sigma_t);
    let h = -libm::log(shrink);
    let x0 = alpha_s * (1.0 - shrink);
    // The first step has nothing to extrapolate from; neither has one of infinite length, or one after such.
    let half = h_before.filter(|_| h.is_finite()).map_or(0.0, |before| 0.5 * h / before);
    (Step { t, xt: sigma_s / sigma_t, x0: x0 * (1.0 + half), x0_before: -x0 * half, output: 0.0, noise: Noise::Fixed(0.0) }, h)
}
