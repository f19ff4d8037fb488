//! Sampling with the averaged weights, and the scores that samples get.

use crate::config::SamplingConfig;
use crate::data::{Dataset, Images};
use crate::metrics::features::{CLASSES, FeatureNet, Features};
use crate::metrics::frechet::frechet_distance;
use crate::metrics::inception_score::over_splits;
use crate::metrics::moments::Moments;
use crate::metrics::{Measured, Metric};
use crate::picture;
use crate::progress::Reporter;
use anyhow::Result;
use ddpm_core::sampler::even_steps;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::network::ImageShape;
use ddpm_model::sampling::Walk;
use ddpm_model::tensor::Tensor;
use ddpm_model::{Diffusion, Engine};

/// Splits of the inception score: the paper's.
const SPLITS: usize = 10;
/// Resamplings behind a standard error of the Fréchet distance.
const BOOTSTRAPS: u64 = 20;
/// Samples whose predicted x_0 is shown along the walk, and how many stops are shown.
const SHOWN: usize = 8;
const STOPS: usize = 10;
/// Samples whose root mean square is beyond this are out of range: images in [-1, 1] cannot exceed 1.
const LARGEST_RMS: f64 = 1.5;

/// Samples as 8-bit images, and what was seen on the way.
pub struct Samples {
    /// `[n, H, W, C]`.
    pub bytes: Vec<u8>,
    /// Network evaluations for one sample.
    pub evaluations: usize,
    /// The x_0 predicted for the first samples, sample after sample, stop after stop.
    pub progressive: Vec<u8>,
    /// The steps of the stops, falling.
    pub progressive_steps: Vec<usize>,
    /// Root mean square before clipping; not a number where something was not finite.
    pub rms: f64,
}

/// Makes `config.count` samples under `seed`.
pub fn sample(engine: &mut Engine, diffusion: &Diffusion, config: &SamplingConfig, seed: u64, reporter: &mut Reporter) -> Result<Samples> {
    let mut walk = Walk::new(engine, diffusion, &config.sampler)?;
    let visited = config.sampler.visited(diffusion.process.timesteps())?;
    let stops: Vec<usize> = even_steps(visited.len(), STOPS.min(visited.len()))?.into_iter().map(|place| visited[place - 1]).collect();
    let (mut bytes, mut squares, mut progressive) = (Vec::new(), 0.0, Vec::new());
    reporter.begin();
    for first in (0..config.count).step_by(config.batch) {
        let n = config.batch.min(config.count - first);
        let walked = walk.run(seed, first, n, if first == 0 { &stops } else { &[] })?;
        if first == 0 {
            progressive = walked.predictions;
        }
        squares += walked.x0.sqr()?.mean_all()?.to_scalar::<f32>()? as f64 * n as f64;
        bytes.extend(picture::to_bytes(&walked.x0)?);
        let done = (first + n) as u64;
        reporter.tell("sample", done, config.count as u64, done * walk.evaluations() as u64, None);
    }
    // Langevin visits a level several times: its last visit counts.
    let mut kept: Vec<(usize, Tensor)> = Vec::new();
    for (t, x) in progressive {
        kept.retain(|(other, _)| *other != t);
        kept.push((t, x));
    }
    let mut shown = Vec::new();
    for row in 0..SHOWN.min(config.batch).min(config.count) {
        for (_, x) in &kept {
            shown.extend(picture::to_bytes(&x.narrow(0, row, 1)?)?);
        }
    }
    Ok(Samples {
        bytes,
        evaluations: walk.evaluations(),
        progressive: shown,
        progressive_steps: kept.iter().map(|(t, _)| *t).collect(),
        rms: (squares / config.count as f64).sqrt(),
    })
}

/// Scores of samples, and of real held-out images by the same measure: what a perfect sampler would get.
pub struct Scores {
    /// Each measured, or the reason why not.
    pub samples: Vec<(Metric, Result<Measured, String>)>,
    /// Of the held-out images.
    pub real: Vec<(Metric, Measured)>,
}

impl Samples {
    /// FID to the training images and inception score.
    pub fn scores(&self, data: &Dataset, net: Option<&FeatureNet>, seed: u64) -> Result<Scores> {
        let blank = |reason: String| vec![(Metric::Fid, Err(reason.clone())), (Metric::InceptionScore, Err(reason))];
        let Some(net) = net else {
            let ImageShape { height, width, channels } = data.shape;
            let reason = format!("no feature network for {height}x{width} images of {channels} channels");
            return Ok(Scores { samples: blank(reason), real: Vec::new() });
        };
        let all = |images: &Images| -> Result<Features> {
            let indices: Vec<usize> = (0..images.len(data.shape)).collect();
            net.see(&images.tensor(data.shape, &indices, |_| false)?)
        };
        if data.train.len(data.shape) < 2 || data.held_out.len(data.shape) == 0 {
            let reason = "too few real images to compare with".to_string();
            return Ok(Scores { samples: blank(reason), real: Vec::new() });
        }
        let (train, held_out) = (all(&data.train)?, all(&data.held_out)?);
        let (n, reference) = (train.n(), Moments::of(train.dim, train.iter()));
        // As many as samples, since both scores depend on the number of images.
        let count = self.bytes.len() / data.shape.len();
        let real = match held_out.first(count) {
            Some(some) => measure(&some, &reference, n, &format!("{} features; {count} held-out images", net.name), seed)?,
            None => Vec::new(),
        };
        if self.rms.is_nan() || self.rms > LARGEST_RMS {
            let reason = format!("samples out of range: root mean square {:.2e}, images have at most 1", self.rms);
            return Ok(Scores { samples: blank(reason), real });
        }
        let features = net.see(&picture::from_bytes(&self.bytes, data.shape)?)?;
        let what = format!("{} features; {} samples, averaged weights, 8-bit", net.name, features.n());
        let samples = measure(&features, &reference, n, &what, seed)?.into_iter().map(|(m, v)| (m, Ok(v))).collect();
        Ok(Scores { samples, real })
    }
}

/// FID to `reference`, the moments of `n` training images, and inception score.
fn measure(features: &Features, reference: &Moments, n: usize, what: &str, seed: u64) -> Result<Vec<(Metric, Measured)>> {
    let fid = Measured {
        value: frechet_distance(&Moments::of(features.dim, features.iter()), reference)?,
        std_err: Some(bootstrap(features, reference, seed)?),
        n: features.n(),
        protocol: format!("{what}; against {n} training images; ± standard error of {BOOTSTRAPS} resamplings"),
    };
    let (score, deviation) = over_splits(&features.probabilities, CLASSES, SPLITS);
    let score = Measured {
        value: score,
        std_err: Some(deviation),
        n: features.n(),
        protocol: format!("{what}; ± standard deviation over {SPLITS} splits"),
    };
    Ok(vec![(Metric::Fid, fid), (Metric::InceptionScore, score)])
}

/// Standard deviation of the distance over samples drawn again with replacement.
fn bootstrap(samples: &Features, reference: &Moments, seed: u64) -> Result<f64> {
    let (random, n, dim) = (Random::new(seed, Stream::Bootstrap), samples.n(), samples.dim);
    let once = |k: u64| {
        let rows = (0..n).map(|i| random.below(k, i as u64, n)).map(|row| &samples.rows[row * dim..(row + 1) * dim]);
        frechet_distance(&Moments::of(dim, rows), reference)
    };
    let distances = (0..BOOTSTRAPS).map(once).collect::<Result<Vec<f64>>>()?;
    let mean = distances.iter().sum::<f64>() / BOOTSTRAPS as f64;
    Ok((distances.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (BOOTSTRAPS - 1) as f64).sqrt())
}
