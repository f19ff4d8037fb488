//! Sampling with the averaged weights. Samples are stored, so that every later evaluation uses the same ones.

use crate::base::data::Dataset;
use crate::base::{atomic, picture};
use crate::experiment::{Job, SamplingConfig};
use crate::store::Store;
use crate::store::progress::{Reporter, Stage};
use anyhow::{Context, Result, ensure};
use ddpm_core::sampler::even_steps;
use ddpm_model::sampling::Walk;
use ddpm_model::tensor::{Device, Tensor};
use ddpm_model::{Diffusion, Engine, checkpoint};
use serde::{Deserialize, Serialize};
use std::fs;

/// Samples whose predicted x_0 is kept along the walk at most, how many of these a person is shown at once, and the number of stops.
const KEPT: usize = 64;
pub const SHOWN: usize = 8;
const STOPS: usize = 10;
/// Samples whose root mean square is beyond this are out of range: images in [-1, 1] cannot exceed 1.
const LARGEST_RMS: f64 = 1.5;
/// The samples' name in their file.
const IMAGES: &str = "images";
const PROGRESSIVE: &str = "progressive";

/// Samples as 8-bit images, and what was seen on the way.
#[derive(Clone, Debug)]
pub struct Samples {
    /// `[n, H, W, C]`.
    pub bytes: Vec<u8>,
    /// The x_0 predicted for the first samples, sample after sample, stop after stop.
    pub progressive: Vec<u8>,
    /// What is known of them.
    pub info: SamplesInfo,
}

/// What is known of samples.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplesInfo {
    /// Their name in the store.
    pub id: String,
    /// Network evaluations for one sample.
    #[serde(rename = "evaluations")]
    pub nfe: usize,
    /// The steps of the stops at which predictions were kept, falling.
    pub progressive_steps: Vec<usize>,
    /// Root mean square before clipping; absent where something was not finite.
    pub rms: Option<f64>,
}

/// The x_0 predicted for all samples at some steps.
pub struct PredictedX0 {
    /// The steps, falling.
    pub steps: Vec<usize>,
    /// For each of them `[n, H, W, C]`.
    pub predictions: Vec<Vec<u8>>,
}

/// A job's samples: those of the store, or made and left there. Damaged ones are named and made anew.
pub fn samples_of(store: &Store, job: &Job, data: &Dataset, engine: &mut Engine, reporter: &mut Reporter) -> Result<Samples> {
    let path = store.samples(&job.sampling_id);
    if path.exists() {
        let read = || -> Result<Samples> {
            let bytes = fs::read(&path)?;
            let info: SamplesInfo = serde_json::from_str(&checkpoint::description(&bytes)?.context("has no description")?)?;
            ensure!(info.id == job.sampling_id, "holds the samples {}", info.id);
            let (shape, images) = checkpoint::read_u8(&bytes, IMAGES)?;
            let expected = [job.config.sampling.count, data.info.shape.height, data.info.shape.width, data.info.shape.channels];
            ensure!(shape == expected, "expected {expected:?}, got {shape:?}");
            Ok(Samples { bytes: images, progressive: checkpoint::read_u8(&bytes, PROGRESSIVE)?.1, info })
        };
        match read() {
            Ok(samples) => return Ok(samples),
            Err(why) => eprintln!("{}: {why:#}; the samples are made anew", path.display()),
        }
    }
    let (samples, _) = sample(engine, job.config.diffusion(), &job.config.sampling, job.seed, &[], reporter)?;
    keep(store, job, data, samples)
}

/// Leaves a job's samples in the store.
pub fn keep(store: &Store, job: &Job, data: &Dataset, mut samples: Samples) -> Result<Samples> {
    samples.info.id = job.sampling_id.clone();
    let shape = data.info.shape;
    let tensor =
        |bytes: &[u8]| Tensor::from_slice(bytes, (bytes.len() / shape.len(), shape.height, shape.width, shape.channels), &Device::Cpu);
    let tensors = [(IMAGES.to_string(), tensor(&samples.bytes)?), (PROGRESSIVE.to_string(), tensor(&samples.progressive)?)];
    atomic::write(&store.samples(&job.sampling_id), &checkpoint::to_bytes(&tensors, &serde_json::to_string(&samples.info)?)?)?;
    Ok(samples)
}

/// Makes `config.count` samples under `seed`, and the x_0 predicted for all of them at the steps `at`.
pub fn sample(
    engine: &mut Engine,
    diffusion: &Diffusion,
    config: &SamplingConfig,
    seed: u64,
    at: &[usize],
    reporter: &mut Reporter,
) -> Result<(Samples, PredictedX0)> {
    let mut walk = Walk::new(engine, diffusion, &config.sampler)?;
    let shown = stops(config, diffusion, STOPS)?;
    let mut predicted = PredictedX0 { steps: at.to_vec(), predictions: vec![Vec::new(); at.len()] };
    let (mut bytes, mut squares, mut progressive) = (Vec::new(), 0.0, Vec::new());
    reporter.begin();
    for first in (0..config.count).step_by(config.batch) {
        let n = config.batch.min(config.count - first);
        let keep: Vec<usize> = if first == 0 { shown.iter().chain(&predicted.steps).copied().collect() } else { predicted.steps.clone() };
        let mut walked = walk.run(seed, first, n, &keep)?;
        last_visits(&mut walked.predictions);
        for (t, x0) in &walked.predictions {
            if let Some(at) = predicted.steps.iter().position(|step| step == t) {
                predicted.predictions[at].extend(picture::to_bytes(x0)?);
            }
        }
        if first == 0 {
            walked.predictions.retain(|(t, _)| shown.contains(t));
            progressive = walked.predictions;
        }
        squares += walked.x0.flatten_all()?.to_vec1::<f32>()?.iter().map(|v| (*v as f64).powi(2)).sum::<f64>();
        bytes.extend(picture::to_bytes(&walked.x0)?);
        let done = (first + n) as u64;
        reporter.tell(Stage::Sample, done, config.count as u64, done * walk.nfe() as u64, None)?;
    }
    let mut pictures = Vec::new();
    for row in 0..KEPT.min(config.batch).min(config.count) {
        for (_, x) in &progressive {
            pictures.extend(picture::to_bytes(&x.narrow(0, row, 1)?)?);
        }
    }
    let info = SamplesInfo {
        id: String::new(),
        nfe: walk.nfe(),
        progressive_steps: progressive.iter().map(|(t, _)| *t).collect(),
        rms: Some((squares / bytes.len() as f64).sqrt()).filter(|rms| rms.is_finite()),
    };
    Ok((Samples { bytes, progressive: pictures, info }, predicted))
}

/// At most `n` of the steps that a sampler visits, evenly spread, falling.
pub fn stops(config: &SamplingConfig, diffusion: &Diffusion, n: usize) -> Result<Vec<usize>> {
    let visited = config.sampler.visited(diffusion.process.timesteps())?;
    let places = even_steps(visited.len(), n.min(visited.len()))?;
    Ok(places.into_iter().rev().map(|place| visited[place - 1]).collect())
}

/// Langevin visits a level several times: its last visit counts.
fn last_visits(predictions: &mut Vec<(usize, Tensor)>) {
    let all = std::mem::take(predictions);
    for (t, x) in all {
        predictions.retain(|(other, _)| *other != t);
        predictions.push((t, x));
    }
}

impl Samples {
    /// The first `n` of those whose predicted x_0 was kept, sample after sample, stop after stop.
    pub fn along(&self, n: usize, len: usize) -> &[u8] {
        &self.progressive[..self.progressive.len().min(n * self.info.progressive_steps.len() * len)]
    }

    /// Why these are no images, where they are none.
    pub fn problem(&self) -> Option<String> {
        out_of_range(self.info.rms)
    }
}

/// Why numbers of this root mean square are no images, where they are none.
pub fn out_of_range(rms: Option<f64>) -> Option<String> {
    match rms {
        Some(rms) if rms <= LARGEST_RMS => None,
        Some(rms) => Some(format!("samples out of range: root mean square {rms:.2e}, images have at most 1")),
        None => Some("samples are not finite".into()),
    }
}
