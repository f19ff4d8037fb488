//! Random inputs that cannot be inconsistent, and two ways to compare numbers.

use ddpm_core::{BetaScale, Process, Schedule};
use proptest::prelude::*;

/// Every kind of schedule with random parameters for which alpha_bar stays far from underflow.
pub fn any_schedule() -> impl Strategy<Value = Schedule> {
    let ends = || (1e-4f64..0.01, 0.011f64..0.1);
    prop_oneof![
        ends().prop_map(|(beta_start, beta_end)| Schedule::Linear { beta_start, beta_end }),
        ends().prop_map(|(beta_start, beta_end)| Schedule::Quad { beta_start, beta_end }),
        ends().prop_map(|(_, beta_end)| Schedule::Const { beta_end }),
        ends().prop_map(|(beta_start, beta_end)| Schedule::Warmup10 { beta_start, beta_end }),
        ends().prop_map(|(beta_start, beta_end)| Schedule::Warmup50 { beta_start, beta_end }),
        Just(Schedule::Jsd {}),
        (0.001f64..0.1, 0.5f64..0.999).prop_map(|(s, max_beta)| Schedule::Cosine { s, max_beta }),
        (-4.0f64..-1.0, 1.0f64..4.0, 0.5f64..2.0, 0.5f64..0.999).prop_map(|(start, end, tau, max_beta)| Schedule::Sigmoid {
            start,
            end,
            tau,
            max_beta
        }),
    ]
}

/// A chain and one of its steps.
#[derive(Clone, Debug)]
pub struct At {
    pub process: Process,
    pub t: usize,
}

impl At {
    /// Whether some of x_0 is left at this step, so that eps determines it.
    pub fn has_signal(&self) -> bool {
        self.process.alpha_bar(self.t) > 0.0
    }
}

/// Any schedule's chain.
pub fn any_process() -> impl Strategy<Value = Process> {
    (any_schedule(), 2usize..300)
        .prop_map(|(schedule, timesteps)| Process::from_schedule(&schedule, timesteps, BetaScale::AsGiven).unwrap())
}

/// Any chain at any step.
pub fn any_at() -> impl Strategy<Value = At> {
    any_process().prop_flat_map(|process| (1..=process.timesteps()).prop_map(move |t| At { process: process.clone(), t }))
}

/// Any chain at a step after the first.
pub fn later_at() -> impl Strategy<Value = At> {
    any_process().prop_flat_map(|process| (2..=process.timesteps()).prop_map(move |t| At { process: process.clone(), t }))
}

/// |a - b| within `tolerance` of the larger of the two and 1e-30. An infinity is close to itself alone.
pub fn close(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a - b).is_finite() && (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1e-30)
}

/// |a - b| within `tolerance` of 1 plus their size. An infinity is near to itself alone.
pub fn near(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a - b).is_finite() && (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()))
}

/// Composite Simpson rule.
pub fn integral(from: f64, to: f64, f: impl Fn(f64) -> f64) -> f64 {
    let n = 4000;
    let h = (to - from) / n as f64;
    let inner: f64 = (1..n).map(|i| if i % 2 == 1 { 4.0 } else { 2.0 } * f(from + i as f64 * h)).sum();
    h / 3.0 * (f(from) + inner + f(to))
}

/// ln N(x; mean, variance), written out once more.
pub fn log_normal(x: f64, mean: f64, variance: f64) -> f64 {
    -0.5 * (std::f64::consts::TAU * variance).ln() - (x - mean) * (x - mean) / (2.0 * variance)
}
