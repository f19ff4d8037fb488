//! A grid's claims, decided from what the store holds of its cells.

use super::entry::Entry;
use crate::experiment::{Claim, Experiment, Resolved};
use crate::metrics::evidence::Evidence;
use crate::metrics::verdict::{Contrast, Decision, Margin, Measurements, Relation, Verdict, decide};
use crate::metrics::{Measured, Metric};
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
    /// Of a cell that is claimed to be level with others: by how much it may differ from them.
    pub margin: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// What the verdict is of.
    pub basis: Basis,
    /// The cell that it hangs on, of those that are compared; absent where nothing could be compared.
    pub against: Option<String>,
    /// Seeds that both of these have.
    pub seeds: usize,
    /// Seeds that the grid asks for.
    pub asked: usize,
    /// Mean score of the cell, over those of these seeds in which it did not diverge; absent where there is none.
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
    /// Where it is undecided: seeds, in all, that would decide it if means and spreads stay what they are.
    pub seeds_needed: Option<usize>,
    /// Compared cells that diverged.
    pub diverged: Vec<Diverged>,
    /// Why a cell could not be compared.
    pub reason: Option<String>,
}

/// A cell that diverged, or whose samples or bound left every range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diverged {
    /// The cell.
    pub cell: String,
    /// In how many seeds it did.
    pub seeds: usize,
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
    /// Whether seeds support it, all that the grid asks for. What holds of the trainings of one seed need not hold of others.
    pub fn is_supported(&self) -> bool {
        (self.verdict, self.basis, self.seeds) == (Verdict::Supported, Basis::Seeds, self.asked)
    }
}

/// A cell's score at one seed; where it diverged, the worst that there is.
#[derive(Clone, Copy)]
struct Score<'a> {
    value: f64,
    measured: Option<&'a Measured>,
}

type Pair<'a> = (Score<'a>, Score<'a>);

/// What was measured of a claim, and why some of it could not be.
type Found = (Measurements, Option<String>);

/// All claims of a grid.
pub fn judged(experiment: &Experiment, entries: &[Entry]) -> Vec<Judged> {
    let scores = Scores { experiment, entries: entries.iter().filter(|entry| entry.job.study.is_none()).collect() };
    let resolved = |claim: &Claim| claim.resolved(&experiment.cells).expect("claims were checked when the grid was read");
    let claims: Vec<(&Claim, Resolved)> = experiment.file.claims.iter().map(|claim| (claim, resolved(claim))).collect();
    let found: Vec<Result<Found, String>> = claims.iter().map(|(claim, about)| scores.measurements(claim.metric, about)).collect();
    // What cannot be decided whatever comes out is none of the claims that chance could decide.
    let family: Vec<usize> = (0..claims.len()).filter(|i| scores.decidable(claims[*i].0.metric)).collect();
    let measured: Vec<Option<Measurements>> =
        family.iter().map(|i| found[*i].as_ref().ok().map(|(measured, _)| measured.clone())).collect();
    let decided: BTreeMap<usize, Decision> =
        family.into_iter().zip(decide(&measured)).filter_map(|(i, decision)| Some((i, decision?))).collect();
    let each = claims.into_iter().zip(found).enumerate();
    each.map(|(i, ((claim, about), found))| {
        let reason = found.map_or_else(Some, |(_, reason)| reason);
        scores.judged(claim, &about, reason, decided.get(&i).copied())
    })
    .collect()
}

struct Scores<'a> {
    experiment: &'a Experiment,
    entries: Vec<&'a Entry<'a>>,
}

impl<'a> Scores<'a> {
    fn label(&self, cell: usize) -> String {
        self.experiment.cells[cell].label()
    }

    fn basis(&self) -> Basis {
        if self.experiment.file.seeds.len() == 1 { Basis::Trainings } else { Basis::Seeds }
    }

    /// Whether there can be a verdict by this score at all.
    fn decidable(&self, metric: Metric) -> bool {
        self.basis() == Basis::Seeds || metric.has_standard_error()
    }

    /// A cell's scores by seed.
    fn of(&self, cell: usize, metric: Metric) -> BTreeMap<u64, Score<'a>> {
        let worst = if metric.rises() { f64::NEG_INFINITY } else { f64::INFINITY };
        let score = |e: &'a Entry| match e.record.metrics.get(&metric) {
            Some(measured) => Some(Score { value: measured.value, measured: Some(measured) }),
            None => e.diverged(metric).then_some(Score { value: worst, measured: None }),
        };
        self.entries.iter().filter(|e| e.cell_index == cell).filter_map(|e| Some((e.record.seed, score(e)?))).collect()
    }

    /// Two cells' scores at the seeds that both have.
    fn pairs(&self, cell: usize, other: usize, metric: Metric) -> Vec<Pair<'a>> {
        let others = self.of(other, metric);
        self.of(cell, metric).into_iter().filter_map(|(seed, a)| Some((a, *others.get(&seed)?))).collect()
    }

    /// What the claim's cells measured, nothing where a cell cannot be compared; why not, if there is any such cell, alone if there is no
    /// other.
    fn measurements(&self, metric: Metric, about: &Resolved) -> Result<Found, String> {
        if !self.decidable(metric) {
            return Err(format!("one seed does not tell, and {} is measured without a standard error", metric.title()));
        }
        let contrasts = about.relation.contrasts();
        let (mut others, mut reasons) = (Vec::new(), Vec::new());
        for other in &about.others {
            match self.comparable(metric, about.cell, *other) {
                Ok(pairs) => others.push(contrasts.iter().map(|contrast| self.evidence(&pairs, *contrast)).collect()),
                Err(reason) => {
                    others.push(vec![Evidence::Seeds(Vec::new()); contrasts.len()]);
                    reasons.push(reason);
                }
            }
        }
        let none = reasons.len() == others.len();
        match reasons.into_iter().next() {
            Some(reason) if none => Err(reason),
            reason => Ok((Measurements { others }, reason)),
        }
    }

    /// The pairs of two cells that can be compared, if there are enough.
    fn comparable(&self, metric: Metric, cell: usize, other: usize) -> Result<Vec<Pair<'a>>, String> {
        for place in [cell, other] {
            if self.of(place, metric).is_empty() {
                let entries = || self.entries.iter().filter(|e| e.cell_index == place);
                let blank = entries().find_map(|e| e.record.blanks.get(&metric)).cloned();
                let why = blank.unwrap_or_else(|| if entries().next().is_some() { "not measured".into() } else { "not run yet".into() });
                return Err(format!("there is no {} of {} ({why})", metric.title(), self.label(place)));
            }
        }
        let (pairs, asked) = (self.pairs(cell, other, metric), self.experiment.file.seeds.len());
        let unlike = |(a, b): &Pair| a.measured.zip(b.measured).is_some_and(|(a, b)| !a.is_comparable(b));
        let both = || format!("{} and {}", self.label(cell), self.label(other));
        if pairs.iter().any(unlike) {
            return Err(format!("{} of {} was measured by unlike protocols", metric.title(), both()));
        }
        let without_error = |score: &Score| score.measured.is_some_and(|measured| measured.std_err.is_none());
        if self.basis() == Basis::Trainings && pairs.iter().any(|(a, b)| without_error(a) || without_error(b)) {
            return Err(format!("one seed does not tell, and {} of {} was measured without a standard error", metric.title(), both()));
        }
        if pairs.len() < asked.min(2) {
            return Err(format!("{} of {asked} seeds have a {} of both {}", pairs.len(), metric.title(), both()));
        }
        Ok(pairs)
    }

    fn evidence(&self, pairs: &[Pair], contrast: Contrast) -> Evidence {
        let values = pairs.iter().map(|(a, b)| contrast.of(a.value, b.value));
        if self.basis() == Basis::Trainings && pairs.len() == 1 {
            let value = values.sum::<f64>();
            let error = |score: &Score| score.measured.and_then(|measured| measured.std_err).unwrap_or_default();
            // Errors of measurements on the same images and noise are no larger together than if they had nothing in common.
            let std_err = (contrast.a * error(&pairs[0].0)).hypot(contrast.b * error(&pairs[0].1));
            return Evidence::Trainings { value: if value.is_nan() { 0.0 } else { value }, std_err };
        }
        // Where both diverged neither is worse: a tie beside signs, and nothing beside numbers.
        let values: Vec<f64> = values.collect();
        let signs = values.iter().any(|v| v.is_infinite());
        Evidence::Seeds(values.into_iter().filter(|v| signs || !v.is_nan()).map(|v| if v.is_nan() { 0.0 } else { v }).collect())
    }

    fn judged(&self, claim: &Claim, about: &Resolved, reason: Option<String>, decision: Option<Decision>) -> Judged {
        let metric = claim.metric;
        let verdict = decision.map_or(Verdict::Undecided, |decision| decision.verdict);
        // An open claim is open for its reason, if there is one.
        let decision = decision.filter(|_| verdict != Verdict::Undecided || reason.is_none());
        let against = decision.map(|decision| about.others[decision.decisive]);
        let pairs = against.map_or_else(Vec::new, |other| self.pairs(about.cell, other, metric));
        let mean = |of: fn(&Pair<'a>) -> f64| {
            let finite: Vec<f64> = pairs.iter().map(of).filter(|value| value.is_finite()).collect();
            (!finite.is_empty()).then(|| finite.iter().sum::<f64>() / finite.len() as f64)
        };
        let difference = against.map(|_| self.evidence(&pairs, Contrast { a: 1.0, b: -1.0, constant: 0.0 }));
        let diverged = |place: &usize| {
            let seeds = self.of(*place, metric).values().filter(|score| score.value.is_infinite()).count();
            (seeds > 0).then(|| Diverged { cell: self.label(*place), seeds })
        };
        Judged {
            sentence: claim.sentence.clone(),
            source: claim.source.clone(),
            metric,
            cell: self.label(about.cell),
            margin: match about.relation {
                Relation::Better { .. } => None,
                Relation::Level(Margin::Absolute(margin)) => Some(margin.to_string()),
                Relation::Level(Margin::Relative(share)) => Some(format!("{}%", 100.0 * share)),
            },
            verdict,
            basis: self.basis(),
            against: against.map(|other| self.label(other)),
            seeds: pairs.len(),
            asked: self.experiment.file.seeds.len(),
            score: mean(|(a, _)| a.value),
            against_score: mean(|(_, b)| b.value),
            difference: difference.as_ref().and_then(Evidence::mean).filter(|mean| mean.is_finite()),
            half_width: difference.as_ref().and_then(Evidence::half_width),
            p: decision.map(|decision| decision.p),
            p_holm: decision.map(|decision| decision.p_holm),
            seeds_needed: decision.and_then(|decision| decision.seeds_needed),
            diverged: std::iter::once(&about.cell).chain(&about.others).filter_map(diverged).collect(),
            reason: reason.filter(|_| verdict == Verdict::Undecided),
        }
    }
}

#[cfg(test)]
mod tests {
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
        let experiment = Experiment { name: "x".into(), file, cells: (0..scores.len()).map(cell).collect(), tuned: None };
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
        assert_eq!((one.verdict, one.reason.unwrap()), (Verdict::Undecided, "1 of 3 seeds have a FID of both 0.001 and 0.002".into()));
        let none = judge(&[&a, &b, &[None; 3]], "fid", best(), ["", ""]);
        assert_eq!((none.against, none.reason.unwrap()), (None, "there is no FID of 0.003 (not run yet)".into()));
    }

    #[test]
    fn what_diverged_counts_as_worst() {
        const INF: f64 = f64::INFINITY;
        for (metric, verdict) in [("fid", Verdict::Supported), ("precision", Verdict::Supported)] {
            let found = judge(&[&of(&[0.5, 0.6]), &of(&[INF, INF])], metric, best(), ["", ""]);
            assert_eq!((found.verdict, found.score.is_some(), found.against_score, found.difference), (verdict, true, None, None));
            assert_eq!(found.diverged, [Diverged { cell: "0.002".into(), seeds: 2 }]);
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
        assert_eq!((found.verdict, found.reason, found.against.as_deref()), (Verdict::Contradicted, None, Some("0.002")));
        let found = judge(&[&better, &a, &[None, None]], "fid", best(), ["", ""]);
        assert_eq!((found.verdict, found.p, found.reason.is_some()), (Verdict::Undecided, None, true));
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
            (Verdict::Undecided, "FID of 0.001 and 0.002 was measured by unlike protocols".into())
        );
        let found = judge(&[&a, &b], "bits-per-dim", best(), ["first 5 images, all 40 steps; ± x", "first 5 images, all 100 steps"]);
        assert_eq!(found.verdict, Verdict::Supported);
    }
}
