//! Scores along training: their charts, and the best of them beside the last, with what choosing it costs.

use super::chart::{Axis, Chart, Line, Points, over_seeds};
use super::entry::{Records, part};
use super::section::{Remark, Section};
use crate::base::text::{duration, number};
use crate::experiment::Experiment;
use crate::metrics::evidence::Spread;
use crate::metrics::{Measured, Metric};
use std::collections::{BTreeMap, HashSet};

/// A metric's scores of one replicate by the step of training, its last one included.
type Course<'a> = BTreeMap<u64, &'a Measured>;

/// The courses of a cell's seeds that came to their end: of one that diverged, or is on its way, nothing can be said beside the others.
fn courses<'a>(records: &'a Records<'a>, cell_index: usize, metric: Metric) -> BTreeMap<u64, Course<'a>> {
    let mut found: BTreeMap<u64, (bool, Course)> = BTreeMap::new();
    for entry in records.courses().filter(|entry| entry.cell_index == cell_index) {
        if let Some(measured) = entry.record.metrics.get(&metric) {
            let (has_end, course) = found.entry(entry.record.seed).or_default();
            *has_end |= entry.job.at.is_none();
            course.insert(entry.step(), measured);
        }
    }
    found.into_iter().filter(|(_, (has_end, _))| *has_end).map(|(seed, (_, course))| (seed, course)).collect()
}

/// A chart for each of the table's metrics.
pub fn charts(experiment: &Experiment, records: &Records) -> Vec<Chart> {
    if records.along.is_empty() {
        return Vec::new();
    }
    let chart = |metric: &Metric| {
        let line = |cell_index: usize| {
            let points = |course: Course| -> Points { course.into_iter().map(|(step, m)| (step as f64, m.value)).collect() };
            let curves: Vec<Points> = courses(records, cell_index, *metric).into_values().map(points).collect();
            let cell = &experiment.cells[cell_index];
            let label = if curves.is_empty() { cell.label() } else { cell.label() + &part(curves.len(), experiment.file.seeds.len()) };
            let (points, band) = over_seeds(curves);
            Line { cells: vec![cell_index], label, points, band }
        };
        let (title, caption) = (format!("{} along training", metric.title()), "Scores of the weights after some of the training's steps.");
        let axes = (Axis::linear("training step"), Axis::linear(metric.heading()));
        let lines = (0..experiment.cells.len()).map(line).collect();
        Chart::new(&format!("along-training-{}", metric.name()), &title, caption, axes, lines)
    };
    experiment.file.metrics.iter().map(chart).collect()
}

/// The best score of each cell beside the last; none where nothing was scored before the last step.
pub fn section(experiment: &Experiment, records: &Records) -> Option<Section> {
    if records.along.is_empty() {
        return None;
    }
    let mut rows = Vec::new();
    for metric in &experiment.file.metrics {
        for (cell_index, cell) in experiment.cells.iter().enumerate() {
            let courses = courses(records, cell_index, *metric);
            let lowest: BTreeMap<u64, u64> = self::courses(records, cell_index, Metric::Fid)
                .iter()
                .filter_map(|(seed, course)| Some((*seed, best(Metric::Fid, course)?)))
                .collect();
            if !courses.is_empty() {
                rows.push(row(*metric, &cell.label(), &courses, &lowest, experiment.file.seeds.len()));
            }
        }
    }
    (!rows.is_empty()).then(|| Section {
        title: "Best over training".into(),
        about:
            "Last: after the last step. At the lowest FID: of each seed after the step at which its FID is lowest, as the paper reports \
                all its scores (Appendix B). Best: of each seed the best of this score by itself, picked by the very scores that are \
                reported. Chosen by the others: of each seed the score at the step that has the best mean over the other seeds; the \
                difference is what picking gains by chance, at most. Seeds without a score at the end are left out."
                .into(),
        remark: Some(cost(records)),
        headings: ["metric", "cell", "last", "at the lowest FID", "best", "at step", "chosen by the others", "best − chosen"]
            .map(String::from)
            .to_vec(),
        names: 2,
        rows,
    })
}

/// What scoring along training took.
fn cost(records: &Records) -> Remark {
    let mut seen = HashSet::new();
    let trainings = records.courses().filter_map(|entry| entry.training.as_ref()).filter(|training| seen.insert(&training.id));
    let trained: f64 = trainings.map(|training| training.wall_s).sum();
    let scored: Vec<f64> = records.along.iter().filter(|entry| !entry.record.metrics.is_empty()).map(|entry| entry.record.wall_s).collect();
    Remark {
        strong: format!("Choosing cost {}", duration(scored.iter().sum())),
        rest: format!(" of sampling and scoring, at {} moments beside the ends; training took {}.", scored.len(), duration(trained)),
    }
}

/// The first of the steps with the best values.
fn best_of(metric: Metric, values: impl IntoIterator<Item = (u64, f64)>) -> Option<u64> {
    let is_better = |a: f64, b: f64| if metric.rises() { a > b } else { a < b };
    values.into_iter().reduce(|best, next| if is_better(next.1, best.1) { next } else { best }).map(|(step, _)| step)
}

/// The step of a course's best score.
fn best(metric: Metric, course: &Course) -> Option<u64> {
    best_of(metric, course.iter().map(|(step, measured)| (*step, measured.value)))
}

/// The step that is best for the mean of the other seeds, of those at which they and this one were scored.
fn chosen(metric: Metric, courses: &BTreeMap<u64, Course>, seed: u64) -> Option<u64> {
    let others: Vec<&Course> = courses.iter().filter(|(other, _)| **other != seed).map(|(_, course)| course).collect();
    let mean = |step: &u64| {
        let values: Option<Vec<f64>> = others.iter().map(|course| Some(course.get(step)?.value)).collect();
        values.filter(|values| !values.is_empty()).map(|values| values.iter().sum::<f64>() / values.len() as f64)
    };
    best_of(metric, courses[&seed].keys().filter_map(|step| Some((*step, mean(step)?))))
}

/// Of a metric and a cell; `lowest` is each seed's step of the lowest FID.
fn row(metric: Metric, label: &str, courses: &BTreeMap<u64, Course>, lowest: &BTreeMap<u64, u64>, seeds: usize) -> Vec<String> {
    let at = |step: &dyn Fn(u64, &Course) -> Option<u64>| -> Vec<Option<&Measured>> {
        courses.iter().map(|(seed, course)| course.get(&step(*seed, course)?).copied()).collect()
    };
    let (bests, chosen) = (at(&|_, course| best(metric, course)), at(&|seed, _| chosen(metric, courses, seed)));
    let differences: Vec<f64> = bests.iter().zip(&chosen).filter_map(|(best, chosen)| Some((*best)?.value - (*chosen)?.value)).collect();
    let digits = metric.digits();
    let several = |values: &[f64], digits: usize| {
        if values.is_empty() {
            return "–".into();
        }
        let spread = Spread::of(values);
        number(spread.mean, spread.std_err(), digits) + &part(values.len(), seeds)
    };
    let measured = |scores: &[Option<&Measured>]| {
        let there: Vec<&Measured> = scores.iter().copied().flatten().collect();
        match there[..] {
            // Of one training the measurement's own.
            [one] if seeds == 1 => number(one.value, one.std_err, digits),
            _ => several(&there.iter().map(|m| m.value).collect::<Vec<_>>(), digits),
        }
    };
    let steps: Vec<String> = courses.values().filter_map(|course| Some(best(metric, course)?.to_string())).collect();
    vec![
        metric.heading().into(),
        label.into(),
        measured(&at(&|_, course| course.keys().next_back().copied())),
        measured(&at(&|seed, _| lowest.get(&seed).copied())),
        measured(&bests),
        steps.join(", "),
        measured(&chosen),
        several(&differences, digits + 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of one metric at steps 10, 20, ... of each seed; NaN is a blank.
    fn of(seeds: &[&[f64]], metric: Metric) -> Vec<String> {
        let measured: Vec<Vec<Measured>> = seeds
            .iter()
            .map(|values| {
                values.iter().map(|value| Measured { value: *value, std_err: Some(0.5), n: 9, protocol: String::new() }).collect()
            })
            .collect();
        let course = |scores: &'_ Vec<Measured>| -> BTreeMap<u64, usize> {
            (0..scores.len()).filter(|i| !scores[*i].value.is_nan()).map(|i| (10 * (i as u64 + 1), i)).collect()
        };
        let places: Vec<BTreeMap<u64, usize>> = measured.iter().map(course).collect();
        let courses: BTreeMap<u64, Course> = (0..)
            .zip(measured.iter().zip(&places))
            .map(|(seed, (scores, at))| (seed, at.iter().map(|(step, i)| (*step, &scores[*i])).collect()))
            .collect();
        // As if the FID of each seed were lowest at its second step.
        let lowest = courses.keys().map(|seed| (*seed, 20)).collect();
        row(metric, "c", &courses, &lowest, seeds.len())
    }

    /// By hand: seeds 0 and 1 would choose step 20 for the third, which is best for itself at 30; the third's choice for them is 30 in the mean.
    #[test]
    fn the_best_stands_beside_what_others_choose() {
        let found = of(&[&[9.0, 1.0, 4.0, 6.0], &[9.0, 3.0, 4.0, 8.0], &[9.0, 6.0, 2.0, 10.0]], Metric::Fid);
        // Best: 1, 3 and 2. The means of others: of 1 and 2 (4.5, 3) choose 30 for seed 0: 4; of 0 and 2 (3.5, 3) choose 30: 4; of 0 and 1
        // (2, 4) choose 20: 6.
        assert_eq!(found, ["FID ↓", "c", "8.00 ± 1.15", "3.33 ± 1.45", "2.00 ± 0.58", "20, 20, 30", "4.67 ± 0.67", "-2.667 ± 0.882"]);
        // Where more is better, the highest, and of equal ones the first.
        let found = of(&[&[3.0, 5.0, 5.0], &[3.0, 4.0, 6.0]], Metric::InceptionScore);
        assert_eq!(found[3..], ["4.50 ± 0.50", "5.50 ± 0.50", "20, 30", "4.50 ± 0.50", "1.000 ± 1.000"]);
    }

    /// One seed has nobody to choose for it, and its error is the measurement's; a step that another seed lacks is not chosen.
    #[test]
    fn what_is_not_there_is_not_chosen() {
        assert_eq!(of(&[&[3.0, 2.0, 4.0]], Metric::Fid)[2..], ["4.00 ± 0.50", "2.00 ± 0.50", "2.00 ± 0.50", "20", "–", "–"]);
        let found = of(&[&[3.0, 1.0, 4.0], &[4.0, f64::NAN, 5.0]], Metric::Fid);
        assert_eq!(found[2..], ["4.50 ± 0.50", "1.00 (1 of 2 seeds)", "2.50 ± 1.50", "20, 10", "3.50 ± 0.50", "-1.000 ± 1.000"]);
    }
}
