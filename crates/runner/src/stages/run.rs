//! One job, from wherever it stands to its record.

use super::evaluate::{BoundOf, bound};
use super::options::RunOptions;
use super::sample::{SHOWN, Samples, samples_of};
use super::score::score;
use super::study::StudyContext;
use super::train::train;
use crate::base::data::Dataset;
use crate::base::device::Device;
use crate::base::error::RunError;
use crate::base::lock::Lock;
use crate::base::{atomic, picture};
use crate::experiment::{Job, yaml};
use crate::metrics::{Measured, Metric, weights_in_words};
use crate::store::history::{self, Event};
use crate::store::progress::Reporter;
use crate::store::{Outcome, REVERSE, Record, Store};
use anyhow::Result;
use ddpm_model::Engine;
use ddpm_model::network::ImageShape;
use image::RgbImage;
use std::path::Path;
use std::time::Instant;

/// Runs one job from its current state and stores its record. If another process is running it, waits for that or returns an error.
pub fn run(store: &Store, job: &Job, data: &Dataset, options: RunOptions) -> Result<Record> {
    let dir = store.run(&job.id);
    let lock =
        if options.wait { Lock::wait(&dir)? } else { Lock::attempt(&dir)?.map_err(|holder| RunError::Busy(holder.description()))? };
    if let Ok(Some(record)) = store.done(&job.id) {
        // Another process did it meanwhile.
        return Ok(record);
    }
    history::add(&dir, Event::Begun)?;
    let result = work(store, &lock, job, data, options);
    let event = match &result {
        Ok(_) => Event::Ended,
        Err(error) if matches!(RunError::of(error), Some(RunError::Interrupted)) => Event::Interrupted,
        Err(_) => Event::Failed,
    };
    // The record, or the error, matters more than this line.
    let noted = history::add(&dir, event);
    let record = result?;
    noted?;
    Ok(record)
}

fn work(store: &Store, lock: &Lock, job: &Job, data: &Dataset, options: RunOptions) -> Result<Record> {
    let dir = store.run(&job.id);
    atomic::write(&dir.join("config.yaml"), yaml::to_string(&job.config).as_bytes())?;
    let mut reporter = Reporter::new(&dir);
    // Jobs of other samplers may share the training: they wait here.
    let training_lock = Lock::wait(&store.training(&job.training_id))?;
    let (training, weights) = train(store, &training_lock, job, data, options, &mut reporter)?;
    drop(training_lock);
    let started = Instant::now();
    let outcome = if weights.is_some() { Outcome::Finished {} } else { training.outcome };
    let mut record = Record::of(job, &data.info.digest, outcome);
    if let Some(weights) = weights {
        let mut engine = Device::here().engine(&job.config.unet(data.info.shape), job.config.training.precision)?.load(weights);
        match &job.study {
            None => measure(store, job, data, &mut engine, &mut record, &mut reporter)?,
            Some(study) => {
                let net = job.config.evaluation.features.load(data.info.shape)?;
                let net = net.as_ref();
                let mut setting = StudyContext { store, job, data, engine: &mut engine, net, reporter: &mut reporter };
                record.findings = Some(setting.run(study)?);
            }
        }
    }
    record.wall_s = started.elapsed().as_secs_f64();
    lock.check()?;
    store.leave_record(&record)?;
    reporter.end();
    Ok(record)
}

/// Pictures of a job's samples in its folder.
fn leave_pictures(dir: &Path, samples: &Samples, shape: ImageShape) -> Result<()> {
    let columns = samples.info.progressive_steps.len();
    let leave = |name: &str, picture: RgbImage| atomic::write(&dir.join(name), &picture::png(&picture)?);
    if picture::is_plane(shape) {
        leave("samples.png", picture::plane(&samples.bytes))?;
        let at =
            |stop: usize| samples.progressive.chunks_exact(2 * columns).flat_map(|way| way[2 * stop..][..2].to_vec()).collect::<Vec<u8>>();
        let stops: Vec<RgbImage> = (0..columns).map(|stop| picture::plane(&at(stop))).collect();
        return leave("progressive.png", picture::row(&stops));
    }
    let scale = picture::scale_for(shape);
    let shown = samples.bytes.len().min(picture::SHOWN * shape.len());
    leave("samples.png", picture::grid(&samples.bytes[..shown], shape, picture::COLUMNS, scale))?;
    leave("progressive.png", picture::grid(samples.along(SHOWN, shape.len()), shape, columns, scale))?;
    // The same of more samples, with the samples themselves at the end, for the HTML page.
    let kept = samples.progressive.chunks_exact(columns * shape.len());
    let ended: Vec<u8> = kept.zip(samples.bytes.chunks_exact(shape.len())).flat_map(|(way, end)| [way, end].concat()).collect();
    leave(REVERSE, picture::tiled(&ended, shape, columns + 1))
}

fn measure(store: &Store, job: &Job, data: &Dataset, engine: &mut Engine, record: &mut Record, reporter: &mut Reporter) -> Result<()> {
    let (diffusion, dir) = (job.config.diffusion(), store.run(&job.id));
    let samples = samples_of(store, job, data, engine, reporter)?;
    record.nfe = samples.info.nfe;
    record.progressive = samples.info.progressive_steps.clone();
    leave_pictures(&dir, &samples, data.info.shape)?;
    let features = job.config.evaluation.features.load(data.info.shape)?;
    let weights = weights_in_words(job.config.training.optimiser.ema_decay);
    let scores = score(Some(store), &samples, (data, job.config.data.mixture()), features.as_ref(), (job.seed, weights), reporter)?;
    record.real.extend(scores.real);
    record.out_of_range.extend(scores.out_of_range);
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
        // The bound under the best variances is of the same images.
        let measured_with_it = if metric == Metric::BitsPerDim { vec![metric, Metric::BitsPerDimOptimal] } else { vec![metric] };
        if n == 0 {
            record.blanks.extend(measured_with_it.into_iter().map(|metric| (metric, "no images were asked for".into())));
            continue;
        }
        let what = BoundOf { images, n, batch: evaluation.batch, decoder: evaluation.decoder, split, weights };
        let (measured, split) = bound(engine, diffusion, &what, job.seed, reporter)?;
        if measured.value.is_finite() {
            if metric == Metric::BitsPerDim {
                let protocol =
                    format!("{}; at each t >= 2 the one variance that is best for these images, at t = 1 the fixed one", measured.protocol);
                let best = Measured { value: split.under.optimal, std_err: None, n: measured.n, protocol };
                record.metrics.insert(Metric::BitsPerDimOptimal, best);
            }
            record.metrics.insert(metric, measured);
            record.bounds.insert(metric, split);
        } else {
            record.out_of_range.extend(&measured_with_it);
            record.blanks.extend(measured_with_it.into_iter().map(|metric| (metric, "the bound is not finite".into())));
        }
    }
    Ok(())
}
