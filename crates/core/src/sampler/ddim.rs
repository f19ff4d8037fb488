//! Denoising diffusion implicit models (Song, Meng & Ermon 2021, eq. 12).

use super::step::{Noise, Step, pairs};
use crate::error::Error;
use crate::parameterisation::Prediction;
use crate::process::Process;

pub fn walk(process: &Process, visited: &[usize], eta: f64) -> Result<Vec<Step>, Error> {
    if !(0.0..=1.0).contains(&eta) {
        return Err(Error::Parameter { name: "eta", expected: "a number in [0, 1]", got: eta });
    }
    Ok(pairs(visited).map(|(t, s)| step(process, t, s, eta)).collect())
}

/// x_s = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps + sigma z, eps being what x_t and the predicted x_0 imply.
fn step(process: &Process, t: usize, s: usize, eta: f64) -> Step {
    let (alpha_bar_t, alpha_bar_s) = (process.alpha_bar(t), process.alpha_bar(s));
    let sigma2 = eta * eta * (1.0 - alpha_bar_s) / (1.0 - alpha_bar_t) * (1.0 - alpha_bar_t / alpha_bar_s);
    let eps_factor = (1.0 - alpha_bar_s - sigma2).max(0.0).sqrt();
    let eps = Prediction::Eps.from_x0(process, t);
    let (xt, x0) = (eps_factor * eps.xt, alpha_bar_s.sqrt() + eps_factor * eps.output);
    Step { t, xt, x0, x0_before: 0.0, output: 0.0, noise: Noise::Fixed(sigma2.sqrt()) }
}
