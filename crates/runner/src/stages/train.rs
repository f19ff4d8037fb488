//! Training, from the start or from the last checkpoint, on the same random streams either way.

use super::{Manner, ranks};
use crate::config::Config;
use crate::data::Dataset;
use crate::job::Job;
use crate::progress::Reporter;
use crate::store::checkpoints::{Loaded, Saver};
use crate::store::claim::Claim;
use crate::store::{FORMAT, Machine, Outcome, Point, Store, TrainingRecord};
use crate::{cause, stop};
use anyhow::{Result, ensure};
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::diffusion::Batch;
use ddpm_model::group::Group;
use ddpm_model::optimiser::Training;
use ddpm_model::tensor::{Device, Tensor};
use ddpm_model::{Diffusion, Engine, UNet};
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
    let mut batches = Batches::new(data, &diffusion, job);
    let mut engine = Engine::new(&unet, config.precision)?;
    let every = (config.steps / POINTS).max(1);
    let mut outcome = Outcome::Finished {};
    let (started, before, first) = (Instant::now(), described.wall_s, described.step);
    let mut saver = Saver::new(store, unet.parameters(), manner.checkpoint_every);
    let mut group = ranks::lead(manner.ranks, job, &training)?;
    reporter.begin();
    while training.step() < config.steps {
        let step = training.step();
        cause::injected(&job.training_id, step)?;
        training.scale_rate(config.decay.share(step, config.steps));
        let (loss, norm) = batches.step(&mut engine, &mut training, group.as_mut(), step)?;
        if diverged(loss, norm) {
            outcome =
                Outcome::Diverged { reason: format!("training diverged at step {}: loss {loss:.3e}, gradient norm {norm:.3e}", step + 1) };
            break;
        }
        described.step = step + 1;
        described.open = (described.open.0 + loss, described.open.1 + norm, described.open.2 + 1);
        if described.step.is_multiple_of(every) {
            let (loss, norm, n) = std::mem::take(&mut described.open);
            described.curve.push(Point { step: described.step, loss: loss / n as f64, gradient_norm: norm / n as f64 });
        }
        described.wall_s = before + started.elapsed().as_secs_f64();
        let recent = described.curve.last().map(|p| p.loss);
        let told = reporter.tell("train", described.step, config.steps, (described.step - first) * config.batch as u64, recent);
        if described.step < config.steps {
            if stop::requested() {
                claim.check()?;
                saver.write(&training, &described)?;
            } else if saver.is_due() {
                claim.check()?;
                saver.begin(&training, &described)?;
            }
            told?;
        }
    }
    claim.check()?;
    saver.finish()?;
    // A diverged state is of no use, and resuming from it would not repeat what happened.
    if outcome == (Outcome::Finished {}) {
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
    let mut engine = Engine::new(&job.config.unet(data.shape), config.precision)?;
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
    let described = Described {
        format: FORMAT,
        training_id: job.training_id.clone(),
        config: job.config.clone(),
        seed: job.seed,
        data: Some(data.digest.clone()),
        step: 0,
        curve: Vec::new(),
        open: (0.0, 0.0, 0),
        wall_s: 0.0,
    };
    Ok((Training::new(unet.parameters(), optimiser, job.seed, Stream::Init), described))
}

/// Training batches by their step: which images, mirrored or not, at which t, with which noise.
struct Batches<'a> {
    data: &'a Dataset,
    diffusion: &'a Diffusion,
    seed: u64,
    size: usize,
    shards: usize,
    flip: bool,
    /// The last two epochs' orders, by epoch.
    orders: Vec<(u64, Vec<usize>)>,
}

impl<'a> Batches<'a> {
    fn new(data: &'a Dataset, diffusion: &'a Diffusion, job: &Job) -> Batches<'a> {
        let t = &job.config.training;
        Batches { data, diffusion, seed: job.seed, size: t.batch, shards: t.optimiser.clip_shards, flip: t.flip, orders: Vec::new() }
    }

    /// The image at place `position` of the endless sequence of shuffled epochs.
    fn image(&mut self, position: u64) -> usize {
        let n = self.data.train.len(self.data.shape) as u64;
        let epoch = position / n;
        if !self.orders.iter().any(|(e, _)| *e == epoch) {
            self.orders.truncate(1);
            self.orders.insert(0, (epoch, Random::new(self.seed, Stream::Shuffle).permutation(epoch, n as usize)));
        }
        let order = &self.orders.iter().find(|(e, _)| *e == epoch).expect("just made").1;
        order[(position % n) as usize]
    }

    /// Images `from..from + n` of step `step`.
    fn batch(&mut self, step: u64, from: usize, n: usize) -> Result<Batch> {
        let indices: Vec<usize> = (0..n).map(|i| self.image(step * self.size as u64 + (from + i) as u64)).collect();
        let stream = |stream| Random::new(self.seed, stream);
        let flips = stream(Stream::Flip);
        let x0 = self.data.train.tensor(self.data.shape, &indices, |i| self.flip && flips.word(step, (from + i) as u64) & 1 == 1)?;
        let timesteps = stream(Stream::Timestep);
        let t = (0..n).map(|i| 1 + timesteps.below(step, (from + i) as u64, self.diffusion.process.timesteps())).collect();
        let noise = stream(Stream::TrainNoise).normals(step, from, n, self.data.shape.len());
        Ok(self.diffusion.batch(x0.clone(), Tensor::from_vec(noise, x0.dims(), &Device::Cpu)?, t)?)
    }

    /// One training step of a group; the mean loss of all shards and the gradient's norm.
    fn step(&mut self, engine: &mut Engine, training: &mut Training, group: &mut dyn Group, step: u64) -> Result<(f64, f64)> {
        let (each, mine) = (self.size / self.shards, group.share(self.shards));
        let batches = mine.clone().map(|shard| self.batch(step, shard * each, each)).collect::<Result<Vec<_>>>()?;
        let mut losses = Vec::new();
        let norm = training.update_in(group, |weights, shard, gradient| {
            let batch = &batches[shard - mine.start];
            let loss = |output: &Tensor| {
                let loss = self.diffusion.loss(output, batch)?.mean;
                losses.push(loss.to_scalar::<f32>()? as f64);
                Ok(loss)
            };
            let dropout = Some((Dropout::new(self.seed, shard * each), step));
            engine.gradient(weights, &batch.xt, &batch.t, dropout, loss, gradient)
        })?;
        let losses = group.gather(losses)?;
        Ok((losses.iter().sum::<f64>() / self.shards as f64, norm))
    }
}
