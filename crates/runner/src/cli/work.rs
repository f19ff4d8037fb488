//! `ddpm work`: the jobs of one line of a plan, on this machine: what an element of a Slurm array does.

use super::cache::CacheArgs;
use super::local::LocalArgs;
use crate::base::error::ConfigError;
use crate::base::exit::Exit;
use crate::base::stop;
use crate::plan::{State, outstanding};
use crate::store::Store;
use crate::store::submissions::plan;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Work {
    /// The plan: a line for each element, a JSON list of jobs
    plan: PathBuf,
    /// Which line, from 0
    element: usize,
    /// Where results are kept
    #[arg(long, default_value = "results")]
    results: PathBuf,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    local: LocalArgs,
}

impl Work {
    pub fn run(self) -> Result<Exit> {
        stop::listen()?;
        let mut groups = plan(&self.plan)?;
        let origin = self.plan.display().to_string();
        if self.element >= groups.len() {
            let problem = format!("expected an element below {}, got {}", groups.len(), self.element);
            return Err(ConfigError::new(&origin, "", problem).into());
        }
        let store = Store::new(&self.results).with_cache(self.cache.folder());
        let jobs = groups.swap_remove(self.element);
        let jobs = outstanding(&store, &jobs)?;
        let Some(first) = jobs.first() else { return Ok(Exit::Ok) };
        let data = first.config.data.load(store.cache())?.info;
        self.local.execute(&store, &data, &jobs)?;
        let done = jobs.iter().map(|job| Ok(State::of(&store, job)?.is_done())).collect::<Result<Vec<_>>>()?;
        Ok(if done.iter().all(|done| *done) { Exit::Ok } else { Exit::SomeJobsFailed })
    }
}
