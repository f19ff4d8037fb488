//! Tables: long ones in CSV and Parquet through Polars, and the summary that a person reads.

use super::claims;
use super::entry::{Entry, Records, coding, part};
use super::judged::Judged;
use super::markdown;
use crate::base::atomic;
use crate::base::error::Meaning;
use crate::base::text::{aligned, number, wrapped};
use crate::experiment::{Experiment, GridFile};
use crate::metrics::{Measured, Metric, of_all_weights};
use crate::store::{BoundBreakdown, TermAt};
use anyhow::{Context, Result};
use ddpm_core::likelihood::{Bound, UnderVariances};
use polars::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The experiment's numbers as Polars tables, one row for each.
pub struct Frames {
    /// A row for each job and metric.
    pub metrics: DataFrame,
    /// A row for each job and bits/dim: what the bound is made of.
    pub bounds: DataFrame,
    /// A row for each job, bits/dim and step.
    pub terms: DataFrame,
    /// A row for each job and point of its training curve.
    pub curves: DataFrame,
    /// A row for each job and metric where trainings were scored at several steps.
    pub along: DataFrame,
    /// Seeds that the grid asks for.
    seeds: usize,
}

impl Frames {
    pub fn of(experiment: &Experiment, records: &Records) -> Result<Frames> {
        let (entries, seeds) = (&records.scores, experiment.file.seeds.len());
        let metrics = metrics(experiment, &entries.iter().collect::<Vec<_>>())?;
        let along = along(experiment, records)?;
        Ok(Frames { metrics, bounds: bounds(entries)?, terms: terms(entries)?, curves: curves(entries)?, along, seeds })
    }

    /// Each as CSV and as Parquet, and the claims beside them; scores along trainings and claims where there are any.
    pub fn write(&self, dir: &Path, judged: &[Judged]) -> Result<()> {
        let claims = claims::frame(judged)?;
        let mut frames = vec![("metrics", &self.metrics), ("bounds", &self.bounds), ("terms", &self.terms), ("curves", &self.curves)];
        for (name, frame) in [("claims", &claims), ("along", &self.along)] {
            if frame.height() > 0 {
                frames.push((name, frame));
                continue;
            }
            // Of what is claimed, or measured, no more.
            for path in ["csv", "parquet"].map(|end| dir.join(format!("{name}.{end}"))).iter().filter(|path| path.exists()) {
                std::fs::remove_file(path).with_context(|| path.display().to_string()).stored()?;
            }
        }
        for (name, frame) in frames {
            let (mut csv, mut parquet, mut frame) = (Vec::new(), Vec::new(), frame.clone());
            CsvWriter::new(&mut csv).finish(&mut frame)?;
            ParquetWriter::new(&mut parquet).finish(&mut frame)?;
            atomic::write(&dir.join(format!("{name}.csv")), &csv)?;
            atomic::write(&dir.join(format!("{name}.parquet")), &parquet)?;
        }
        Ok(())
    }

    /// A cell's replicates of a metric by their seeds.
    pub fn by_seed(&self, cell_index: usize, metric: Metric) -> Result<BTreeMap<u64, f64>> {
        let rows = self.rows(cell_index, metric)?;
        let (seeds, values) = (rows.column("seed")?.u64()?, rows.column("value")?.f64()?);
        Ok(seeds.iter().zip(values.iter()).filter_map(|(seed, value)| Some((seed?, value?))).collect())
    }

    fn rows(&self, cell_index: usize, metric: Metric) -> Result<DataFrame> {
        let cells = self.metrics.column("cell")?.as_materialized_series().equal(cell_index as u32)?;
        let names = self.metrics.column("metric")?.as_materialized_series().equal(metric.name())?;
        Ok(self.metrics.filter(&(cells & names))?)
    }

    /// The mean of a metric over a cell's replicates. None if no replicate has it.
    pub fn mean(&self, cell_index: usize, metric: Metric) -> Result<Option<Mean>> {
        let rows = self.rows(cell_index, metric)?;
        let values = rows.column("value")?.f64()?.drop_nulls();
        let (of, n) = (self.seeds, values.len());
        let Some(value) = values.mean() else { return Ok(None) };
        let error = match (of, n) {
            (1, _) => rows.column("std_err")?.f64()?.drop_nulls().iter().next().flatten(),
            (_, 1) => None,
            _ => values.std(1).map(|s| s / (n as f64).sqrt()),
        };
        Ok(Some(Mean { value, error, n, of }))
    }
}

/// The mean over replicates.
pub struct Mean {
    pub value: f64,
    /// Of one replicate the measurement's own uncertainty, of several the standard error of their mean.
    pub error: Option<f64>,
    /// Replicates that have the metric, of how many.
    pub n: usize,
    pub of: usize,
}

impl Mean {
    /// As tables have it.
    pub fn text(&self, metric: Metric) -> String {
        number(self.value, self.error, metric.digits()) + &self.part()
    }

    /// Of how many seeds it is, where not of all.
    pub fn part(&self) -> String {
        part(self.n, self.of)
    }
}

/// Every score of trainings that were scored at several steps, each with its step.
fn along(experiment: &Experiment, records: &Records) -> Result<DataFrame> {
    let entries: Vec<&Entry> = records.courses().collect();
    let mut frame = metrics(experiment, &entries)?;
    let each = |entry: &&Entry| vec![entry.step(); Metric::of_data(&entry.record.config.data).count()];
    let steps: Vec<u64> = entries.iter().flat_map(each).collect();
    let place = frame.get_column_index("seed").map_or(0, |seed| seed + 1);
    frame.insert_column(place, Column::new("step".into(), steps))?;
    Ok(frame)
}

fn metrics(experiment: &Experiment, entries: &[&Entry]) -> Result<DataFrame> {
    let rows: Vec<(&Entry, Metric)> =
        entries.iter().copied().flat_map(|e| Metric::of_data(&e.record.config.data).map(move |m| (e, m))).collect();
    let mut columns = vec![Column::new("cell".into(), rows.iter().map(|(e, _)| e.cell_index as u32).collect::<Vec<_>>())];
    for name in axis_names(experiment) {
        let values: Vec<String> = rows.iter().map(|(e, _)| e.cell.value(&name)).collect();
        columns.push(Column::new(name.as_str().into(), values));
    }
    let of = |f: &dyn Fn(&Measured) -> Option<f64>| -> Vec<Option<f64>> {
        rows.iter().map(|(e, m)| e.record.metrics.get(m).and_then(f)).collect()
    };
    let text = |f: &dyn Fn(&Entry, Metric) -> Option<String>| -> Vec<Option<String>> { rows.iter().map(|(e, m)| f(e, *m)).collect() };
    columns.extend([
        Column::new("seed".into(), rows.iter().map(|(e, _)| e.record.seed).collect::<Vec<_>>()),
        Column::new("evaluations".into(), rows.iter().map(|(e, _)| e.record.nfe as u32).collect::<Vec<_>>()),
        Column::new("metric".into(), rows.iter().map(|(_, m)| m.name()).collect::<Vec<_>>()),
        Column::new("value".into(), of(&|m| Some(m.value))),
        Column::new("std_err".into(), of(&|m| m.std_err)),
        Column::new("n".into(), rows.iter().map(|(e, m)| e.record.metrics.get(m).map(|v| v.n as u32)).collect::<Vec<_>>()),
        Column::new("blank".into(), text(&|e, m| e.record.blanks.get(&m).cloned())),
        Column::new("protocol".into(), text(&|e, m| e.record.metrics.get(&m).map(|v| v.protocol.clone()))),
        Column::new("job".into(), text(&|e, _| Some(e.record.id.clone()))),
    ]);
    Ok(DataFrame::new_infer_height(columns)?)
}

/// What each bits/dim of a job is made of.
fn bounds_of<'a>(entry: &'a Entry<'a>) -> impl Iterator<Item = (Metric, &'a BoundBreakdown)> {
    entry.record.bounds.iter().map(|(metric, split)| (*metric, split))
}

fn bounds(entries: &[Entry]) -> Result<DataFrame> {
    let rows: Vec<_> = entries.iter().flat_map(|e| bounds_of(e).map(move |(metric, split)| (e, metric, split))).collect();
    let of = |f: fn(&Bound) -> f64| rows.iter().map(|(_, _, s)| f(&s.bound)).collect::<Vec<f64>>();
    let under = |f: fn(&UnderVariances) -> f64| rows.iter().map(|(_, _, s)| f(&s.under)).collect::<Vec<f64>>();
    Ok(DataFrame::new_infer_height(vec![
        Column::new("cell".into(), rows.iter().map(|(e, _, _)| e.cell_index as u32).collect::<Vec<_>>()),
        Column::new("label".into(), rows.iter().map(|(e, _, _)| e.cell.label()).collect::<Vec<_>>()),
        Column::new("seed".into(), rows.iter().map(|(e, _, _)| e.record.seed).collect::<Vec<_>>()),
        Column::new("metric".into(), rows.iter().map(|(_, m, _)| m.name()).collect::<Vec<_>>()),
        Column::new("prior".into(), of(|b| b.prior)),
        Column::new("variance_mismatch".into(), of(|b| b.variance_mismatch)),
        Column::new("mean_error".into(), of(|b| b.mean_error)),
        Column::new("decoder".into(), of(|b| b.decoder)),
        Column::new("total".into(), of(Bound::total)),
        Column::new("under_fixed_small".into(), under(|u| u.fixed_small)),
        Column::new("under_fixed_large".into(), under(|u| u.fixed_large)),
        Column::new("under_optimal".into(), under(|u| u.optimal)),
        Column::new("whole_batches".into(), rows.iter().map(|(_, _, s)| s.authors.as_ref().map(|m| m.value)).collect::<Vec<_>>()),
        Column::new("whole_batches_n".into(), rows.iter().map(|(_, _, s)| s.authors.as_ref().map(|m| m.n as u32)).collect::<Vec<_>>()),
    ])?)
}

fn terms(entries: &[Entry]) -> Result<DataFrame> {
    let of_entry = |e| {
        bounds_of(e).flat_map(move |(metric, split)| {
            let rates = coding(split).into_iter().rev().map(|p| p.rate);
            split.terms.iter().zip(rates).map(move |(t, rate)| (e, metric, t, rate))
        })
    };
    let rows: Vec<(&Entry, Metric, &TermAt, f64)> = entries.iter().flat_map(of_entry).collect();
    let of = |f: fn(&TermAt) -> f64| rows.iter().map(|(_, _, t, _)| f(t)).collect::<Vec<f64>>();
    Ok(DataFrame::new_infer_height(vec![
        Column::new("cell".into(), rows.iter().map(|(e, _, _, _)| e.cell_index as u32).collect::<Vec<_>>()),
        Column::new("seed".into(), rows.iter().map(|(e, _, _, _)| e.record.seed).collect::<Vec<_>>()),
        Column::new("metric".into(), rows.iter().map(|(_, m, _, _)| m.name()).collect::<Vec<_>>()),
        Column::new("t".into(), rows.iter().map(|(_, _, t, _)| t.t as u32).collect::<Vec<_>>()),
        Column::new("variance_mismatch".into(), of(|t| t.variance_mismatch)),
        Column::new("mean_error".into(), of(|t| t.mean_error)),
        Column::new("decoder".into(), of(|t| t.decoder)),
        Column::new("mean_squared".into(), of(|t| t.mean_squared)),
        Column::new("mse_x0".into(), of(|t| t.mse_x0)),
        Column::new("rate".into(), rows.iter().map(|(_, _, _, rate)| *rate).collect::<Vec<_>>()),
        Column::new("rmse_of_mean".into(), of(|t| 127.5 * t.mse_x0.sqrt())),
        Column::new("mean_of_rmse".into(), of(|t| 127.5 * t.rmse_x0)),
        Column::new("mse_eps".into(), rows.iter().map(|(_, _, t, _)| t.mse_eps).collect::<Vec<_>>()),
        Column::new("log_share".into(), rows.iter().map(|(_, _, t, _)| t.learned.map(|l| l.mean)).collect::<Vec<_>>()),
        Column::new("log_share_deviation".into(), rows.iter().map(|(_, _, t, _)| t.learned.map(|l| l.deviation)).collect::<Vec<_>>()),
    ])?)
}

fn curves(entries: &[Entry]) -> Result<DataFrame> {
    let rows: Vec<_> = entries.iter().flat_map(|e| e.training.iter().flat_map(move |t| t.curve.iter().map(move |p| (e, p)))).collect();
    Ok(DataFrame::new_infer_height(vec![
        Column::new("cell".into(), rows.iter().map(|(e, _)| e.cell_index as u32).collect::<Vec<_>>()),
        Column::new("seed".into(), rows.iter().map(|(e, _)| e.record.seed).collect::<Vec<_>>()),
        Column::new("step".into(), rows.iter().map(|(_, p)| p.step).collect::<Vec<_>>()),
        Column::new("loss".into(), rows.iter().map(|(_, p)| p.loss).collect::<Vec<_>>()),
        Column::new("gradient_norm".into(), rows.iter().map(|(_, p)| p.gradient_norm).collect::<Vec<_>>()),
        Column::new("clipped".into(), rows.iter().map(|(_, p)| p.clipped).collect::<Vec<_>>()),
    ])?)
}

/// Everything that varies in some cell, in the grid's order: rows of a paired axis need not all set the same paths.
fn axis_names(experiment: &Experiment) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in experiment.cells.iter().flat_map(|c| &c.axes) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// What stands in a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Values of something that varies.
    Axis,
    /// Network evaluations for one sample.
    Cost,
    /// A score.
    Score(Metric),
    /// What the paper says of one.
    Paper(Metric),
    /// The paper's name of the row.
    PaperRow,
}

/// The table that a person reads.
pub struct Summary {
    /// Headings of the axes, then of the metrics, then of the paper's numbers.
    pub headings: Vec<String>,
    /// What stands under each of them.
    pub contents: Vec<Content>,
    /// Cells of text, a row for each cell of the grid.
    pub rows: Vec<Vec<String>>,
    /// How many of the columns are axes.
    pub axes: usize,
    /// Why cells are blank, in the order of their marks.
    pub notes: Vec<String>,
    /// What each metric's numbers are.
    pub protocols: Vec<String>,
}

pub fn summary(experiment: &Experiment, entries: &[Entry], frames: &Frames) -> Result<Summary> {
    let file = &experiment.file;
    let axes = axis_names(experiment);
    let mut published: Vec<Metric> = Vec::new();
    for row in file.paper.iter().flat_map(|p| &p.rows) {
        published.extend(file.metrics.iter().filter(|m| row.says.contains_key(m) && !published.contains(m)).copied().collect::<Vec<_>>());
    }
    published.sort_by_key(|m| file.metrics.iter().position(|other| other == m));
    let mut columns: Vec<(String, Content)> = axes.iter().map(|name| (name.clone(), Content::Axis)).collect();
    let named = file.paper.iter().flat_map(|p| &p.rows).any(|row| row.name.is_some());
    // What a sample costs, where cells differ in it.
    let mut costs: Vec<usize> = entries.iter().map(|e| e.record.nfe).filter(|n| *n > 0).collect();
    costs.sort_unstable();
    costs.dedup();
    columns.extend((costs.len() > 1).then(|| ("evaluations".into(), Content::Cost)));
    columns.extend(file.metrics.iter().map(|m| (m.heading().to_string(), Content::Score(*m))));
    columns.extend(published.iter().map(|m| (format!("paper: {}", m.heading()), Content::Paper(*m))));
    columns.extend(named.then(|| ("paper's row".into(), Content::PaperRow)));
    let (headings, contents) = columns.into_iter().unzip();
    let mut summary = Summary { headings, contents, rows: Vec::new(), axes: axes.len(), notes: Vec::new(), protocols: Vec::new() };
    for (cell_index, cell) in experiment.cells.iter().enumerate() {
        let mut row = Vec::new();
        let paper = crate::experiment::published(file, cell);
        for (heading, content) in summary.headings.iter().zip(&summary.contents) {
            row.push(match content {
                Content::Axis => cell.value(heading),
                Content::Cost => {
                    let cost = entries.iter().find(|e| e.cell_index == cell_index).map(|e| e.record.nfe).filter(|n| *n > 0);
                    cost.map_or_else(String::new, |n| n.to_string())
                }
                Content::Score(metric) => match frames.mean(cell_index, *metric)? {
                    Some(mean) => mean.text(*metric),
                    None => blank(&mut summary.notes, entries, cell_index, *metric),
                },
                Content::Paper(metric) => paper.and_then(|p| p.says.get(metric)).cloned().unwrap_or_default(),
                Content::PaperRow => paper.and_then(|p| p.name.clone()).unwrap_or_default(),
            });
        }
        summary.rows.push(row);
    }
    summary.protocols = protocols(file, entries);
    Ok(summary)
}

fn measured<'a>(entries: &'a [Entry], metric: Metric) -> Vec<&'a Measured> {
    entries.iter().filter_map(|entry| entry.record.metrics.get(&metric)).collect()
}

/// Whether all of a metric's scores were measured alike.
pub fn are_comparable(entries: &[Entry], metric: Metric) -> bool {
    let measured = measured(entries, metric);
    measured.iter().all(|score| score.is_comparable(measured[0]))
}

/// What each column was measured by. Unlike protocols in one column are said to be so.
fn protocols(file: &GridFile, entries: &[Entry]) -> Vec<String> {
    let (seeds, mut lines) = (file.seeds.len(), Vec::new());
    for metric in &file.metrics {
        let measured = measured(entries, *metric);
        let unlike = if !are_comparable(entries, *metric) { "UNLIKE PROTOCOLS, not comparable: " } else { "" };
        // Across seeds another ± is shown.
        let shown: BTreeSet<&str> = measured.iter().map(|m| if seeds > 1 { m.method() } else { &m.protocol }).collect();
        if !shown.is_empty() {
            lines.push(format!("{}: {unlike}{}", metric.heading(), of_all_weights(&shown).join(" | ")));
        }
    }
    if seeds > 1 && !lines.is_empty() {
        lines.push(format!("±: standard error of the mean over {seeds} seeds"));
    }
    lines
}

/// A dash with the mark of its reason.
fn blank(notes: &mut Vec<String>, entries: &[Entry], cell_index: usize, metric: Metric) -> String {
    let of_cell: Vec<&Entry> = entries.iter().filter(|e| e.cell_index == cell_index).collect();
    let reason = of_cell.iter().find_map(|e| e.record.blanks.get(&metric)).cloned();
    let reason = reason.unwrap_or_else(|| if of_cell.is_empty() { "not run yet".into() } else { "not measured".into() });
    let mark = notes.iter().position(|n| *n == reason).unwrap_or_else(|| {
        notes.push(reason);
        notes.len() - 1
    });
    format!("– [{}]", mark + 1)
}

/// The table in Markdown, with the notes and protocols under it.
pub fn page(summary: &Summary) -> String {
    let rows: String = summary.rows.iter().map(|row| markdown::row(row)).collect();
    let notes: String = summary.notes.iter().enumerate().map(|(i, note)| format!("\n[{}] {}\n", i + 1, markdown::text(note))).collect();
    let protocols: String = summary.protocols.iter().map(|p| format!("- {}\n", markdown::text(p))).collect();
    format!("{}{rows}{notes}\n{protocols}", markdown::head(&summary.headings, summary.axes))
}

/// For a terminal of 80 columns: columns from the right are left out, and named, until it fits.
pub fn terminal(summary: &Summary) -> String {
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..summary.headings.len())
        .map(|i| summary.rows.iter().map(|r| width(&r[i])).fold(width(&summary.headings[i]), usize::max))
        .collect();
    let mut shown = widths.len();
    while shown > summary.axes + 1 && widths[..shown].iter().map(|w| w + 2).sum::<usize>() > 82 {
        shown -= 1;
    }
    let cells = |row: &[String]| row[..shown].to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(&summary.headings).chain(&summary.rows).map(|row| cells(row)).collect();
    let table = aligned(&rows, summary.axes);
    let (head, rest) = table.split_once('\n').expect("a line of headings");
    let rule = "─".repeat(widths[..shown].iter().map(|w| w + 2).sum::<usize>() - 2);
    let mut text = format!("{head}\n{rule}\n{rest}");
    text.extend(summary.notes.iter().enumerate().map(|(i, note)| wrapped(&format!("[{}] {note}", i + 1))));
    if shown < widths.len() {
        text += &wrapped(&format!("On the page only: {}.", summary.headings[shown..].join(", ")));
    }
    text.extend(summary.protocols.iter().map(|p| wrapped(p)));
    text
}
