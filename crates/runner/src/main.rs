//! `ddpm`: runs ablations of denoising diffusion models.
//!
//! Parses the command line, runs the command, and returns its exit code. `ddpm ablate` runs the whole pipeline, every other command a part
//! of it, from top to bottom:
//!
//! | step | module |
//! | --- | --- |
//! | a grid file over a base becomes cells, and these jobs | `experiment` |
//! | the jobs that the store does not hold yet | `plan` |
//! | processes that do them, here or on a cluster | `execute` |
//! | training, samples, scores and bounds of one job | `stages` |
//! | records, checkpoints, samples | `store` |
//! | tables, figures and the page | `report` |

use ddpm_runner::base::exit::Exit;
use ddpm_runner::cli::{Cli, main as run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::read();
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
