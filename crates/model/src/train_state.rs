//! The state of a training run.

/// Rows of a [`TrainState`] before its averages: weights and moments.
pub const FIRST_AVERAGE: usize = 3;

/// The training state, parameter after parameter in the network's order; all rows have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainState {
    /// The weights.
    pub theta: Vec<f32>,
    /// Adam's first moments.
    pub m: Vec<f32>,
    /// Adam's second moments.
    pub v: Vec<f32>,
    /// The exponential moving averages of the weights, their decays rising.
    pub averages: Vec<Average>,
}

/// An exponential moving average of the weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Average {
    /// What a step leaves of it, in \[0, 1).
    pub decay: f64,
    /// One number for each weight.
    pub numbers: Vec<f32>,
}

impl TrainState {
    /// Before the first step: moments 0, averages of these decays equal to the weights.
    pub fn new(theta: Vec<f32>, decays: &[f64]) -> TrainState {
        let zeros = vec![0.0; theta.len()];
        let averages = decays.iter().map(|decay| Average { decay: *decay, numbers: theta.clone() }).collect();
        TrainState { m: zeros.clone(), v: zeros, averages, theta }
    }

    /// `n` zeros in each row, to be written over.
    pub fn zeros(n: usize, decays: &[f64]) -> TrainState {
        TrainState::new(vec![0.0; n], decays)
    }

    /// The decays of its averages.
    pub fn decays(&self) -> Vec<f64> {
        self.averages.iter().map(|average| average.decay).collect()
    }

    /// The average of this decay; of 0 it is the weights themselves. None where it was not kept.
    pub fn average(&self, decay: f64) -> Option<&[f32]> {
        if decay == 0.0 {
            return Some(&self.theta);
        }
        self.averages.iter().find(|average| average.decay == decay).map(|average| &average.numbers[..])
    }

    /// theta, m, v and the averages: the order in files and on devices.
    pub fn rows(&self) -> Vec<&[f32]> {
        let averages = self.averages.iter().map(|average| &average.numbers[..]);
        [&self.theta[..], &self.m, &self.v].into_iter().chain(averages).collect()
    }

    /// The same, to be written.
    pub fn rows_mut(&mut self) -> Vec<&mut Vec<f32>> {
        let averages = self.averages.iter_mut().map(|average| &mut average.numbers);
        [&mut self.theta, &mut self.m, &mut self.v].into_iter().chain(averages).collect()
    }

    /// Copies all numbers of another state, reusing the allocated memory.
    pub fn copy_from(&mut self, other: &TrainState) {
        if self.decays() != other.decays() {
            self.averages = other.averages.iter().map(|average| Average { decay: average.decay, numbers: Vec::new() }).collect();
        }
        for (to, from) in self.rows_mut().into_iter().zip(other.rows()) {
            to.clear();
            to.extend_from_slice(from);
        }
    }
}
