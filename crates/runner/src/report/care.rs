//! What confounds a table, from the records: everything but what the axes vary that tells its cells apart, or them from the paper.

use super::entry::Entry;
use crate::base::data::DatasetInfo;
use crate::experiment::{Config, Decay, Experiment, brief};
use crate::metrics::Metric;
use crate::metrics::features::FeatureSource;
use crate::store::{Point, TrainingRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Difference in the share of clipped steps from which on cells are not trained alike.
const CLIPPED: f64 = 0.1;

/// Relative difference in size or cost from which on it may be what is seen.
const UNEQUAL: f64 = 0.01;

/// Fall of the loss over the last tenth of a training from which on it has not ended by itself.
const FALLING: f64 = 0.01;

/// Cells that are named one by one.
const LISTED: usize = 8;

/// Samples for each of the features' dimensions, from which on their covariance is worth its name: Inception's 2,048 ask for the 10,000
/// that the authors of FID name as the least.
const SAMPLES_PER_DIMENSION: usize = 5;

/// Sentences in Markdown's plain text, most important first.
pub fn notes(experiment: &Experiment, entries: &[Entry], data: &DatasetInfo) -> Vec<String> {
    let entries = entries.iter().filter(|entry| entry.job.study.is_none()).collect();
    let care = Care { experiment, entries, data };
    let each = [
        care.seeds(),
        care.budget(),
        care.tuned(),
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
        let seen = |c: &Config| c.training.steps as f64 * c.training.batch as f64;
        let paper = theirs.steps as f64 * theirs.batch as f64;
        let shares = each(self.configs().map(|c| percent(seen(c) / paper)));
        if shares == "100%" {
            return None;
        }
        let of = |f: fn(&Config) -> usize| each(self.configs().map(|c| f(c).to_string()));
        Some(format!(
            "Budget: each training sees {shares} as many images as the paper's ({} steps of {}, there {} of {}); {} samples are scored, there {}; T = {}, \
             there {}.",
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

    /// What the base's settings were chosen for.
    fn tuned(&self) -> Option<String> {
        let tuned = self.experiment.tuned.as_ref()?;
        let on: Vec<String> = tuned.on.iter().map(|(path, value)| format!("{path} {}", brief(value))).collect();
        Some(format!(
            "Settings were chosen for one configuration ({}): {}. Others may do better with settings of their own.",
            on.join(", "),
            tuned.how.trim_end_matches('.')
        ))
    }

    /// How many of each cell's steps were clipped, where cells differ in it.
    fn clipped(&self) -> Option<String> {
        let shares = self.by_cell(|training| share_clipped(&training.curve));
        let (least, most) = range(shares.values().copied())?;
        if most - least < CLIPPED {
            return None;
        }
        Some(format!(
            "Clipping: the gradient was clipped in unlike shares of the steps ({}). Where it nearly always is, every step weighs the same, however \
             large its loss: cells differ in that as well.",
            self.listed(&shares)
        ))
    }

    /// Networks of unlike size or cost.
    fn size(&self) -> Option<String> {
        let unlike = |of: fn(&TrainingRecord) -> f64, what: &str| {
            let numbers = self.by_cell(|training| Some(of(training)));
            let (least, most) = range(numbers.values().copied())?;
            let at = |wanted: f64| numbers.iter().find(|(_, n)| **n == wanted).map_or_else(String::new, |(cell, _)| self.label(*cell));
            (most > (1.0 + UNEQUAL) * least)
                .then(|| format!("{} has {} more {what} than {}", at(most), percent(most / least - 1.0), at(least)))
        };
        let parameters = unlike(|training| training.parameters as f64, "parameters");
        let both: Vec<String> = parameters.into_iter().chain(unlike(|training| training.flops, "FLOPs of training")).collect();
        (!both.is_empty()).then(|| format!("Cells are of unlike size: {}. That alone may make a difference.", both.join("; ")))
    }

    /// Trainings whose loss had not settled.
    fn falling(&self) -> Option<String> {
        let mut falls = self.by_cell(|training| fall_at_the_end(&training.curve));
        falls.retain(|_, fall| *fall > FALLING);
        (!falls.is_empty()).then(|| {
            format!(
                "Trainings had not ended by themselves: over their last tenth the loss still fell ({}). More steps may change the order.",
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
        let own = self.configs().any(|c| c.evaluation.features == FeatureSource::Own {});
        let measured = self.entries.iter().any(|e| e.record.metrics.keys().any(|metric| Metric::of_samples().any(|of| of == *metric)));
        (self.has_scores() && own && measured).then(|| {
            "Scores of samples are in the features of this project's own classifier, not in Inception's: they compare cells of this table, and stand \
             on another scale than published ones."
                .to_string()
        })
    }

    /// Fewer samples than their features' covariance takes.
    fn samples(&self) -> Option<String> {
        let needs = |c: &Config| {
            let dimensions = c.evaluation.features.dimensions(self.data.shape)?;
            (c.sampling.count < SAMPLES_PER_DIMENSION * dimensions).then(|| (c.sampling.count, dimensions))
        };
        let few: BTreeSet<(usize, usize)> = self.configs().filter_map(needs).collect();
        let of_covariance = |metric: &&Metric| matches!(metric, Metric::Fid | Metric::FidHeldOut);
        let metric = self.metrics().iter().find(of_covariance)?;
        let (count, dimensions) = few.first()?;
        Some(format!(
            "Too few samples for {}: {count}, in {dimensions} dimensions; from {} on its bias is small. It is larger than with more samples, in all \
             cells of as many.",
            metric.title(),
            SAMPLES_PER_DIMENSION * dimensions
        ))
    }

    /// Bounds on unlike numbers of images.
    fn splits(&self) -> Option<String> {
        let both = [Metric::BitsPerDim, Metric::BitsPerDimTrain].iter().all(|metric| self.metrics().contains(metric));
        let unlike = self.configs().find(|c| c.evaluation.train != c.evaluation.held_out)?;
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
            let blank: BTreeSet<&String> = self.entries.iter().filter_map(|e| e.record.blanks.get(metric)).collect();
            let has = self.entries.iter().any(|e| e.record.metrics.contains_key(metric));
            match (has, blank.len()) {
                (false, 1) => blank.first().map(|why| format!("{} is blank in every cell: {why}.", metric.title())),
                _ => None,
            }
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

    /// A number of each cell's trainings, in the mean over seeds.
    fn by_cell(&self, of: impl Fn(&TrainingRecord) -> Option<f64>) -> BTreeMap<usize, f64> {
        let mut all: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for entry in &self.entries {
            if let Some(number) = entry.training.as_ref().and_then(&of) {
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
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{Budget, Cell, GridFile, Job, Tuned, tiny};
    use crate::store::{FORMAT, Machine, Outcome, Record};
    use serde_json::json;

    fn point(step: u64, loss: f64, clipped: f64) -> Point {
        Point { step, loss, gradient_norm: 1.0, clipped: Some(clipped) }
    }

    /// What a training is made of: share of clipped steps, parameters, loss at the end.
    type Trained = (f64, usize, f64);

    /// Two cells, each with a training of one seed, and what is to be read with care.
    fn told(sets: [&[&str]; 2], trained: [Trained; 2], change: impl Fn(&mut Experiment)) -> Vec<String> {
        let data = few("d", 20, 3);
        let cell = |i: usize| Cell { axes: vec![("cell".into(), json!(["a", "b"][i]))], config: tiny(&data, sets[i]).config };
        let file: GridFile = serde_json::from_value(json!({ "question": "q", "grid": {}, "metrics": ["fid", "bits-per-dim"] })).unwrap();
        let mut experiment = Experiment { name: "x".into(), file, cells: vec![cell(0), cell(1)], tuned: None };
        change(&mut experiment);
        let jobs: Vec<Job> =
            experiment.cells.iter().map(|cell| Job::new(cell.config.clone(), 0, None, &data.info.digest, "none")).collect();
        let training = |job: &Job, (clipped, parameters, last): Trained| TrainingRecord {
            format: FORMAT,
            id: job.training_id.clone(),
            outcome: Outcome::Finished {},
            steps: 40,
            parameters,
            curve: (1..=40).map(|step| point(step, if step > 36 { last } else { 1.0 }, clipped)).collect(),
            wall_s: 1.0,
            loading: None,
            flops: 3.0 * parameters as f64,
            machine: Machine::here(),
        };
        let entry = |(i, job)| Entry {
            cell: &experiment.cells[i],
            cell_index: i,
            job,
            record: Record::of(job, &data.info.digest, Outcome::Finished {}),
            training: Some(training(job, trained[i])),
        };
        notes(&experiment, &jobs.iter().enumerate().map(entry).collect::<Vec<_>>(), &data.info)
    }

    const ALIKE: [Trained; 2] = [(0.5, 1000, 1.0); 2];

    fn has(notes: &[String], beginning: &str) -> Option<String> {
        notes.iter().find(|note| note.starts_with(beginning)).cloned()
    }

    #[test]
    fn cells_that_are_alike_need_no_care() {
        let notes = told([&[], &["training.batch=8"]], ALIKE, |experiment| experiment.file.seeds = vec![0, 1]);
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn what_differs_beside_the_axes_is_told() {
        let none = |_: &mut Experiment| {};
        let notes = told([&[], &["training.batch=8"]], [(0.93, 1000, 1.0), (0.0, 1020, 0.75)], none);
        assert_eq!(notes.len(), 4, "{notes:?}");
        assert!(has(&notes, "One seed: ").is_some());
        assert!(has(&notes, "Clipping: ").unwrap().contains("(a 93%; b 0%)"));
        let size = has(&notes, "Cells are of unlike size").unwrap();
        assert!(size.contains(": b has 2.0% more parameters than a; b has 2.0% more FLOPs of training than a."), "{size}");
        assert!(has(&notes, "Trainings had not ended").unwrap().contains("(b 25%)"));
        // Just below what is told.
        let notes = told([&[], &["training.batch=8"]], [(0.50, 1000, 1.0), (0.41, 1009, 0.991)], none);
        assert_eq!(notes.len(), 1, "{notes:?}");
    }

    #[test]
    fn the_budget_is_the_papers_or_a_share_of_it() {
        let with = |steps: u64| {
            move |experiment: &mut Experiment| {
                let budget = Budget { steps, batch: 32, timesteps: 1000, samples: 50_000 };
                experiment.file.paper = serde_json::from_value(json!({ "source": "s", "budget": budget, "rows": [] })).unwrap();
            }
        };
        let sets: [&[&str]; 2] = [&["training.batch=16"], &["training.batch=8"]];
        let told_of = |steps: u64| has(&told(sets, ALIKE, with(steps)), "Budget: ");
        // 40 steps of 16 or 8 of 7,990 of 32.
        let budget = told_of(7_990).unwrap();
        assert!(budget.contains("sees 0.25% or 0.13% as many images as the paper's (40 steps of 16 or 8, there 7990 of 32)"), "{budget}");
        assert!(budget.contains("100 samples are scored, there 50000; T = 40, there 1000"), "{budget}");
        let sets: [&[&str]; 2] = [&["training.batch=32"], &["training.batch=32", "learning_rate=0.1"]];
        assert_eq!(has(&told(sets, ALIKE, with(40)), "Budget: "), None);
    }

    #[test]
    fn settings_and_their_end_are_told() {
        let on = json!({ "prediction": "eps", "schedule": { "kind": "cosine", "s": 0.01 } }).as_object().unwrap().clone();
        let tuned = |experiment: &mut Experiment| experiment.tuned = Some(Tuned { on: on.clone(), how: "rate, among ten.".into() });
        let notes = told([&["training.decay=linear"], &["training.batch=8"]], ALIKE, tuned);
        let chosen = has(&notes, "Settings were chosen").unwrap();
        assert!(chosen.contains("(prediction eps, schedule cosine s=0.01): rate, among ten. Others"), "{chosen}");
        assert!(has(&notes, "The learning rate falls linearly to 0 by the end in some cells").is_some(), "{notes:?}");
    }

    #[test]
    fn what_is_too_little_to_measure_is_told() {
        let both = |experiment: &mut Experiment| experiment.file.metrics = vec![Metric::Fid, Metric::BitsPerDim, Metric::BitsPerDimTrain];
        let inception = r#"evaluation.features={"kind": "inception", "weights": "w"}"#;
        let notes = told([&[inception, "evaluation.train=3"], &[inception]], ALIKE, both);
        // Of 4x4 images the project has no classifier.
        assert!(has(&notes, "Too few samples for FID: 100, in 2048 dimensions; from 10240 on").is_some(), "{notes:?}");
        assert!(has(&notes, "bits/dim are of the first 20 held-out and the first 3 training images").is_some(), "{notes:?}");
        let enough = [inception, "sampling.count=10240"];
        assert_eq!(has(&told([&enough, &[inception, "sampling.count=10241"]], ALIKE, both), "Too few"), None);
    }

    /// Of 7 steps: 3 that were all clipped, and 4 of which half were.
    #[test]
    fn shares_are_of_steps() {
        assert_eq!(share_clipped(&[point(3, 1.0, 1.0), point(7, 1.0, 0.5)]), Some(5.0 / 7.0));
        assert_eq!(share_clipped(&[point(3, 1.0, 1.0), Point { clipped: None, ..point(7, 1.0, 0.5) }]), None);
        assert_eq!(share_clipped(&[]), None);
    }

    #[test]
    fn a_fall_is_more_than_noise() {
        let curve = |losses: &dyn Fn(u64) -> f64| fall_at_the_end(&(1..=40).map(|step| point(step, losses(step), 0.0)).collect::<Vec<_>>());
        assert_eq!(curve(&|_| 1.0), None);
        assert!((curve(&|step| if step > 36 { 0.75 } else { 1.0 }).unwrap() - 0.25).abs() < 1e-12);
        // Up and down by 1, and 0.1 lower at the end.
        assert_eq!(curve(&|step| (step % 2) as f64 * 2.0 + if step > 36 { 0.9 } else { 1.0 }), None);
        assert_eq!(fall_at_the_end(&(1..=29).map(|step| point(step, 30.0 - step as f64, 0.0)).collect::<Vec<_>>()), None);
    }

    #[test]
    fn percents_have_digits_that_say_something() {
        let of = [0.0, 0.93, 0.0312, 0.000626, 0.0000012, 1.0].map(percent);
        assert_eq!(of, ["0%", "93%", "3.1%", "0.063%", "0.00012%", "100%"]);
    }
}
