//! What several seeds say of the differences between cells. Cells share data order, t and noise, so seeds are compared in pairs.

use super::markdown;
use super::tables::Frames;
use crate::experiment::Experiment;
use crate::metrics::Metric;
use anyhow::Result;
use std::collections::BTreeMap;

/// A cell's distance from the best cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Mean over the seeds that both have.
    pub mean: f64,
    /// Half of the 95% interval.
    pub half: f64,
}

impl Difference {
    /// Of paired numbers; none of fewer than two pairs.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Difference> {
        let n = pairs.len() as f64;
        if pairs.len() < 2 {
            return None;
        }
        let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
        let mean = differences.iter().sum::<f64>() / n;
        let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Some(Difference { mean, half: student(pairs.len() - 1) * (variance / n).sqrt() })
    }

    /// Whether the seeds distinguish it from zero.
    pub fn is_supported(self) -> bool {
        self.mean.abs() > self.half
    }
}

/// The 97.5% quantile of Student's t with `freedom` degrees of freedom, to three digits; from 30 on by its series in 1/freedom.
fn student(freedom: usize) -> f64 {
    const FIRST: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101,
        2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    const Z: f64 = 1.959964;
    let n = freedom as f64;
    FIRST
        .get(freedom - 1)
        .copied()
        .unwrap_or_else(|| Z + (Z.powi(3) + Z) / (4.0 * n) + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * n * n))
}

/// The page's section: each cell against the best one. Empty where there is one seed.
pub fn section(experiment: &Experiment, frames: &Frames) -> Result<String> {
    let file = &experiment.file;
    if file.seeds.len() < 2 || experiment.cells.len() < 2 {
        return Ok(String::new());
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
    let mut text = "\n## Differences to the best cell\n\nPaired over seeds, with the 95% interval of their mean (Student's t).".to_string();
    if unsupported {
        text += " **≈ marks a difference that the seeds do not support.**";
    }
    let headings: Vec<&str> = std::iter::once("cell").chain(file.metrics.iter().map(|m| m.heading())).collect();
    text += &format!("\n\n{}", markdown::head(&headings, 1));
    rows.iter().for_each(|row| text += &markdown::row(row));
    Ok(text)
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
        let pairs: Vec<(f64, f64)> = seeds[cell_index].iter().filter_map(|(seed, v)| Some((*v, *seeds[best].get(seed)?))).collect();
        match Difference::of(&pairs) {
            None => ("–".into(), false),
            Some(d) => {
                let mark = if d.is_supported() { "" } else { "≈ " };
                (format!("{mark}{:+.digits$} ± {:.digits$}", d.mean, d.half), !d.is_supported())
            }
        }
    };
    Ok((0..seeds.len()).map(cell).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_the_textbooks() {
        // Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t of 2 degrees 4.303.
        let d = Difference::of(&[(2.0, 1.0), (4.0, 2.0), (6.0, 3.0)]).unwrap();
        assert!((d.mean - 2.0).abs() < 1e-12 && (d.half - 4.303 / 3f64.sqrt()).abs() < 1e-12 && !d.is_supported());
        // What all seeds share cancels, however much seeds differ.
        let d = Difference::of(&[(10.1, 10.0), (20.1, 20.0), (30.1, 30.0)]).unwrap();
        assert!(d.is_supported() && (d.mean - 0.1).abs() < 1e-12 && d.half < 1e-9);
        assert_eq!(Difference::of(&[(1.0, 2.0)]), None);
    }

    #[test]
    fn quantiles_go_on_where_the_table_ends() {
        // From tables: 40 degrees 2.021, 60 2.000, 120 1.980.
        for (freedom, quantile) in [(31, 2.040), (40, 2.021), (60, 2.000), (120, 1.980)] {
            assert!((student(freedom) - quantile).abs() < 6e-4, "{freedom}");
        }
    }

    #[test]
    fn the_best_is_the_highest_where_more_is_better() {
        let of = |values: &[f64]| values.iter().enumerate().map(|(seed, v)| (seed as u64, *v)).collect::<BTreeMap<u64, f64>>();
        // Means 2, none, 3 and 1: a sum, or a number of seeds, would choose another.
        let seeds = [of(&[1.0, 2.0, 3.0]), of(&[]), of(&[3.0]), of(&[0.0, 2.0])];
        assert_eq!((best(&seeds, true), best(&seeds, false), best(&seeds[1..2], true)), (Some(2), Some(3), None));
        let rising: Vec<Metric> = Metric::ALL.into_iter().filter(|m| m.rises()).collect();
        assert_eq!(rising, [Metric::InceptionScore, Metric::Precision, Metric::Recall]);
    }

    /// Of metrics that rise the lower one is worse: a difference below 0 is one as well.
    #[test]
    fn a_difference_downwards_is_one() {
        let d = Difference::of(&[(10.0, 10.1), (20.0, 20.1), (30.0, 30.1)]).unwrap();
        assert!(d.is_supported() && (d.mean + 0.1).abs() < 1e-12);
    }

    /// `scipy.stats.t.ppf(0.975, n)`, n = 1 to 30.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        let scipy = [
            12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139, 2.200985, 2.178813,
            2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963, 2.079614, 2.073873, 2.068658, 2.063899,
            2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
        ];
        for (i, quantile) in scipy.into_iter().enumerate() {
            assert!((student(i + 1) - quantile).abs() < 6e-4, "{}", i + 1);
        }
    }
}
