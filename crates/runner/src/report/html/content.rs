//! What the page's program shows, as JSON: the table, charts, configurations.

use super::super::chart::{Chart, Line, Points};
use super::super::page::Page;
use super::super::palette::{colour, dash, hex};
use super::super::tables::{Content, Frames, are_comparable};
use super::super::{latex, markdown};
use super::images::Pictures;
use crate::experiment::{Experiment, Values, flat};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything.
#[derive(Serialize)]
pub struct PageContent<'a> {
    /// The experiment's name.
    name: &'a str,
    columns: Vec<Column>,
    cells: Vec<CellContent>,
    /// Notes under the table, by the marks of blanks.
    notes: Vec<Text>,
    /// What all cells have in common, by path.
    shared: BTreeMap<String, String>,
    charts: Vec<ChartContent<'a>>,
    pictures: &'a Pictures,
}

/// A text of the table as it is copied.
#[derive(Serialize)]
struct Text {
    plain: String,
    markdown: String,
    latex: String,
}

impl Text {
    fn of(words: &str) -> Text {
        Text { plain: words.into(), markdown: markdown::cell(words), latex: latex::text(words) }
    }
}

/// Points of a line at most: more than there are pixels for.
const MOST_POINTS: usize = 500;

/// A column of the table.
#[derive(Serialize)]
struct Column {
    heading: Text,
    /// `axis`, `cost`, `score` or `paper`.
    group: &'static str,
    /// Which of its numbers are better: `high` or `low`; absent where none is, or they were measured unlike each other.
    better: Option<&'static str>,
}

/// A cell of the grid: a row of the table.
#[derive(Serialize)]
struct CellContent {
    label: String,
    colour: String,
    /// Lengths of dash and space, where another cell has the colour already.
    dash: Option<(u32, u32)>,
    /// What the table says, column by column.
    texts: Vec<Text>,
    /// The numbers behind it, where they are of all seeds.
    values: Vec<Option<f64>>,
    /// What it does not share with all others, by path.
    own: BTreeMap<String, String>,
}

/// A chart; numbers with the digits that can be seen.
#[derive(Serialize)]
struct ChartContent<'a> {
    name: &'a str,
    title: &'a str,
    caption: String,
    x: Scale<'a>,
    y: Scale<'a>,
    lines: Vec<LineContent<'a>>,
    level: Option<(f64, &'a str)>,
    /// What someone published, and where.
    published: Option<(&'a str, Marks)>,
    /// What leads from a cell's point to another's.
    threads: Vec<LineContent<'a>>,
}

/// Points, x beside y.
#[derive(Serialize)]
struct Marks {
    x: Vec<f64>,
    y: Vec<f64>,
}

#[derive(Serialize)]
struct Scale<'a> {
    label: &'a str,
    log: bool,
}

/// A line; `low` and `high` are empty where there is one seed.
#[derive(Serialize)]
struct LineContent<'a> {
    cells: &'a [usize],
    label: &'a str,
    x: Vec<f64>,
    y: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
}

impl<'a> PageContent<'a> {
    pub fn of(page: &'a Page, frames: &Frames, charts: &'a [Chart], pictures: &'a Pictures) -> Result<PageContent<'a>> {
        let summary = page.summary;
        let column = |(heading, content): (&String, &Content)| {
            let (group, better) = match content {
                Content::Axis => ("axis", None),
                Content::Cost => ("cost", None),
                Content::Score(metric) if !are_comparable(page.entries, *metric) => ("score", None),
                Content::Score(metric) => ("score", Some(if metric.rises() { "high" } else { "low" })),
                Content::Paper(_) | Content::PaperRow => ("paper", None),
            };
            Column { heading: Text::of(heading), group, better }
        };
        let (shared, own) = configurations(page.experiment)?;
        let values = |cell_index: usize| -> Result<Vec<Option<f64>>> {
            let value = |content: &Content| match content {
                Content::Score(metric) => Ok(frames.mean(cell_index, *metric)?.filter(|mean| mean.n == mean.of).map(|mean| mean.value)),
                _ => Ok(None),
            };
            summary.contents.iter().map(value).collect()
        };
        let cell = |(cell_index, own): (usize, BTreeMap<String, String>)| {
            Ok(CellContent {
                label: page.experiment.cells[cell_index].label(),
                colour: hex(colour(cell_index)),
                dash: dash(cell_index),
                texts: summary.rows[cell_index].iter().map(|words| Text::of(words)).collect(),
                values: values(cell_index)?,
                own,
            })
        };
        Ok(PageContent {
            name: &page.experiment.name,
            columns: summary.headings.iter().zip(&summary.contents).map(column).collect(),
            cells: own.into_iter().enumerate().map(cell).collect::<Result<_>>()?,
            notes: summary.notes.iter().map(|note| Text::of(note)).collect(),
            shared,
            charts: charts.iter().map(ChartContent::of).collect(),
            pictures,
        })
    }

    /// As a script's text, in which nothing can end the script.
    pub fn script(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?.replace('<', "\\u003c"))
    }
}

impl ChartContent<'_> {
    fn of(chart: &Chart) -> ChartContent<'_> {
        ChartContent {
            name: &chart.name,
            title: &chart.title,
            caption: chart.about(),
            x: Scale { label: &chart.x.label, log: chart.x.log },
            y: Scale { label: &chart.y.label, log: chart.y.log },
            lines: chart.lines.iter().map(|line| LineContent::of(line, chart.x.log)).collect(),
            level: chart.level.as_ref().map(|(height, what)| (*height, &what[..])),
            published: chart.published.as_ref().map(|(label, points)| (&label[..], Marks::of(points))),
            threads: chart.threads.iter().map(|thread| LineContent::of(thread, chart.x.log)).collect(),
        }
    }
}

impl Marks {
    fn of(points: &Points) -> Marks {
        let (x, y) = points.iter().map(|(x, y)| (rounded(*x), rounded(*y))).unzip();
        Marks { x, y }
    }
}

impl LineContent<'_> {
    fn of(line: &Line, log: bool) -> LineContent<'_> {
        let xs: Vec<f64> = line.points.iter().map(|point| point.0).collect();
        let kept = thinned(&xs, log);
        let of = |values: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| kept.iter().map(|i| rounded(pick(&values[*i]))).collect();
        let (low, high) =
            if line.band.is_empty() { (Vec::new(), Vec::new()) } else { (of(&line.band, |band| band.0), of(&line.band, |band| band.1)) };
        let (x, y) = (of(&line.points, |point| point.0), of(&line.points, |point| point.1));
        LineContent { cells: &line.cells, label: &line.label, x, y, low, high }
    }
}

/// Places of at most [`MOST_POINTS`] of rising numbers, evenly spread over an axis, with both ends.
fn thinned(xs: &[f64], log: bool) -> Vec<usize> {
    if xs.len() <= MOST_POINTS {
        return (0..xs.len()).collect();
    }
    let on_axis = |x: f64| if log { libm::log(x) } else { x };
    let (first, last) = (on_axis(xs[0]), on_axis(xs[xs.len() - 1]));
    let wanted = |k: usize| first + (last - first) * k as f64 / (MOST_POINTS - 1) as f64;
    // The first that is not before the wanted place.
    let mut kept: Vec<usize> = (0..MOST_POINTS - 1).map(|k| xs.partition_point(|x| on_axis(*x) < wanted(k))).collect();
    kept.push(xs.len() - 1);
    kept.dedup();
    kept
}

/// To six digits; what is counted, in full.
fn rounded(value: f64) -> f64 {
    if value.fract() == 0.0 { value } else { format!("{value:.5e}").parse().unwrap_or(value) }
}

/// What all cells have in common, and what each has of its own.
fn configurations(experiment: &Experiment) -> Result<(Values, Vec<Values>)> {
    let mut all = experiment.cells.iter().map(|cell| flat(&cell.config)).collect::<Result<Vec<Values>>>()?;
    let mut shared = all.first().cloned().unwrap_or_default();
    shared.retain(|path, value| all.iter().all(|of| of.get(path) == Some(value)));
    all.iter_mut().for_each(|of| of.retain(|path, _| !shared.contains_key(path)));
    Ok((shared, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{Cell, GridFile, tiny};
    use serde_json::json;

    #[test]
    fn what_cells_share_is_told_once() {
        let data = few("d", 20, 3);
        let cell = |sets: &[&str]| Cell { axes: Vec::new(), config: tiny(&data, sets).config };
        let file: GridFile = serde_json::from_value(json!({ "question": "q", "grid": {} })).unwrap();
        let cells = vec![cell(&["sampling.count=15", "objective=vlb"]), cell(&["sampling.count=16", "objective=vlb"])];
        let (shared, own) = configurations(&Experiment::new("x", file, cells)).unwrap();
        assert_eq!((&shared["diffusion.objective"][..], shared.get("sampling.count")), ("vlb", None));
        assert_eq!(own, [15, 16].map(|count| Values::from([("sampling.count".to_string(), count.to_string())])));
    }

    #[test]
    fn numbers_keep_the_digits_that_are_seen() {
        assert_eq!([0.0, 1.0 / 3.0, 1_234_567.8, 123_456_789.0, 1e-12].map(rounded), [0.0, 0.333333, 1_234_570.0, 123_456_789.0, 1e-12]);
    }

    /// Few points stay; of many, those that an axis shows apart, with both ends.
    #[test]
    fn lines_are_thinned_evenly_on_their_axis() {
        let xs = |n: usize| (1..=n).map(|i| i as f64).collect::<Vec<f64>>();
        assert_eq!(thinned(&xs(500), true), (0..500).collect::<Vec<_>>());
        let linear = thinned(&xs(4_000), false);
        assert!(linear.len() == 500 && linear[0] == 0 && linear[499] == 3_999, "{linear:?}");
        assert!(linear.windows(2).all(|pair| (1..=9).contains(&(pair[1] - pair[0]))), "{linear:?}");
        let log = thinned(&xs(4_000), true);
        assert!(log.len() <= 500 && log[..20] == (0..20).collect::<Vec<_>>() && log.ends_with(&[3_999]), "{log:?}");
    }
}
