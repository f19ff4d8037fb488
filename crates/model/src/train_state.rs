//! The state of a training run.

/// Numbers in the training state for each of a network's weights.
pub const ROWS: usize = 4;

/// The training state, parameter after parameter in the network's order; all four rows have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainState {
    /// The weights.
    pub theta: Vec<f32>,
    /// Adam's first moments.
    pub m: Vec<f32>,
    /// Adam's second moments.
    pub v: Vec<f32>,
    /// The exponential moving average of the weights.
    pub ema: Vec<f32>,
}

impl TrainState {
    /// Before the first step: moments 0, the average equal to the weights.
    pub fn new(theta: Vec<f32>) -> TrainState {
        let zeros = vec![0.0; theta.len()];
        TrainState { m: zeros.clone(), v: zeros, ema: theta.clone(), theta }
    }

    /// `n` zeros in each row, to be written over.
    pub fn zeros(n: usize) -> TrainState {
        TrainState::new(vec![0.0; n])
    }

    /// theta, m, v, ema: the order in files and on devices.
    pub fn rows(&self) -> [&[f32]; ROWS] {
        [&self.theta, &self.m, &self.v, &self.ema]
    }

    /// The same, to be written.
    pub fn rows_mut(&mut self) -> [&mut Vec<f32>; ROWS] {
        [&mut self.theta, &mut self.m, &mut self.v, &mut self.ema]
    }

    /// Copies all numbers of another state, reusing the allocated memory.
    pub fn copy_from(&mut self, other: &TrainState) {
        for (to, from) in self.rows_mut().into_iter().zip(other.rows()) {
            to.clear();
            to.extend_from_slice(from);
        }
    }
}
