//! The settings that each cell was given of its own, beside those that were tried.

use super::entry::part;
use super::section::Section;
use crate::base::text::number;
use crate::experiment::{Candidate, Cell, Choice, Experiment, Tune, label};
use crate::metrics::Metric;

/// What each candidate scored, and which was chosen; none where the grid tunes no cells.
pub fn section(experiment: &Experiment) -> Option<Section> {
    let tune = experiment.file.tune.as_ref().filter(|_| !experiment.choices.is_empty())?;
    let mut tried: Vec<String> = Vec::new();
    for candidate in experiment.choices.iter().flat_map(|choice| &choice.candidates) {
        let label = candidate.label();
        if !tried.contains(&label) {
            tried.push(label);
        }
    }
    let row = |(cell, choice): (&Cell, &Choice)| {
        let score = |label: &String| {
            let candidate = choice.candidates.iter().find(|candidate| candidate.label() == *label);
            candidate.map_or_else(|| "–".into(), |candidate| scored(candidate, tune.metric))
        };
        let scores = tried.iter().map(score);
        [untuned(cell, tune)].into_iter().chain(scores).chain([choice.best().label()]).collect()
    };
    let seeds: Vec<String> = tune.seeds.iter().map(u64::to_string).collect();
    Some(Section {
        title: "Chosen settings".into(),
        about: format!(
            "{} of what was tried for each cell, in the mean over seeds of its own ({}). The best one became the cell's; one that diverged on \
             a seed comes after all that did not. The table's scores are of other seeds, and against the same images.",
            tune.metric.heading(),
            seeds.join(", ")
        ),
        remark: None,
        headings: ["cell".to_string()].into_iter().chain(tried.iter().cloned()).chain(["chosen".into()]).collect(),
        names: 1,
        rows: experiment.cells.iter().zip(&experiment.choices).map(row).collect(),
    })
}

/// A candidate's mean score, and of how many seeds it is.
fn scored(candidate: &Candidate, metric: Metric) -> String {
    match candidate.spread() {
        Some(spread) => number(spread.mean, spread.std_err(), metric.digits()) + &part(spread.n, candidate.scores.len()),
        None => "diverged".into(),
    }
}

/// A cell in words, without what was chosen for it.
pub fn untuned(cell: &Cell, tune: &Tune) -> String {
    label(&tune.given(cell))
}
