//! What samples score in the job's features, and what real images score by the same measure.

use super::reference;
use super::sample::Samples;
use crate::base::data::Dataset;
use crate::base::stop;
use crate::metrics::features::FeatureNet;
use crate::metrics::score::{Effort, Score, scores};
use crate::metrics::{Measured, Metric};
use crate::store::Store;
use crate::store::progress::{Reporter, Stage};
use anyhow::Result;
use ddpm_model::network::ImageShape;

/// Scores of samples, and of as many real held-out images: what a perfect sampler would get.
pub struct Scores {
    /// Each measured, or the reason why not.
    pub samples: Vec<Score>,
    /// Whether they are blank because the samples left the range of images, or their features that of numbers.
    pub out_of_range: bool,
    /// Of the held-out images, where there are as many; held out, they are not compared with themselves.
    pub real: Vec<(Metric, Measured)>,
}

/// Every score a blank, for one reason.
fn blank(reason: String) -> Scores {
    Scores { samples: Metric::of_samples().map(|m| (m, Err(reason.clone()))).collect(), out_of_range: false, real: Vec::new() }
}

/// Scores of `samples` in the features of `net`.
pub fn score(
    store: Option<&Store>,
    samples: &Samples,
    data: &Dataset,
    net: Option<&FeatureNet>,
    seed: u64,
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
        return Ok(Scores { real, out_of_range: true, ..blank(problem) });
    }
    reporter.begin();
    let tell = |done: usize| reporter.tell(Stage::Features, done as u64, count as u64, done as u64, None);
    let features = net.see(&samples.bytes, data.info.shape, tell)?;
    if !features.are_finite() {
        return Ok(Scores { real, out_of_range: true, ..blank("the samples' features are not finite".into()) });
    }
    let what = format!("{} features; {count} samples, averaged weights, 8-bit", net.name);
    Ok(Scores { samples: scores(&features, &reference, &what, Effort::All, seed)?, out_of_range: false, real })
}
