//! What runs leave behind: a folder for each training, a folder for each job, a folder for each experiment's report.
//!
//! `training/ID/` holds the checkpoint and, when it is over, `training.json`; `samples/ID` the samples of one sampler; `features/` what
//! feature networks see in real images; `runs/ID/` holds `record.json`, its history and pictures; `slurm/` what was submitted. All are
//! named by content, so experiments that overlap share them. `EXPERIMENT/` holds the report, and in `experiment.json` what it is a report
//! of. Every file is whole or absent, and a process writes into a folder only while it holds the folder's claim.

pub mod checkpoints;
pub mod claim;
pub mod history;
mod layout;
mod manifest;
mod meta;
pub mod progress;
mod record;
pub mod sealed;
pub mod submissions;

pub use crate::experiment::FORMAT;
pub use layout::{CHECKPOINTS, RECORD, Store, TRAINING_RECORD};
pub use manifest::Manifest;
pub use meta::CheckpointMeta;
pub use record::{BoundBreakdown, Findings, Machine, Outcome, Point, Record, ScoresAt, Shown, TermAt, TrainingRecord};
