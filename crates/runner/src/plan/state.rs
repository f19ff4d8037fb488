//! What state a job is in, told by what the store holds.

use crate::base::lock;
use crate::experiment::Job;
use crate::store::progress::{self, Progress};
use crate::store::{FORMAT, Outcome, Record, Store, TrainingRecord};
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
    /// A process is running it.
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
            && let Some(holder) = lock::holder(&store.run(&job.id))
        {
            return Ok(State::Running { process: holder.description(), progress: progress::of(&store.run(&job.id)) });
        }
        if let Some(record) = record {
            return Ok(match record.outcome {
                Outcome::Failed { reason, .. } => State::Failed { reason },
                outcome => State::Done { outcome },
            });
        }
        // A damaged one is made again, from the checkpoint.
        let trained = is_trained(store, job);
        if trained || store.has_checkpoint(&job.training_id) || !store.snapshots(&job.training_id).is_empty() {
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

/// Whether a job's training has left what the job needs of it, as far as can be told without reading it.
pub fn is_trained(store: &Store, job: &Job) -> bool {
    let record = store.training_record(&job.training_id).ok().flatten();
    let is_left =
        |record: &TrainingRecord| job.at.is_none_or(|step| step > record.steps || store.snapshot(&job.training_id, step).exists());
    record.as_ref().is_some_and(is_left)
}

/// Those jobs that are not done. One whose record cannot be read is done anew, which is said on stderr.
pub fn outstanding<'a>(store: &Store, jobs: impl IntoIterator<Item = &'a Job>) -> Result<Vec<Job>> {
    let mut found = Vec::new();
    for job in jobs {
        if let Err(why) = store.record(&job.id) {
            eprintln!("{why:#}; the job is done anew");
        }
        if !State::of(store, job)?.is_done() {
            found.push(job.clone());
        }
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::cause::Cause;
    use crate::base::data::few;
    use crate::base::lock::Lock;
    use crate::experiment::tiny;
    use crate::store::{CHECKPOINTS, Machine, RECORD};
    use std::fs;

    /// From nothing to done, and what each file that is there makes of it; the word is what a person sees.
    #[test]
    fn a_state_is_told_by_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let job = tiny(&few("d", 20, 3), &[]);
        let now = || State::of(&store, &job).unwrap();
        let (run, training) = (store.run(&job.id), store.training(&job.training_id));
        assert_eq!((now(), now().word(), now().is_done()), (State::Missing {}, "to do", false));
        // The older of the two checkpoints is one too.
        fs::create_dir_all(&training).unwrap();
        fs::write(training.join(CHECKPOINTS[1]), b"x").unwrap();
        assert_eq!((now(), now().word(), now().is_done()), (State::Partial { progress: None, trained: false }, "started", false));
        let trained = TrainingRecord {
            format: FORMAT,
            id: job.training_id.clone(),
            outcome: Outcome::Finished {},
            steps: 1,
            parameters: 1,
            curve: vec![],
            wall_s: 0.0,
            loading: None,
            flops: 0.0,
            machine: Machine::here(),
        };
        store.leave_training_record(&trained).unwrap();
        assert_eq!((now(), now().word(), now().is_done()), (State::Partial { progress: None, trained: true }, "trained", false));
        fs::create_dir_all(&run).unwrap();
        let lock = Lock::attempt(&run).unwrap().ok().unwrap();
        assert!(
            matches!(now(), State::Running { process, progress: None } if process.contains(&std::process::id().to_string())),
            "{:?}",
            now()
        );
        assert_eq!((now().word(), now().is_done()), ("running", false));
        // Of scores along it the snapshot has to be there too; beyond its end, where it diverged, there is none.
        let along = |at: u64| State::of(&store, &Job { id: format!("at-{at}"), at: Some(at), ..job.clone() }).unwrap();
        assert_eq!(
            (along(1), along(2)),
            (State::Partial { progress: None, trained: false }, State::Partial { progress: None, trained: true })
        );
        fs::write(store.snapshot(&job.training_id, 1), b"x").unwrap();
        assert_eq!(along(1), State::Partial { progress: None, trained: true });
        let leave = |outcome| store.leave_record(&Record::of(&job, "d", outcome)).unwrap();
        // One that has failed and is tried again runs; one that is done stays done, whatever process opens it.
        leave(Outcome::Failed { cause: Cause::Program, reason: "because".into(), attempts: 2 });
        assert_eq!(now().word(), "running");
        leave(Outcome::Diverged { reason: "loss inf".into() });
        assert_eq!((now().word(), now().is_done()), ("diverged", true));
        leave(Outcome::Finished {});
        assert_eq!((now(), now().word(), now().is_done()), (State::Done { outcome: Outcome::Finished {} }, "done", true));
        assert_eq!(
            records(&store, &[(4, job.clone())]).unwrap().iter().map(|r| (r.0, r.1.id.clone())).collect::<Vec<_>>(),
            [(4, job.id.clone())]
        );
        drop(lock);
        leave(Outcome::Failed { cause: Cause::Program, reason: "because".into(), attempts: 2 });
        assert_eq!((now(), now().word(), now().is_done()), (State::Failed { reason: "because".into() }, "failed", false));
        // Of another version: as if it were not there. Damaged: it failed.
        store.leave_record(&Record { format: FORMAT - 1, ..Record::of(&job, "d", Outcome::Finished {}) }).unwrap();
        assert_eq!(now().word(), "trained");
        assert!(records(&store, &[(4, job.clone())]).unwrap().is_empty());
        fs::write(run.join(RECORD), b"{}").unwrap();
        assert!(matches!(now(), State::Failed { reason } if reason.contains(RECORD) && reason.contains("damaged")), "{:?}", now());
        assert!(records(&store, &[(4, job.clone())]).unwrap().is_empty());
    }
}
