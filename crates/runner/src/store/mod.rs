//! What runs leave behind: a folder for each training, a folder for each job, a folder for each experiment's report.
//!
//! `training/ID/` holds the checkpoints and, once training has ended, `training.json`; `samples/ID` the samples of one sampler; `features/`
//! the features of real images; `runs/ID/` holds `record.json`, the job's history and pictures; `slurm/` the submissions. All are named by
//! content, so overlapping experiments share them. `EXPERIMENT/` holds the report and, in `experiment.json`, what it is a report of.
//! Every file is complete or absent, and a process writes to a folder only while it holds the folder's lock.

mod anatomy;
pub mod checkpoints;
pub mod history;
mod layout;
mod ledger;
mod manifest;
mod meta;
mod pretrained;
pub mod progress;
mod record;
mod score_field;
pub mod submissions;

pub use crate::experiment::FORMAT;
pub use anatomy::{Anatomy, ShiftCourse, SkipErrors, Spectra, ToldErrors, Way};
pub use layout::{CHECKPOINTS, REAL, RECORD, REVERSE, Store, TRAINING_RECORD, snapshot_name, step_of_snapshot};
pub use ledger::{OtherVariance, under};
pub use manifest::{MANIFEST, Manifest};
pub use meta::CheckpointMeta;
pub use pretrained::pretrained;
pub use record::{
    BoundBreakdown, Delivery, Findings, Labels, Loading, LogShare, Machine, Outcome, Point, Record, ScoresAt, Shown, TermAt, TrainingRecord,
};
pub use score_field::{Arrow, FieldAt, ScoreField, Walks, WalksOf};
