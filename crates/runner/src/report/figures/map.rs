//! Scores over an axis of numbers: a column for each, a row for each of the other values.

use super::super::entry::Entry;
use super::super::heat::{Heat, Shade};
use super::super::tables::Frames;
use crate::experiment::{Cell, Experiment, Tune, brief, label};
use crate::metrics::Metric;
use anyhow::Result;
use serde_json::Value;

/// An axis of fewer numbers is no map.
const FEWEST: usize = 3;

/// Where a grid's cells stand.
#[derive(Debug, PartialEq)]
struct Layout {
    axis: String,
    /// Numbers in rising order; at the end null, where that is on the axis too.
    columns: Vec<Value>,
    rows: Vec<String>,
    /// (row, column) of each cell.
    places: Vec<(usize, usize)>,
}

impl Layout {
    /// By the last axis that makes a map: all cells have a number or null on it, and more than half of the fields have a cell.
    /// What was chosen for a cell does not place it.
    fn of(cells: &[Cell], tune: Option<&Tune>) -> Option<Layout> {
        let given = |cell: &Cell| Cell { axes: tune.map_or_else(|| cell.axes.clone(), |tune| tune.given(cell)), ..cell.clone() };
        let cells: Vec<Cell> = cells.iter().map(given).collect();
        let names = cells.first()?.axes.iter().rev().map(|(name, _)| name);
        names.into_iter().find_map(|axis| Layout::over(&cells, axis))
    }

    fn over(cells: &[Cell], axis: &str) -> Option<Layout> {
        let on_axis = |cell: &Cell| cell.axes.iter().find(|(name, _)| name == axis).map(|(_, value)| value.clone());
        let values: Vec<Value> = cells.iter().map(on_axis).collect::<Option<_>>()?;
        let mut columns = values.clone();
        columns.sort_by(|a, b| a.as_f64().unwrap_or(f64::INFINITY).total_cmp(&b.as_f64().unwrap_or(f64::INFINITY)));
        columns.dedup();
        let numbers = columns.iter().filter(|value| value.is_number()).count();
        if numbers < FEWEST || columns.iter().any(|value| !value.is_number() && !value.is_null()) {
            return None;
        }
        let mut rows: Vec<String> = Vec::new();
        let mut place = |(cell, value): (&Cell, &Value)| {
            let others: Vec<_> = cell.axes.iter().filter(|(name, _)| name != axis).cloned().collect();
            let name = if others.is_empty() { String::new() } else { label(&others) };
            let row = rows.iter().position(|row| *row == name).unwrap_or_else(|| {
                rows.push(name);
                rows.len() - 1
            });
            (row, columns.iter().position(|column| column == value).unwrap_or_default())
        };
        let places: Vec<(usize, usize)> = cells.iter().zip(&values).map(&mut place).collect();
        (2 * cells.len() > rows.len() * columns.len()).then(|| Layout { axis: axis.into(), columns, rows, places })
    }
}

/// A field: its number, infinite where a seed diverged and not a number where there is none, and what is written in it.
type Field = (f64, String);

/// A table of colours for each metric, with what is said of them; none where no axis has numbers enough, or nothing was measured.
pub fn heats(experiment: &Experiment, entries: &[Entry], frames: &Frames) -> Result<Option<(Vec<Heat>, String)>> {
    let Some(layout) = Layout::of(&experiment.cells, experiment.file.tune.as_ref()) else { return Ok(None) };
    let mut heats = Vec::new();
    for metric in &experiment.file.metrics {
        let mut fields = vec![vec![(f64::NAN, "–".to_string()); layout.columns.len()]; layout.rows.len()];
        for (cell, (row, column)) in layout.places.iter().enumerate() {
            let mean = frames.mean(cell, *metric)?.map(|mean| mean.value);
            fields[*row][*column] = field(*metric, mean, diverged(entries, cell, *metric));
        }
        heats.extend(heat(*metric, &layout, &fields));
    }
    let words = said(experiment, entries, &layout.axis);
    Ok((!heats.is_empty()).then_some((heats, words)))
}

/// How many seeds of a cell left every range.
fn diverged(entries: &[Entry], cell: usize, metric: Metric) -> usize {
    entries.iter().filter(|entry| entry.cell_index == cell && entry.record.diverged(metric)).count()
}

/// The mean of the seeds that have one, and how many diverged.
fn field(metric: Metric, mean: Option<f64>, diverged: usize) -> Field {
    let digits = metric.digits();
    match (mean, diverged) {
        (None, 0) => (f64::NAN, "–".into()),
        (None, _) => (f64::INFINITY, "×".into()),
        (Some(mean), 0) => (mean, format!("{mean:.digits$}")),
        (Some(mean), n) => (f64::INFINITY, format!("{mean:.digits$} ({n} ×)")),
    }
}

fn heat(metric: Metric, layout: &Layout, fields: &[Vec<Field>]) -> Option<Heat> {
    let numbers = || fields.iter().flatten().map(|field| field.0);
    if numbers().all(f64::is_nan) {
        return None;
    }
    let finite = numbers().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let (best, worst) = if metric.rises() { (high, low) } else { (low, high) };
    Some(Heat {
        title: metric.heading().into(),
        across: (layout.axis.clone(), layout.columns.iter().map(brief).collect()),
        down: (String::new(), layout.rows.clone()),
        rows: fields.iter().map(|row| row.iter().map(|field| field.0).collect()).collect(),
        shade: Shade::Between(best, worst),
        texts: Some(fields.iter().map(|row| row.iter().map(|field| field.1.clone()).collect()).collect()),
    })
}

/// What is seen, and which cells diverged.
fn said(experiment: &Experiment, entries: &[Entry], axis: &str) -> String {
    let seeds = experiment.file.seeds.len();
    let lost = |(cell, of): (usize, &Cell)| {
        let n = experiment.file.metrics.iter().map(|metric| diverged(entries, cell, *metric)).max().unwrap_or(0);
        (n > 0).then(|| format!("{} ({n} of {seeds})", of.label()))
    };
    let lost: Vec<String> = experiment.cells.iter().enumerate().filter_map(lost).collect();
    let all_ran = entries.len() == seeds * experiment.cells.len();
    let end = match (lost.is_empty(), all_ran) {
        (true, true) => " No cell diverged.".into(),
        (true, false) => String::new(),
        (false, _) => {
            format!(" × marks a cell that diverged for at least one seed, in training or in what was scored: {}.", lost.join("; "))
        }
    };
    format!("The scores over {axis}, means over seeds: the darker, the worse. A dash: not measured, or not in the grid.{end}")
}

#[cfg(test)]
mod tests {
    use super::super::super::entry::Records;
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{GridFile, Job, tiny};
    use crate::metrics::Measured;
    use crate::store::{Outcome, Record};
    use serde_json::json;

    fn cell(axes: &[(&str, Value)]) -> Cell {
        Cell {
            axes: axes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
            config: tiny(&few("d", 20, 3), &[]).config,
        }
    }

    /// The product of two axes.
    fn grid(a: (&str, &[Value]), b: (&str, &[Value])) -> Vec<Cell> {
        a.1.iter().flat_map(|x| b.1.iter().map(move |y| cell(&[(a.0, x.clone()), (b.0, y.clone())]))).collect()
    }

    #[test]
    fn a_map_is_over_the_last_axis_of_numbers() {
        let (rates, words) = ([json!(0.02), json!(0.001), json!(0.005)], [json!("learned"), json!("fixed-small")]);
        let axis = |cells: &[Cell]| Layout::of(cells, None).map(|layout| (layout.axis, layout.columns));
        let rising = vec![json!(0.001), json!(0.005), json!(0.02)];
        assert_eq!(axis(&grid(("learning_rate", &rates), ("variance", &words))), Some(("learning_rate".into(), rising.clone())));
        // Of two the last.
        let steps = [json!(30), json!(20), json!(10)];
        assert_eq!(
            axis(&grid(("learning_rate", &rates), ("steps", &steps))),
            Some(("steps".into(), vec![json!(10), json!(20), json!(30)]))
        );
        assert_eq!(axis(&grid(("steps", &steps), ("learning_rate", &rates))), Some(("learning_rate".into(), rising)));
        // Null is a column, and no number.
        let norms = [json!(null), json!(2.0), json!(0.5), json!(1.0)];
        assert_eq!(axis(&grid(("clip", &norms), ("variance", &words))).unwrap().1, [json!(0.5), json!(1.0), json!(2.0), json!(null)]);
        assert_eq!(axis(&grid(("clip", &norms[..3]), ("variance", &words))), None);
        assert_eq!(axis(&grid(("learning_rate", &rates[..2]), ("variance", &words))), None);
        // Paired axes fill a diagonal.
        let paired: Vec<Cell> = (1..6).map(|i| cell(&[("batch", json!(i)), ("steps", json!(100 / i))])).collect();
        assert_eq!((axis(&paired), axis(&[])), (None, None));
        let mut some = grid(("learning_rate", &rates), ("variance", &words));
        some.push(cell(&[("variance", json!("learned"))]));
        assert_eq!(axis(&some), None);
    }

    /// A rate that was chosen for each cell is neither an axis nor what tells rows apart.
    #[test]
    fn what_was_chosen_places_no_cell() {
        let tune: Tune = serde_json::from_value(json!({ "grid": { "learning_rate": [1, 2, 3] }, "metric": "fid", "seeds": [5] })).unwrap();
        let chosen = [1, 2, 3, 3, 2, 1].into_iter().map(|rate| ("learning_rate".to_string(), json!(rate)));
        let mut cells = grid(("variance", &[json!("a"), json!("b")]), ("timesteps", &[json!(10), json!(20), json!(30)]));
        cells.iter_mut().zip(chosen).for_each(|(cell, rate)| cell.axes.push(rate));
        let layout = Layout::of(&cells, Some(&tune)).unwrap();
        assert_eq!((layout.axis.as_str(), layout.rows, layout.places[4]), ("timesteps", vec!["a".into(), "b".into()], (1, 1)));
        assert_eq!(Layout::of(&cells, None).map(|layout| layout.rows.len()), None);
    }

    /// Every cell's number in its field, with the metric's digits; one seed of three that diverged, and all of them; what was not measured.
    #[test]
    fn fields_are_the_cells() {
        let cells = grid(("variance", &[json!("a"), json!("b")]), ("learning_rate", &[json!(3), json!(1), json!(2)]));
        let file: GridFile = serde_json::from_value(
            json!({ "question": "q", "grid": { "steps": [1] }, "seeds": [0, 1], "metrics": ["fid", "inception-score", "kid"] }),
        )
        .unwrap();
        let experiment = Experiment::new("e", file, cells);
        let of = |cell: usize, seed: u64| (cell, Job::new(experiment.cells[cell].config.clone(), seed, None, "digest", "none"));
        // (cell, seed): the FID, or none where it diverged; the last cell has not run.
        let found = [
            (0, 0, Some(3.0)),
            (0, 1, Some(4.0)),
            (1, 0, Some(1.0)),
            (1, 1, None),
            (2, 0, None),
            (2, 1, None),
            (3, 0, Some(8.0)),
            (4, 0, Some(2.0)),
        ];
        let jobs: Vec<(usize, Job)> = found.iter().map(|(cell, seed, _)| of(*cell, *seed)).collect();
        let entries: Vec<Entry> = jobs
            .iter()
            .zip(found)
            .map(|((cell_index, job), (_, _, fid))| {
                let outcome = if fid.is_some() { Outcome::Finished {} } else { Outcome::Diverged { reason: "r".into() } };
                let mut record = Record::of(job, "d", outcome);
                let measured = |value| Measured { value, std_err: None, n: 1, protocol: String::new() };
                record.metrics.extend(fid.map(|fid| (Metric::Fid, measured(fid))));
                Entry { cell: &experiment.cells[*cell_index], cell_index: *cell_index, job, record, training: None }
            })
            .collect();
        let records = Records::of(entries);
        let frames = Frames::of(&experiment, &records).unwrap();
        let (heats, words) = heats(&experiment, &records.scores, &frames).unwrap().unwrap();
        // Divergences are results of every metric.
        assert_eq!(heats.iter().map(|heat| &heat.title[..]).collect::<Vec<_>>(), ["FID ↓", "IS ↑", "KID ↓"]);
        assert_eq!((heats[0].across.1.join(" "), heats[0].down.1.join(" ")), ("1 2 3".into(), "a b".into()));
        assert_eq!(
            heats[0].texts,
            Some(vec![vec!["1.00 (1 ×)".into(), "×".into(), "3.50".into()], vec!["2.00".into(), "–".into(), "8.00".into()]])
        );
        assert_eq!(heats[0].shade, Shade::Between(2.0, 8.0));
        assert!(words.contains("(1 of 2)") && words.contains("(2 of 2)") && !words.contains("No cell"), "{words}");
        let nothing = Frames::of(&experiment, &Records::of(Vec::new())).unwrap();
        assert_eq!(super::heats(&experiment, &[], &nothing).unwrap(), None);
    }

    /// The worst is where less is better the most, and where more is better the least.
    #[test]
    fn shades_know_which_way_is_better() {
        let layout = Layout { axis: "x".into(), columns: vec![json!(1), json!(2)], rows: vec!["a".into()], places: vec![(0, 0), (0, 1)] };
        let shade =
            |metric: Metric| heat(metric, &layout, &[vec![field(metric, Some(3.0), 0), field(metric, Some(5.0), 0)]]).unwrap().shade;
        assert_eq!((shade(Metric::Fid), shade(Metric::InceptionScore)), (Shade::Between(3.0, 5.0), Shade::Between(5.0, 3.0)));
    }
}
