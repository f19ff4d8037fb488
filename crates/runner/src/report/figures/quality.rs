//! How good samples are: the table as a picture, along the reverse process, and against what they cost.

use super::super::canvas::{Drawn, leave};
use super::super::chart::{Axis, Chart, Line, Points, lines};
use super::super::dots::{Dot, Dots, Strip};
use super::super::entry::Entry;
use super::super::tables::{Frames, Mean};
use crate::experiment::{Cell, Experiment, Tune};
use crate::metrics::Metric;
use anyhow::Result;
use serde_json::Value;
use std::path::Path;

/// What real images score, or real points, where that was measured.
fn real(entries: &[Entry], metric: Metric) -> Option<(f64, &'static str)> {
    let what = if metric == Metric::KlDivergence { "real points" } else { "real images" };
    entries.iter().find_map(|entry| entry.record.real.get(&metric)).map(|real| (real.value, what))
}

/// The level of real images on a chart of scores.
fn level(entries: &[Entry], metric: Metric) -> Option<(f64, String)> {
    real(entries, metric).map(|(value, what)| (value, what.into()))
}

/// The table as a picture, with the level of real images.
pub fn metrics(dir: &Path, experiment: &Experiment, entries: &[Entry], frames: &Frames) -> Result<Drawn> {
    let mut strips = Vec::new();
    for metric in &experiment.file.metrics {
        let dot = |mean: Mean| {
            let (digits, part) = (metric.digits(), mean.part());
            Dot { value: mean.value, error: mean.error, text: format!("{:.digits$}{part}", mean.value) }
        };
        let dots =
            (0..experiment.cells.len()).map(|cell_index| Ok(frames.mean(cell_index, *metric)?.map(dot))).collect::<Result<Vec<_>>>()?;
        if dots.iter().any(Option::is_some) {
            strips.push(Strip { heading: metric.heading().to_string(), dots, real: real(entries, *metric) });
        }
    }
    if strips.is_empty() {
        return Ok(Vec::new());
    }
    let dots = Dots { strips, labels: experiment.cells.iter().map(Cell::label).collect() };
    let caption = "The table's numbers with their uncertainty; a dash is a blank.";
    Ok(vec![(leave(dir, "metrics", dots.size(), |root| dots.draw(root))?, caption.into())])
}

/// Scores along the reverse process (Figure 10).
pub fn reverse_time(entries: &[Entry], studies: &[Entry]) -> Vec<Chart> {
    let scored = || studies.iter().filter(|entry| entry.record.findings.iter().any(|findings| !findings.scores.is_empty()));
    let along = |metric: Metric| {
        lines(scored(), |entry| {
            let timesteps = entry.record.config.diffusion.timesteps as f64;
            let course = entry.record.findings.iter().flat_map(|findings| &findings.scores);
            course.filter_map(|at| Some((1.0 - at.t as f64 / timesteps, at.metrics.get(&metric)?.value))).collect()
        })
    };
    let caption = "Quality of the predicted x₀ at each stop of the reverse process (Figure 10).";
    let of = |(metric, name): (Metric, &str)| {
        let title = format!("{} of the predicted x₀ along the reverse process", metric.title());
        let axes = (Axis::linear("(T − t) / T"), Axis::linear(metric.heading()));
        Chart { level: level(entries, metric), ..Chart::new(name, &title, caption, axes, along(metric)) }
    };
    [(Metric::InceptionScore, "reverse-time-is"), (Metric::Fid, "reverse-time-fid")].map(of).into()
}

/// The score of samples that is shown against their cost: FID, or where that was not measured, the first one that was.
fn score_of(entries: &[Entry]) -> Option<Metric> {
    let there = |metric: &Metric| entries.iter().any(|entry| entry.record.metrics.contains_key(metric));
    [Metric::Fid].into_iter().chain(Metric::of_samples()).find(there)
}

/// A score against network evaluations for a sample, where cells differ in them; cells that differ in nothing but the sampler's steps are joined.
pub fn evaluations(tune: Option<&Tune>, entries: &[Entry]) -> Vec<Chart> {
    let Some(metric) = score_of(entries) else { return Vec::new() };
    let points = |entry: &Entry| -> Points {
        entry.record.metrics.get(&metric).map(|score| (entry.record.nfe as f64, score.value)).into_iter().collect()
    };
    let lines = lines(entries, points);
    let mut costs = lines.iter().flat_map(|line| &line.points).map(|point| point.0);
    let first = costs.next();
    if costs.all(|cost| Some(cost) == first) {
        return Vec::new();
    }
    let mut groups: Vec<(Value, Line)> = Vec::new();
    for line in &lines {
        let Some(entry) = entries.iter().find(|entry| line.cells.contains(&entry.cell_index)) else { continue };
        let alike = without_steps(entry.cell, tune);
        match groups.iter_mut().find(|(other, _)| *other == alike) {
            Some((_, thread)) => {
                thread.cells.extend(&line.cells);
                thread.points.extend(&line.points);
            }
            None => groups.push((alike, Line::single(line.cells.clone(), String::new(), line.points.clone()))),
        }
    }
    let mut threads: Vec<Line> = groups.into_iter().map(|(_, thread)| thread).filter(|thread| thread.points.len() > 1).collect();
    threads.iter_mut().for_each(|thread| thread.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    let name = metric.title();
    let caption = format!("{name} against network evaluations for a sample. Cells that differ in the sampler's steps alone are joined.");
    let axes = (Axis::log("network evaluations for a sample"), Axis::linear(metric.heading()));
    vec![Chart {
        level: level(entries, metric),
        threads,
        ..Chart::new("evaluations", "What a sample costs and is worth", &caption, axes, lines)
    }]
}

/// A cell's configuration without the sampler's number of steps, and without what was chosen for it.
fn without_steps(cell: &Cell, tune: Option<&Tune>) -> Value {
    let mut config = serde_json::to_value(&cell.config).unwrap_or_default();
    // What else a training keeps follows from what is chosen.
    let chosen = tune.into_iter().flat_map(|tune| tune.paths().chain(["training.optimiser.ema_kept".into()]));
    for path in chosen {
        let (map, key) = path.rsplit_once('.').unwrap_or(("", &path));
        let map = if map.is_empty() { Some(&mut config) } else { config.pointer_mut(&format!("/{}", map.replace('.', "/"))) };
        map.and_then(Value::as_object_mut).and_then(|map| map.shift_remove(key));
    }
    if let Some(sampler) = config.pointer_mut("/sampling/sampler").and_then(Value::as_object_mut) {
        sampler.remove("steps");
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{Job, tiny};
    use crate::metrics::Measured;
    use crate::store::Record;
    use serde_json::json;

    /// One cell for each sampler, with its evaluations and its FID.
    fn found(cells: &[(&str, usize, Option<f64>)]) -> Vec<Chart> {
        found_with(cells, |_| "learning_rate=0.1", None)
    }

    /// The same with something more that is set for each sampler, and may have been chosen.
    fn found_with(cells: &[(&str, usize, Option<f64>)], more: fn(&str) -> &str, tune: Option<&Tune>) -> Vec<Chart> {
        let data = few("d", 20, 3);
        let of = |(sampler, ..): &(&str, usize, Option<f64>)| Cell {
            axes: vec![("sampler".into(), json!(sampler))],
            config: tiny(&data, &[&format!("sampler={sampler}"), more(sampler)]).config,
        };
        let made: Vec<Cell> = cells.iter().map(of).collect();
        let jobs: Vec<Job> = made.iter().map(|cell| Job::new(cell.config.clone(), 0, None, &data.info.digest, "none")).collect();
        let entry = |(cell_index, (_, nfe, fid)): (usize, &(&str, usize, Option<f64>))| {
            let mut record = Record::of(&jobs[cell_index], "d", crate::store::Outcome::Finished {});
            record.nfe = *nfe;
            let measured = |value| Measured { value, std_err: None, n: 1, protocol: String::new() };
            record.metrics.extend(fid.map(|fid| (Metric::Fid, measured(fid))));
            Entry { cell: &made[cell_index], cell_index, job: &jobs[cell_index], record, training: None }
        };
        evaluations(tune, &cells.iter().enumerate().map(entry).collect::<Vec<_>>())
    }

    /// A chart where cells differ in evaluations, and only there; joined are cells that differ in steps alone, in the order of their cost.
    #[test]
    fn scores_are_set_against_their_cost() {
        const DDIM: [&str; 3] =
            ["{kind: ddim, eta: 0.0, steps: 20}", "{kind: ddim, eta: 0.0, steps: 10}", "{kind: ddim, eta: 1.0, steps: 10}"];
        let charts = found(&[(DDIM[0], 20, Some(2.0)), (DDIM[1], 10, Some(3.0)), (DDIM[2], 10, Some(4.0))]);
        let [chart] = &charts[..] else { panic!("{charts:?}") };
        assert_eq!(chart.lines.iter().map(|line| line.points[0]).collect::<Vec<_>>(), [(20.0, 2.0), (10.0, 3.0), (10.0, 4.0)]);
        assert_eq!(chart.threads, [Line::single(vec![0, 1], String::new(), vec![(10.0, 3.0), (20.0, 2.0)])]);
        // A cell that has no score costs nothing.
        assert!(found(&[(DDIM[0], 20, None), (DDIM[1], 10, Some(3.0)), (DDIM[2], 10, Some(4.0))]).is_empty());
        assert!(found(&[(DDIM[0], 20, Some(2.0))]).is_empty() && found(&[]).is_empty());
        // What was chosen for each keeps none apart; what the grid sets does.
        let tune: Tune = serde_json::from_value(json!({ "grid": { "learning_rate": [0.1, 0.2] }, "metric": "fid", "seeds": [5] })).unwrap();
        let rate = |sampler: &str| if sampler.contains("20") { "learning_rate=0.1" } else { "learning_rate=0.2" };
        let both = [(DDIM[0], 20, Some(2.0)), (DDIM[1], 10, Some(3.0))];
        let threads = |tune: Option<&Tune>| found_with(&both, rate, tune)[0].threads.len();
        assert_eq!((threads(Some(&tune)), threads(None)), (1, 0));
        // One that is written where it is not the default, and nowhere else.
        let tune: Tune =
            serde_json::from_value(json!({ "grid": { "downsample": ["conv", "max-pool"] }, "metric": "fid", "seeds": [5] })).unwrap();
        let pooled = |sampler: &str| if sampler.contains("20") { "downsample=max-pool" } else { "downsample=conv" };
        assert_eq!(found_with(&both, pooled, Some(&tune))[0].threads.len(), 1);
    }
}
