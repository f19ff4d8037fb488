//! What can go wrong between a configuration, a checkpoint and a tensor.

use thiserror::Error as ThisError;

/// An error of this crate, with the numbers and names involved.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// A key of a configuration with a value that cannot be used.
    #[error("{key}: expected {expected}, got {got}")]
    InvalidKey {
        /// The key.
        key: &'static str,
        /// What would have been right, in words.
        expected: String,
        /// What was found, in words.
        got: String,
    },
    /// A tensor of another shape than the network's.
    #[error("{what}: expected {expected}, got {got}")]
    Shape {
        /// Which tensor.
        what: &'static str,
        /// What would have been right, in words.
        expected: String,
        /// What was found, in words.
        got: String,
    },
    /// A checkpoint that does not belong to the network.
    #[error("checkpoint: {problem}")]
    Checkpoint {
        /// What does not fit, with names and shapes.
        problem: String,
    },
    /// A file of another program that does not hold what it should.
    #[error("{problem}")]
    Foreign {
        /// What is wrong with it.
        problem: String,
    },
    /// A process that trains the same network and does not answer.
    #[error("rank {rank} does not answer: {error}")]
    Rank {
        /// Which one.
        rank: usize,
        /// What its pipe says.
        #[source]
        error: std::io::Error,
    },
    /// A parameter that the loss does not depend on: it would stay as it was initialised.
    #[error("parameter {name} has no gradient")]
    NoGradient {
        /// The parameter's name.
        name: String,
    },
    /// An invalid diffusion set-up.
    #[error(transparent)]
    Setup(#[from] ddpm_core::Error),
    /// A tensor operation that failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A file that cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file in safetensors format that is damaged.
    #[error("safetensors: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A description inside a checkpoint that cannot be read.
    #[error("checkpoint metadata: {0}")]
    Metadata(#[from] serde_json::Error),
}

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;
