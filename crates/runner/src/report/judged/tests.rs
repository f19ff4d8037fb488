use super::*;

use crate::base::data::few;
use crate::experiment::{Cell, GridFile, Job, tiny};
use crate::store::{Outcome, Record};
use serde_json::{Value, json};

/// A score with its standard error.
type Found = (f64, f64);

/// Cells that differ in their learning rate, what each found at each seed, and one claim: None stands for a job that has not run, infinity
/// for one that diverged, minus infinity for one whose samples are out of range; `protocols` are the first cell's and that of the others.
fn judge(scores: &[&[Option<Found>]], metric: &str, claim: Value, protocols: [&str; 2]) -> Judged {
    let data = few("d", 20, 3);
    let rate = |i: usize| 0.001 * (i + 1) as f64;
    let cell = |i: usize| {
        let config = tiny(&data, &[&format!("learning_rate={}", rate(i))]).config;
        Cell { axes: vec![("learning_rate".into(), json!(rate(i)))], config }
    };
    let mut claim = claim;
    claim["sentence"] = json!("s");
    claim["metric"] = json!(metric);
    let file = json!({ "question": "q", "grid": {}, "seeds": (0..scores[0].len()).collect::<Vec<_>>(), "claims": [claim] });
    let file: GridFile = serde_json::from_value(file).unwrap();
    let experiment = Experiment::new("x", file, (0..scores.len()).map(cell).collect());
    let of = |i: usize, seed: usize, found: Found| {
        let job = Job::new(experiment.cells[i].config.clone(), seed as u64, None, &data.info.digest, "none");
        let outcome = if found.0 != f64::INFINITY { Outcome::Finished {} } else { Outcome::Diverged { reason: "r".into() } };
        let mut record = Record::of(&job, &data.info.digest, outcome);
        if found.0 == f64::NEG_INFINITY {
            record.out_of_range.insert(serde_json::from_value(json!(metric)).unwrap());
        } else if found.0.is_finite() {
            let measured = Measured { value: found.0, std_err: Some(found.1), n: 5, protocol: protocols[usize::from(i > 0)].into() };
            record.metrics.insert(serde_json::from_value(json!(metric)).unwrap(), measured);
        }
        (i, job, record)
    };
    let jobs: Vec<(usize, Job, Record)> = scores
        .iter()
        .enumerate()
        .flat_map(|(i, seeds)| seeds.iter().enumerate().filter_map(move |(seed, found)| Some((i, seed, (*found)?))))
        .map(|(i, seed, found)| of(i, seed, found))
        .collect();
    let entries: Vec<Entry> = jobs
        .iter()
        .map(|(i, job, record)| Entry { cell: &experiment.cells[*i], cell_index: *i, job, record: record.clone(), training: None })
        .collect();
    judged(&experiment, &entries).remove(0)
}

fn best() -> Value {
    json!({ "best": { "learning_rate": 0.001 } })
}

fn of(values: &[f64]) -> Vec<Option<Found>> {
    values.iter().map(|v| Some((*v, 0.1))).collect()
}

#[test]
fn seeds_are_paired_and_the_nearest_cell_decides() {
    let (a, b, c) = (of(&[1.0, 2.0, 3.0]), of(&[5.0, 6.0, 7.1]), of(&[2.0, 3.1, 4.0]));
    let found = judge(&[&a, &b, &c], "fid", best(), ["", ""]);
    assert_eq!(
        (found.verdict, found.basis, found.against.as_deref(), found.seeds),
        (Verdict::Supported, Basis::Seeds, Some("learning_rate=0.003"), 3)
    );
    assert!((found.difference.unwrap() + 1.0 + 0.1 / 3.0).abs() < 1e-12 && (found.score, found.p) != (None, found.p_holm.map(|p| 2.0 * p)));
    assert!((found.against_score.unwrap() - 9.1 / 3.0).abs() < 1e-12 && found.is_supported() && found.reason.is_none());
    // Where more is better it is the worst.
    let found = judge(&[&a, &b, &c], "precision", best(), ["", ""]);
    assert_eq!((found.verdict, found.is_supported()), (Verdict::Contradicted, false));
    // A job that has not run takes its seed out of the pairs, and a cell without any leaves the claim open.
    let part = [b[0], None, b[2]];
    assert_eq!(judge(&[&a, &part], "fid", best(), ["", ""]).seeds, 2);
    let one = judge(&[&a, &[b[0], None, None]], "fid", best(), ["", ""]);
    assert_eq!(
        (one.verdict, one.reason.unwrap()),
        (Verdict::Undecided, "FID was measured for both learning_rate=0.001 and learning_rate=0.002 in 1 of 3 seeds".into())
    );
    let none = judge(&[&a, &b, &[None; 3]], "fid", best(), ["", ""]);
    assert_eq!((none.against, none.reason.unwrap()), (None, "there is no FID of learning_rate=0.003 (not run yet)".into()));
}

#[test]
fn what_diverged_counts_as_worst() {
    const INF: f64 = f64::INFINITY;
    for (metric, verdict) in [("fid", Verdict::Supported), ("precision", Verdict::Supported)] {
        let found = judge(&[&of(&[0.5, 0.6]), &of(&[INF, INF])], metric, best(), ["", ""]);
        assert_eq!((found.verdict, found.score.is_some(), found.against_score, found.difference), (verdict, true, None, None));
        assert_eq!(found.diverged, [Diverged { cell: "learning_rate=0.002".into(), seeds: 2 }]);
    }
    let found = judge(&[&of(&[INF, INF]), &of(&[0.5, 0.6])], "fid", best(), ["", ""]);
    assert_eq!((found.verdict, found.diverged.len()), (Verdict::Contradicted, 1));
    // Samples out of range are as bad as a training that ended early.
    let found = judge(&[&of(&[0.5, 0.6]), &of(&[-INF, -INF])], "fid", best(), ["", ""]);
    assert_eq!((found.verdict, found.diverged.len()), (Verdict::Supported, 1));
    let level = json!({ "level": { "learning_rate": 0.001 }, "with": { "learning_rate": 0.002 }, "within": 100.0 });
    assert_eq!(judge(&[&of(&[0.5, 0.6]), &of(&[INF, INF])], "fid", level, ["", ""]).verdict, Verdict::Contradicted);
    // In one of three seeds: by signs, of which three are too few.
    let found = judge(&[&of(&[0.5, 0.6, 0.5]), &of(&[9.0, INF, 9.0])], "fid", best(), ["", ""]);
    assert_eq!((found.verdict, found.seeds_needed), (Verdict::Undecided, None));
    assert!((found.p.unwrap() - 0.25).abs() < 1e-12);
    let both = judge(&[&of(&[INF, INF]), &of(&[INF, INF])], "fid", best(), ["", ""]);
    assert_eq!((both.verdict, both.diverged.len(), both.reason), (Verdict::Undecided, 2, None));
    // In all seeds, and the other in one: signs with a tie.
    let found = judge(&[&of(&[INF; 3]), &of(&[INF, 1.0, 1.0])], "fid", best(), ["", ""]);
    assert_eq!((found.verdict, found.score, found.against_score), (Verdict::Undecided, None, Some(1.0)));
    // In one seed both, and numbers of the others: of those.
    let found = judge(&[&of(&[INF, 1.0, 1.1]), &of(&[INF, 5.0, 5.11])], "fid", best(), ["", ""]);
    assert_eq!((found.verdict, found.score, found.seeds), (Verdict::Supported, Some(1.05), 3));
    // Of one seed as well.
    assert_eq!(judge(&[&of(&[0.5]), &of(&[INF])], "bits-per-dim", best(), ["", ""]).verdict, Verdict::Supported);
    assert_eq!(judge(&[&of(&[INF]), &of(&[INF])], "fid", best(), ["", ""]).verdict, Verdict::Undecided);
}

/// One that is missing leaves a claim open, unless another contradicts it.
#[test]
fn a_missing_cell_is_the_reason_or_none() {
    let (a, better) = (of(&[2.0, 2.1]), of(&[1.0, 1.11]));
    let found = judge(&[&a, &better, &[None, None]], "fid", best(), ["", ""]);
    assert_eq!((found.verdict, found.reason, found.against.as_deref()), (Verdict::Contradicted, None, Some("learning_rate=0.002")));
    let found = judge(&[&better, &a, &[None, None]], "fid", best(), ["", ""]);
    assert_eq!((found.verdict, found.p, found.reason.is_some()), (Verdict::Undecided, None, true));
}

/// 1 and 2 with errors of 0.3 and 0.4 are two standard errors apart.
#[test]
fn one_seed_is_of_these_trainings() {
    let found = judge(&[&[Some((1.0, 0.3))], &[Some((2.0, 0.4))]], "bits-per-dim", best(), ["", ""]);
    assert_eq!((found.verdict, found.basis, found.is_supported(), found.seeds_needed), (Verdict::Supported, Basis::Trainings, false, None));
    assert!((found.p.unwrap() - 0.04550026).abs() < 1e-7 && (found.half_width.unwrap() - 0.5 * 1.959964).abs() < 1e-6);
    // Within 50%: 1.5 x 2 - 1 over the root of (1.5 x 0.4)^2 + 0.3^2, and 1 - 0.5 x 2 over less.
    let level = json!({ "level": { "learning_rate": 0.001 }, "with": { "learning_rate": 0.002 }, "within_percent": 50 });
    let found = judge(&[&[Some((1.0, 0.3))], &[Some((2.0, 0.4))]], "fid", level, ["", ""]);
    assert_eq!((found.verdict, found.p), (Verdict::Undecided, Some(0.5)));
    // 1.5 x 2 - 1.2 over the root of (1.5 x 0.4)^2 + 0.3^2 is 2.683, and 1.2 - 0.5 x 2 over the root of (0.5 x 0.4)^2 + 0.3^2 is 0.5547.
    let level = json!({ "level": { "learning_rate": 0.001 }, "with": { "learning_rate": 0.002 }, "within_percent": 50 });
    let found = judge(&[&[Some((1.2, 0.3))], &[Some((2.0, 0.4))]], "fid", level, ["", ""]);
    assert!((found.p.unwrap() - 0.2895505).abs() < 1e-6 && found.margin.as_deref() == Some("50%"), "{found:?}");
    // A deviation over splits is no standard error.
    let found = judge(&[&of(&[1.0]), &of(&[2.0])], "inception-score", best(), ["", ""]);
    assert_eq!(found.reason.unwrap(), "one seed does not tell, and IS is measured without a standard error");
}

#[test]
fn unlike_protocols_are_not_compared() {
    let (a, b) = (of(&[1.0, 1.1]), of(&[5.0, 5.11]));
    let found = judge(&[&a, &b], "fid", best(), ["f features; 500 samples; ± x", "g features; 500 samples; ± x"]);
    assert_eq!(
        (found.verdict, found.reason.unwrap()),
        (Verdict::Undecided, "FID of learning_rate=0.001 and learning_rate=0.002 was measured by unlike protocols".into())
    );
    let found = judge(&[&a, &b], "bits-per-dim", best(), ["first 5 images, all 40 steps; ± x", "first 5 images, all 100 steps"]);
    assert_eq!(found.verdict, Verdict::Supported);
}
