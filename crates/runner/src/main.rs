//! `ddpm`: runs ablations of denoising diffusion models.

use clap::Parser;
use ddpm_runner::commands::{Cli, main as run};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Autograd walks the graph by recursion: a deep network needs more stack than a thread has by default.
    let worker = std::thread::Builder::new().stack_size(256 << 20).spawn(|| run(Cli::parse()));
    match worker.map(|w| w.join()) {
        Ok(Ok(exit)) => ExitCode::from(exit as u8),
        // The panic has said what happened; an error here is of the system.
        Ok(Err(_)) | Err(_) => ExitCode::FAILURE,
    }
}
