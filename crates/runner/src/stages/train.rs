//! Training, from the start or from the last checkpoint, on the same random streams either way.

use super::Manner;
use super::course::{Batches, Course};
use crate::config::Config;
use crate::data::Dataset;
use crate::device::Device;
use crate::job::Job;
use crate::progress::Reporter;
use crate::stop;
use crate::store::checkpoints::{Loaded, Saver};
use crate::store::claim::Claim;
use crate::store::{FORMAT, Machine, Outcome, Point, Store, TrainingRecord};
use anyhow::{Result, ensure};
use ddpm_kernels::random::Stream;
use ddpm_model::UNet;
use ddpm_model::group::Group;
use ddpm_model::optimiser::Training;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Points of a whole training curve.
const POINTS: u64 = 200;

/// A loss beyond this has left every range that a bound or an error can have.
const LARGEST_LOSS: f64 = 1e9;

/// What stands beside the tensors in a checkpoint: enough to sample from it, and to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// [`FORMAT`].
    pub format: u32,
    /// The training's name.
    pub training_id: String,
    /// The configuration of the job that trained it.
    pub config: Config,
    /// The seed.
    pub seed: u64,
    /// Digest of the data set that it was trained on; absent where the weights come from elsewhere.
    pub data: Option<String>,
    /// Steps made.
    pub step: u64,
    /// The course so far.
    pub curve: Vec<Point>,
    /// Sums since the last point: loss, gradient norm, steps.
    pub open: (f64, f64, u64),
    /// Seconds of computing so far.
    pub wall_s: f64,
}

impl Described {
    /// Before the first step.
    fn first(job: &Job, data: &Dataset) -> Described {
        Described {
            format: FORMAT,
            training_id: job.training_id.clone(),
            config: job.config.clone(),
            seed: job.seed,
            data: Some(data.digest.clone()),
            step: 0,
            curve: Vec::new(),
            open: (0.0, 0.0, 0),
            wall_s: 0.0,
        }
    }

    /// One more step, made with `loss` and a gradient of `norm`. Every `every` steps the means since the last point become one.
    fn note(&mut self, every: u64, loss: f64, norm: f64) {
        self.step += 1;
        self.open = (self.open.0 + loss, self.open.1 + norm, self.open.2 + 1);
        if self.step.is_multiple_of(every) {
            let (loss, norm, n) = std::mem::take(&mut self.open);
            self.curve.push(Point { step: self.step, loss: loss / n as f64, gradient_norm: norm / n as f64 });
        }
    }

    /// Whether these are the images that it was trained on, where it says so.
    pub fn check_data(&self, data: &Dataset) -> Result<()> {
        if let Some(digest) = &self.data {
            ensure!(*digest == data.digest, "was trained on data of digest {digest}, these have {}", data.digest);
        }
        Ok(())
    }
}

/// The training's record and the moving average of its weights, parameter after parameter. Where the training has ended both are read,
/// not computed. Only who holds its `claim` may train; asked to stop, it leaves a checkpoint first.
pub fn train(
    store: &Store,
    claim: &Claim,
    job: &Job,
    data: &Dataset,
    manner: Manner,
    reporter: &mut Reporter,
) -> Result<(TrainingRecord, Vec<f32>)> {
    let config = &job.config.training;
    let (unet, diffusion) = (job.config.unet(data.shape), job.config.diffusion());
    // A damaged record is made again from the checkpoint.
    let ended = store.training_record(&job.training_id).unwrap_or_else(|why| {
        eprintln!("{why:#}; it is made again from the checkpoint");
        None
    });
    let ended = ended.filter(|r| r.format == FORMAT);
    if let Some(record) = ended.as_ref().filter(|r| matches!(r.outcome, Outcome::Diverged { .. })) {
        // Nothing is sampled from it, so it needs no checkpoint.
        return Ok((record.clone(), Vec::new()));
    }
    let (mut training, mut described) = begin(store, job, data, &unet)?;
    if let Some(record) = ended.filter(|r| r.steps == described.step) {
        return Ok((record, training.into_average()));
    }
    let every = (config.steps / POINTS).max(1);
    let mut outcome = Outcome::Finished {};
    let (started, before, first) = (Instant::now(), described.wall_s, described.step);
    let mut saver = Saver::new(store, unet.parameters(), manner.checkpoint_every);
    let mut course = Course::begin(job, data, &diffusion, &unet, &training, manner.ranks)?;
    reporter.begin();
    'training: while described.step < config.steps {
        for (loss, norm) in course.go_on(&mut training, described.step)? {
            if diverged(loss, norm) {
                let step = described.step + 1;
                let reason = format!("training diverged at step {step}: loss {loss:.3e}, gradient norm {norm:.3e}");
                outcome = Outcome::Diverged { reason };
                break 'training;
            }
            described.note(every, loss, norm);
        }
        described.wall_s = before + started.elapsed().as_secs_f64();
        let recent = described.curve.last().map(|p| p.loss);
        let told = reporter.tell("train", described.step, config.steps, (described.step - first) * config.batch as u64, recent);
        if described.step < config.steps {
            if stop::requested() {
                claim.check()?;
                course.fetch(&mut training)?;
                saver.write(&training, &described)?;
            } else if saver.is_due() {
                claim.check()?;
                course.fetch(&mut training)?;
                saver.begin(&training, &described)?;
            }
            told?;
        }
    }
    claim.check()?;
    saver.finish()?;
    // A diverged state is of no use, and resuming from it would not repeat what happened.
    if outcome == (Outcome::Finished {}) {
        course.fetch(&mut training)?;
        saver.write(&training, &described)?;
    }
    let record = TrainingRecord {
        format: FORMAT,
        id: job.training_id.clone(),
        outcome,
        steps: described.step,
        parameters: unet.parameter_count(),
        flops: 6.0 * unet.macs() as f64 * config.batch as f64 * described.step as f64,
        curve: described.curve,
        wall_s: described.wall_s,
        machine: Machine::here(),
    };
    store.leave_training_record(&record)?;
    Ok((record, training.into_average()))
}

fn diverged(loss: f64, norm: f64) -> bool {
    !(loss.is_finite() && norm.is_finite() && loss < LARGEST_LOSS)
}

/// Makes the steps of `training` as a member of a group, until the training ends or rank 0 is gone.
pub fn follow(job: &Job, data: &Dataset, mut training: Training, group: &mut dyn Group) -> Result<()> {
    let config = &job.config.training;
    let diffusion = job.config.diffusion();
    let mut batches = Batches::new(data, &diffusion, job);
    let mut engine = Device::here().engine(&job.config.unet(data.shape), config.precision)?;
    while training.step() < config.steps {
        let step = training.step();
        training.scale_rate(config.decay.share(step, config.steps));
        let (loss, norm) = batches.step(&mut engine, &mut training, group, step)?;
        if diverged(loss, norm) {
            break;
        }
    }
    Ok(())
}

/// The state to go on from: the newest good checkpoint's, or the network's beginning.
fn begin(store: &Store, job: &Job, data: &Dataset, unet: &UNet) -> Result<(Training, Described)> {
    let optimiser = job.config.training.optimiser.clone();
    let found = store.newest(&job.training_id, unet.parameters(), |described| {
        ensure!(described.training_id == job.training_id, "belongs to {}, not to {}", described.training_id, job.training_id);
        ensure!(described.format == FORMAT, "has format {}, this program writes {FORMAT}", described.format);
        described.check_data(data)
    })?;
    if let Some(Loaded { described, rows }) = found {
        return Ok((Training::resume(unet.parameters(), optimiser, rows, described.step), described));
    }
    Ok((Training::new(unet.parameters(), optimiser, job.seed, Stream::Init), Described::first(job, data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::data::few;
    use crate::job::tiny;

    /// Points are means over the steps since the last one, also where a training was interrupted between two.
    #[test]
    fn a_point_is_the_mean_of_its_steps() {
        let data = few("d", 20, 3);
        let mut described = Described::first(&tiny(&data, &[]), &data);
        for (loss, norm) in [(1.0, 4.0), (2.0, 5.0), (6.0, 9.0), (10.0, 1.0)] {
            described.note(3, loss, norm);
            described = serde_json::from_str(&serde_json::to_string(&described).unwrap()).unwrap();
        }
        assert_eq!(described.curve, [Point { step: 3, loss: 3.0, gradient_norm: 6.0 }]);
        assert_eq!((described.step, described.open), (4, (10.0, 1.0, 1)));
    }

    /// What a training leaves says what it did; it is read again, not done again. One that diverges leaves no state.
    #[test]
    fn a_training_leaves_what_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let data = few("d", 20, 3);
        let manner = Manner { checkpoint_every: std::time::Duration::from_secs(3600), wait: false, ranks: 1 };
        let run = |job: &Job| {
            let claim = Claim::attempt(&store.training(&job.training_id)).unwrap().ok().unwrap();
            train(&store, &claim, job, &data, manner, &mut Reporter::silent()).unwrap()
        };
        let job = tiny(&data, &["training.steps=7", "training.batch=3"]);
        let (record, average) = run(&job);
        let unet = job.config.unet(data.shape);
        assert_eq!((record.id.as_str(), record.steps, &record.outcome), (job.training_id.as_str(), 7, &Outcome::Finished {}));
        assert_eq!((record.parameters, average.len()), (unet.parameter_count(), unet.parameter_count()));
        // Of every step and each of 3 images: a multiplication and an addition, forward, and twice as many backward.
        assert_eq!(record.flops, (7 * 3 * (2 + 4) * unet.macs()) as f64);
        assert_eq!(record.curve.iter().map(|p| p.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        assert!(record.curve.iter().all(|p| p.loss.is_finite() && p.gradient_norm > 0.0) && record.wall_s > 0.0);
        assert_eq!(store.training_record(&job.training_id).unwrap().unwrap(), record);
        assert_eq!(run(&job), (record.clone(), average));
        // A record of which the checkpoint knows nothing is none.
        let more = TrainingRecord { steps: 8, ..record.clone() };
        store.leave_training_record(&more).unwrap();
        let (again, _) = run(&job);
        assert_eq!((again.steps, &again.curve), (7, &record.curve));
        let job = tiny(&data, &["training.steps=7", "training.batch=3", "training.optimiser.learning_rate=1e30"]);
        let (record, average) = run(&job);
        assert!(matches!(&record.outcome, Outcome::Diverged { reason } if reason.contains("training diverged at step")), "{record:?}");
        assert!(record.steps < 7 && average.is_empty() == store.has_checkpoint(&job.training_id), "{record:?}");
        assert_eq!(run(&job), (record, Vec::new()));
    }

    #[test]
    fn what_leaves_its_range_has_diverged() {
        assert!(!diverged(1e8, 1e30) && diverged(1e10, 1.0) && diverged(f64::NAN, 1.0) && diverged(1.0, f64::INFINITY));
    }
}
