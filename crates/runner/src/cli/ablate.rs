//! `ddpm ablate`: an experiment from its file to its page.

use super::experiment::{ExperimentArgs, Loaded};
use super::local::LocalArgs;
use super::report::finish;
use crate::base::exit::Exit;
use crate::base::stop;
use crate::execute::slurm::Allocation;
use crate::execute::{Executor, Slurm};
use crate::experiment::Job;
use crate::plan::outstanding;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Ablate {
    #[command(flatten)]
    experiment: ExperimentArgs,
    #[command(flatten)]
    local: LocalArgs,
    /// Where to run the jobs
    #[arg(long, value_enum, default_value = "local")]
    executor: ExecutorChoice,
    /// What each element of a Slurm array asks for: a YAML file, as experiments/slurm.yaml
    #[arg(long)]
    allocation: Option<PathBuf>,
    /// Wait until no job of this experiment is pending or running in Slurm
    #[arg(long)]
    wait: bool,
}

/// Who does the jobs.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum ExecutorChoice {
    /// Processes on this machine
    Local,
    /// A job array of a Slurm cluster
    Slurm,
}

impl Ablate {
    pub fn run(self) -> Result<Exit> {
        stop::listen()?;
        let allocation = self.allocation.as_deref().map_or(Ok(Allocation::default()), Allocation::read)?;
        let mut loaded = self.experiment.load()?;
        loop {
            loaded.leave()?;
            let outstanding = outstanding(&loaded.store, loaded.jobs.iter().map(|(_, job)| job))?;
            let (all, to_do) = (loaded.jobs.len(), outstanding.len());
            eprintln!("{}: {all} jobs, {} done, {to_do} to do", loaded.experiment.name, all - to_do);
            if !outstanding.is_empty() {
                self.execute(&loaded, &outstanding, &allocation)?;
                if self.executor == ExecutorChoice::Slurm && !self.wait {
                    let what = if loaded.experiment.aim.is_some() { "; that submits what these are candidates for" } else { "" };
                    eprintln!("run the same command again later{what}, or see `ddpm status`");
                    return Ok(Exit::Ok);
                }
            }
            let exit = finish(&loaded)?;
            // Candidates have a page of their own; then what they are tried for.
            match loaded.next()? {
                Some(next) => loaded = next,
                None => return Ok(exit),
            }
        }
    }

    fn execute(&self, loaded: &Loaded, jobs: &[Job], allocation: &Allocation) -> Result<()> {
        let (store, data) = (&loaded.store, &loaded.data);
        match self.executor {
            ExecutorChoice::Local => self.local.execute(store, data, jobs),
            ExecutorChoice::Slurm => Slurm { store, data, program: std::env::current_exe()?, allocation, wait: self.wait }.execute(jobs),
        }
    }
}
