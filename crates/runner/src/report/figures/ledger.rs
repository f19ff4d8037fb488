//! What the bound is made of, under a cell's own variance and under others.

use super::super::bars::{Bar, Bars, Group};
use super::super::entry::Entry;
use crate::experiment::Experiment;
use crate::metrics::Metric;
use crate::store::OtherVariance;
use ddpm_core::ReverseVariance;
use ddpm_core::likelihood::Bound;

/// Bars for each cell whose bound was measured: means over its seeds.
pub fn bars(experiment: &Experiment, entries: &[Entry]) -> Bars {
    let group = |(cell, label): (usize, String)| {
        let (process, own) = {
            let config = &experiment.cells[cell].config;
            (&config.diffusion().process, config.diffusion.variance)
        };
        let measured: Vec<_> =
            entries.iter().filter(|e| e.cell_index == cell).filter_map(|e| e.record.bounds.get(&Metric::BitsPerDim)).collect();
        if measured.is_empty() {
            return None;
        }
        let mean = |of: &dyn Fn(usize) -> Bound| {
            let all: Vec<[f64; 4]> = (0..measured.len()).map(|i| parts(of(i))).collect();
            // Of no bit: the variance of an average is no less than 0, but for its last digits.
            (0..4).map(|part| (all.iter().map(|parts| parts[part]).sum::<f64>() / all.len() as f64).max(0.0)).collect::<Vec<f64>>()
        };
        let learned = own.is_learned().then(|| Bar { name: "learned (own)".into(), parts: mean(&|i| measured[i].bound), counts: true });
        let other = |variance: OtherVariance| {
            let is_own = matches!(
                (variance, own),
                (OtherVariance::FixedSmall, ReverseVariance::FixedSmall) | (OtherVariance::FixedLarge, ReverseVariance::FixedLarge)
            );
            let name = if is_own { format!("{} (own)", variance.name()) } else { variance.name().into() };
            Bar { name, parts: mean(&|i| measured[i].parts(process, variance)), counts: is_own || variance == OtherVariance::Optimal }
        };
        Some(Group { cell, label, bars: learned.into_iter().chain(OtherVariance::ALL.map(other)).collect() })
    };
    let groups = experiment.cells.iter().map(|cell| cell.label()).enumerate().filter_map(group).collect();
    let parts = ["prior", "variance mismatch", "mean error", "decoder"].map(String::from).into();
    Bars { parts, groups, axis: "bits/dim of held-out images".into() }
}

fn parts(bound: Bound) -> [f64; 4] {
    [bound.prior, bound.variance_mismatch, bound.mean_error, bound.decoder]
}

/// What is seen.
pub const CAPTION: &str = "What the bound is made of, in bits/dim of held-out images (means over seeds): the prior, what unlike variances \
     cost where the means agree, what the means' errors cost, and the decoder; under the cell's own variance and as the same means would have it \
     under others. The optimal one is, at each t, the one variance for all pixels that is best for these images. At t = 1 all but a learned one \
     are the same. A bar with an arrow is longer than there is room for.";
