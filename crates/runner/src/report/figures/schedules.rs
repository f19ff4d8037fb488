//! What follows from the configuration alone: schedules, and how objectives weigh errors.

use super::super::chart::{Axis, Chart, Line, Points};
use crate::experiment::{Experiment, in_words};
use ddpm_core::process::Process;

/// beta, alpha_bar and SNR of each schedule that cells have.
pub fn charts(experiment: &Experiment) -> Vec<Chart> {
    let mut distinct: Vec<(Vec<usize>, String, &Process)> = Vec::new();
    for (cell_index, cell) in experiment.cells.iter().enumerate() {
        let d = &cell.config.diffusion;
        let process = &cell.config.diffusion().process;
        match distinct.iter_mut().find(|(_, _, other)| *other == process) {
            Some((cells, ..)) => cells.push(cell_index),
            None => distinct.push((vec![cell_index], format!("{}, T = {}", d.schedule.kind(), d.timesteps), process)),
        }
    }
    // Of a kind that is there twice the whole is said.
    let labels: Vec<String> = distinct.iter().map(|(_, label, _)| label.clone()).collect();
    for (cells, label, _) in &mut distinct {
        if labels.iter().filter(|other| *other == label).count() > 1 {
            let d = &experiment.cells[cells[0]].config.diffusion;
            *label = format!("{}, {}, T = {}", in_words(&d.schedule), in_words(&d.beta_scale), d.timesteps);
        }
    }
    let of = |name: &str, title: &str, caption: &str, y: Axis, f: fn(&Process, usize) -> f64| {
        let points = |process: &Process| (1..=process.timesteps()).map(|t| (t as f64, f(process, t))).collect();
        let lines = distinct.iter().map(|(cells, label, process)| Line::single(cells.clone(), label.clone(), points(process)));
        Chart::new(name, title, caption, (Axis::linear("t"), y), lines.collect())
    };
    vec![
        of("schedule-beta", "Variance added, β", "β of each schedule.", Axis::linear("β"), |process, t| process.beta(t)),
        of("schedule-alpha-bar", "Signal left, ᾱ", "ᾱ of each schedule.", Axis::linear("ᾱ"), |process, t| process.alpha_bar(t)),
        of("schedule-snr", "Signal-to-noise ratio", "ᾱ / (1 − ᾱ) of each schedule.", Axis::log("SNR"), |process, t| process.snr(t)),
    ]
}

/// What each objective makes of an error of the noise.
pub fn weights(experiment: &Experiment) -> Chart {
    let mut drawn: Vec<Line> = Vec::new();
    for (cell_index, cell) in experiment.cells.iter().enumerate() {
        let (d, process) = (&cell.config.diffusion, &cell.config.diffusion().process);
        let weight = |t| {
            // Where the network learns the variance, the weight depends on it: shown for beta_t.
            let log_sigma2 = if d.variance.is_learned() { process.log_sigma2_large(t) } else { d.variance.log_sigma2(process, t).at(0.0) };
            d.objective.eps_weight(d.prediction, process, t, log_sigma2)
        };
        // Where there is no signal, a weight may be infinite or no number.
        let all = (1..=process.timesteps()).map(|t| (t as f64, weight(t)));
        let points: Points = all.filter(|(_, weight)| weight.is_finite()).collect();
        match drawn.iter_mut().find(|line| line.points == points) {
            Some(line) => line.cells.push(cell_index),
            None => drawn.push(Line::single(vec![cell_index], cell.label(), points)),
        }
    }
    Chart::new(
        "weights",
        "Weight of ‖ε − ε_θ‖² in each objective",
        "Weight that each objective puts on the error of the noise (eq. 12 for the bound): compare shapes, not heights, since a factor common to all t does not change what is learnt. Cells with equal weights share a line, under the first one's name; where the variance is learned, the weight is shown for σ² = β.",
        (Axis::log("t"), Axis::log("weight")),
        drawn,
    )
}
