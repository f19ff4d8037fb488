//! `ddpm`: runs ablations of denoising diffusion models.

use clap::Parser;
use ddpm_runner::base::exit::Exit;
use ddpm_runner::cli::{Cli, main as run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Autograd walks the graph by recursion: a deep network needs more stack than a thread has by default. And all work begins
    // inside the pool, so that a kernel's parallel loop need not be handed over to another thread.
    match rayon::ThreadPoolBuilder::new().stack_size(256 << 20).build_global() {
        Ok(()) => ExitCode::from(rayon::scope(|_| run(cli)) as u8),
        Err(e) => {
            eprintln!("error: no threads: {e}");
            ExitCode::from(Exit::Environment as u8)
        }
    }
}
