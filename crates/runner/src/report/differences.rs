//! What several seeds say of the differences between cells. Cells share data order, t and noise, so seeds are compared in pairs.

use super::section::{Remark, Section};
use super::tables::Frames;
use crate::experiment::Experiment;
use crate::metrics::Metric;
use crate::metrics::evidence::{Evidence, LEVEL};
use anyhow::Result;
use std::collections::BTreeMap;

/// Each cell against the best one; none where there is one seed.
pub fn section(experiment: &Experiment, frames: &Frames) -> Result<Option<Section>> {
    let file = &experiment.file;
    if file.seeds.len() < 2 || experiment.cells.len() < 2 {
        return Ok(None);
    }
    let mut rows: Vec<Vec<String>> = experiment.cells.iter().map(|c| vec![c.label()]).collect();
    let mut unsupported = false;
    for metric in &file.metrics {
        let column = column(experiment, frames, *metric)?;
        for (row, (cell, plain)) in rows.iter_mut().zip(column) {
            unsupported |= plain;
            row.push(cell);
        }
    }
    Ok(Some(Section {
        title: "Differences to the best cell".into(),
        about: "Paired over seeds, with the 95% interval of their mean (Student's t).".into(),
        remark: unsupported.then(|| Remark { strong: "≈ marks a difference that the seeds do not support.".into(), rest: String::new() }),
        headings: std::iter::once("cell").chain(file.metrics.iter().map(|m| m.heading())).map(String::from).collect(),
        names: 1,
        rows,
    }))
}

/// The place of the cell with the best mean over its seeds: the highest where more is better, else the lowest; none where none has any.
fn best(seeds: &[BTreeMap<u64, f64>], rises: bool) -> Option<usize> {
    let mean = |cell_index: usize| seeds[cell_index].values().sum::<f64>() / seeds[cell_index].len() as f64;
    let sign = if rises { -1.0 } else { 1.0 };
    let there = (0..seeds.len()).filter(|cell_index| !seeds[*cell_index].is_empty());
    there.min_by(|a, b| (sign * mean(*a)).total_cmp(&(sign * mean(*b))))
}

/// One metric's column, and whether a cell is marked.
fn column(experiment: &Experiment, frames: &Frames, metric: Metric) -> Result<Vec<(String, bool)>> {
    let seeds = (0..experiment.cells.len()).map(|cell_index| frames.by_seed(cell_index, metric)).collect::<Result<Vec<_>>>()?;
    let Some(best) = best(&seeds, metric.rises()) else { return Ok(vec![("–".into(), false); seeds.len()]) };
    let digits = metric.digits() + 1;
    let cell = |cell_index: usize| {
        if cell_index == best {
            return ("best".to_string(), false);
        }
        let of_seed = |(seed, value): (&u64, &f64)| Some(value - seeds[best].get(seed)?);
        let difference = Evidence::Seeds(seeds[cell_index].iter().filter_map(of_seed).collect());
        let Some((mean, half)) = difference.mean().zip(difference.half_width()) else { return ("–".into(), false) };
        let is_supported = 2.0 * difference.p_above().min(difference.p_below()) <= LEVEL;
        let mark = if is_supported { "" } else { "≈ " };
        (format!("{mark}{mean:+.digits$} ± {half:.digits$}"), !is_supported)
    };
    Ok((0..seeds.len()).map(cell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_highest_where_more_is_better() {
        let of = |values: &[f64]| values.iter().enumerate().map(|(seed, v)| (seed as u64, *v)).collect::<BTreeMap<u64, f64>>();
        // Means 2, none, 3 and 1: a sum, or a number of seeds, would choose another.
        let seeds = [of(&[1.0, 2.0, 3.0]), of(&[]), of(&[3.0]), of(&[0.0, 2.0])];
        assert_eq!((best(&seeds, true), best(&seeds, false), best(&seeds[1..2], true)), (Some(2), Some(3), None));
        let rising: Vec<Metric> = Metric::ALL.into_iter().filter(|m| m.rises()).collect();
        assert_eq!(rising, [Metric::InceptionScore, Metric::Precision, Metric::Recall]);
    }
}
