//! The plan: every job of an experiment, what state it is in, and what it will cost.

mod cost;
mod speed;

pub use cost::{Cost, Costs, Left};
pub use speed::{Speed, Speeds};

use crate::job::Job;
use crate::progress::{self, Progress};
use crate::store::{FORMAT, Outcome, Record, Store, claim};
use anyhow::Result;
use serde::Serialize;

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Its record is there. A divergence is a result too.
    Done {
        /// Whether it ended as it should or diverged.
        outcome: Outcome,
    },
    /// It failed; it will be done again.
    Failed {
        /// Why.
        reason: String,
    },
    /// A process is at it.
    Running {
        /// Which.
        process: String,
        /// What it last told.
        progress: Option<Progress>,
    },
    /// A checkpoint or its whole training is there.
    Partial {
        /// What it last told, if it is running or was killed.
        progress: Option<Progress>,
        /// Whether the training has ended.
        trained: bool,
    },
    /// Nothing is there.
    Missing {},
}

impl State {
    /// Of a job in the store.
    pub fn of(store: &Store, job: &Job) -> Result<State> {
        let record = match store.record(&job.id) {
            Ok(record) => record,
            Err(e) => return Ok(State::Failed { reason: format!("{e:#}") }),
        };
        let record = record.filter(|r| r.format == FORMAT);
        if !record.as_ref().is_some_and(|r| !matches!(r.outcome, Outcome::Failed { .. }))
            && let Some(holder) = claim::holder(&store.run(&job.id))
        {
            return Ok(State::Running { process: holder.words(), progress: progress::of(&store.run(&job.id)) });
        }
        if let Some(record) = record {
            return Ok(match record.outcome {
                Outcome::Failed { reason, .. } => State::Failed { reason },
                outcome => State::Done { outcome },
            });
        }
        // A damaged one is made again, from the checkpoint.
        let trained = matches!(store.training_record(&job.training_id), Ok(Some(_)));
        if trained || store.has_checkpoint(&job.training_id) {
            return Ok(State::Partial { progress: progress::of(&store.run(&job.id)), trained });
        }
        Ok(State::Missing {})
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        matches!(self, State::Done { .. })
    }

    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            State::Done { outcome: Outcome::Diverged { .. } } => "diverged",
            State::Done { .. } => "done",
            State::Failed { .. } => "failed",
            State::Running { .. } => "running",
            State::Partial { trained: true, .. } => "trained",
            State::Partial { .. } => "started",
            State::Missing {} => "to do",
        }
    }
}

/// Those jobs that have a record, with the place of their cell and the record, in the jobs' order.
pub fn records<'a>(store: &Store, jobs: &'a [(usize, Job)]) -> Result<Vec<(usize, &'a Job, Record)>> {
    let mut found = Vec::new();
    for (cell, job) in jobs {
        // What cannot be read is shown as not run, and `status` says why.
        if let Ok(Some(record)) = store.record(&job.id)
            && record.format == FORMAT
        {
            found.push((*cell, job, record));
        }
    }
    Ok(found)
}
