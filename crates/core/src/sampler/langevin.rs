//! Annealed Langevin dynamics (Song & Ermon 2019, Alg. 1) with the score that the network implies.

use super::step::{Noise, Step};
use crate::error::Error;
use crate::parameterisation::Prediction;
use crate::process::Process;

/// Largest number of steps that is accepted as intended rather than as a mistake.
const MOST_STEPS: usize = 1_000_000;

pub fn walk(process: &Process, visited: &[usize], prediction: Prediction, step_size: f64, inner: usize) -> Result<Vec<Step>, Error> {
    if !(step_size > 0.0 && step_size < 2.0) {
        return Err(Error::Parameter { name: "step_size", expected: "a number in (0, 2)", got: step_size });
    }
    if inner == 0 || visited.len().checked_mul(inner).is_none_or(|steps| steps > MOST_STEPS) {
        let expected = "at least 1, and no more than a million steps in all";
        return Err(Error::Parameter { name: "inner", expected, got: inner as f64 });
    }
    if let Some(&t) = visited.iter().find(|t| process.alpha_bar(**t) == 0.0) {
        return Err(Error::LangevinWithoutSignal { t });
    }
    Ok(steps(process, visited, prediction, step_size, inner))
}

/// At each level `inner` steps x + d/2 score + sqrt(d) z with d = step_size (1 - alpha_bar_t); the last one of a level also rescales the
/// signal to the next level. The final step returns the predicted x_0.
fn steps(process: &Process, visited: &[usize], prediction: Prediction, step_size: f64, inner: usize) -> Vec<Step> {
    let mut steps = Vec::with_capacity(visited.len() * inner + 1);
    for &t in visited.iter().rev() {
        let variance = 1.0 - process.alpha_bar(t);
        let delta = step_size * variance;
        let eps = prediction.convert(Prediction::Eps, process, t);
        let pull = -0.5 * delta / variance.sqrt();
        let step =
            Step { t, xt: 1.0 + pull * eps.xt, x0: 0.0, x0_before: 0.0, output: pull * eps.output, noise: Noise::Fixed(delta.sqrt()) };
        steps.extend(std::iter::repeat_n(step, inner));
    }
    // Between levels x moves from scale sqrt(alpha_bar_t) to sqrt(alpha_bar_s): folded into the last step of the level above.
    for (level, pair) in visited.windows(2).rev().enumerate() {
        let rise = (process.alpha_bar(pair[0]) / process.alpha_bar(pair[1])).sqrt();
        let last = &mut steps[(level + 1) * inner - 1];
        last.xt *= rise;
        last.output *= rise;
        if let Noise::Fixed(sigma) = &mut last.noise {
            *sigma *= rise;
        }
    }
    steps.push(Step { t: visited[0], xt: 0.0, x0: 1.0, x0_before: 0.0, output: 0.0, noise: Noise::Fixed(0.0) });
    steps
}
