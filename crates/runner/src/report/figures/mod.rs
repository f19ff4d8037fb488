//! The figures of a report, of what records hold: which charts each has.

mod bound;
mod ledger;
mod map;
mod quality;
mod schedules;
mod training;

pub use quality::metrics;

use super::along;
use super::canvas::leave;
use super::chart::Chart;
use super::entry::{Entry, Records};
use super::heat::Heats;
use super::sheets::Still;
use super::tables::Frames;
use crate::experiment::{Experiment, Figure};
use anyhow::Result;
use std::path::Path;

/// The charts of a figure, with its name; none where it has none, or there is nothing to show.
pub fn charts(figure: Figure, experiment: &Experiment, records: &Records) -> Option<(&'static str, Vec<Chart>)> {
    let Records { scores: entries, studies, .. } = records;
    let (name, charts) = match figure {
        Figure::TrainingLoss => ("training-loss", training::charts(experiment, entries)),
        Figure::LossPerT => ("loss-per-t", vec![bound::loss_per_t(entries)]),
        Figure::BoundTerms => ("bound-terms", vec![bound::terms(entries)]),
        Figure::LearnedVariance => ("learned-variance", bound::learned_variance(entries)),
        Figure::Weights => ("weights", vec![schedules::weights(experiment)]),
        Figure::Schedules => ("schedules", schedules::charts(experiment)),
        Figure::RateDistortion => ("rate-distortion", bound::rate_distortion(experiment, entries)),
        Figure::Evaluations => ("evaluations", quality::evaluations(experiment.file.tune.as_ref(), entries)),
        Figure::Studies => ("reverse-time", quality::reverse_time(entries, studies)),
        Figure::AlongTraining => ("along-training", along::charts(experiment, records)),
        Figure::Samples | Figure::Progressive | Figure::Metrics | Figure::BitsLedger | Figure::ScoreMap => return None,
    };
    let shown: Vec<Chart> = charts.into_iter().filter_map(Chart::shown).collect();
    (!shown.is_empty()).then_some((name, shown))
}

/// The picture of a figure that is no chart; none where it is one, or there is nothing to show.
pub fn still(figure: Figure, dir: &Path, experiment: &Experiment, entries: &[Entry], frames: &Frames) -> Result<Option<Still>> {
    let (path, caption) = match figure {
        Figure::BitsLedger => {
            let bars = ledger::bars(experiment, entries);
            if bars.groups.is_empty() {
                return Ok(None);
            }
            (leave(dir, "bits-ledger", bars.size(), |root| bars.draw(root))?, ledger::caption(&bars, experiment))
        }
        Figure::ScoreMap => {
            let Some((tables, caption)) = map::heats(experiment, entries, frames)? else { return Ok(None) };
            let heats = Heats { tables: &tables, columns: 1 };
            (leave(dir, "score-map", heats.size(), |root| heats.draw(root))?, caption)
        }
        Figure::TrainingLoss
        | Figure::LossPerT
        | Figure::BoundTerms
        | Figure::LearnedVariance
        | Figure::Weights
        | Figure::Schedules
        | Figure::Samples
        | Figure::Progressive
        | Figure::RateDistortion
        | Figure::Studies
        | Figure::AlongTraining
        | Figure::Metrics
        | Figure::Evaluations => return Ok(None),
    };
    let png = std::fs::read(dir.join(&path))?;
    Ok(Some(Still { path, caption, png }))
}
