//! Loss along training, a chart for each unit that it is in, and the gradient's norm.

use super::super::chart::{Axis, Chart, Points, lines};
use super::super::entry::Entry;
use crate::experiment::{Cell, Experiment, in_words};
use crate::store::Point;
use ddpm_core::objective::Objective;

/// The charts.
pub fn charts(experiment: &Experiment, entries: &[Entry]) -> Vec<Chart> {
    let curve = |entry: &Entry, of: fn(&Point) -> f64| -> Points {
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
        let alike = entries.iter().filter(|entry| Unit::of(entry.cell) == *unit);
        let lines = lines(alike, |entry| curve(entry, |point| point.loss));
        Chart::new(&name, &title, "Training loss, mean over the steps between two points.", axes(unit.what), lines)
    };
    let mut charts: Vec<Chart> = units.iter().map(loss).collect();
    let limits: Vec<Option<f64>> = entries.iter().map(|entry| entry.cell.config.training.optimiser.clip_norm).collect();
    let limit = limits.first().copied().flatten().filter(|limit| limits.iter().all(|other| *other == Some(*limit)));
    let norms = lines(entries, |entry| curve(entry, |point| point.gradient_norm));
    let caption = "Mean norm of the gradient before clipping, over the steps between two points.";
    charts.push(Chart {
        level: limit.map(|limit| (limit, "clipped above".to_string())),
        ..Chart::new("gradient-norm", "Norm of the gradient", caption, axes("norm"), norms)
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
        let (objective, prediction) = (in_words(&setup.objective), in_words(&setup.prediction));
        match setup.objective {
            // Of T terms one, which is the smaller the more there are.
            Objective::Vlb {} => Unit { name: format!("{objective} T={}", setup.timesteps), what: "bits/dim of one step" },
            Objective::VlbRescaled {} => Unit { name: objective, what: "bits/dim" },
            Objective::Simple {} => Unit { name: format!("{objective} {prediction}"), what: "mean squared error" },
            // Its space says what it is a square of, whatever is predicted.
            Objective::Weighted { .. } => Unit { name: objective, what: "weighted mean squared error" },
            Objective::Hybrid { .. } => Unit { name: format!("{objective} {prediction}"), what: "mean squared error + λ bits/dim" },
        }
    }
}
