//! What whoever runs a job may choose.

use std::time::Duration;

/// How a job is done; nothing of it changes a number.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Time between checkpoints.
    pub checkpoint_every: Duration,
    /// Whether to wait where another process is at the job.
    pub wait: bool,
    /// Processes that train it together.
    pub ranks: usize,
}
