//! The command line: each command is the pipeline up to somewhere, and can be run again.

mod ablate;
mod bench;
mod checkup;
mod classifier;
mod data;
mod doctor;
mod eval;
mod exchange;
mod fid;
mod gpu;
mod operations;
mod outside;
mod plan;
mod rank;
mod run;
mod sample;
mod schedule;
mod status;
mod store;
mod work;

pub use plan::duration;

use crate::cause::Cause;
use crate::config::{ConfigError, paths};
use crate::data::Dataset;
use crate::exit::Exit;
use crate::grid::Experiment;
use crate::job::{Job, jobs};
use crate::stages::Busy;
use crate::stop::Interrupted;
use crate::store::Store;
use anyhow::{Context, Result, anyhow};
use clap::{Args, Parser, Subcommand};
use ddpm_kernels::simd::Isa;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Runs ablations of denoising diffusion models: an experiment file in, tables and pictures out.
#[derive(Debug, Parser)]
#[command(
    name = "ddpm",
    version,
    after_help = "Exit codes: 0 ok, 1 something else, 2 unknown flag, 3 some jobs failed, 4 bad configuration, 5 missing file or device or no space, 6 another process is at the job, 130 stopped as asked."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plan, run what is missing, report
    Ablate(ablate::Ablate),
    /// List an experiment's jobs, their state and cost; run nothing
    Plan(plan::Plan),
    /// Do one job, described in a JSON file or on standard input (what ablate calls)
    Run(run::Run),
    /// Train as one of several processes (what run --ranks calls)
    Rank(rank::Rank),
    /// Do the jobs of one line of a plan (what an element of a Slurm array calls)
    Work(work::Work),
    /// Say where each of an experiment's jobs is
    Status(status::Status),
    /// Verify what is stored, or remove what no table needs
    Store(store::StoreArgs),
    /// Draw tables and pictures from what is stored; compute nothing
    #[cfg(feature = "report")]
    Report(ablate::Report),
    /// Print the coefficient table of a schedule
    Schedule(schedule::ScheduleArgs),
    /// Make images from a checkpoint
    Sample(sample::Sample),
    /// Measure the bits/dim of a checkpoint
    Eval(eval::Eval),
    /// Make a checkpoint from another program's
    Import(exchange::Import),
    /// Make another program's files from a checkpoint
    Export(exchange::Export),
    /// Compare two sets of images: FID, and with --all every other score
    Fid(fid::Fid),
    /// Verify and describe a data set, or fetch the Inception weights
    Data(data::Data),
    /// Measure the speed and memory of training and sampling on this machine
    Bench(bench::Bench),
    /// Say what this machine can do
    Doctor(doctor::Doctor),
    /// Train the network in whose features FID and IS are measured
    Classifier(classifier::ClassifierArgs),
}

/// Which experiment, and where its results are.
#[derive(Debug, Args)]
struct ExperimentArgs {
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
struct Loaded {
    experiment: Experiment,
    data: Dataset,
    jobs: Vec<(usize, Job)>,
    store: Store,
}

impl Loaded {
    /// A job as a person knows it: its cell, its seed where there are several, what is looked at.
    fn label(&self, cell: usize, job: &Job) -> String {
        let study = job.study.as_ref().map_or(String::new(), |study| format!(": {}", study.name()));
        let seed = if self.experiment.file.seeds.len() > 1 { format!(" (seed {})", job.seed) } else { String::new() };
        format!("{}{seed}{study}", self.experiment.cells[cell].label())
    }
}

impl ExperimentArgs {
    fn load(&self) -> Result<Loaded> {
        let experiment = Experiment::read(&self.grid, self.base.as_deref(), &self.set)?;
        let source = &experiment.cells[0].config.data;
        if let Some(other) = experiment.cells.iter().find(|c| c.config.data != *source) {
            let problem = format!("expected one data set for all cells, got {} and {}", source.kind(), other.config.data.kind());
            return Err(ConfigError::new(&self.grid.display().to_string(), "data", problem).into());
        }
        if self.results.exists() && !self.results.is_dir() {
            return Err(anyhow!("{}: expected a folder for results, found a file", self.results.display()).context(Unusable));
        }
        let data = source.load().context(Unusable)?;
        for cell in &experiment.cells {
            cell.config.check_data(&self.grid.display().to_string(), &data).map_err(|error| self.locate(error, &cell.label()))?;
        }
        let jobs = jobs(&experiment, data.shape, &data.digest).context(Unusable)?;
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

/// Marks an error of the environment rather than of the configuration.
#[derive(Debug)]
pub struct Unusable;

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("something that is needed is missing or unusable")
    }
}

/// Runs the command line; what went wrong is on stderr.
pub fn main(cli: Cli) -> Exit {
    // Who asks for certain kernels shall not get others for a slip of the pen; the doctor tells of it.
    if let Err(problem) = Isa::limit()
        && !matches!(cli.command, Command::Doctor(_))
    {
        eprintln!("error: {problem}");
        return Exit::BadConfig;
    }
    let result = match cli.command {
        Command::Ablate(c) => c.run(),
        Command::Plan(c) => c.run(),
        Command::Run(c) => c.run(),
        Command::Rank(c) => c.run(),
        Command::Work(c) => c.run(),
        Command::Status(c) => c.run(),
        Command::Store(c) => c.run(),
        #[cfg(feature = "report")]
        Command::Report(c) => c.run(),
        Command::Schedule(c) => c.run(),
        Command::Sample(c) => c.run(),
        Command::Eval(c) => c.run(),
        Command::Import(c) => c.run(),
        Command::Export(c) => c.run(),
        Command::Fid(c) => c.run(),
        Command::Data(c) => c.run(),
        Command::Bench(c) => c.run(),
        Command::Doctor(c) => c.run(),
        Command::Classifier(c) => c.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", in_words(&error));
        exit_for(&error)
    })
}

/// What a job's process says of its failure, as its last line on stdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// What kind of reason.
    pub cause: Cause,
    /// In words.
    pub reason: String,
}

fn in_words(error: &anyhow::Error) -> String {
    let environment = error.downcast_ref::<Unusable>().is_some();
    let chain: Vec<String> = error.chain().map(ToString::to_string).skip(usize::from(environment)).collect();
    chain.join(": ")
}

fn exit_for(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<Interrupted>().is_some() {
        return Exit::Interrupted;
    }
    if error.downcast_ref::<Busy>().is_some() {
        return Exit::Busy;
    }
    match Cause::of(error) {
        Cause::Config => Exit::BadConfig,
        Cause::Missing | Cause::Storage | Cause::Device | Cause::Memory => Exit::Environment,
        Cause::Killed | Cause::Program => Exit::Failure,
    }
}

/// A number with its uncertainty.
pub fn number(mean: f64, error: Option<f64>, digits: usize) -> String {
    let error = error.map_or(String::new(), |e| format!(" ± {e:.digits$}"));
    format!("{mean:.digits$}{error}")
}

/// Prints to standard output; a reader that has gone away is not an error.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
