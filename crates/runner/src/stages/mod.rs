//! The stages of a job: train, sample, evaluate. Each reads what the one before left and can be interrupted.

pub mod classifier;
mod evaluate;
mod sample;
mod train;

pub use evaluate::{BoundOf, bound};
pub use sample::{Samples, sample};
pub use train::{Described, train};

use crate::config::yaml;
use crate::data::Dataset;
use crate::job::Job;
use crate::metrics::Metric;
use crate::metrics::features::FeatureNet;
use crate::picture;
use crate::progress::Reporter;
use crate::store::{FORMAT, Machine, Outcome, Record, Store, atomic, write_json};
use anyhow::{Context, Result};
use ddpm_model::Engine;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Does one job from wherever it stands and leaves its record.
pub fn run(store: &Store, job: &Job, data: &Dataset, checkpoint_every: Duration) -> Result<Record> {
    let _lock = store.lock(&job.training_id)?;
    if let Ok(Some(record)) = store.done(&job.id) {
        // Another process did it while this one waited.
        return Ok(record);
    }
    let dir = store.run(&job.id);
    std::fs::create_dir_all(&dir).with_context(|| format!("{}: cannot be made", dir.display()))?;
    atomic::write(&dir.join("config.yaml"), yaml::to_string(&job.config).as_bytes())?;
    let mut reporter = Reporter::new(&dir);
    let (training, weights) = train(store, job, data, checkpoint_every, &mut reporter)?;
    let started = Instant::now();
    let mut record = Record {
        format: FORMAT,
        id: job.id.clone(),
        training_id: job.training_id.clone(),
        config: job.config.clone(),
        seed: job.seed,
        data: data.digest.clone(),
        outcome: training.outcome.clone(),
        metrics: BTreeMap::new(),
        blanks: BTreeMap::new(),
        real: BTreeMap::new(),
        bounds: BTreeMap::new(),
        progressive: Vec::new(),
        evaluations: 0,
        wall_s: 0.0,
        machine: Machine::here(),
    };
    if let Outcome::Diverged { reason } = &training.outcome {
        record.blanks = Metric::ALL.into_iter().map(|m| (m, reason.clone())).collect();
    } else {
        measure(store, job, data, weights, &mut record, &mut reporter)?;
    }
    record.wall_s = started.elapsed().as_secs_f64();
    write_json(&dir.join("record.json"), &record)?;
    reporter.end();
    Ok(record)
}

fn measure(store: &Store, job: &Job, data: &Dataset, weights: Vec<f32>, record: &mut Record, reporter: &mut Reporter) -> Result<()> {
    let (unet, diffusion, dir) = (job.config.unet(data.shape), job.config.diffusion(), store.run(&job.id));
    let mut engine = Engine::with_weights(&unet, job.config.training.precision, weights)?;
    let features = FeatureNet::embedded(data.shape)?;
    let samples = sample(&mut engine, &diffusion, &job.config.sampling, job.seed, reporter)?;
    record.evaluations = samples.evaluations;
    record.progressive = samples.progressive_steps.clone();
    let shown = samples.bytes.len().min(64 * data.shape.len());
    atomic::write(&dir.join("samples.png"), &picture::png(&picture::grid(&samples.bytes[..shown], data.shape, 8, 2))?)?;
    let columns = samples.progressive_steps.len();
    atomic::write(&dir.join("progressive.png"), &picture::png(&picture::grid(&samples.progressive, data.shape, columns, 2))?)?;
    reporter.begin();
    reporter.tell("score", 0, 1, 0, None);
    let scores = samples.scores(data, features.as_ref(), job.seed)?;
    record.real.extend(scores.real);
    for (metric, result) in scores.samples {
        match result {
            Ok(measured) => drop(record.metrics.insert(metric, measured)),
            Err(reason) => drop(record.blanks.insert(metric, reason)),
        }
    }
    let evaluation = &job.config.evaluation;
    for (metric, images, n, split) in [
        (Metric::BitsPerDim, &data.held_out, evaluation.held_out, "held-out"),
        (Metric::BitsPerDimTrain, &data.train, evaluation.train, "train"),
    ] {
        if n == 0 {
            record.blanks.insert(metric, "no images were asked for".into());
            continue;
        }
        let what = BoundOf { images, shape: data.shape, n, batch: evaluation.batch, decoder: evaluation.decoder, split };
        let (measured, split) = bound(&mut engine, &diffusion, &what, job.seed, reporter)?;
        if measured.value.is_finite() {
            record.metrics.insert(metric, measured);
            record.bounds.insert(metric, split);
        } else {
            record.blanks.insert(metric, "the bound is not finite".into());
        }
    }
    Ok(())
}
