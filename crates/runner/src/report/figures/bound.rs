//! The bound's terms at each t, and what they say of progressive coding (Figure 5).

use super::super::chart::{Axis, Chart, lines};
use super::super::entry::Entry;
use crate::experiment::{Cell, Coding, Experiment, agrees_with};
use crate::store::LogShare;
use ddpm_core::parameterisation::Prediction;
use ddpm_core::rate_distortion::RatePoint;

/// Error of the predicted noise at each t.
pub fn loss_per_t(entries: &[Entry]) -> Chart {
    let points = |entry: &Entry| entry.terms().iter().filter_map(|term| Some((term.t as f64, term.mse_eps?))).collect();
    let caption = "Mean squared error of the noise that the network implies, at each t, on held-out images. Under the bound t = 1 is trained by the decoder's likelihood, not by this error, and may stand apart.";
    let axes = (Axis::log("t"), Axis::log("mean (ε − ε_θ)²"));
    Chart::new("loss-per-t", "Error of the predicted noise", caption, axes, lines(entries, points))
}

/// The terms at each t.
pub fn terms(entries: &[Entry]) -> Chart {
    let total = |entry: &Entry| entry.terms().iter().map(|t| (t.t as f64, t.variance_mismatch + t.mean_error + t.decoder)).collect();
    let caption = "L_{t-1} at each t on held-out images (t = 1 is the decoder); their sum and the prior are the bound.";
    Chart::new("bound-terms", "Terms of the variational bound", caption, (Axis::log("t"), Axis::log("bits/dim")), lines(entries, total))
}

/// Steps at which ln β and ln β̃ are nearer than that say nothing: the ends of the scale meet as t grows.
const APART: f64 = 0.05;

/// Where a learned variance lies between the two fixed ones.
pub fn learned_variance(entries: &[Entry]) -> Vec<Chart> {
    let of = |share: fn(&LogShare) -> f64| {
        lines(entries, |entry| {
            let process = &entry.cell.config.diffusion().process;
            let apart = |t: usize| process.log_sigma2_large(t) - process.log_sigma2_small(t) >= APART;
            let terms = entry.terms().iter().filter(|term| apart(term.t));
            terms.filter_map(|term| Some((term.t as f64, share(term.learned.as_ref()?)))).collect()
        })
    };
    let mean = "Where the learned variance lies at each t >= 2, on held-out images: ln σ² between ln β̃_t (0), right if the data were one image, and \
                ln β_t (1), right if they were white noise (Section 3.2). Later steps, where the two are within 5% of each other, are left out.";
    let spread = "How much it differs between pixels and images: the standard deviation on the same scale.";
    let axes = |y| (Axis::log("t"), y);
    vec![
        Chart::new("learned-variance", "Learned variance", mean, axes(Axis::linear("ln σ², β̃: 0, β: 1")), of(|share| share.mean)),
        Chart::new(
            "learned-variance-spread",
            "Its spread over pixels",
            spread,
            axes(Axis::log("standard deviation")),
            of(|share| share.deviation),
        ),
    ]
}

/// Distortion and rate along the reverse process, and one against the other, beside the paper's.
pub fn rate_distortion(experiment: &Experiment, entries: &[Entry]) -> Vec<Chart> {
    // How many of the T steps have been made when x_t has been received, as Table 4 counts them.
    let received = |entry: &Entry, point: &RatePoint| {
        let timesteps = entry.terms().len();
        (timesteps + 1 - point.t) as f64 / timesteps as f64
    };
    let along = |y: fn(&RatePoint) -> f64| {
        let points = |entry: &Entry| entry.coding().iter().map(|point| (received(entry, point), y(point))).collect();
        lines(entries, points)
    };
    // Each seed has rates of its own, so a mean would be of points that no seed has.
    let seed = experiment.file.seeds[0];
    let of_seed = entries.iter().filter(|entry| entry.record.seed == seed);
    let against = lines(of_seed, |entry| entry.coding().iter().map(|point| (point.rate, point.rmse)).collect());
    let coding = experiment.file.coding.as_ref();
    let published = |of: fn((f64, f64, f64)) -> (f64, f64)| {
        let belongs = |coding: &Coding| experiment.cells.iter().find(|cell| agrees_with(cell, &coding.cell)).map(Cell::label);
        coding.map(|coding| {
            let label = [Some(coding.source.clone()), belongs(coding)].into_iter().flatten().collect::<Vec<_>>().join(": ");
            (label, table(coding).into_iter().map(of).collect())
        })
    };
    let (steps, rmse, rate) =
        (|| Axis::linear("received, (T − t + 1) / T"), || Axis::linear("RMSE of x̂₀ on 0-255"), || Axis::log("rate, bits/dim"));
    let mut distortion = "Distortion when x_t has been received, held-out images (Figure 5).".to_string();
    if experiment.cells.iter().any(|cell| cell.config.diffusion.prediction == Prediction::Eps) {
        distortion += " Where ε is predicted, an error of it counts √((1 − ᾱ_t) / ᾱ_t)-fold in x̂₀, so that distortion begins high.";
    }
    let mut needed = "Bits/dim needed to receive x_t: the prior and the terms above t (Figure 5).".to_string();
    if coding.is_some_and(|coding| table(coding).iter().any(|row| row.1 == 0.0)) {
        needed += " A published rate of 0.00000 has no place on a logarithmic axis.";
    }
    let curve = format!("Rate against distortion (Figure 5), seed {seed}.");
    let charts = [
        Chart::new("coding-distortion", "Distortion", &distortion, (steps(), rmse()), along(|point| point.rmse)),
        Chart::new("coding-rate", "Rate", &needed, (steps(), rate()), along(|point| point.rate)),
        Chart::new("coding", "Rate and distortion", &curve, (rate(), rmse()), against),
    ];
    let theirs = [
        published(|(share, _, rmse)| (share, rmse)),
        published(|(share, rate, _)| (share, rate)),
        published(|(_, rate, rmse)| (rate, rmse)),
    ];
    charts.into_iter().zip(theirs).map(|(chart, published)| Chart { published, ..chart }).collect()
}

/// Share received, rate and distortion of a published table; its rows that are no numbers aside.
fn table(coding: &Coding) -> Vec<(f64, f64, f64)> {
    coding.rows.iter().filter_map(|row| Some((row.received, row.rate.parse().ok()?, row.rmse.parse().ok()?))).collect()
}
