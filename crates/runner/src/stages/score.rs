//! What samples score in the job's features, and what real images score by the same measure.

use super::reference;
use super::sample::Samples;
use crate::base::data::{Dataset, Mixture2d};
use crate::base::stop;
use crate::metrics::divergence::Cells;
use crate::metrics::features::FeatureNet;
use crate::metrics::score::{Effort, Score, scores};
use crate::metrics::{Measured, Metric};
use crate::store::Store;
use crate::store::progress::{Reporter, Stage};
use anyhow::Result;
use ddpm_model::network::ImageShape;
use std::collections::BTreeSet;

/// Scores of samples, and of as many real held-out images: what a perfect sampler would get.
pub struct Scores {
    /// Each measured, or the reason why not.
    pub samples: Vec<Score>,
    /// Those that are blank because the samples left the range of images, or their features that of numbers.
    pub out_of_range: BTreeSet<Metric>,
    /// Of the held-out images, where there are as many; held out, they are not compared with themselves.
    pub real: Vec<(Metric, Measured)>,
}

/// Every score in features a blank, for one reason.
fn blank(reason: String) -> Scores {
    Scores { samples: of_features().map(|m| (m, Err(reason.clone()))).collect(), out_of_range: BTreeSet::new(), real: Vec::new() }
}

/// Scores that compare features.
fn of_features() -> impl Iterator<Item = Metric> {
    Metric::ALL.into_iter().filter(|metric| metric.is_of_features())
}

/// Scores of `samples`, made with such `weights`, in the features of `net`, and against the law of the data, where that is known.
pub fn score(
    store: Option<&Store>,
    samples: &Samples,
    (data, law): (&Dataset, Option<&Mixture2d>),
    net: Option<&FeatureNet>,
    (seed, weights): (u64, &str),
    reporter: &mut Reporter,
) -> Result<Scores> {
    let mut scores = in_features(store, samples, data, net, (seed, weights), reporter)?;
    if let Some(law) = law {
        let (cells, count) = (Cells::of(law), samples.bytes.len() / data.info.shape.len());
        match samples.problem() {
            Some(problem) => {
                scores.out_of_range.insert(Metric::KlDivergence);
                scores.samples.push((Metric::KlDivergence, Err(problem)));
            }
            None => {
                let found = cells.divergence(&samples.bytes, &format!("{count} samples, {weights}, 8-bit"));
                scores.samples.push((Metric::KlDivergence, Ok(found)));
            }
        }
        if count <= data.held_out.len() {
            let points = data.held_out.bytes(0..count)?;
            scores.real.push((Metric::KlDivergence, cells.divergence(&points, &format!("{count} held-out points"))));
        }
    }
    Ok(scores)
}

fn in_features(
    store: Option<&Store>,
    samples: &Samples,
    data: &Dataset,
    net: Option<&FeatureNet>,
    (seed, weights): (u64, &str),
    reporter: &mut Reporter,
) -> Result<Scores> {
    let Some(net) = net else {
        let ImageShape { height, width, channels } = data.info.shape;
        return Ok(blank(format!("no feature network for {height}x{width} images of {channels} channels")));
    };
    let reference = match reference::load(store, data, net, reporter)? {
        Ok(reference) => reference,
        Err(reason) => return Ok(blank(reason)),
    };
    // As many as samples, since scores depend on the number of images.
    let count = samples.bytes.len() / data.info.shape.len();
    let held_out = match reference.held_out.is_whole() {
        true => reference.held_out.features.first(count),
        false if count <= data.held_out.len() => Some(net.see(&data.held_out.bytes(0..count)?, data.info.shape, |_| stop::check())?),
        false => None,
    };
    let real = match held_out {
        Some(some) => {
            let what = format!("{} features; {count} held-out images", net.name);
            let all = scores(&some, &reference, &what, Effort::All, seed)?;
            all.into_iter().filter(|(m, _)| *m != Metric::FidHeldOut).filter_map(|(m, v)| Some((m, v.ok()?))).collect()
        }
        None => Vec::new(),
    };
    if let Some(problem) = samples.problem() {
        return Ok(Scores { real, out_of_range: of_features().collect(), ..blank(problem) });
    }
    reporter.begin();
    let tell = |done: usize| reporter.tell(Stage::Features, done as u64, count as u64, done as u64, None);
    let features = net.see(&samples.bytes, data.info.shape, tell)?;
    if !features.are_finite() {
        return Ok(Scores { real, out_of_range: of_features().collect(), ..blank("the samples' features are not finite".into()) });
    }
    let what = format!("{} features; {count} samples, {weights}, 8-bit", net.name);
    Ok(Scores { samples: scores(&features, &reference, &what, Effort::All, seed)?, out_of_range: BTreeSet::new(), real })
}
