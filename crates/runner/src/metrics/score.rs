//! Scores of samples in a feature network, against real images.

use super::extrapolate::{intercept, sizes};
use super::features::Features;
use super::inception_score::over_splits;
use super::kid;
use super::manifold::Manifold;
use super::moments::Moments;
use super::reference::{Reference, Split};
use super::{Measured, Metric};
use anyhow::Result;
use ddpm_kernels::random::{Random, Stream};

/// Splits of the inception score: the paper's.
const SPLITS: usize = 10;
/// Resamplings behind a standard error of the Fréchet distance.
const BOOTSTRAPS: u64 = 20;
/// Fewest images on each side of a comparison.
pub const FEWEST: usize = 10;

/// A score, or the reason why there is none.
pub type Score = (Metric, Result<Measured, String>);

/// How much is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Every score, with resamplings.
    All,
    /// Fréchet distance to the training images and inception score, without uncertainty of the former: for many sets of one size.
    Course,
}

/// All scores of samples. `what` says for protocols whose features they are.
pub fn scores(samples: &Features, reference: &Reference, what: &str, effort: Effort, seed: u64) -> Result<Vec<Score>> {
    let measured = |metric, value, std_err, protocol: String| (metric, Ok(Measured { value, std_err, n: samples.n(), protocol }));
    let mut found: Vec<Score> = Vec::new();
    found.push(if samples.classes < 2 {
        (Metric::InceptionScore, Err("these features come without class probabilities".into()))
    } else {
        let (score, deviation) = over_splits(&samples.probabilities, samples.classes, SPLITS);
        measured(Metric::InceptionScore, score, Some(deviation), format!("{what}; ± standard deviation over {SPLITS} splits"))
    });
    let moments = Moments::of(samples.dim, samples.iter());
    let targets = match effort {
        Effort::Course => vec![(Metric::Fid, &reference.train)],
        Effort::All => vec![(Metric::Fid, &reference.train), (Metric::FidHeldOut, &reference.held_out)],
    };
    let resampled = match effort {
        Effort::Course => Vec::new(),
        Effort::All => resamplings(samples, seed),
    };
    for (metric, split) in targets {
        let value = split.gaussian.distance(&moments)?;
        let distances = resampled.iter().map(|m| split.gaussian.distance(m)).collect::<Result<Vec<f64>>>()?;
        let error = (!distances.is_empty()).then(|| deviation_of(&distances));
        let how = if distances.is_empty() { String::new() } else { format!("; ± standard error of {BOOTSTRAPS} resamplings") };
        found.push(measured(metric, value, error, format!("{what}; {}{how}", against(split))));
    }
    if effort == Effort::Course {
        return Ok(found);
    }
    let train = &reference.train;
    found.push(infinite(samples, train, what, seed)?);
    let (value, deviation, m) = kid::over_subsets(samples, &train.features, seed);
    let how = format!("{what}; {}; 100 subsets of {m}, ± standard deviation over them", against(train));
    found.push(measured(Metric::Kid, value, Some(deviation), how));
    let (real, made) = (&train.manifold(), Manifold::of(samples));
    let how = format!("{what}; {}; 3 nearest neighbours", against(train));
    found.push(measured(Metric::Precision, real.covers(&made), None, how.clone()));
    found.push(measured(Metric::Recall, made.covers(real), None, how));
    Ok(found)
}

fn against(split: &Split) -> String {
    format!("against {} {} images", split.gaussian.n(), split.name)
}

/// The distance at infinitely many samples.
fn infinite(samples: &Features, train: &Split, what: &str, seed: u64) -> Result<Score> {
    let (n, random) = (samples.n(), Random::new(seed, Stream::Subset));
    let Some(sizes) = sizes(n, samples.dim) else {
        let reason = format!("too few samples to extrapolate: expected at least {}, got {n}", (4 * samples.dim).max(2 * samples.dim + 15));
        return Ok((Metric::FidInfinity, Err(reason)));
    };
    let mut points = Vec::with_capacity(sizes.len());
    for (k, size) in sizes.iter().enumerate() {
        // Steps behind those of the kernel distance.
        let order = random.permutation((1 << 32) + k as u64, n);
        let moments = Moments::of(samples.dim, order[..*size].iter().map(|row| samples.row(*row)));
        points.push((1.0 / *size as f64, train.gaussian.distance(&moments)?));
    }
    let (value, _, error) = intercept(&points);
    let protocol =
        format!("{what}; {}; line through {} subsets of {} to {n}, ± standard error of its end", against(train), sizes.len(), sizes[0]);
    Ok((Metric::FidInfinity, Ok(Measured { value, std_err: Some(error), n, protocol })))
}

/// Moments of samples drawn again with replacement.
fn resamplings(samples: &Features, seed: u64) -> Vec<Moments> {
    let (random, n) = (Random::new(seed, Stream::Bootstrap), samples.n());
    let once = |k: u64| Moments::of(samples.dim, (0..n).map(|i| samples.row(random.below(k, i as u64, n))));
    (0..BOOTSTRAPS).map(once).collect()
}

fn deviation_of(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}
