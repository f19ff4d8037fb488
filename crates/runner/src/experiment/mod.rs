//! What is asked: a grid file over a base becomes checked configurations, and these jobs.

mod base;
mod cell;
mod choice;
mod claim;
mod config;
mod expand;
mod flat;
mod grid;
mod job;
mod load;
pub mod paths;
pub mod schema;
pub mod seeds;
mod shelf;
pub mod strict;
mod study;
mod suggest;
mod tune;
mod warnings;
pub mod yaml;

pub use base::{Base, Tuned};
pub use cell::{Cell, agrees_in_all, agrees_with, brief, in_words, label};
pub use choice::{Candidate, Choice};
pub use claim::{Claim, Resolved};
pub use config::{Config, Decay, EvaluationConfig, RawConfig, SamplingConfig, TrainingConfig};
pub use expand::{published, studies};
pub use flat::{Values, flat};
pub use grid::{Budget, Coding, CodingRow, Figure, GridFile, Paper, PaperRow, Published, PublishedRow, Studied};
#[cfg(test)]
pub(crate) use job::tiny;
pub use job::{Asked, FORMAT, Job, asked, jobs};
pub use load::{Aim, Experiment};
pub use seeds::MAX_JOBS;
pub use shelf::Shelf;
pub use study::{MIXTURES, Study};
pub use suggest::suggestion;
pub use tune::Tune;
pub use warnings::warnings;
