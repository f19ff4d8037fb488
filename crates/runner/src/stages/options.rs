//! What may be chosen about how a job is run, and changes none of its numbers.

use std::time::Duration;

/// How a job is done; nothing of it changes a number.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Time between checkpoints.
    pub checkpoint_every: Duration,
    /// Whether to wait where another process is running the job.
    pub wait: bool,
    /// Processes that train it together.
    pub ranks: usize,
}
