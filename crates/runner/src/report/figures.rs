//! The figures of a report, of what records hold.

use super::chart::{Axis, Chart, Line, lines};
use super::dots::{Dots, Panel};
use super::entry::Entry;
use super::plot::both;
use super::tables::Frames;
use crate::base::atomic;
use crate::base::text::file_name;
use crate::experiment::{Cell, Experiment, Figure, brief};
use crate::metrics::Metric;
use crate::store::{Point, Store};
use anyhow::Result;
use ddpm_core::objective::Objective;
use ddpm_core::process::Process;
use ddpm_core::rate_distortion::RatePoint;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// Paths of what was drawn, from the report's folder, with a caption.
pub type Drawn = Vec<(String, String)>;

/// The charts of a figure; none where it is no chart, or there is nothing to show.
pub fn charts(figure: Figure, experiment: &Experiment, entries: &[Entry], studies: &[Entry]) -> Vec<Chart> {
    let charts = match figure {
        Figure::TrainingLoss => training(experiment, entries),
        Figure::LossPerT => vec![loss_per_t(entries)],
        Figure::BoundTerms => vec![bound_terms(entries)],
        Figure::Weights => vec![weights(experiment)],
        Figure::Schedules => schedules(experiment),
        Figure::RateDistortion => rate_distortion(experiment, entries),
        Figure::Studies => reverse_time(studies),
        Figure::Samples | Figure::Progressive | Figure::Metrics => Vec::new(),
    };
    charts.into_iter().filter_map(Chart::shown).collect()
}

/// A chart without a level.
fn chart(name: &str, title: &str, caption: &str, (x, y): (Axis, Axis), lines: Vec<Line>) -> Chart {
    Chart { name: name.into(), title: title.into(), caption: caption.into(), x, y, lines, level: None }
}

/// Loss, a chart for each unit that it is in, and the gradient's norm.
fn training(experiment: &Experiment, entries: &[Entry]) -> Vec<Chart> {
    let curve = |entry: &Entry, of: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        entry.training.iter().flat_map(|t| t.curve.iter().map(|point| (point.step as f64, of(point)))).collect()
    };
    let mut units: Vec<Unit> = Vec::new();
    for unit in experiment.cells.iter().map(Unit::of) {
        if !units.contains(&unit) {
            units.push(unit);
        }
    }
    let axes = |y: &str| (Axis::linear("training step"), Axis::log(y));
    let loss = |unit: &Unit| {
        let (mut name, mut title) = ("training-loss".to_string(), "Training loss".to_string());
        // Of one unit there is one chart.
        if units.len() > 1 {
            let words = unit.name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            name += &format!("-{}", words.collect::<Vec<_>>().join("-"));
            title += &format!(": {}", unit.name);
        }
        let caption = format!("{title}, mean over the steps between two points.");
        let alike = entries.iter().filter(|entry| Unit::of(entry.cell) == *unit);
        let lines = lines(alike, |entry| curve(entry, |point| point.loss));
        chart(&name, &title, &caption, axes(unit.what), lines)
    };
    let mut charts: Vec<Chart> = units.iter().map(loss).collect();
    let limits: Vec<Option<f64>> = entries.iter().map(|entry| entry.cell.config.training.optimiser.clip_norm).collect();
    let limit = limits.first().copied().flatten().filter(|limit| limits.iter().all(|other| *other == Some(*limit)));
    let norms = lines(entries, |entry| curve(entry, |point| point.gradient_norm));
    let caption = "Mean norm of the gradient before clipping, over the steps between two points.";
    charts.push(Chart {
        level: limit.map(|limit| (limit, "clipped above".to_string())),
        ..chart("gradient-norm", "Norm of the gradient", caption, axes("norm"), norms)
    });
    charts
}

/// What a training loss is a number of: only losses of one unit can be compared.
#[derive(PartialEq)]
struct Unit {
    /// The objective, and of the rest of the configuration what the unit depends on.
    name: String,
    what: &'static str,
}

impl Unit {
    fn of(cell: &Cell) -> Unit {
        let setup = &cell.config.diffusion;
        let (objective, prediction) = (words(&setup.objective), words(&setup.prediction));
        match setup.objective {
            // Of T terms one, which is the smaller the more there are.
            Objective::Vlb {} => Unit { name: format!("{objective} T={}", setup.timesteps), what: "bits/dim of one step" },
            Objective::VlbRescaled {} => Unit { name: objective, what: "bits/dim" },
            Objective::Simple {} => Unit { name: format!("{objective} {prediction}"), what: "mean squared error" },
            Objective::Hybrid { .. } => Unit { name: format!("{objective} {prediction}"), what: "mean squared error + λ bits/dim" },
        }
    }
}

/// A value as a configuration has it.
fn words(value: &impl Serialize) -> String {
    serde_json::to_value(value).map_or_else(|_| String::new(), |value| brief(&value))
}

fn loss_per_t(entries: &[Entry]) -> Chart {
    let points = |entry: &Entry| entry.terms().iter().filter_map(|term| Some((term.t as f64, term.mse_eps?))).collect();
    let caption = "Mean squared error of the noise that the network implies, at each t, on held-out images.";
    let axes = (Axis::log("t"), Axis::log("mean (ε − ε_θ)²"));
    chart("loss-per-t", "Error of the predicted noise", caption, axes, lines(entries, points))
}

fn bound_terms(entries: &[Entry]) -> Chart {
    let total = |entry: &Entry| entry.terms().iter().map(|t| (t.t as f64, t.variance_mismatch + t.mean_error + t.decoder)).collect();
    let caption = "L_{t-1} at each t on held-out images (t = 1 is the decoder); their sum and the prior are the bound.";
    chart("bound-terms", "Terms of the variational bound", caption, (Axis::log("t"), Axis::log("bits/dim")), lines(entries, total))
}

/// Figure 5: distortion and rate along the reverse process, and one against the other.
fn rate_distortion(experiment: &Experiment, entries: &[Entry]) -> Vec<Chart> {
    let points = |x: fn(&RatePoint, usize) -> f64, y: fn(&RatePoint) -> f64| {
        lines(entries, |entry| entry.coding().iter().map(|point| (x(point, entry.terms().len()), y(point))).collect())
    };
    let reverse: fn(&RatePoint, usize) -> f64 = |point, timesteps| (timesteps - point.t) as f64;
    let (steps, rmse, rate) = (|| Axis::linear("T − t"), || Axis::linear("RMSE of x̂₀ on 0-255"), || Axis::linear("rate, bits/dim"));
    let received = "Distortion when x_t has been received, held-out images (Figure 5).";
    let needed = "Bits/dim needed to receive x_t: the prior and the terms above t (Figure 5).";
    // Each seed has rates of its own, so a mean would be of points that no seed has.
    let seed = experiment.file.seeds[0];
    let of_seed = entries.iter().filter(|entry| entry.record.seed == seed);
    let against = lines(of_seed, |entry| entry.coding().iter().map(|point| (point.rate, point.rmse)).collect());
    let curve = format!("Rate against distortion (Figure 5), seed {seed}.");
    vec![
        chart("coding-distortion", "Distortion", received, (steps(), rmse()), points(reverse, |point| point.rmse)),
        chart("coding-rate", "Rate", needed, (steps(), rate()), points(reverse, |point| point.rate)),
        chart("coding", "Rate and distortion", &curve, (rate(), rmse()), against),
    ]
}

/// Scores along the reverse process (Figure 10).
fn reverse_time(studies: &[Entry]) -> Vec<Chart> {
    let scored = || studies.iter().filter(|entry| entry.record.findings.iter().any(|findings| !findings.scores.is_empty()));
    let along = |metric: Metric| {
        lines(scored(), |entry| {
            let timesteps = entry.record.config.diffusion.timesteps;
            let course = entry.record.findings.iter().flat_map(|findings| &findings.scores);
            course.filter_map(|at| Some(((timesteps - at.t) as f64, at.metrics.get(&metric)?.value))).collect()
        })
    };
    let caption = "Quality of the predicted x₀ at each stop of the reverse process (Figure 10).";
    let of = |(metric, name): (Metric, &str)| {
        let title = format!("{} of the predicted x₀ along the reverse process", metric.heading());
        chart(name, &title, caption, (Axis::linear("T − t"), Axis::linear(metric.heading())), along(metric))
    };
    [(Metric::InceptionScore, "reverse-time-is"), (Metric::Fid, "reverse-time-fid")].map(of).into()
}

fn weights(experiment: &Experiment) -> Chart {
    let mut drawn: Vec<Line> = Vec::new();
    for (cell_index, cell) in experiment.cells.iter().enumerate() {
        let (d, process) = (&cell.config.diffusion, &cell.config.diffusion().process);
        let weight = |t| {
            // Where the network learns the variance, the weight depends on it: shown for beta_t.
            let log_sigma2 = if d.variance.is_learned() { process.log_sigma2_large(t) } else { d.variance.log_sigma2(process, t).at(0.0) };
            d.objective.eps_weight(d.prediction, process, t, log_sigma2)
        };
        let points: Vec<(f64, f64)> = (1..=process.timesteps()).map(|t| (t as f64, weight(t))).collect();
        match drawn.iter_mut().find(|line| line.points == points) {
            Some(line) => line.cells.push(cell_index),
            None => drawn.push(Line::single(vec![cell_index], cell.label(), points)),
        }
    }
    chart(
        "weights",
        "Weight of ‖ε − ε_θ‖² in each objective",
        "Weight that each objective puts on the error of the noise (eq. 12 for the bound): compare shapes, not heights, since a factor common to all t does not change what is learnt. Cells with equal weights share a line, under the first one's name; where the variance is learned, the weight is shown for σ² = β.",
        (Axis::log("t"), Axis::log("weight")),
        drawn,
    )
}

fn schedules(experiment: &Experiment) -> Vec<Chart> {
    let mut distinct: Vec<(Vec<usize>, String, &Process)> = Vec::new();
    for (cell_index, cell) in experiment.cells.iter().enumerate() {
        let d = &cell.config.diffusion;
        let process = &cell.config.diffusion().process;
        match distinct.iter_mut().find(|(_, _, other)| *other == process) {
            Some((cells, ..)) => cells.push(cell_index),
            None => distinct.push((vec![cell_index], format!("{}, T = {}", d.schedule.kind(), d.timesteps), process)),
        }
    }
    let of = |name: &str, title: &str, caption: &str, y: Axis, f: fn(&Process, usize) -> f64| {
        let points = |process: &Process| (1..=process.timesteps()).map(|t| (t as f64, f(process, t))).collect();
        let lines = distinct.iter().map(|(cells, label, process)| Line::single(cells.clone(), label.clone(), points(process)));
        chart(name, title, caption, (Axis::linear("t"), y), lines.collect())
    };
    vec![
        of("schedule-beta", "Variance schedule", "β of each schedule.", Axis::log("β"), |process, t| process.beta(t)),
        of("schedule-alpha-bar", "Signal left", "ᾱ of each schedule.", Axis::linear("ᾱ"), |process, t| process.alpha_bar(t)),
        of("schedule-snr", "Signal-to-noise ratio", "ᾱ / (1 − ᾱ) of each schedule.", Axis::log("SNR"), |process, t| process.snr(t)),
    ]
}

/// The pictures of all studies; one that is gone is left out, as on the contact sheets.
pub fn study_pictures(dir: &Path, studies: &[Entry], store: &Store) -> Result<Drawn> {
    let mut drawn = Drawn::new();
    for entry in studies {
        for shown in entry.record.findings.iter().flat_map(|findings| &findings.pictures) {
            let Ok(bytes) = fs::read(store.run(&entry.record.id).join(&shown.file)) else { continue };
            let path = format!("figures/{}-{}", file_name(&entry.cell.label().replace(", ", "-").replace(' ', "-"), 150), shown.file);
            atomic::write(&dir.join(&path), &bytes)?;
            drawn.push((path, format!("{}: {}", entry.cell.label(), shown.caption)));
        }
    }
    Ok(drawn)
}

/// The table as a picture, with the level of real images.
pub fn metrics(dir: &Path, experiment: &Experiment, entries: &[Entry], frames: &Frames) -> Result<Drawn> {
    let mut panels = Vec::new();
    for metric in &experiment.file.metrics {
        let dot = |cell_index| Ok(frames.mean(cell_index, *metric)?.map(|m| (m.value, m.error)));
        let dots = (0..experiment.cells.len()).map(dot).collect::<Result<Vec<_>>>()?;
        let real = entries.iter().find_map(|entry| entry.record.real.get(metric)).map(|real| real.value);
        if dots.iter().any(Option::is_some) {
            panels.push(Panel { heading: metric.heading().to_string(), dots, real, digits: metric.digits() });
        }
    }
    if panels.is_empty() {
        return Ok(Vec::new());
    }
    let dots = Dots { panels, labels: experiment.cells.iter().map(Cell::label).collect() };
    let caption = "The table's numbers with their uncertainty; a dash is a blank.";
    Ok(vec![(both(dir, "metrics", dots.size(), dots)?, caption.into())])
}
