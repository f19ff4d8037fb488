//! The update on slices.

use super::{Epsilon, Update};
use crate::simd::{Simd, SimdKernel, run};
use rayon::prelude::*;

/// Elements per task. Fixed, so that the order of summation does not depend on the number of threads.
const PART: usize = 1 << 14;

/// What is trained, number by number: four slices of one length.
#[derive(Debug)]
pub struct AdamState<'a> {
    /// The parameters.
    pub theta: &'a mut [f32],
    /// Adam's first moments.
    pub m: &'a mut [f32],
    /// Adam's second moments.
    pub v: &'a mut [f32],
    /// The parameters' moving average.
    pub ema: &'a mut [f32],
}

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
        let (c1, c2) = (1.0 - libm::pow(u.beta1, u.k as f64), (1.0 - libm::pow(u.beta2, u.k as f64)).sqrt());
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

/// One update of all numbers by `gradient`.
pub fn adam(update: &Update, state: AdamState, gradient: &[f32]) {
    let n = gradient.len();
    assert_eq!([state.theta.len(), state.m.len(), state.v.len(), state.ema.len()], [n; 4], "one state for each gradient");
    let f = Factors::new(update);
    let moments = state.m.par_chunks_mut(PART).zip(state.v.par_chunks_mut(PART));
    let weights = state.theta.par_chunks_mut(PART).zip(state.ema.par_chunks_mut(PART));
    weights.zip(moments).zip(gradient.par_chunks(PART)).for_each(|(((theta, ema), (m, v)), gradient)| {
        run(AdamStep { f: &f, theta, m, v, ema, gradient });
    });
}

struct AdamStep<'a> {
    f: &'a Factors,
    theta: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    ema: &'a mut [f32],
    gradient: &'a [f32],
}

impl SimdKernel<f32> for AdamStep<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = f32>>(self) {
        let AdamStep { f, theta, m, v, ema, gradient } = self;
        for ((((theta, m), v), ema), g) in theta.iter_mut().zip(m).zip(v).zip(ema).zip(gradient) {
            let g = g * f.scale;
            *m = f.beta1 * *m + (1.0 - f.beta1) * g;
            *v = f.beta2 * *v + (1.0 - f.beta2) * g * g;
            *theta -= f.step * *m / (v.sqrt() * f.root + f.epsilon);
            *ema = mixed(f.ema, *ema, *theta);
        }
    }
}

/// A moving average after one more value.
#[inline(always)]
fn mixed(decay: f32, average: f32, value: f32) -> f32 {
    decay * average + (1.0 - decay) * value
}

/// One more moving average of the parameters, after [`adam`], which has made the first one: the same numbers as if it had been that.
pub fn average(decay: f64, theta: &[f32], average: &mut [f32]) {
    assert_eq!(theta.len(), average.len());
    let decay = decay as f32;
    average.par_chunks_mut(PART).zip(theta.par_chunks(PART)).for_each(|(average, theta)| {
        average.iter_mut().zip(theta).for_each(|(average, theta)| *average = mixed(decay, *average, *theta));
    });
}

/// Sum of squares, in f64 and in a fixed order.
pub fn sum_of_squares(numbers: &[f32]) -> f64 {
    let parts: Vec<f64> = numbers.par_chunks(PART).map(|part| run(Squares(part))).collect();
    parts.iter().sum()
}

struct Squares<'a>(&'a [f32]);

impl SimdKernel<f32> for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd<T = f32>>(self) -> f64 {
        let mut sums = [0f64; 16];
        for part in self.0.chunks(16) {
            sums.iter_mut().zip(part).for_each(|(sum, v)| *sum += *v as f64 * *v as f64);
        }
        sums.iter().sum()
    }
}

/// sum += scale numbers.
pub fn add_scaled(sum: &mut [f32], scale: f32, numbers: &[f32]) {
    assert_eq!(sum.len(), numbers.len());
    sum.par_chunks_mut(PART).zip(numbers.par_chunks(PART)).for_each(|(sum, numbers)| {
        sum.iter_mut().zip(numbers).for_each(|(to, v)| *to += scale * *v);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Random, Stream};
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
            let [mut theta_, mut m, mut v, mut ema_] = [[start as f32], [0.0], [0.0], [start as f32]];
            for (u, g) in updates.iter().zip(&gradients) {
                adam(u, AdamState { theta: &mut theta_, m: &mut m, v: &mut v, ema: &mut ema_ }, &[*g as f32]);
            }
            let state = [theta_[0], m[0], v[0], ema_[0]];
            let (theta, ema) = oracle(&updates, start, &gradients);
            prop_assert!((state[0] as f64 - theta).abs() < 1e-4 * (lr * 20.0 + 0.1), "{} {theta}", state[0]);
            prop_assert!((state[3] as f64 - ema).abs() < 1e-4 * (lr * 20.0 + 0.1), "{} {ema}", state[3]);
        }
    }

    /// More numbers than one task takes, and not a whole number of tasks.
    #[test]
    fn parts_join() {
        let numbers = |step| Random::new(3, Stream::Evaluation).normals(step, 0, 1, 2 * PART + 37);
        let gradient = numbers(0);
        let exact: f64 = gradient.iter().map(|g| *g as f64 * *g as f64).sum();
        assert!((sum_of_squares(&gradient) / exact - 1.0).abs() < 1e-12);
        let mut sum = numbers(1);
        add_scaled(&mut sum, 0.5, &gradient);
        assert!(sum.iter().zip(numbers(1)).zip(&gradient).all(|((s, a), g)| *s == a + 0.5 * g));
        let u = Update {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            epsilon_mode: Epsilon::Hat,
            k: 1,
            gradient_scale: 1.0,
            ema_decay: 0.5,
        };
        let start = [numbers(2), numbers(3), numbers(4)];
        let [mut theta, mut m, mut v, mut ema] = [start[0].clone(), start[1].clone(), vec![1f32; gradient.len()], start[2].clone()];
        adam(&u, AdamState { theta: &mut theta, m: &mut m, v: &mut v, ema: &mut ema }, &gradient);
        for i in (0..gradient.len()).step_by(1009).chain([PART - 1, PART, 2 * PART + 36]) {
            let mut alone = [[start[0][i]], [start[1][i]], [1.0], [start[2][i]]];
            let [theta_, m_, v_, ema_] = &mut alone;
            adam(&u, AdamState { theta: theta_, m: m_, v: v_, ema: ema_ }, &gradient[i..=i]);
            let near = |a: f32, b: f32| (a - b).abs() <= 1e-6 * (1.0 + b.abs());
            assert!(near(theta[i], alone[0][0]) && near(m[i], alone[1][0]) && near(v[i], alone[2][0]) && near(ema[i], alone[3][0]), "{i}");
        }
    }
}
