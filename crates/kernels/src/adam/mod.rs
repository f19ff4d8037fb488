//! Adam and the exponential moving average of the parameters, fused into one pass.

mod cpu;

pub use cpu::{AdamState, adam, add_scaled, average, sum_of_squares};

/// How epsilon enters the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epsilon {
    /// lr sqrt(1 - b2^k) / (1 - b1^k) m / (sqrt(v) + epsilon): TensorFlow 1, the authors ("epsilon-hat").
    Hat,
    /// lr m_hat / (sqrt(v_hat) + epsilon): the paper of Kingma & Ba, PyTorch.
    Corrected,
}

/// One update's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate of this update.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Keeps the division finite.
    pub epsilon: f64,
    /// Where epsilon stands.
    pub epsilon_mode: Epsilon,
    /// Number of this update, from 1.
    pub k: u64,
    /// The gradient is multiplied by this first (clipping).
    pub gradient_scale: f64,
    /// Decay of the moving average; 0 copies.
    pub ema_decay: f64,
}
