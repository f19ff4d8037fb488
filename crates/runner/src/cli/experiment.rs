//! The experiment that a command is about.

use crate::base::data::Dataset;
use crate::base::error::{ConfigError, Meaning};
use crate::experiment::{Experiment, Job, jobs, paths};
use crate::store::Store;
use anyhow::{Result, anyhow};
use clap::Args;
use std::path::PathBuf;

/// Which experiment, and where its results are.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// The grid file
    grid: PathBuf,
    /// The base: a file (.yaml), or a name in `bases` beside the grid's folder or in experiments/bases; the grid's own where absent
    #[arg(long)]
    base: Option<String>,
    /// Set a value of every cell, after everything else: path=value
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Where results are kept
    #[arg(long, default_value = "results")]
    results: PathBuf,
}

/// An experiment with its data and jobs.
pub struct Loaded {
    pub experiment: Experiment,
    pub data: Dataset,
    pub jobs: Vec<(usize, Job)>,
    pub store: Store,
}

impl Loaded {
    /// A job as a person knows it: its cell, its seed where there are several, what is looked at.
    pub fn label(&self, cell: usize, job: &Job) -> String {
        let study = job.study.as_ref().map_or(String::new(), |study| format!(": {}", study.name()));
        let seed = if self.experiment.file.seeds.len() > 1 { format!(" (seed {})", job.seed) } else { String::new() };
        format!("{}{seed}{study}", self.experiment.cells[cell].label())
    }
}

impl ExperimentArgs {
    pub fn load(&self) -> Result<Loaded> {
        let experiment = Experiment::read(&self.grid, self.base.as_deref(), &self.set)?;
        let source = &experiment.cells[0].config.data;
        if let Some(other) = experiment.cells.iter().find(|c| c.config.data != *source) {
            let problem = format!("expected one data set for all cells, got {} and {}", source.kind(), other.config.data.kind());
            return Err(ConfigError::new(&self.grid.display().to_string(), "data", problem).into());
        }
        if self.results.exists() && !self.results.is_dir() {
            return Err(anyhow!("{}: expected a folder for results, found a file", self.results.display())).needed();
        }
        let data = source.load()?;
        for cell in &experiment.cells {
            cell.config.check_data(&self.grid.display().to_string(), &data).map_err(|error| self.locate(error, &cell.label()))?;
        }
        let jobs = jobs(&experiment, data.shape, &data.digest)?;
        Ok(Loaded { experiment, data, jobs, store: Store::new(&self.results) })
    }

    /// An error against the images as one in the flag that brought the value; else as one of the cell.
    fn locate(&self, error: ConfigError, cell: &str) -> ConfigError {
        let brings = |flag: &&String| paths::flag(flag).is_ok_and(|(path, _)| paths::inside(&error.path, &path));
        match self.set.iter().find(brings) {
            Some(flag) => ConfigError { origin: format!("--set {flag}"), ..error },
            None => ConfigError { problem: format!("{} (in the cell {cell})", error.problem), ..error },
        }
    }
}
