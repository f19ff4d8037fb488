//! The states of a job's training that are in the store: where it can go on from, and what it has left.

use crate::base::data::Dataset;
use crate::experiment::Job;
use crate::store::checkpoints::{self, Checkpoint, DAMAGED};
use crate::store::{CheckpointMeta, FORMAT, Outcome, Store, TrainingRecord};
use anyhow::{Result, ensure};
use ddpm_kernels::random::Stream;
use ddpm_model::optimiser::Training;
use ddpm_model::parameters::Parameter;
use ddpm_model::train_state::TrainState;
use std::fs;

/// The states of a job's training.
pub struct States<'a> {
    pub store: &'a Store,
    pub job: &'a Job,
    pub data: &'a Dataset,
}

/// A training to go on with.
pub struct Begun {
    pub training: Training,
    pub meta: CheckpointMeta,
    /// Steps from here on at which snapshots are still to be left, rising.
    pub missing: Vec<u64>,
}

impl States<'_> {
    /// The training's record, where it has ended. A damaged one is made again from the checkpoint.
    pub fn record(&self) -> Option<TrainingRecord> {
        let record = self.store.training_record(&self.job.training_id).unwrap_or_else(|why| {
            eprintln!("{why:#}; it is made again from the checkpoint");
            None
        });
        record.filter(|r| r.format == FORMAT)
    }

    /// The job's average at the end of a training with this record: `Some(None)` where it diverged, and none is sampled from. None where
    /// the end is not there: the training has to go on.
    pub fn end(&self, record: &TrainingRecord) -> Result<Option<Option<Vec<f32>>>> {
        if let Outcome::Diverged { .. } = record.outcome {
            return Ok(Some(None));
        }
        let found = self.checkpoint()?.filter(|found| found.meta.step == record.steps);
        Ok(found.map(|found| Some(self.average(&found.state))))
    }

    /// The job's average in a snapshot. None where it is not there, or cannot be read, which is said on stderr.
    pub fn snapshot(&self, step: u64) -> Option<Vec<f32>> {
        self.read(step).map(|found| self.average(&found.state))
    }

    /// The last state there is, or the network's beginning.
    pub fn last(&self) -> Result<Begun> {
        let (checkpoint, all) = (self.checkpoint()?, self.job.config.training.steps);
        let after = checkpoint.as_ref().map_or(0, |found| found.meta.step);
        let found = self.newest_snapshot(after + 1, all).or(checkpoint);
        let step = found.as_ref().map_or(0, |found| found.meta.step);
        let is_there = |step: &u64| self.store.snapshot(&self.job.training_id, *step).exists();
        Ok(self.begun(found, self.moments(step, all).filter(|step| !is_there(step)).collect()))
    }

    /// The last snapshot before the first that is missing of those up to `steps`, or the network's beginning.
    pub fn before_missing(&self, steps: u64) -> Begun {
        let missing: Vec<u64> = self.moments(0, steps).filter(|step| self.read(*step).is_none()).collect();
        let first = missing.first().copied().unwrap_or(0);
        self.begun(self.newest_snapshot(1, first), missing)
    }

    fn begun(&self, found: Option<Checkpoint>, missing: Vec<u64>) -> Begun {
        let (job, parameters) = (self.job, self.parameters());
        let optimiser = job.config.training.optimiser.clone();
        let (training, meta) = match found {
            Some(Checkpoint { meta, state }) => (Training::resume(&parameters, optimiser, state, meta.step), meta),
            None => (Training::new(&parameters, optimiser, job.seed, Stream::Init), CheckpointMeta::first(job, &self.data.info)),
        };
        Begun { training, meta, missing }
    }

    /// The steps in `from..=to` at which the configuration asks for a snapshot, rising.
    fn moments(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        self.job.config.measured_at().into_iter().filter(move |step| (from..=to).contains(step))
    }

    /// The newest good snapshot of a step in `from..to`, whatever it was left for.
    fn newest_snapshot(&self, from: u64, to: u64) -> Option<Checkpoint> {
        let there = self.store.snapshots(&self.job.training_id);
        there.into_iter().rev().filter(|step| (from..to).contains(step)).find_map(|step| self.read(step))
    }

    fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        self.store.newest(&self.job.training_id, &self.parameters(), |meta| self.check(meta))
    }

    /// A snapshot, where it is there and good. One that is not good is named on stderr and set aside.
    fn read(&self, step: u64) -> Option<Checkpoint> {
        let path = self.store.snapshot(&self.job.training_id, step);
        if !path.exists() {
            return None;
        }
        let read = || {
            let found = checkpoints::read(&path, |meta| {
                self.check(meta)?;
                Ok(self.parameters())
            })?;
            ensure!(found.meta.step == step, "is of step {}", found.meta.step);
            Ok(found)
        };
        let set_aside = |why: &anyhow::Error| {
            eprintln!("{}: {why:#}; renamed to {DAMAGED}, and made anew where it is needed", path.display());
            // Where it cannot be renamed, what is made anew takes its place.
            let _ = fs::rename(&path, path.with_file_name(DAMAGED));
        };
        read().inspect_err(set_aside).ok()
    }

    /// Whether a state is of this training.
    fn check(&self, meta: &CheckpointMeta) -> Result<()> {
        let id = &self.job.training_id;
        ensure!(meta.training_id == *id, "belongs to {}, not to {id}", meta.training_id);
        ensure!(meta.format == FORMAT, "has format {}, this program writes {FORMAT}", meta.format);
        meta.check_data(&self.data.info)
    }

    /// The average that the job uses.
    fn average(&self, state: &TrainState) -> Vec<f32> {
        state.average(self.job.config.training.optimiser.ema_decay).expect("kept, as checked").to_vec()
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.job.config.unet(self.data.info.shape).parameters().to_vec()
    }
}
