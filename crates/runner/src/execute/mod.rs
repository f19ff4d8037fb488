//! Doing jobs: on this machine, one process for each, or as a job array of a Slurm cluster.

mod executor;
mod local;
mod oom;
mod process;
mod screen;
pub mod slurm;

pub use executor::{Executor, JobGroup, groups};
pub use local::Local;
pub use process::STOP;
pub use slurm::Slurm;
