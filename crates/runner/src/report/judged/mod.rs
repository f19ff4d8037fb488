//! A grid's claims, decided from what the store holds of its cells.

use super::entry::Entry;
use crate::experiment::{Claim, Experiment, Resolved};
use crate::metrics::evidence::Evidence;
use crate::metrics::verdict::{Contrast, Decision, Margin, Measurements, Relation, Verdict, decide};
use crate::metrics::{Measured, Metric};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A claim with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diverged {
    /// The cell.
    pub cell: String,
    /// In how many seeds it did.
    pub seeds: usize,
}

/// What a verdict is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    let scores = Scores { experiment, entries: entries.iter().collect() };
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
            None => e.record.diverged(metric).then_some(Score { value: worst, measured: None }),
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
            return Err(format!("{} was measured for both {} in {} of {asked} seeds", metric.title(), both(), pairs.len()));
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
mod tests;
