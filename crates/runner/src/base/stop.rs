//! Stopping when asked: the first request lets a running stage leave what it has, the second ends the process at once.

use super::error::RunError;
use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on SIGINT (Ctrl-C) and SIGTERM ask to stop, and a second one ends the process; SIGUSR1, which clusters send ahead of a time
/// limit, asks to stop.
pub fn listen() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset.
        flag::register_conditional_shutdown(signal, 128 + signal, REQUESTED.clone())?;
        flag::register(signal, REQUESTED.clone())?;
    }
    flag::register(SIGUSR1, REQUESTED.clone())?;
    Ok(())
}

/// Asks this process to stop.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Whether a stop was requested.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Returns an error if a stop was requested. Progress so far is kept.
pub fn check() -> Result<()> {
    if requested() { Err(RunError::Interrupted.into()) } else { Ok(()) }
}
