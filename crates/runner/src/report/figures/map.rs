//! Scores over an axis of numbers: a column for each, a row for each of the other values.

use super::super::entry::Entry;
use super::super::heat::{Heat, Shade};
use super::super::tables::Frames;
use crate::experiment::{Cell, Experiment, label};
use crate::metrics::Metric;
use anyhow::Result;
use serde_json::Value;

/// An axis of fewer numbers is no map.
const FEWEST: usize = 3;

/// A table of colours for each metric that was measured, with what is said of them; none where no axis has numbers enough.
pub fn heats(experiment: &Experiment, entries: &[Entry], frames: &Frames) -> Result<Option<(Vec<Heat>, String)>> {
    let Some((axis, numbers)) = axis(&experiment.cells) else { return Ok(None) };
    let mut rows: Vec<String> = Vec::new();
    let mut places = Vec::new();
    for cell in &experiment.cells {
        let (here, others): (Vec<_>, Vec<_>) = cell.axes.iter().cloned().partition(|(name, _)| *name == axis);
        let name = if others.is_empty() { String::new() } else { label(&others) };
        let row = rows.iter().position(|row| *row == name).unwrap_or_else(|| {
            rows.push(name);
            rows.len() - 1
        });
        let column = here.first().and_then(|(_, value)| numbers.iter().position(|number| Some(*number) == value.as_f64()));
        places.extend(column.map(|column| (row, column)));
    }
    let mut heats = Vec::new();
    for metric in &experiment.file.metrics {
        let mut table = vec![vec![f64::NAN; numbers.len()]; rows.len()];
        for (cell, (row, column)) in places.iter().enumerate() {
            table[*row][*column] = match (diverged(entries, cell, *metric), frames.mean(cell, *metric)?) {
                (0, mean) => mean.map_or(f64::NAN, |mean| mean.value),
                _ => f64::INFINITY,
            };
        }
        heats.extend(heat(*metric, &axis, &numbers, &rows, table));
    }
    let words = said(experiment, entries, &axis);
    Ok((!heats.is_empty()).then_some((heats, words)))
}

/// The last axis on which every cell has a number, with the numbers in rising order.
fn axis(cells: &[Cell]) -> Option<(String, Vec<f64>)> {
    let names = cells.first()?.axes.iter().rev().map(|(name, _)| name);
    let numbers = |name: &String| {
        let of = |cell: &Cell| cell.axes.iter().find(|(n, _)| n == name).and_then(|(_, value)| Value::as_f64(value));
        let mut all: Vec<f64> = cells.iter().map(of).collect::<Option<_>>()?;
        all.sort_by(f64::total_cmp);
        all.dedup();
        (all.len() >= FEWEST).then_some((name.clone(), all))
    };
    names.into_iter().find_map(numbers)
}

/// How many seeds of a cell left every range.
fn diverged(entries: &[Entry], cell: usize, metric: Metric) -> usize {
    entries.iter().filter(|entry| entry.cell_index == cell && entry.diverged(metric)).count()
}

fn heat(metric: Metric, axis: &str, numbers: &[f64], rows: &[String], table: Vec<Vec<f64>>) -> Option<Heat> {
    let finite = || table.iter().flatten().copied().filter(|v| v.is_finite());
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let (best, worst) = if metric.rises() { (high, low) } else { (low, high) };
    finite().next()?;
    Some(Heat {
        title: metric.heading().into(),
        across: (axis.into(), numbers.iter().map(f64::to_string).collect()),
        down: (String::new(), rows.to_vec()),
        rows: table,
        shade: Shade::Between(best, worst),
    })
}

/// What is seen, and which cells left every range.
fn said(experiment: &Experiment, entries: &[Entry], axis: &str) -> String {
    let seeds = experiment.file.seeds.len();
    let lost = |(cell, of): (usize, &Cell)| {
        let n = experiment.file.metrics.iter().map(|metric| diverged(entries, cell, *metric)).max().unwrap_or(0);
        (n > 0).then(|| format!("{} ({n} of {seeds})", of.label()))
    };
    let lost: Vec<String> = experiment.cells.iter().enumerate().filter_map(lost).collect();
    let end = if lost.is_empty() {
        "No cell diverged.".into()
    } else {
        format!("× is a cell of which a seed left every range, in training or in what was scored: {}.", lost.join("; "))
    };
    format!("The scores over {axis}, means over seeds: the darker, the worse. A dash was not measured. {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;
    use serde_json::json;

    #[test]
    fn a_map_is_over_the_last_axis_of_numbers() {
        let data = few("d", 20, 3);
        let cell = |axes: &[(&str, Value)]| Cell {
            axes: axes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
            config: tiny(&data, &[]).config,
        };
        let grid = |rates: &[f64], words: &[&str]| -> Vec<Cell> {
            rates
                .iter()
                .flat_map(|rate| words.iter().map(move |word| cell(&[("learning_rate", json!(rate)), ("variance", json!(word))])))
                .collect()
        };
        assert_eq!(
            axis(&grid(&[0.02, 0.001, 0.005], &["learned", "fixed-small"])),
            Some(("learning_rate".into(), vec![0.001, 0.005, 0.02]))
        );
        assert_eq!(axis(&grid(&[0.02, 0.001], &["learned", "fixed-small", "fixed-large"])), None);
        let mut some = grid(&[0.02, 0.001, 0.005], &["learned"]);
        some.push(cell(&[("variance", json!("learned"))]));
        assert_eq!((axis(&some), axis(&[])), (None, None));
    }

    /// The worst is where less is better the most, and where more is better the least; what diverged has no place between them.
    #[test]
    fn shades_know_which_way_is_better() {
        let shade = |metric: Metric| {
            let table = vec![vec![3.0, f64::INFINITY], vec![f64::NAN, 5.0]];
            heat(metric, "x", &[1.0, 2.0], &["a".into(), "b".into()], table).unwrap().shade
        };
        assert_eq!((shade(Metric::Fid), shade(Metric::InceptionScore)), (Shade::Between(3.0, 5.0), Shade::Between(5.0, 3.0)));
        assert_eq!(heat(Metric::Fid, "x", &[1.0], &["a".into()], vec![vec![f64::INFINITY]]), None);
    }
}
