//! The figures of a report, each a chart of what records hold. Replicates of a cell are drawn as one line: the first seed's.

use super::entry::Entry;
use super::plot::{Axis, Bars, Chart, Line, Panel, both, shortened};
use super::tables::Frames;
use crate::base::atomic;
use crate::base::text::file_name;
use crate::experiment::Experiment;
use crate::metrics::Metric;
use crate::store::Store;
use anyhow::Result;
use ddpm_core::Process;
use ddpm_core::rate_distortion::RatePoint;
use std::fs;
use std::path::Path;

/// Paths of what was drawn, from the report's folder, with a caption.
pub type Drawn = Vec<(String, String)>;

fn of(path: Option<String>, caption: &str) -> Drawn {
    path.map(|p| (p, caption.to_string())).into_iter().collect()
}

/// A line for the first replicate of each cell.
fn lines(entries: &[Entry], points: impl Fn(&Entry) -> Vec<(f64, f64)>) -> Vec<Line> {
    let mut seen = Vec::new();
    let mut lines = Vec::new();
    for entry in entries {
        if !seen.contains(&entry.cell_index) {
            seen.push(entry.cell_index);
            lines.push(Line { label: entry.cell.label(), points: points(entry) });
        }
    }
    lines
}

pub fn training_loss(dir: &Path, entries: &[Entry]) -> Result<Drawn> {
    let points = |e: &Entry| e.training.iter().flat_map(|t| t.curve.iter().map(|p| (p.step as f64, p.loss))).collect();
    let chart = Chart {
        title: "Training loss (each objective in its own unit)",
        x: Axis { label: "training step", log: false },
        y: Axis { label: "loss", log: true },
        lines: lines(entries, points),
    };
    Ok(of(chart.write(dir, "training-loss")?, "Training loss; objectives differ in unit, so compare lines of one objective only."))
}

pub fn loss_per_t(dir: &Path, entries: &[Entry]) -> Result<Drawn> {
    let points = |e: &Entry| e.terms().iter().filter_map(|t| Some((t.t as f64, t.mse_eps?))).collect();
    let chart = Chart {
        title: "Error of the predicted noise on held-out images",
        x: Axis { label: "t", log: true },
        y: Axis { label: "mean (ε − ε_θ)²", log: true },
        lines: lines(entries, points),
    };
    Ok(of(chart.write(dir, "loss-per-t")?, "Mean squared error of the noise that the network implies, at each t."))
}

pub fn bound_terms(dir: &Path, entries: &[Entry]) -> Result<Drawn> {
    let points = |e: &Entry| e.terms().iter().map(|t| (t.t as f64, t.variance_mismatch + t.mean_error + t.decoder)).collect();
    let chart = Chart {
        title: "Terms of the variational bound on held-out images",
        x: Axis { label: "t", log: true },
        y: Axis { label: "bits/dim", log: true },
        lines: lines(entries, points),
    };
    Ok(of(chart.write(dir, "bound-terms")?, "L_{t-1} in bits/dim at each t (t = 1 is the decoder); their sum and the prior are the bound."))
}

/// Figure 5: distortion and rate along the reverse process, and one against the other.
pub fn rate_distortion(dir: &Path, entries: &[Entry]) -> Result<Drawn> {
    let points = |x: fn(&RatePoint, usize) -> f64, y: fn(&RatePoint) -> f64| {
        move |e: &Entry| e.coding().iter().map(|p| (x(p, e.terms().len()), y(p))).collect::<Vec<_>>()
    };
    let chart = |title, x, y, lines| Chart { title, x: Axis { label: x, log: false }, y: Axis { label: y, log: false }, lines };
    let reverse: fn(&RatePoint, usize) -> f64 = |p, timesteps| (timesteps - p.t) as f64;
    let (steps, rmse, rate) = ("T − t", "RMSE of x̂₀ on 0-255", "rate, bits/dim");
    let distortion = chart("Distortion", steps, rmse, lines(entries, points(reverse, |p| p.rmse)));
    let rates = chart("Rate", steps, rate, lines(entries, points(reverse, |p| p.rate)));
    let curve = chart("Rate and distortion", rate, rmse, lines(entries, points(|p, _| p.rate, |p| p.rmse)));
    let mut drawn = of(distortion.write(dir, "coding-distortion")?, "Distortion when x_t has been received (Figure 5).");
    drawn.extend(of(rates.write(dir, "coding-rate")?, "Bits/dim needed to receive x_t: the prior and the terms above t (Figure 5)."));
    drawn.extend(of(curve.write(dir, "coding")?, "Rate against distortion (Figure 5)."));
    Ok(drawn)
}

/// Scores along the reverse process (Figure 10), and the pictures of all studies.
pub fn studies(dir: &Path, studies: &[Entry], store: &Store) -> Result<Drawn> {
    let mut drawn = Drawn::new();
    for (metric, name) in [(Metric::InceptionScore, "reverse-time-is"), (Metric::Fid, "reverse-time-fid")] {
        let points = |e: &Entry| {
            let timesteps = e.record.config.diffusion.timesteps;
            let course = e.record.findings.iter().flat_map(|f| &f.scores);
            course.filter_map(|at| Some(((timesteps - at.t) as f64, at.metrics.get(&metric)?.value))).collect()
        };
        let walked: Vec<&Entry> = studies.iter().filter(|e| e.record.findings.iter().any(|f| !f.scores.is_empty())).collect();
        let chart = Chart {
            title: &format!("{} of the predicted x₀ along the reverse process", metric.heading()),
            x: Axis { label: "T − t", log: false },
            y: Axis { label: metric.heading(), log: false },
            lines: walked.iter().map(|e| Line { label: e.cell.label(), points: points(e) }).collect(),
        };
        drawn.extend(of(chart.write(dir, name)?, "Quality of the predicted x₀ at each stop of the reverse process (Figure 10)."));
    }
    for entry in studies {
        for shown in entry.record.findings.iter().flat_map(|f| &f.pictures) {
            let from = store.run(&entry.record.id).join(&shown.file);
            // A picture that is gone is left out, as on the contact sheets.
            let Ok(bytes) = fs::read(&from) else { continue };
            let path = format!("figures/{}-{}", file_name(&entry.cell.label().replace(", ", "-").replace(' ', "-"), 150), shown.file);
            atomic::write(&dir.join(&path), &bytes)?;
            drawn.push((path, format!("{}: {}", entry.cell.label(), shown.caption)));
        }
    }
    Ok(drawn)
}

pub fn weights(dir: &Path, experiment: &Experiment) -> Result<Drawn> {
    let mut drawn: Vec<Line> = Vec::new();
    for cell in &experiment.cells {
        let (d, process) = (&cell.config.diffusion, &cell.config.diffusion().process);
        let weight = |t| {
            // Where the network learns the variance, the weight depends on it: shown for beta_t.
            let log_sigma2 = if d.variance.is_learned() { process.log_sigma2_large(t) } else { d.variance.log_sigma2(process, t).at(0.0) };
            d.objective.eps_weight(d.prediction, process, t, log_sigma2)
        };
        let points: Vec<(f64, f64)> = (1..=process.timesteps()).map(|t| (t as f64, weight(t))).collect();
        if !drawn.iter().any(|l| l.points == points) {
            drawn.push(Line { label: cell.label(), points });
        }
    }
    let chart = Chart {
        title: "Weight of ‖ε − ε_θ‖² in each objective",
        x: Axis { label: "t", log: true },
        y: Axis { label: "weight (relative within a line)", log: true },
        lines: drawn,
    };
    Ok(of(
        chart.write(dir, "weights")?,
        "Weight that each objective puts on the error of the noise (eq. 12 for the bound); cells with equal weights share a line, under the first one's name; where the variance is learned, the weight is shown for σ² = β.",
    ))
}

pub fn schedules(dir: &Path, experiment: &Experiment) -> Result<Drawn> {
    let mut distinct: Vec<(String, &Process)> = Vec::new();
    for cell in &experiment.cells {
        let d = &cell.config.diffusion;
        let process = &cell.config.diffusion().process;
        if !distinct.iter().any(|(_, other)| *other == process) {
            distinct.push((format!("{}, T = {}", d.schedule.kind(), d.timesteps), process));
        }
    }
    let chart = |title, label, log, f: fn(&Process, usize) -> f64| Chart {
        title,
        x: Axis { label: "t", log: false },
        y: Axis { label, log },
        lines: distinct
            .iter()
            .map(|(label, p)| Line { label: label.clone(), points: (1..=p.timesteps()).map(|t| (t as f64, f(p, t))).collect() })
            .collect(),
    };
    let mut drawn = of(chart("Variance schedule", "β", true, |p, t| p.beta(t)).write(dir, "schedule-beta")?, "β of each schedule.");
    drawn.extend(of(chart("Signal left", "ᾱ", false, |p, t| p.alpha_bar(t)).write(dir, "schedule-alpha-bar")?, "ᾱ of each schedule."));
    drawn.extend(of(
        chart("Signal-to-noise ratio", "SNR", true, |p, t| p.snr(t)).write(dir, "schedule-snr")?,
        "ᾱ / (1 − ᾱ) of each schedule.",
    ));
    Ok(drawn)
}

pub fn metrics(dir: &Path, experiment: &Experiment, frames: &Frames) -> Result<Drawn> {
    let mut panels = Vec::new();
    for metric in &experiment.file.metrics {
        let bar = |cell_index| Ok(frames.mean(cell_index, *metric)?.map(|m| (m.value, m.error)));
        let bars = (0..experiment.cells.len()).map(bar).collect::<Result<Vec<_>>>()?;
        if bars.iter().any(Option::is_some) {
            panels.push(Panel { heading: metric.heading().to_string(), bars, digits: metric.digits() });
        }
    }
    if panels.is_empty() {
        return Ok(Vec::new());
    }
    let bars = Bars { panels, labels: experiment.cells.iter().map(|c| shortened(&c.label(), 60)).collect() };
    let size = bars.size();
    Ok(of(Some(both(dir, "metrics", size, bars)?), "The table's numbers with their uncertainty; a dash is a blank."))
}
