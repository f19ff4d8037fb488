//! What confounds a table, from the records: everything but what the axes vary that tells its cells apart, or them from the paper.

use super::chosen::untuned;
use super::entry::Entry;
use crate::base::data::DatasetInfo;
use crate::experiment::{Cell, Choice, Config, Decay, Experiment, agrees_in_all, brief};
use crate::metrics::Metric;
use crate::metrics::features::FeatureSource;
use crate::store::{Outcome, Point, TrainingRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Difference in the share of clipped steps from which on cells are not trained alike.
const CLIPPED: f64 = 0.1;

/// Relative difference in size or cost from which on it may be what is seen.
const UNEQUAL: f64 = 0.01;

/// Fall of the loss over the last tenth of a training from which on it has not levelled off.
const FALLING: f64 = 0.01;

/// Cells that are named one by one.
const LISTED: usize = 8;

/// The least samples that the authors of FID name, and the dimensions of the features that they have in mind.
const FEWEST: (usize, usize) = (10_000, 2048);

/// Sentences in Markdown's plain text, most important first.
pub fn notes(experiment: &Experiment, entries: &[Entry], data: &DatasetInfo) -> Vec<String> {
    let entries = entries.iter().collect();
    let care = Care { experiment, entries, data };
    let each = [
        care.seeds(),
        care.budget(),
        care.tuned(),
        care.chosen_by(),
        care.at_an_end(),
        care.all_diverged(),
        care.clipped(),
        care.size(),
        care.falling(),
        care.learning_rate(),
        care.features(),
        care.samples(),
        care.splits(),
    ];
    each.into_iter().flatten().chain(care.blanks()).collect()
}

struct Care<'a> {
    experiment: &'a Experiment,
    entries: Vec<&'a Entry<'a>>,
    data: &'a DatasetInfo,
}

impl Care<'_> {
    fn configs(&self) -> impl Iterator<Item = &Config> {
        self.experiment.cells.iter().map(|cell| &cell.config)
    }

    fn metrics(&self) -> &[Metric] {
        &self.experiment.file.metrics
    }

    fn has_scores(&self) -> bool {
        self.metrics().iter().any(|metric| Metric::of_samples().any(|of| of == *metric))
    }

    fn seeds(&self) -> Option<String> {
        let one = "One seed: ± is the uncertainty of the measurement, not of training anew. Two trainings of one cell may differ by more.";
        (self.experiment.file.seeds.len() == 1).then(|| one.to_string())
    }

    /// How much of the paper's budget this is.
    fn budget(&self) -> Option<String> {
        let theirs = self.experiment.file.paper.as_ref()?.budget?;
        let ours = |c: &Config| (c.training.steps, c.training.batch, c.diffusion.timesteps, c.sampling.count);
        if self.configs().all(|c| ours(c) == (theirs.steps, theirs.batch, theirs.timesteps, theirs.samples)) {
            return None;
        }
        let seen = |c: &Config| c.training.steps as f64 * c.training.batch as f64;
        let paper = theirs.steps as f64 * theirs.batch as f64;
        let of = |f: fn(&Config) -> usize| each(self.configs().map(|c| f(c).to_string()));
        Some(format!(
            "Budget: a whole training sees {} as many images as the paper's ({} steps of {}, there {} of {}); {} samples are scored, there {}; T = {}, \
             there {}.",
            each(self.configs().map(|c| percent(seen(c) / paper))),
            of(|c| c.training.steps as usize),
            of(|c| c.training.batch),
            theirs.steps,
            theirs.batch,
            of(|c| c.sampling.count),
            theirs.samples,
            of(|c| c.diffusion.timesteps),
            theirs.timesteps
        ))
    }

    /// What the base's settings were chosen for, where that is not every cell.
    fn tuned(&self) -> Option<String> {
        let tuned = self.experiment.tuned.as_ref()?;
        let cells = &self.experiment.cells;
        let chosen: Vec<&Cell> = cells.iter().filter(|cell| agrees_in_all(&cell.config, &tuned.on)).collect();
        if chosen.len() == cells.len() {
            return None;
        }
        let on: Vec<String> = tuned.on.iter().map(|(path, value)| format!("{path} {}", brief(value))).collect();
        let others = match chosen[..] {
            [] => "None of these cells is that one: each".to_string(),
            [one] => format!("A cell other than {}", one.label()),
            _ => "Another cell".to_string(),
        };
        let how = tuned.how.trim_end_matches('.');
        let on = on.join(", ");
        Some(match &self.experiment.file.tune {
            None => format!("Settings were chosen for one configuration ({on}): {how}. {others} may do better with settings of its own."),
            Some(tune) => format!(
                "The base's settings were chosen for one configuration ({on}): {how}. Here each cell has its own {}; the rest are still that \
                 configuration's.",
                tune.names().join(" and ")
            ),
        })
    }

    /// Scores by which nothing was chosen.
    fn chosen_by(&self) -> Option<String> {
        let tune = self.experiment.file.tune.as_ref()?;
        let others: Vec<&str> = self.metrics().iter().filter(|metric| **metric != tune.metric).map(|metric| metric.title()).collect();
        (!others.is_empty() && !self.experiment.choices.is_empty()).then(|| {
            format!("Tuned settings are those with the best {}: {} may be better with others.", tune.metric.title(), others.join(", "))
        })
    }

    /// The cells with what was tried for them, by their names without it.
    fn choices(&self) -> impl Iterator<Item = (String, &Choice)> {
        let named = |(cell, choice)| Some((untuned(cell, self.experiment.file.tune.as_ref()?), choice));
        self.experiment.cells.iter().zip(&self.experiment.choices).filter_map(named)
    }

    /// Cells whose own settings are the last of what was tried.
    fn at_an_end(&self) -> Option<String> {
        // Of a cell for which nothing does nothing was chosen.
        let found = self.choices().filter(|(_, choice)| choice.best().spread().is_some());
        let ends = found.map(|(cell, choice)| (cell, choice.at_an_end())).filter(|(_, ends)| !ends.is_empty());
        let ends: Vec<String> = ends.map(|(cell, ends)| format!("{cell}: {}", ends.join(", "))).collect();
        let (n, all) = (ends.len(), self.experiment.cells.len());
        let which = if n <= LISTED { format!(" ({})", ends.join("; ")) } else { String::new() };
        (n > 0).then(|| {
            format!(
                "Tuned settings are the least or the largest of what was tried in {n} of {all} cells{which}: better ones may lie beyond, and \
                 not be equally far in all cells."
            )
        })
    }

    /// Cells for which nothing that was tried does.
    fn all_diverged(&self) -> Option<String> {
        let lost = |choice: &Choice| choice.candidates.iter().all(|candidate| candidate.spread().is_none());
        let cells: Vec<String> = self.choices().filter(|(_, choice)| lost(choice)).map(|(cell, _)| cell).collect();
        (!cells.is_empty())
            .then(|| format!("Everything that was tried diverged on every seed in {}: the first of it is in the table.", cells.join("; ")))
    }

    /// How many of each cell's steps were clipped, where cells differ in it.
    fn clipped(&self) -> Option<String> {
        let shares = self.by_cell(|training| share_clipped(&training.curve));
        let (least, most) = range(shares.values().copied())?;
        if most - least < CLIPPED {
            return None;
        }
        let sharded = self.configs().any(|c| c.training.optimiser.clip_shards > 1);
        let shards = if sharded { "; at least, since parts of a batch are clipped one by one" } else { "" };
        Some(format!(
            "Clipping: the gradient was clipped in different shares of the steps ({}{shards}). Where it nearly always is, every step weighs the same, however \
             large its loss: cells differ in that as well.",
            self.listed(&shares)
        ))
    }

    /// Networks of unlike size or cost.
    fn size(&self) -> Option<String> {
        let unlike = |of: fn(&TrainingRecord) -> f64, verb: &str, what: &str| {
            let numbers = self.by_cell(|training| Some(of(training)));
            let (least, most) = range(numbers.values().copied())?;
            let at = |wanted: f64| numbers.iter().find(|(_, n)| **n == wanted).map_or_else(String::new, |(cell, _)| self.label(*cell));
            let more = percent(most / least - 1.0);
            (most > (1.0 + UNEQUAL) * least).then(|| format!("{} {verb} {more} more {what} than {}", at(most), at(least)))
        };
        let parameters = unlike(|training| training.parameters as f64, "has", "parameters");
        let flops = unlike(|training| training.flops, "takes", "FLOPs to train");
        let both: Vec<String> = parameters.into_iter().chain(flops).collect();
        (!both.is_empty()).then(|| format!("Cells differ in size: {}. That alone may make a difference.", both.join("; ")))
    }

    /// Trainings whose loss had not settled.
    fn falling(&self) -> Option<String> {
        let mut falls = self.by_cell(|training| fall_at_the_end(&training.curve));
        falls.retain(|_, fall| *fall > FALLING);
        (!falls.is_empty()).then(|| {
            format!(
                "Training had not levelled off: over its last tenth the loss still fell ({}). More steps may change the order.",
                self.listed(&falls)
            )
        })
    }

    /// A learning rate that falls is not the paper's.
    fn learning_rate(&self) -> Option<String> {
        let of = |c: &Config| match c.training.decay {
            Decay::None => None,
            Decay::Linear => Some("linearly".to_string()),
            Decay::Cosine => Some("along a cosine".to_string()),
        };
        let falls: BTreeSet<String> = self.configs().filter_map(of).collect();
        let cells = if self.configs().all(|c| of(c).is_some()) { "" } else { " in some cells" };
        (!falls.is_empty()).then(|| {
            let how: Vec<String> = falls.into_iter().collect();
            format!("The learning rate falls {} to 0 by the end{cells}; the paper's stays what it is after the warm-up.", how.join(" or "))
        })
    }

    /// Features that are not those of published numbers.
    fn features(&self) -> Option<String> {
        let own =
            |c: &&Config| c.evaluation.features == FeatureSource::Own {} && c.evaluation.features.dimensions(self.data.shape).is_some();
        let cells = match (self.configs().filter(own).count(), self.experiment.cells.len()) {
            (0, _) => return None,
            (n, all) if n == all => "",
            _ => " of some cells",
        };
        self.has_scores().then(|| {
            format!(
                "Scores of samples{cells} are in the features of this project's own classifier, not in Inception's: they are on a different scale from \
                 published ones, and compare these cells only."
            )
        })
    }

    /// Fewer samples than their features' covariance takes.
    fn samples(&self) -> Option<String> {
        let names: Vec<&str> = self
            .metrics()
            .iter()
            .filter(|metric| matches!(metric, Metric::Fid | Metric::FidHeldOut))
            .map(|metric| metric.title())
            .collect();
        let (images, inception) = FEWEST;
        let few = |c: &&Config| {
            let dimensions = c.evaluation.features.dimensions(self.data.shape);
            dimensions.is_some_and(|dimensions| c.sampling.count * inception < images * dimensions)
        };
        let cells: Vec<&Config> = self.configs().filter(few).collect();
        let dimensions = cells.first()?.evaluation.features.dimensions(self.data.shape)?;
        (!names.is_empty()).then(|| {
            format!(
                "Few samples for {}: {}. FID's authors name {images} as the least in Inception's {inception} dimensions, which are {} in the {dimensions} of \
                 these features. Fewer samples make it larger, by about as much in cells with equally many.",
                names.join(" and "),
                each(cells.iter().map(|c| c.sampling.count.to_string())),
                (images * dimensions).div_ceil(inception)
            )
        })
    }

    /// Bounds on unlike numbers of images.
    fn splits(&self) -> Option<String> {
        let both = [Metric::BitsPerDim, Metric::BitsPerDimTrain].iter().all(|metric| self.metrics().contains(metric));
        let whole = |c: &&Config| c.evaluation.held_out == self.data.held_out && c.evaluation.train == self.data.train;
        let unlike = |c: &&Config| c.evaluation.train > 0 && c.evaluation.train != c.evaluation.held_out && !whole(c);
        let unlike = self.configs().find(unlike)?;
        both.then(|| {
            format!(
                "bits/dim are of the first {} held-out and the first {} training images: their difference is of these images, not the gap between \
                 training and test.",
                unlike.evaluation.held_out, unlike.evaluation.train
            )
        })
    }

    /// Metrics that no cell has.
    fn blanks(&self) -> Vec<String> {
        let reason = |metric: &Metric| {
            let all = self.experiment.cells.len() * self.experiment.file.seeds.len();
            let blank: Vec<&String> = self.entries.iter().filter_map(|e| e.record.blanks.get(metric)).collect();
            let one = blank.len() == all && blank.iter().all(|why| *why == blank[0]);
            one.then(|| format!("{} is blank in every cell: {}.", metric.title(), blank[0]))
        };
        self.metrics().iter().filter_map(reason).collect()
    }

    /// Cells with their shares; of many those with the least and the most.
    fn listed(&self, shares: &BTreeMap<usize, f64>) -> String {
        let named = |(cell, share): (&usize, &f64)| format!("{} {}", self.label(*cell), percent(*share));
        if shares.len() <= LISTED {
            return shares.iter().map(named).collect::<Vec<_>>().join("; ");
        }
        let by_share = |a: &(&usize, &f64), b: &(&usize, &f64)| a.1.total_cmp(b.1);
        let ends = [shares.iter().min_by(by_share), shares.iter().max_by(by_share)].into_iter().flatten();
        format!("of {} cells from {}", shares.len(), ends.map(named).collect::<Vec<_>>().join(" to "))
    }

    fn label(&self, cell: usize) -> String {
        self.experiment.cells[cell].label()
    }

    /// A number of each cell's trainings that came to their end, in the mean over seeds.
    fn by_cell(&self, of: impl Fn(&TrainingRecord) -> Option<f64>) -> BTreeMap<usize, f64> {
        let mut all: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for entry in &self.entries {
            let finished = entry.training.as_ref().filter(|training| training.outcome == Outcome::Finished {});
            if let Some(number) = finished.and_then(&of) {
                all.entry(entry.cell_index).or_default().push(number);
            }
        }
        all.into_iter().map(|(cell, numbers)| (cell, numbers.iter().sum::<f64>() / numbers.len() as f64)).collect()
    }
}

/// Share of a training's steps that were clipped; none where its curve does not say of all.
fn share_clipped(curve: &[Point]) -> Option<f64> {
    let mut before = 0;
    let mut clipped = 0.0;
    for point in curve {
        clipped += point.clipped? * (point.step - before) as f64;
        before = point.step;
    }
    (before > 0).then(|| clipped / before as f64)
}

/// By how much of itself the loss fell from the tenth of the training before the last one to the last; none where the points of the curve
/// are too few, or differ among each other by more.
fn fall_at_the_end(curve: &[Point]) -> Option<f64> {
    let n = curve.len() / 10;
    let part = |from: usize| {
        let losses: Vec<f64> = curve[curve.len() - from..curve.len() - from + n].iter().map(|point| point.loss).collect();
        let mean = losses.iter().sum::<f64>() / n as f64;
        let variance = losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
        (mean, variance / n as f64)
    };
    if n < 3 {
        return None;
    }
    let ((before, error_before), (last, error_last)) = (part(2 * n), part(n));
    let sure = before - last > 2.0 * (error_before + error_last).sqrt();
    (sure && before > 0.0).then(|| (before - last) / before)
}

fn range(mut numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let first = numbers.next()?;
    Some(numbers.fold((first, first), |(least, most), n| (least.min(n), most.max(n))))
}

/// Every answer once.
fn each(answers: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for answer in answers {
        if !all.contains(&answer) {
            all.push(answer);
        }
    }
    all.join(" or ")
}

/// In percent, with two digits that say something.
fn percent(share: f64) -> String {
    let p = 100.0 * share;
    let mut digits = if p >= 10.0 || p == 0.0 { 0 } else { 1 };
    let mut scale = 1.0;
    // As many more as there are zeros behind the point.
    while digits > 0 && p < scale && digits < 9 {
        (digits, scale) = (digits + 1, scale / 10.0);
    }
    format!("{p:.digits$}%")
}

#[cfg(test)]
mod tests;
