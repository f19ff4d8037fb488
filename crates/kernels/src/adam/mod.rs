//! Adam, and the exponential moving average of what it trains, in one pass over a parameter's state.

mod cpu;
mod op;

use candle_core::{Result, Tensor};

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

/// Rows of a parameter's state.
pub const ROWS: usize = 4;

/// Updates `state`, \[4, n\]: the parameter, its first and second moment, and its moving average (in place), from `gradient` of n numbers.
pub fn adam(state: &Tensor, gradient: &Tensor, update: Update) -> Result<()> {
    let (rows, n) = state.dims2()?;
    if rows != ROWS || gradient.elem_count() != n {
        candle_core::bail!("adam: expected a state of [{ROWS}, {}], got {:?}", gradient.elem_count(), state.dims());
    }
    state.inplace_op2(&gradient.contiguous()?, &op::Adam(update))
}

/// Sum of squares, in f64 and in a fixed order.
pub fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    op::sum_of_squares(gradient)
}
