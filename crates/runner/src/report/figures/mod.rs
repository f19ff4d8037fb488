//! The figures of a report, of what records hold: which charts each has.

mod bound;
mod quality;
mod schedules;
mod training;

pub use quality::metrics;

use super::chart::Chart;
use super::entry::Entry;
use crate::experiment::{Experiment, Figure};

/// The charts of a figure, with its name; none where it has none, or there is nothing to show.
pub fn charts(figure: Figure, experiment: &Experiment, entries: &[Entry], studies: &[Entry]) -> Option<(&'static str, Vec<Chart>)> {
    let (name, charts) = match figure {
        Figure::TrainingLoss => ("training-loss", training::charts(experiment, entries)),
        Figure::LossPerT => ("loss-per-t", vec![bound::loss_per_t(entries)]),
        Figure::BoundTerms => ("bound-terms", vec![bound::terms(entries)]),
        Figure::Weights => ("weights", vec![schedules::weights(experiment)]),
        Figure::Schedules => ("schedules", schedules::charts(experiment)),
        Figure::RateDistortion => ("rate-distortion", bound::rate_distortion(experiment, entries)),
        Figure::Evaluations => ("evaluations", quality::evaluations(entries)),
        Figure::Studies => ("reverse-time", quality::reverse_time(entries, studies)),
        Figure::Samples | Figure::Progressive | Figure::Metrics => return None,
    };
    let shown: Vec<Chart> = charts.into_iter().filter_map(Chart::shown).collect();
    (!shown.is_empty()).then_some((name, shown))
}
