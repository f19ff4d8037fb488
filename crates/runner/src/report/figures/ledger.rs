//! What the bound is made of, under a cell's own variance and under others.

use super::super::bars::{Bar, Bars, Group};
use super::super::entry::{Entry, part};
use crate::experiment::Experiment;
use crate::metrics::Metric;
use crate::store::OtherVariance;
use ddpm_core::ReverseVariance;
use ddpm_core::likelihood::Bound;

/// More cells than that have no room on a picture.
const MOST: usize = 60;

/// Bars for each of the first cells whose bound was measured: means over its seeds.
pub fn bars(experiment: &Experiment, entries: &[Entry]) -> Bars {
    let group = |(cell, label): (usize, String)| {
        let (process, own) = {
            let config = &experiment.cells[cell].config;
            (&config.diffusion().process, config.diffusion.variance)
        };
        let measured: Vec<_> =
            entries.iter().filter(|e| e.cell_index == cell).filter_map(|e| e.record.bounds.get(&Metric::BitsPerDim)).collect();
        if measured.is_empty() {
            return None;
        }
        let mean = |of: &dyn Fn(usize) -> Bound| {
            let all: Vec<[f64; 4]> = (0..measured.len()).map(|i| parts(of(i))).collect();
            // None is below 0, but for the last digits of a decoder that is what the others leave of the total.
            (0..4).map(|part| (all.iter().map(|parts| parts[part]).sum::<f64>() / all.len() as f64).max(0.0)).collect::<Vec<f64>>()
        };
        let learned = own.is_learned().then(|| Bar { name: "learned (own)".into(), parts: mean(&|i| measured[i].bound), counts: true });
        let other = |variance: OtherVariance| {
            let is_own = matches!(
                (variance, own),
                (OtherVariance::FixedSmall, ReverseVariance::FixedSmall) | (OtherVariance::FixedLarge, ReverseVariance::FixedLarge)
            );
            let name = if is_own { format!("{} (own)", variance.name()) } else { variance.name().into() };
            Bar { name, parts: mean(&|i| measured[i].parts(process, variance)), counts: is_own }
        };
        let label = label + &part(measured.len(), experiment.file.seeds.len());
        Some(Group { cell, label, bars: learned.into_iter().chain(OtherVariance::ALL.map(other)).collect() })
    };
    let groups = experiment.cells.iter().map(|cell| cell.label()).enumerate().filter_map(group).take(MOST).collect();
    let parts = ["prior", "variance mismatch", "mean error", "decoder"].map(String::from).into();
    Bars { parts, groups, axis: "bits/dim of held-out images".into() }
}

fn parts(bound: Bound) -> [f64; 4] {
    [bound.prior, bound.variance_mismatch, bound.mean_error, bound.decoder]
}

/// What is seen.
pub fn caption(bars: &Bars, experiment: &Experiment) -> String {
    let mut said = String::from(
        "What the bound is made of, in bits/dim of held-out images, means over seeds: the prior; what variances that differ from the posterior's \
         cost where the means agree; what the means' errors cost; the decoder. Under the cell's own variance, and what it would be with the same \
         means under others. The optimal one is, at each t, the one variance for all pixels that is best for these images. At t = 1 all variances \
         but a learned one coincide. A bar with an arrow is longer than there is room for.",
    );
    if bars.groups.len() == MOST && experiment.cells.len() > MOST {
        said += &format!(" Of the grid's {} cells the first {MOST} that were measured are shown.", experiment.cells.len());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{Cell, GridFile, Job, tiny};
    use crate::store::{BoundBreakdown, Outcome, Record, TermAt, under};
    use serde_json::json;

    /// Two seeds' means; the own variance is marked, and a fixed one has no bar beside its own.
    #[test]
    fn a_cell_has_its_own_bar_and_the_others() {
        let data = few("d", 20, 3);
        let cell = |variance: &str| Cell {
            axes: vec![("variance".into(), json!(variance))],
            config: tiny(&data, &["objective=vlb", "prediction=eps", &format!("variance={variance}")]).config,
        };
        let cells = vec![cell("fixed-large"), cell("learned-range"), cell("fixed-small")];
        let file: GridFile =
            serde_json::from_value(json!({ "question": "q", "grid": { "variance": ["fixed-large"] }, "seeds": [0, 1] })).unwrap();
        let experiment = Experiment::new("e", file, cells);
        let split = |cell: &Cell, decoder: f64| {
            let process = &cell.config.diffusion().process;
            let terms: Vec<TermAt> = (1..=process.timesteps()).map(|t| TermAt { t, mean_squared: 0.01, ..TermAt::default() }).collect();
            let under = under(process, &terms, 0.5 + decoder);
            BoundBreakdown { bound: Bound { prior: 0.5, decoder, ..Bound::default() }, terms, under, authors: None }
        };
        let jobs: Vec<(usize, Job)> = [(0, 0), (0, 1), (1, 0)]
            .map(|(cell, seed)| (cell, Job::new(experiment.cells[cell].config.clone(), seed, None, &data.info.digest, "none")))
            .into();
        let entries: Vec<Entry> = jobs
            .iter()
            .map(|(cell_index, job)| {
                let (cell, mut record) = (&experiment.cells[*cell_index], Record::of(job, "d", Outcome::Finished {}));
                record.bounds.insert(Metric::BitsPerDim, split(cell, 2.0 + job.seed as f64));
                Entry { cell, cell_index: *cell_index, job, record, training: None }
            })
            .collect();
        let found = bars(&experiment, &entries);
        let names: Vec<(usize, &str, Vec<&str>)> =
            found.groups.iter().map(|g| (g.cell, &g.label[..], g.bars.iter().map(|bar| &bar.name[..]).collect())).collect();
        assert_eq!(
            names,
            [
                (0, "fixed-large", vec!["fixed-small", "fixed-large (own)", "optimal"]),
                (1, "learned-range (1 of 2 seeds)", vec!["learned (own)", "fixed-small", "fixed-large", "optimal"]),
            ]
        );
        let own: Vec<bool> = found.groups.iter().flat_map(|g| g.bars.iter().map(|bar| bar.counts)).collect();
        assert_eq!(own, [false, true, false, true, false, false, false]);
        // Decoders of 2 and 3; of the variance that the means are right for, nothing is lost by it.
        let small = &found.groups[0].bars[0].parts;
        assert!(small[0] == 0.5 && small[1] == 0.0 && small[2] > 0.0 && (small[3] - 2.5).abs() < 1e-9, "{small:?}");
        assert_eq!(found.groups[1].bars[0].parts, [0.5, 0.0, 0.0, 2.0]);
        assert!(!caption(&found, &experiment).contains("the first"));
    }
}
