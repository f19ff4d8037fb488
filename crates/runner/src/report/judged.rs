//! A grid's claims, decided from what the store holds of its cells.

use super::entry::Entry;
use crate::experiment::{Claim, Experiment, Resolved};
use crate::metrics::evidence::Evidence;
use crate::metrics::verdict::{Contrast, Decision, Measurements, Verdict, decide};
use crate::metrics::{Measured, Metric};
use crate::store::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;

/// A claim with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// What is claimed.
    pub sentence: String,
    /// By whom, and where.
    pub source: Option<String>,
    /// The score that decides it.
    pub metric: Metric,
    /// Its cell.
    pub cell: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What the verdict is of.
    pub basis: Basis,
    /// The cell that it hangs on, of those that are compared; absent where nothing could be compared.
    pub against: Option<String>,
    /// Seeds that both of these have.
    pub seeds: usize,
    /// Mean score of the cell, over these seeds; absent where it diverged.
    pub score: Option<f64>,
    /// Mean score of the other.
    pub against_score: Option<f64>,
    /// Mean difference between them.
    pub difference: Option<f64>,
    /// Half of its 95% interval.
    pub half_width: Option<f64>,
    /// p-value of what the evidence points to.
    pub p: Option<f64>,
    /// The same after Holm's correction for all claims of the grid.
    pub p_holm: Option<f64>,
    /// Where it is undecided: seeds that would decide it if means and spreads stay what they are.
    pub seeds_needed: Option<usize>,
    /// Seeds in which a compared cell diverged, by cell.
    pub diverged: BTreeMap<String, usize>,
    /// Why nothing could be compared.
    pub reason: Option<String>,
}

/// What a verdict is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Of training anew, from the spread over seeds.
    Seeds,
    /// Of the trainings of one seed, from the error of measuring them.
    Trainings,
}

impl Basis {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Seeds => "seeds",
            Basis::Trainings => "trainings",
        }
    }
}

impl Judged {
    /// Whether seeds support it. What holds of the trainings of one seed need not hold of others.
    pub fn is_supported(&self) -> bool {
        (self.verdict, self.basis) == (Verdict::Supported, Basis::Seeds)
    }
}

/// A cell's score at one seed.
#[derive(Clone, Copy)]
struct Score {
    value: f64,
    std_err: Option<f64>,
}

/// All claims of a grid.
pub fn judged(experiment: &Experiment, entries: &[Entry]) -> Vec<Judged> {
    let scores = Scores { experiment, entries };
    let resolved = |claim: &Claim| claim.resolved(&experiment.cells).expect("claims were checked when the grid was read");
    let claims: Vec<(&Claim, Resolved)> = experiment.file.claims.iter().map(|claim| (claim, resolved(claim))).collect();
    let measured: Vec<Result<Measurements, String>> =
        claims.iter().map(|(claim, about)| scores.measurements(claim.metric, about)).collect();
    let decisions = decide(&measured.iter().map(|measured| measured.as_ref().ok().cloned()).collect::<Vec<_>>());
    let each = claims.into_iter().zip(measured).zip(decisions);
    each.map(|(((claim, about), measured), decision)| scores.judged(claim, &about, measured.err(), decision)).collect()
}

struct Scores<'a> {
    experiment: &'a Experiment,
    entries: &'a [Entry<'a>],
}

impl Scores<'_> {
    fn label(&self, cell: usize) -> String {
        self.experiment.cells[cell].label()
    }

    fn basis(&self) -> Basis {
        if self.experiment.file.seeds.len() == 1 { Basis::Trainings } else { Basis::Seeds }
    }

    /// A cell's scores by seed; where it diverged, the worst that there is.
    fn of(&self, cell: usize, metric: Metric) -> BTreeMap<u64, Score> {
        let worst = if metric.rises() { f64::NEG_INFINITY } else { f64::INFINITY };
        let score = |e: &Entry| match e.record.metrics.get(&metric) {
            Some(Measured { value, std_err, .. }) => Some(Score { value: *value, std_err: *std_err }),
            None => matches!(e.record.outcome, Outcome::Diverged { .. }).then_some(Score { value: worst, std_err: Some(0.0) }),
        };
        self.entries.iter().filter(|e| e.cell_index == cell).filter_map(|e| Some((e.record.seed, score(e)?))).collect()
    }

    /// Two cells' scores at the seeds that both have.
    fn pairs(&self, cell: usize, other: usize, metric: Metric) -> Vec<(Score, Score)> {
        let others = self.of(other, metric);
        self.of(cell, metric).into_iter().filter_map(|(seed, a)| Some((a, *others.get(&seed)?))).collect()
    }

    /// What the claim's cells measured; otherwise why there is nothing to compare.
    fn measurements(&self, metric: Metric, about: &Resolved) -> Result<Measurements, String> {
        let of_other = |other: &usize| {
            let pairs = self.comparable(metric, about.cell, *other)?;
            about.relation.contrasts().into_iter().map(|contrast| self.evidence(metric, &pairs, contrast)).collect()
        };
        Ok(Measurements { others: about.others.iter().map(of_other).collect::<Result<_, String>>()? })
    }

    /// The pairs of two cells that can be compared, if there are enough.
    fn comparable(&self, metric: Metric, cell: usize, other: usize) -> Result<Vec<(Score, Score)>, String> {
        for place in [cell, other] {
            if self.of(place, metric).is_empty() {
                let entries = || self.entries.iter().filter(|e| e.cell_index == place);
                let blank = entries().find_map(|e| e.record.blanks.get(&metric)).cloned();
                let why = blank.unwrap_or_else(|| if entries().next().is_some() { "not measured".into() } else { "not run yet".into() });
                return Err(format!("no {} of {}: {why}", metric.title(), self.label(place)));
            }
        }
        let features = |place: usize| &self.experiment.cells[place].config.evaluation.features;
        if Metric::of_samples().any(|of| of == metric) && features(cell) != features(other) {
            return Err(format!("{} and {} are scored in unlike features", self.label(cell), self.label(other)));
        }
        let (pairs, asked) = (self.pairs(cell, other, metric), self.experiment.file.seeds.len());
        if pairs.len() < asked.min(2) {
            return Err(format!("{} of {asked} seeds have the scores of both {} and {}", pairs.len(), self.label(cell), self.label(other)));
        }
        Ok(pairs)
    }

    fn evidence(&self, metric: Metric, pairs: &[(Score, Score)], contrast: Contrast) -> Result<Evidence, String> {
        let value = |(a, b): &(Score, Score)| contrast.of(a.value, b.value);
        if self.basis() == Basis::Seeds {
            // Where both diverged there is no difference to speak of.
            return Ok(Evidence::Seeds(pairs.iter().map(value).filter(|v| !v.is_nan()).collect()));
        }
        let (a, b) = &pairs[0];
        let diverged = a.value.is_infinite() || b.value.is_infinite();
        match (a.std_err, b.std_err) {
            _ if diverged && value(&pairs[0]).is_nan() => Err("both diverged".into()),
            _ if diverged => Ok(Evidence::Trainings { value: value(&pairs[0]), std_err: 0.0 }),
            // Errors of measurements on the same images and noise are no larger together than if they had nothing in common.
            (Some(ea), Some(eb)) if metric.has_standard_error() => {
                Ok(Evidence::Trainings { value: value(&pairs[0]), std_err: (contrast.a * ea).hypot(contrast.b * eb) })
            }
            _ => Err(format!("one seed, and the standard error of {} is not known: several seeds would tell", metric.title())),
        }
    }

    fn judged(&self, claim: &Claim, about: &Resolved, reason: Option<String>, decision: Option<Decision>) -> Judged {
        let metric = claim.metric;
        let against = decision.map(|decision| about.others[decision.decisive]);
        let pairs = against.map_or_else(Vec::new, |other| self.pairs(about.cell, other, metric));
        let mean = |of: fn(&(Score, Score)) -> f64| {
            let mean = pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
            Some(mean).filter(|mean| mean.is_finite())
        };
        let minus = Contrast { a: 1.0, b: -1.0, constant: 0.0 };
        let difference = against.and_then(|_| self.evidence(metric, &pairs, minus).ok());
        let count = |place: usize| self.of(place, metric).values().filter(|score| score.value.is_infinite()).count();
        let compared = std::iter::once(&about.cell).chain(&about.others);
        Judged {
            sentence: claim.sentence.clone(),
            source: claim.source.clone(),
            metric,
            cell: self.label(about.cell),
            verdict: decision.map_or(Verdict::Undecided, |decision| decision.verdict),
            basis: self.basis(),
            against: against.map(|other| self.label(other)),
            seeds: pairs.len(),
            score: mean(|(a, _)| a.value),
            against_score: mean(|(_, b)| b.value),
            difference: difference.as_ref().and_then(Evidence::mean).filter(|mean| mean.is_finite()),
            half_width: difference.as_ref().and_then(Evidence::half_width),
            p: decision.map(|decision| decision.p),
            p_holm: decision.map(|decision| decision.p_holm),
            seeds_needed: decision.and_then(|decision| decision.seeds_needed),
            diverged: compared.map(|place| (self.label(*place), count(*place))).filter(|(_, n)| *n > 0).collect(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{Cell, GridFile, Job, tiny};
    use crate::store::Record;
    use serde_json::{Value, json};

    /// A score with its standard error.
    type Found = (f64, f64);

    /// Cells `a`, `b`, ... that differ in their rate, what each found at each seed, and one claim: None stands for a job that has not run,
    /// infinity for one that diverged.
    fn judge(scores: &[&[Option<Found>]], metric: &str, claim: Value, sets: [&str; 2]) -> Judged {
        let data = few("d", 20, 3);
        let rate = |i: usize| 0.001 * (i + 1) as f64;
        let cell = |i: usize| {
            let sets = [format!("learning_rate={}", rate(i)), sets[usize::from(i > 0)].to_string()];
            let config = tiny(&data, &sets.iter().map(String::as_str).filter(|set| !set.is_empty()).collect::<Vec<_>>()).config;
            Cell { axes: vec![("learning_rate".into(), json!(rate(i)))], config }
        };
        let mut claim = claim;
        claim["sentence"] = json!("s");
        claim["metric"] = json!(metric);
        let file = json!({ "question": "q", "grid": {}, "seeds": (0..scores[0].len()).collect::<Vec<_>>(), "claims": [claim] });
        let file: GridFile = serde_json::from_value(file).unwrap();
        let experiment = Experiment { name: "x".into(), file, cells: (0..scores.len()).map(cell).collect() };
        let of = |i: usize, seed: usize, found: Found| {
            let job = Job::new(experiment.cells[i].config.clone(), seed as u64, None, &data.info.digest, "none");
            let outcome = if found.0.is_finite() { Outcome::Finished {} } else { Outcome::Diverged { reason: "r".into() } };
            let mut record = Record::of(&job, &data.info.digest, outcome);
            if found.0.is_finite() {
                let measured = Measured { value: found.0, std_err: Some(found.1), n: 5, protocol: "p".into() };
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
            (Verdict::Supported, Basis::Seeds, Some("0.003"), 3)
        );
        assert!(
            (found.difference.unwrap() + 1.0 + 0.1 / 3.0).abs() < 1e-12 && (found.score, found.p) != (None, found.p_holm.map(|p| 2.0 * p))
        );
        assert!((found.against_score.unwrap() - 9.1 / 3.0).abs() < 1e-12 && found.is_supported() && found.reason.is_none());
        // Where more is better it is the worst.
        let found = judge(&[&a, &b, &c], "precision", best(), ["", ""]);
        assert_eq!((found.verdict, found.is_supported()), (Verdict::Contradicted, false));
        // A job that has not run takes its seed out of the pairs, and a cell without any leaves the claim open.
        let part = [b[0], None, b[2]];
        assert_eq!(judge(&[&a, &part], "fid", best(), ["", ""]).seeds, 2);
        let one = judge(&[&a, &[b[0], None, None]], "fid", best(), ["", ""]);
        assert_eq!((one.verdict, one.reason.unwrap()), (Verdict::Undecided, "1 of 3 seeds have the scores of both 0.001 and 0.002".into()));
        let none = judge(&[&a, &b, &[None; 3]], "fid", best(), ["", ""]);
        assert_eq!((none.against, none.reason.unwrap()), (None, "no FID of 0.003: not run yet".into()));
    }

    #[test]
    fn what_diverged_counts_as_worst() {
        const INF: f64 = f64::INFINITY;
        for (metric, verdict) in [("fid", Verdict::Supported), ("precision", Verdict::Supported)] {
            let found = judge(&[&of(&[0.5, 0.6]), &of(&[INF, INF])], metric, best(), ["", ""]);
            assert_eq!((found.verdict, found.score.is_some(), found.against_score, found.difference), (verdict, true, None, None));
            assert_eq!(found.diverged, BTreeMap::from([("0.002".to_string(), 2)]));
        }
        let found = judge(&[&of(&[INF, INF]), &of(&[0.5, 0.6])], "fid", best(), ["", ""]);
        assert_eq!((found.verdict, found.diverged.len()), (Verdict::Contradicted, 1));
        let level = json!({ "level": { "learning_rate": 0.001 }, "with": { "learning_rate": 0.002 }, "within": 100.0 });
        assert_eq!(judge(&[&of(&[0.5, 0.6]), &of(&[INF, INF])], "fid", level, ["", ""]).verdict, Verdict::Contradicted);
        // In one of three seeds: by signs, of which three are too few.
        let found = judge(&[&of(&[0.5, 0.6, 0.5]), &of(&[9.0, INF, 9.0])], "fid", best(), ["", ""]);
        assert_eq!((found.verdict, found.seeds_needed), (Verdict::Undecided, None));
        assert!((found.p.unwrap() - 0.25).abs() < 1e-12);
        let both = judge(&[&of(&[INF, INF]), &of(&[INF, INF])], "fid", best(), ["", ""]);
        assert_eq!((both.verdict, both.diverged.len()), (Verdict::Undecided, 2));
        // Of one seed as well.
        assert_eq!(judge(&[&of(&[0.5]), &of(&[INF])], "recall", best(), ["", ""]).verdict, Verdict::Supported);
        assert_eq!(judge(&[&of(&[INF]), &of(&[INF])], "fid", best(), ["", ""]).reason.unwrap(), "both diverged");
    }

    /// 1 and 2 with errors of 0.3 and 0.4 are two standard errors apart.
    #[test]
    fn one_seed_is_of_these_trainings() {
        let found = judge(&[&[Some((1.0, 0.3))], &[Some((2.0, 0.4))]], "bits-per-dim", best(), ["", ""]);
        assert_eq!(
            (found.verdict, found.basis, found.is_supported(), found.seeds_needed),
            (Verdict::Supported, Basis::Trainings, false, None)
        );
        assert!((found.p.unwrap() - 0.04550026).abs() < 1e-7 && (found.half_width.unwrap() - 0.5 * 1.959964).abs() < 1e-6);
        // Within 50%: 1.5 x 2 - 1 over the root of (1.5 x 0.4)^2 + 0.3^2, and 1 - 0.5 x 2 over less.
        let level = json!({ "level": { "learning_rate": 0.001 }, "with": { "learning_rate": 0.002 }, "within_percent": 50 });
        let found = judge(&[&[Some((1.0, 0.3))], &[Some((2.0, 0.4))]], "fid", level, ["", ""]);
        assert_eq!((found.verdict, found.p), (Verdict::Undecided, Some(0.5)));
        // A deviation over splits is no standard error.
        let found = judge(&[&of(&[1.0]), &of(&[2.0])], "inception-score", best(), ["", ""]);
        assert_eq!(found.reason.unwrap(), "one seed, and the standard error of IS is not known: several seeds would tell");
    }

    #[test]
    fn unlike_features_are_not_compared() {
        let inception = r#"evaluation.features={"kind": "inception", "weights": "w"}"#;
        let (a, b) = (of(&[1.0, 1.1]), of(&[5.0, 5.11]));
        let found = judge(&[&a, &b], "fid", best(), ["", inception]);
        assert_eq!((found.verdict, found.reason.unwrap()), (Verdict::Undecided, "0.001 and 0.002 are scored in unlike features".into()));
        assert_eq!(judge(&[&a, &b], "bits-per-dim", best(), ["", inception]).verdict, Verdict::Supported);
    }
}
