//! Ancestral sampling (Ho et al. 2020, Algorithm 2), on all steps or on a respaced chain.

use super::step::{Noise, Step};
use crate::error::Error;
use crate::parameterisation::Prediction;
use crate::process::Process;
use crate::variance::ReverseVariance;

pub fn walk(process: &Process, visited: &[usize], prediction: Prediction, variance: ReverseVariance) -> Result<Vec<Step>, Error> {
    // All steps: the chain as it is, to the last digit.
    if visited.len() == process.timesteps() {
        return Ok((1..=visited.len()).rev().map(|t| step(process, t, t, prediction, variance)).collect());
    }
    if variance == ReverseVariance::Learned {
        return Err(Error::LearnedVarianceOnSubsequence);
    }
    // The output is of the whole chain; the respaced one's mean is taken from the x_0 that it implies.
    let chain = process.respaced(visited)?;
    Ok((1..=visited.len()).rev().map(|i| step(&chain, i, visited[i - 1], Prediction::X0, variance)).collect())
}

/// Algorithm 2 from step `i` of `chain`, which is step `t` of the network. With prediction mu the mean is the output itself, which
/// clipping x_0 does not touch (the authors' code).
fn step(chain: &Process, i: usize, t: usize, prediction: Prediction, variance: ReverseVariance) -> Step {
    let log_sigma2 = variance.log_sigma2(chain, i);
    let noise = match (i, variance.is_learned()) {
        (1, _) => Noise::Fixed(0.0),
        (_, true) => Noise::Learned(log_sigma2),
        (_, false) => Noise::Fixed(libm::exp(0.5 * log_sigma2.at(0.0))),
    };
    match prediction {
        Prediction::Mu => Step { t, xt: 0.0, x0: 0.0, x0_before: 0.0, output: 1.0, noise },
        Prediction::X0 | Prediction::Eps | Prediction::V => {
            let (xt, x0) = (chain.posterior_mean_coef_xt(i), chain.posterior_mean_coef_x0(i));
            Step { t, xt, x0, x0_before: 0.0, output: 0.0, noise }
        }
    }
}
