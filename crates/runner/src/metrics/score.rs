//! Scores of samples in a feature network, against real images.

use super::extrapolate::{intercept, sizes};
use super::features::Features;
use super::inception_score::over_splits;
use super::manifold::Manifold;
use super::moments::Moments;
use super::reference::{Reference, SplitFeatures};
use super::{Measured, Metric, kid};
use anyhow::Result;
use ddpm_kernels::random::{Random, Stream};

/// Splits of the inception score: the paper's.
const SPLITS: usize = 10;
/// Resamplings behind a standard error of the Fréchet distance.
const BOOTSTRAPS: u64 = 20;

/// A score, or the reason why there is none.
pub type Score = (Metric, Result<Measured, String>);

/// How much is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Every score, with resamplings.
    All,
    /// Fréchet distance to the training images and inception score, without uncertainty of the former: for many sets of one size.
    Quick,
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
        Effort::Quick => vec![(Metric::Fid, &reference.train)],
        Effort::All => vec![(Metric::Fid, &reference.train), (Metric::FidHeldOut, &reference.held_out)],
    };
    let resampled = match effort {
        Effort::Quick => Vec::new(),
        Effort::All => resamplings(samples, seed),
    };
    for (metric, split) in targets {
        let value = split.gaussian.distance(&moments)?;
        let distances = resampled.iter().map(|m| split.gaussian.distance(m)).collect::<Result<Vec<f64>>>()?;
        let error = (!distances.is_empty()).then(|| deviation_of(&distances));
        let how = if distances.is_empty() { String::new() } else { format!("; ± standard error of {BOOTSTRAPS} resamplings") };
        found.push(measured(metric, value, error, format!("{what}; {}{how}", against(split))));
    }
    if effort == Effort::Quick {
        return Ok(found);
    }
    let train = &reference.train;
    found.push(infinite(samples, train, what, seed)?);
    let (value, deviation, m) = kid::over_subsets(samples, &train.features, seed);
    let how = format!("{what}; {}; 100 subsets of {m}, ± standard deviation over them", among(train));
    found.push(measured(Metric::Kid, value, Some(deviation), how));
    let (real, made) = (&train.manifold(), Manifold::of(samples));
    let how = format!("{what}; {}; 3 nearest neighbours", among(train));
    found.push(measured(Metric::Precision, real.covers(&made), None, how.clone()));
    found.push(measured(Metric::Recall, made.covers(real), None, how));
    Ok(found)
}

fn against(split: &SplitFeatures) -> String {
    format!("against {} {} images", split.gaussian.n(), split.name)
}

/// The same for scores that need features and not moments alone: of large sets, some are kept.
fn among(split: &SplitFeatures) -> String {
    let (kept, all) = (split.features.n(), split.gaussian.n());
    if split.is_whole() { against(split) } else { format!("against {kept} of {all} {} images, evenly spaced", split.name) }
}

/// The distance at infinitely many samples.
fn infinite(samples: &Features, train: &SplitFeatures, what: &str, seed: u64) -> Result<Score> {
    let (n, random) = (samples.n(), Random::new(seed, Stream::Subset));
    let Some(sizes) = sizes(n, samples.dim) else {
        let reason = format!("too few samples to extrapolate: expected at least {}, got {n}", (4 * samples.dim).max(2 * samples.dim + 15));
        return Ok((Metric::FidInfinity, Err(reason)));
    };
    let mut points = Vec::with_capacity(sizes.len());
    for (k, size) in sizes.iter().enumerate() {
        // Steps of the random stream beyond those that the kernel distance uses.
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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::metrics::seen::{Seeing, Seen};
    use ddpm_kernels::random::Random;

    fn features(n: usize, seed: u64, scale: f32, shift: f32) -> Features {
        let rows = Random::new(seed, Stream::Evaluation).normals(0, 0, n, 2).into_iter().map(|v| scale * v + shift).collect();
        let probabilities = (0..n).flat_map(|i| if i % 2 == 0 { [0.9, 0.1] } else { [0.2, 0.8] }).collect();
        Features { dim: 2, classes: 2, rows, probabilities }
    }

    /// Every score under its own name: samples in the middle of the training images are precise and recall little; the held-out images,
    /// elsewhere, are farther away.
    #[test]
    fn every_score_has_its_own_name() {
        let reference = Reference {
            train: SplitFeatures::of("training", Seen::all(features(300, 1, 1.0, 0.0))).unwrap(),
            held_out: SplitFeatures::of("held-out", Seen::all(features(300, 2, 1.0, 5.0))).unwrap(),
        };
        let samples = features(200, 3, 0.1, 0.0);
        let all = scores(&samples, &reference, "f", Effort::All, 0).unwrap();
        assert_eq!(all.iter().map(|(m, _)| *m).collect::<Vec<_>>(), {
            use Metric::*;
            [InceptionScore, Fid, FidHeldOut, FidInfinity, Kid, Precision, Recall]
        });
        let of = |metric: Metric| all.iter().find(|(m, _)| *m == metric).unwrap().1.as_ref().unwrap().clone();
        assert!(of(Metric::Precision).value == 1.0 && of(Metric::Recall).value < 0.3, "{all:?}");
        // Means 0 and 0, 0 and 5 twice; deviations 0.1 against 1.
        assert!((of(Metric::Fid).value - 2.0 * 0.81).abs() < 0.3 && (of(Metric::FidHeldOut).value - 50.0 - 2.0 * 0.81).abs() < 3.0);
        assert!(of(Metric::Fid).protocol.contains("against 300 training images"));
        assert!(of(Metric::FidHeldOut).protocol.contains("against 300 held-out images"));
        assert!((of(Metric::FidInfinity).value - of(Metric::Fid).value).abs() < 0.1);
        assert!(all.iter().all(|(_, v)| v.as_ref().unwrap().n == 200));
        assert_eq!(scores(&samples, &reference, "f", Effort::Quick, 0).unwrap().len(), 2);
    }

    /// Of a large set the distance is to all images, also where the features of a few are kept; and that is said.
    #[test]
    fn distances_to_large_sets_are_to_all_of_them() {
        let held_out = || SplitFeatures::of("held-out", Seen::all(features(50, 2, 1.0, 0.0))).unwrap();
        let mut seeing = Seeing::new(300, 100);
        seeing.take(&features(300, 1, 1.0, 0.0));
        let some = Reference { train: SplitFeatures::of("training", seeing.end()).unwrap(), held_out: held_out() };
        let all = Reference { train: SplitFeatures::of("training", Seen::all(features(300, 1, 1.0, 0.0))).unwrap(), held_out: held_out() };
        let samples = features(200, 3, 1.0, 0.2);
        let [some, all] = [&some, &all].map(|reference| scores(&samples, reference, "f", Effort::All, 0).unwrap());
        let of = |scores: &[Score], metric: Metric| scores.iter().find(|(m, _)| *m == metric).unwrap().1.clone().unwrap();
        for metric in [Metric::Fid, Metric::FidInfinity, Metric::FidHeldOut] {
            assert_eq!(of(&some, metric), of(&all, metric));
        }
        for metric in [Metric::Kid, Metric::Precision, Metric::Recall] {
            let (some, all) = (of(&some, metric), of(&all, metric));
            assert!(some.protocol.contains("against 100 of 300 training images, evenly spaced") && some.value != all.value, "{some:?}");
            assert!(all.protocol.contains("against 300 training images;"), "{all:?}");
        }
    }

    /// The spread of resamplings is that of the score itself, found by drawing afresh.
    #[test]
    fn a_bootstrap_tells_the_spread() {
        let reference = SplitFeatures::of("training", Seen::all(features(2000, 1, 1.0, 0.0))).unwrap();
        let fid = |f: &Features| reference.gaussian.distance(&Moments::of(2, f.iter())).unwrap();
        let fresh: Vec<f64> = (10..60).map(|seed| fid(&features(200, seed, 1.0, 0.3))).collect();
        let resampled: Vec<f64> =
            resamplings(&features(200, 5, 1.0, 0.3), 0).iter().map(|m| reference.gaussian.distance(m).unwrap()).collect();
        let (a, b) = (deviation_of(&fresh), deviation_of(&resampled));
        assert!(b > 0.5 * a && b < 2.0 * a, "{a} {b}");
        assert!((deviation_of(&[1.0, 2.0, 6.0]) - 7f64.sqrt()).abs() < 1e-15);
    }
}
