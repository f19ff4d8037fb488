//! The command line: each command runs the pipeline up to some stage, and can safely be run again.

mod ablate;
mod bench;
mod cache;
mod checkpoint;
mod checkup;
#[cfg(feature = "report")]
mod claims;
mod classifier;
#[cfg(feature = "report")]
mod compare;
mod data;
mod doctor;
mod eval;
mod experiment;
mod export;
mod fid;
mod import;
mod local;
mod plan;
mod rank;
mod report;
mod run;
mod sample;
mod schedule;
mod schema;
mod shelves;
mod status;
mod store;
mod work;

use crate::base::exit::Exit;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use ddpm_kernels::conv2d::algorithm::Algorithm;
use ddpm_kernels::simd::Isa;

/// Runs ablations of denoising diffusion models: an experiment file in, tables and pictures out.
#[derive(Debug, Parser)]
#[command(
    name = "ddpm",
    version,
    after_help = "Exit codes: 0 ok, 1 something else, 2 unknown flag, 3 some jobs failed or a required claim is not supported, 4 bad configuration, 5 missing file or device or no space, 6 another process is running the job, 130 stopped as asked."
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
    /// Show the state of each of an experiment's jobs
    Status(status::Status),
    /// Verify what is stored, or remove what no table needs
    Store(store::StoreArgs),
    /// Draw tables and pictures from what is stored; compute nothing
    #[cfg(feature = "report")]
    Report(report::Report),
    /// Say which of a grid's claims its seeds support
    #[cfg(feature = "report")]
    Claims(claims::Claims),
    /// Set two cells, runs or experiments beside each other: what differs, and by how much
    #[cfg(feature = "report")]
    Compare(compare::Compare),
    /// List the grids: their names and questions
    Grids(shelves::List),
    /// List the bases: data set, network and budget of each
    Bases(shelves::List),
    /// Print what a grid or a base may hold, as JSON Schema
    Schema(schema::SchemaArgs),
    /// Print the coefficient table of a schedule
    Schedule(schedule::ScheduleArgs),
    /// Make images from a checkpoint
    Sample(sample::Sample),
    /// Measure the bits/dim of a checkpoint
    Eval(eval::Eval),
    /// Make a checkpoint from another program's
    Import(import::Import),
    /// Make other files from a checkpoint: another program's, or its average weights alone
    Export(export::Export),
    /// Compare two sets of images: FID, and with --all every other score
    Fid(fid::Fid),
    /// Verify and describe a data set, or fetch the Inception weights
    Data(data::Data),
    /// Measure the speed and memory of training and sampling on this machine
    Bench(bench::Bench),
    /// Say what this machine can do
    Doctor(doctor::Doctor),
    /// Train the feature network for FID and IS
    Classifier(classifier::ClassifierArgs),
}

impl Cli {
    /// The command line of this process; one that cannot be read ends it.
    pub fn read() -> Cli {
        let matches = with_negative_numbers(Cli::command()).get_matches();
        Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Takes `-1` for a value that may be wrong, and not for a flag that nobody knows.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes_value = |arg: &clap::Arg| arg.get_action().takes_values();
    let command = command.mut_args(|arg| if takes_value(&arg) { arg.allow_negative_numbers(true) } else { arg });
    let inner: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_string()).collect();
    inner.iter().fold(command, |command, name| command.mut_subcommand(name, with_negative_numbers))
}

/// Runs the command line; what went wrong is on stderr.
pub fn main(cli: Cli) -> Exit {
    // A typo in what is asked for must not silently select other kernels; `ddpm doctor` reports it.
    if let Err(problem) = Isa::limit().and(Algorithm::asked())
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
        #[cfg(feature = "report")]
        Command::Claims(c) => c.run(),
        #[cfg(feature = "report")]
        Command::Compare(c) => c.run(),
        Command::Grids(c) => c.grids(),
        Command::Bases(c) => c.bases(),
        Command::Schema(c) => c.run(),
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
        eprintln!("error: {error:#}");
        Exit::of(&error)
    })
}
