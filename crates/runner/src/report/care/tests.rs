use super::*;

use crate::base::data::few;
use crate::experiment::{Budget, Candidate, Cell, Choice, GridFile, Job, Tuned, tiny};
use crate::store::{FORMAT, Machine, Outcome, Record};
use serde_json::json;

fn point(step: u64, loss: f64, clipped: f64) -> Point {
    Point { step, loss, gradient_norm: 1.0, clipped: Some(clipped) }
}

/// What a training is made of: share of clipped steps, or not a number where it diverged; parameters, loss at the end.
type Trained = (f64, usize, f64);

/// Two cells, each with a training of one seed, and what is to be read with care.
fn told(sets: [&[&str]; 2], trained: [Trained; 2], change: impl Fn(&mut Experiment)) -> Vec<String> {
    let data = few("d", 20, 3);
    let cell = |i: usize| Cell { axes: vec![("cell".into(), json!(["a", "b"][i]))], config: tiny(&data, sets[i]).config };
    let file: GridFile = serde_json::from_value(json!({ "question": "q", "grid": {}, "metrics": ["fid", "bits-per-dim"] })).unwrap();
    let mut experiment = Experiment::new("x", file, vec![cell(0), cell(1)]);
    change(&mut experiment);
    let jobs: Vec<Job> = experiment.cells.iter().map(|cell| Job::new(cell.config.clone(), 0, None, &data.info.digest, "none")).collect();
    let training = |job: &Job, (clipped, parameters, last): Trained| TrainingRecord {
        format: FORMAT,
        id: job.training_id.clone(),
        outcome: if clipped.is_nan() { Outcome::Diverged { reason: "r".into() } } else { Outcome::Finished {} },
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
    let size = has(&notes, "Cells differ in size").unwrap();
    assert!(size.contains(": b has 2.0% more parameters than a; b takes 2.0% more FLOPs to train than a."), "{size}");
    assert!(has(&notes, "Training had not levelled off").unwrap().contains("(b 25%)"));
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
    assert!(
        budget.contains("a whole training sees 0.25% or 0.13% as many images as the paper's (40 steps of 16 or 8, there 7990 of 32)"),
        "{budget}"
    );
    assert!(budget.contains("100 samples are scored, there 50000; T = 40, there 1000"), "{budget}");
    // All of it: as many samples and steps of the reverse process too.
    let same = ["training.batch=32", "sampling.count=50000", "diffusion.timesteps=1000"];
    let sets: [&[&str]; 2] = [&same, &[&same[..], &["learning_rate=0.1"]].concat()];
    assert_eq!(has(&told(sets, ALIKE, with(40)), "Budget: "), None);
    let sets: [&[&str]; 2] = [&same, &[&same[..], &["sampling.count=49999"]].concat()];
    assert!(has(&told(sets, ALIKE, with(40)), "Budget: a whole training sees 100% as many").is_some());
}

#[test]
fn settings_and_their_end_are_told() {
    let tuned = |batch: usize| {
        move |experiment: &mut Experiment| {
            let on =
                json!({ "objective": "simple", "training.batch": batch, "schedule": { "kind": "linear" } }).as_object().unwrap().clone();
            experiment.tuned = Some(Tuned { on, how: "rate, among ten.".into() });
        }
    };
    let sets: [&[&str]; 2] = [&["training.decay=linear"], &["training.batch=8"]];
    let notes = told(sets, ALIKE, tuned(8));
    let chosen = has(&notes, "Settings were chosen").unwrap();
    assert!(
        chosen.contains("(objective simple, training.batch 8, schedule linear): rate, among ten. A cell other than b may do better"),
        "{chosen}"
    );
    assert!(has(&told(sets, ALIKE, tuned(9)), "Settings").unwrap().contains("None of these cells is that one: each may do"));
    let sets: [&[&str]; 2] = [&["training.batch=8", "training.decay=linear"], &["training.batch=8"]];
    assert_eq!(has(&told(sets, ALIKE, tuned(8)), "Settings"), None);
    assert!(has(&notes, "The learning rate falls linearly to 0 by the end in some cells").is_some(), "{notes:?}");
}

/// Of cells with settings of their own: what else they have in common, by what these were chosen, and where a better one may lie.
#[test]
fn what_was_chosen_is_told_with_its_limits() {
    let with = |scores: [[Option<f64>; 3]; 2]| {
        move |experiment: &mut Experiment| {
            let tune = json!({ "grid": { "learning_rate": [1, 2, 3] }, "metric": "fid", "seeds": [5] });
            experiment.file.tune = Some(serde_json::from_value(tune).unwrap());
            let on = json!({ "training.batch": 3 }).as_object().unwrap().clone();
            experiment.tuned = Some(Tuned { on, how: "rate, among ten.".into() });
            let candidate = |(n, score)| Candidate { axes: vec![("learning_rate".into(), json!(n))], scores: vec![score] };
            experiment.choices = scores.iter().map(|scores| Choice::of((1..).zip(*scores).map(candidate).collect(), false)).collect();
        }
    };
    let notes = |scores| told([&[], &["training.batch=8"]], ALIKE, with(scores));
    let found = notes([[Some(2.0), Some(1.0), Some(3.0)], [Some(2.0), None, Some(1.0)]]);
    let expected = "The base's settings were chosen for one configuration (training.batch 3): rate, among ten. Here each cell has its own \
                    learning_rate; the rest are still that configuration's.";
    assert_eq!(has(&found, "The base's settings").unwrap(), expected);
    assert_eq!(
        has(&found, "Tuned settings are those").unwrap(),
        "Tuned settings are those with the best FID: bits/dim may be better with others."
    );
    let end = "Tuned settings are the least or the largest of what was tried in 1 of 2 cells (b: learning_rate=3): better ones may lie";
    assert!(has(&found, "Tuned settings are the l").unwrap().starts_with(end), "{found:?}");
    assert_eq!(has(&found, "Everything that was tried"), None);
    let lost = notes([[None; 3], [Some(2.0), Some(1.0), Some(3.0)]]);
    assert_eq!(
        has(&lost, "Everything").unwrap(),
        "Everything that was tried diverged on every seed in a: the first of it is in the table."
    );
    assert_eq!(has(&lost, "Tuned settings are the l"), None);
}

#[test]
fn what_is_too_little_to_measure_is_told() {
    let both = |experiment: &mut Experiment| experiment.file.metrics = vec![Metric::Fid, Metric::BitsPerDim, Metric::BitsPerDimTrain];
    let inception = r#"evaluation.features={"kind": "inception", "weights": "w"}"#;
    let notes = told([&[inception, "evaluation.train=3"], &[inception]], ALIKE, both);
    // Of 4x4 images the project has no classifier.
    let few = has(&notes, "Few samples for FID: 100. FID's authors name 10000 as the least").unwrap();
    assert!(few.contains("which are 10000 in the 2048 of these"), "{few}");
    assert!(has(&notes, "bits/dim are of the first 20 held-out and the first 3 training images").is_some(), "{notes:?}");
    let enough = [inception, "sampling.count=10000"];
    let few = |other: &str| has(&told([&enough, &[inception, other]], ALIKE, both), "Few samples");
    assert_eq!((few("sampling.count=10001"), few("sampling.count=9999").is_some()), (None, true));
    // All images, or none of one kind: nothing to be careful of.
    let splits = |sets: &[&str]| has(&told([sets, &[sets, &["learning_rate=0.1"]].concat()], ALIKE, both), "bits/dim are of");
    assert!(splits(&["evaluation.held_out=3", "evaluation.train=2"]).is_some());
    assert_eq!((splits(&["evaluation.held_out=3", "evaluation.train=17"]), splits(&["evaluation.train=0"])), (None, None));
    // Of nothing that is measured in features is nothing said of them.
    let bounds = |experiment: &mut Experiment| experiment.file.metrics = vec![Metric::BitsPerDim];
    assert_eq!(has(&told([&[], &["learning_rate=0.1"]], ALIKE, bounds), "Scores of samples"), None);
}

/// One that ended early is no smaller network, and has nothing to level off.
#[test]
fn what_diverged_is_told_elsewhere() {
    let notes = told([&[], &["training.batch=8"]], [(0.5, 1000, 1.0), (f64::NAN, 5000, 0.1)], |_| {});
    assert_eq!(notes.len(), 1, "{notes:?}");
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
    // Up and down by 0.01, which a fall by a tenth stands out of; what came before the last two tenths does not count.
    let noisy = |step: u64| (step % 2) as f64 * 0.01 + if step > 36 { 0.9 } else { 1.0 } + if step < 30 { 5.0 } else { 0.0 };
    assert!((curve(&noisy).unwrap() - 0.1 / 1.005).abs() < 1e-12);
    // Up and down by 1, and 0.1 lower at the end.
    assert_eq!(curve(&|step| (step % 2) as f64 * 2.0 + if step > 36 { 0.9 } else { 1.0 }), None);
    assert_eq!(fall_at_the_end(&(1..=29).map(|step| point(step, 30.0 - step as f64, 0.0)).collect::<Vec<_>>()), None);
}

#[test]
fn percents_have_digits_that_say_something() {
    let of = [0.0, 0.93, 0.0312, 0.000626, 0.0000012, 1.0].map(percent);
    assert_eq!(of, ["0%", "93%", "3.1%", "0.063%", "0.00012%", "100%"]);
}
