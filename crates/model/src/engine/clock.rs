//! Where an engine's time goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What time is spent on. The first parts add up to the wall time; the indented ones are the time of all threads inside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Time,
    Pack,
    Forward,
    ForwardOperands,
    Attention,
    WeightGradient,
    InputGradient,
    InputGradientNorms,
    AttentionGradient,
    PassOn,
    Pool,
    PoolGradient,
}

impl Part {
    const ALL: [Part; 12] = [
        Part::Time,
        Part::Pack,
        Part::Forward,
        Part::ForwardOperands,
        Part::Attention,
        Part::WeightGradient,
        Part::InputGradient,
        Part::InputGradientNorms,
        Part::AttentionGradient,
        Part::PassOn,
        Part::Pool,
        Part::PoolGradient,
    ];

    fn name(self) -> &'static str {
        match self {
            Part::Time => "time embedding, forward and backward",
            Part::Pack => "weights packed",
            Part::Forward => "convolutions with their norms",
            Part::ForwardOperands => "  operands made (all threads)",
            Part::Attention => "attention",
            Part::WeightGradient => "weight and bias gradients",
            Part::InputGradient => "input gradients with their norms'",
            Part::InputGradientNorms => "  norms' gradients (all threads)",
            Part::AttentionGradient => "attention gradients",
            Part::PassOn => "gradients added",
            Part::Pool => "pooling",
            Part::PoolGradient => "pooling's gradients",
        }
    }
}

/// Nanoseconds by part.
#[derive(Debug, Default)]
pub struct Clock([AtomicU64; Part::ALL.len()]);

impl Clock {
    /// Runs `f` on the clock.
    pub fn time<R>(&self, part: Part, f: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = f();
        self.0[part as usize].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// Seconds by part since the last reading.
    pub fn read(&self) -> Vec<(&'static str, f64)> {
        Part::ALL.into_iter().map(|part| (part.name(), self.0[part as usize].swap(0, Ordering::Relaxed) as f64 * 1e-9)).collect()
    }
}
