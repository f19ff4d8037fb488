//! The update on slices.

use super::{Epsilon, Update};

/// The factors that are the same for all numbers of an update.
struct Factors {
    beta1: f32,
    beta2: f32,
    /// Multiplies m.
    step: f32,
    /// Multiplies sqrt(v) before epsilon is added.
    root: f32,
    epsilon: f32,
    scale: f32,
    ema: f32,
}

impl Factors {
    fn new(u: &Update) -> Factors {
        let (c1, c2) = (1.0 - u.beta1.powf(u.k as f64), (1.0 - u.beta2.powf(u.k as f64)).sqrt());
        let (step, root) = match u.epsilon_mode {
            Epsilon::Hat => (u.learning_rate * c2 / c1, 1.0),
            Epsilon::Corrected => (u.learning_rate / c1, 1.0 / c2),
        };
        Factors {
            beta1: u.beta1 as f32,
            beta2: u.beta2 as f32,
            step: step as f32,
            root: root as f32,
            epsilon: u.epsilon as f32,
            scale: u.gradient_scale as f32,
            ema: u.ema_decay as f32,
        }
    }
}

/// `state` is parameter, m, v and moving average, one after the other.
pub fn adam(update: &Update, state: &mut [f32], gradient: &[f32]) {
    let f = Factors::new(update);
    let n = gradient.len();
    let (parameter, rest) = state.split_at_mut(n);
    let (m, rest) = rest.split_at_mut(n);
    let (v, ema) = rest.split_at_mut(n);
    for ((((parameter, m), v), ema), g) in parameter.iter_mut().zip(m).zip(v).zip(ema).zip(gradient) {
        let g = g * f.scale;
        *m = f.beta1 * *m + (1.0 - f.beta1) * g;
        *v = f.beta2 * *v + (1.0 - f.beta2) * g * g;
        *parameter -= f.step * *m / (v.sqrt() * f.root + f.epsilon);
        *ema = f.ema * *ema + (1.0 - f.ema) * *parameter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The published recursion in f64, written from the formulas and not from the code above.
    fn oracle(updates: &[Update], start: f64, gradients: &[f64]) -> (f64, f64) {
        let (mut theta, mut m, mut v, mut ema) = (start, 0.0, 0.0, start);
        for (u, g) in updates.iter().zip(gradients) {
            let g = g * u.gradient_scale;
            m = u.beta1 * m + (1.0 - u.beta1) * g;
            v = u.beta2 * v + (1.0 - u.beta2) * g * g;
            let (m_hat, v_hat) = (m / (1.0 - u.beta1.powi(u.k as i32)), v / (1.0 - u.beta2.powi(u.k as i32)));
            theta -= match u.epsilon_mode {
                Epsilon::Corrected => u.learning_rate * m_hat / (v_hat.sqrt() + u.epsilon),
                Epsilon::Hat => {
                    u.learning_rate * (1.0 - u.beta2.powi(u.k as i32)).sqrt() / (1.0 - u.beta1.powi(u.k as i32)) * m
                        / (v.sqrt() + u.epsilon)
                }
            };
            ema = u.ema_decay * ema + (1.0 - u.ema_decay) * theta;
        }
        (theta, ema)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn follows_the_published_recursion(
            start in -1.0f64..1.0, gradients in prop::collection::vec(-2.0f64..2.0, 1..20), hat: bool,
            lr in 1e-4f64..1e-1, epsilon in 1e-8f64..1e-2, decay in 0.0f64..1.0, scale in 0.1f64..1.0,
        ) {
            let epsilon_mode = if hat { Epsilon::Hat } else { Epsilon::Corrected };
            let updates: Vec<Update> = (1..=gradients.len() as u64)
                .map(|k| Update { learning_rate: lr, beta1: 0.9, beta2: 0.999, epsilon, epsilon_mode, k, gradient_scale: scale, ema_decay: decay })
                .collect();
            let mut state = [start as f32, 0.0, 0.0, start as f32];
            for (u, g) in updates.iter().zip(&gradients) {
                adam(u, &mut state, &[*g as f32]);
            }
            let (theta, ema) = oracle(&updates, start, &gradients);
            prop_assert!((state[0] as f64 - theta).abs() < 1e-4 * (lr * 20.0 + 0.1), "{} {theta}", state[0]);
            prop_assert!((state[3] as f64 - ema).abs() < 1e-4 * (lr * 20.0 + 0.1), "{} {ema}", state[3]);
        }
    }
}
