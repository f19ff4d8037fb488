//! Training, from the start or from the last checkpoint, on the same random streams either way.

use super::options::RunOptions;
use super::stepper::{Stepper, diverged};
use crate::base::data::Dataset;
use crate::base::lock::Lock;
use crate::base::stop;
use crate::experiment::{Job, TrainingConfig};
use crate::store::checkpoints::{Checkpoint, Saver};
use crate::store::progress::{Reporter, Stage};
use crate::store::{CheckpointMeta, FORMAT, Loading, Machine, Outcome, Store, TrainingRecord};
use anyhow::{Result, ensure};
use ddpm_kernels::random::Stream;
use ddpm_model::UNet;
use ddpm_model::optimiser::Training;
use std::time::Instant;

/// Points of a whole training curve.
const POINTS: u64 = 200;

/// Trains, and returns the training record and the moving average of the weights, parameter by parameter. If training has already ended,
/// both are read, not computed. Only the holder of its `lock` may train; on a stop request, a checkpoint is saved first.
pub fn train(
    store: &Store,
    lock: &Lock,
    job: &Job,
    data: &Dataset,
    options: RunOptions,
    reporter: &mut Reporter,
) -> Result<(TrainingRecord, Vec<f32>)> {
    let config = &job.config.training;
    let (unet, diffusion) = (job.config.unet(data.info.shape), job.config.diffusion());
    let ended = ended(store, job);
    if let Some(record) = ended.as_ref().filter(|r| matches!(r.outcome, Outcome::Diverged { .. })) {
        // Nothing is sampled from it, so it needs no checkpoint.
        return Ok((record.clone(), Vec::new()));
    }
    let (mut training, mut meta) = begin(store, job, data, &unet)?;
    if let Some(record) = ended.filter(|r| r.steps == meta.step) {
        return Ok((record, training.into_ema()));
    }
    let mut saver = Saver::new(store, unet.parameters(), options.checkpoint_every);
    let mut stepper = Stepper::begin(job, data, diffusion, &unet, &training, options.ranks, store.cache())?;
    let outcome = run(config, &mut stepper, &mut training, &mut meta, &mut saver, lock, reporter)?;
    lock.check()?;
    saver.finish()?;
    // A diverged state is of no use, and resuming from it would not repeat what happened.
    if outcome == (Outcome::Finished {}) {
        stepper.fetch(&mut training)?;
        saver.write(&training, &meta)?;
    }
    let record = TrainingRecord {
        format: FORMAT,
        id: job.training_id.clone(),
        outcome,
        steps: meta.step,
        parameters: unet.parameter_count(),
        flops: unet.training_flops() * config.batch as f64 * meta.step as f64,
        curve: meta.curve,
        wall_s: meta.wall_s,
        loading: Some(Loading { form: data.train.form().into(), delivery: stepper.loading().0, waited_s: meta.waited_s }),
        machine: Machine::here(),
    };
    store.leave_training_record(&record)?;
    Ok((record, training.into_ema()))
}

/// A training's record, where it has ended. A damaged one is made again from the checkpoint.
fn ended(store: &Store, job: &Job) -> Option<TrainingRecord> {
    let record = store.training_record(&job.training_id).unwrap_or_else(|why| {
        eprintln!("{why:#}; it is made again from the checkpoint");
        None
    });
    record.filter(|r| r.format == FORMAT)
}

/// Makes the steps that are left, with checkpoints on the way. A stop request is an error, after a last one.
fn run(
    config: &TrainingConfig,
    stepper: &mut Stepper,
    training: &mut Training,
    meta: &mut CheckpointMeta,
    saver: &mut Saver,
    lock: &Lock,
    reporter: &mut Reporter,
) -> Result<Outcome> {
    let every = (config.steps / POINTS).max(1);
    let (started, before, waited_before, first) = (Instant::now(), meta.wall_s, meta.waited_s, meta.step);
    reporter.begin();
    while meta.step < config.steps {
        for (loss, norm) in stepper.go_on(training, meta.step)? {
            if diverged(loss, norm) {
                let step = meta.step + 1;
                let reason = format!("training diverged at step {step}: loss {loss:.3e}, gradient norm {norm:.3e}");
                return Ok(Outcome::Diverged { reason });
            }
            meta.note(every, loss, norm, config.optimiser.clips(norm));
        }
        meta.wall_s = before + started.elapsed().as_secs_f64();
        meta.waited_s = waited_before + stepper.loading().1.as_secs_f64();
        let recent = meta.curve.last().map(|p| p.loss);
        let told = reporter.tell(Stage::Train, meta.step, config.steps, (meta.step - first) * config.batch as u64, recent);
        if meta.step < config.steps {
            if stop::requested() {
                lock.check()?;
                stepper.fetch(training)?;
                saver.write(training, meta)?;
            } else if saver.is_due() {
                lock.check()?;
                stepper.fetch(training)?;
                saver.begin(training, meta)?;
            }
            told?;
        }
    }
    Ok(Outcome::Finished {})
}

/// The state to go on from: the newest good checkpoint's, or the network's beginning.
fn begin(store: &Store, job: &Job, data: &Dataset, unet: &UNet) -> Result<(Training, CheckpointMeta)> {
    let optimiser = job.config.training.optimiser.clone();
    let found = store.newest(&job.training_id, unet.parameters(), |meta| {
        ensure!(meta.training_id == job.training_id, "belongs to {}, not to {}", meta.training_id, job.training_id);
        ensure!(meta.format == FORMAT, "has format {}, this program writes {FORMAT}", meta.format);
        meta.check_data(&data.info)
    })?;
    if let Some(Checkpoint { meta, state }) = found {
        return Ok((Training::resume(unet.parameters(), optimiser, state, meta.step), meta));
    }
    Ok((Training::new(unet.parameters(), optimiser, job.seed, Stream::Init), CheckpointMeta::first(job, &data.info)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;
    use crate::store::Point;

    /// What a training leaves says what it did; it is read again, not done again. One that diverges leaves no state.
    #[test]
    fn a_training_leaves_what_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let data = few("d", 20, 3);
        let options = RunOptions { checkpoint_every: std::time::Duration::from_secs(3600), wait: false, ranks: 1 };
        let run = |job: &Job| {
            let lock = Lock::attempt(&store.training(&job.training_id)).unwrap().ok().unwrap();
            train(&store, &lock, job, &data, options, &mut Reporter::silent()).unwrap()
        };
        let job = tiny(&data, &["training.steps=7", "training.batch=3"]);
        let (record, ema) = run(&job);
        let unet = job.config.unet(data.info.shape);
        assert_eq!((record.id.as_str(), record.steps, &record.outcome), (job.training_id.as_str(), 7, &Outcome::Finished {}));
        assert_eq!((record.parameters, ema.len()), (unet.parameter_count(), unet.parameter_count()));
        // Of every step and each of 3 images: a multiplication and an addition, forward, and twice as many backward.
        assert_eq!(record.flops, (7 * 3 * (2 + 4) * unet.macs()) as f64);
        assert_eq!(record.curve.iter().map(|p| p.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        assert!(record.curve.iter().all(|p| p.loss.is_finite() && p.gradient_norm > 0.0) && record.wall_s > 0.0);
        assert_eq!(store.training_record(&job.training_id).unwrap().unwrap(), record);
        assert_eq!(run(&job), (record.clone(), ema));
        // A limit between the norms of its steps clips those that are longer; without one none is.
        let longest = record.curve.iter().map(|p| p.gradient_norm).fold(0.0, f64::max);
        let limit = format!("training.optimiser.clip_norm={}", 0.999 * record.curve[0].gradient_norm);
        let clipping = run(&tiny(&data, &["training.steps=7", "training.batch=3", &limit])).0.curve;
        let longer = |p: &Point| Some(f64::from(p.gradient_norm > 0.999 * record.curve[0].gradient_norm));
        assert!(clipping[0].clipped == Some(1.0) && clipping.iter().all(|p| p.clipped == longer(p)), "{clipping:?}");
        let limit = format!("training.optimiser.clip_norm={}", 2.0 * longest);
        let free = run(&tiny(&data, &["training.steps=7", "training.batch=3", &limit])).0.curve;
        assert!(free.iter().all(|p| p.clipped == Some(0.0)), "{free:?}");
        // A record of which the checkpoint knows nothing is none.
        let more = TrainingRecord { steps: 8, ..record.clone() };
        store.leave_training_record(&more).unwrap();
        let (again, _) = run(&job);
        assert_eq!((again.steps, &again.curve), (7, &record.curve));
        let job = tiny(&data, &["training.steps=7", "training.batch=3", "training.optimiser.learning_rate=1e30"]);
        let (record, ema) = run(&job);
        assert!(matches!(&record.outcome, Outcome::Diverged { reason } if reason.contains("training diverged at step")), "{record:?}");
        assert!(record.steps < 7 && ema.is_empty() == store.has_checkpoint(&job.training_id), "{record:?}");
        assert_eq!(run(&job), (record, Vec::new()));
    }
}
