//! Two cells or runs beside each other: what differs in their configurations, and how far apart their scores are.

use super::sides::Side;
use crate::base::text::{aligned, wrapped};
use crate::experiment::flat;
use crate::metrics::Metric;
use crate::metrics::evidence::{Evidence, LEVEL};
use crate::store::Record;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;

/// Two of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What the first is called.
    pub a: String,
    /// What the second is called.
    pub b: String,
    /// Seeds whose runs both have left.
    pub seeds: Vec<u64>,
    /// Which of the two has left no run at all, where one has not.
    pub without_runs: Option<char>,
    /// Values that they do not share, by path.
    pub differs: Vec<Differs>,
    /// Scores that one of them has.
    pub scores: Vec<Scores>,
}

/// A value that differs; absent where the other has no such path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differs {
    /// Its path.
    pub path: String,
    /// The first one's.
    pub a: Option<String>,
    /// The second one's.
    pub b: Option<String>,
}

/// A score of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Which.
    pub metric: Metric,
    /// The first one's mean over the seeds at which both have it; where there is no such seed, over all of its own.
    pub a: Option<f64>,
    /// The second one's.
    pub b: Option<f64>,
    /// The second less the first.
    pub difference: Option<f64>,
    /// Half of its 95% interval.
    pub half_width: Option<f64>,
    /// p-value of the difference, two-sided.
    pub p: Option<f64>,
    /// Why one of these is missing.
    pub reason: Option<String>,
}

impl Comparison {
    /// Compares them.
    pub fn of(a: &Side, b: &Side) -> Result<Comparison> {
        let (values, others) = (flat(&a.config)?, flat(&b.config)?);
        let paths: BTreeSet<&String> = values.keys().chain(others.keys()).collect();
        let differs = paths.into_iter().filter(|path| values.get(*path) != others.get(*path));
        let differs = differs.map(|path| Differs { path: path.clone(), a: values.get(path).cloned(), b: others.get(path).cloned() });
        let seeds: Vec<u64> = a.runs.keys().filter(|seed| b.runs.contains_key(seed)).copied().collect();
        let has = |metric: &Metric| [a, b].iter().any(|side| side.runs.values().any(|run| run.record.metrics.contains_key(metric)));
        let scores = Metric::ALL.into_iter().filter(has).map(|metric| Scores::of(metric, a, b, &seeds)).collect();
        let without_runs = [('A', a), ('B', b)].into_iter().find(|(_, side)| side.runs.is_empty()).map(|(name, _)| name);
        Ok(Comparison { a: a.name.clone(), b: b.name.clone(), differs: differs.collect(), scores, seeds, without_runs })
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let words = |words: [&str; 3]| words.map(String::from).to_vec();
        let or_dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".into());
        let mut text = format!("A  {}\nB  {}\n\n", self.a, self.b);
        if self.differs.is_empty() {
            text += "Their configurations are the same.\n";
        } else {
            let rows = self.differs.iter().map(|of| vec![of.path.clone(), or_dash(&of.a), or_dash(&of.b)]);
            let table = aligned(&std::iter::once(words(["what differs", "A", "B"])).chain(rows).collect::<Vec<_>>(), 3);
            // What is too long for a line is set under its path.
            let under = |of: &Differs| format!("{}\n   A  {}\n   B  {}\n", of.path, or_dash(&of.a), or_dash(&of.b));
            let fits = table.lines().all(|line| line.chars().count() <= 80);
            text += &if fits { table } else { self.differs.iter().map(under).collect() };
        }
        if self.scores.is_empty() {
            return text + "\nNeither has left a score.\n";
        }
        let head = ["", "A", "B", "B − A"].map(String::from).to_vec();
        text += &format!("\n{}", aligned(&std::iter::once(head).chain(self.scores.iter().map(Scores::row)).collect::<Vec<_>>(), 1));
        text += "\n";
        let mark = "≈ marks a difference that is not told from none";
        text += &wrapped(&match (self.without_runs, self.seeds.len()) {
            (Some(side), _) => format!("{side} has left no run."),
            (None, 0) => "They have no seed in common, so there are no pairs: A and B are means over their own seeds.".into(),
            (None, 1) => format!(
                "One seed in common ({}): ± is the 95% interval of measuring both, their errors taken as independent; {mark}. Training anew may \
                 differ by more.",
                self.seeds[0]
            ),
            (None, n) => {
                format!("{n} seeds in common: ± is the 95% interval of the mean of their paired differences (Student's t); {mark}.")
            }
        });
        if !self.seeds.is_empty() {
            let reasons = self.scores.iter().filter_map(|of| Some(format!("{}: {}", of.metric.title(), of.reason.as_ref()?)));
            text.extend(reasons.collect::<BTreeSet<String>>().iter().map(|reason| wrapped(reason)));
        }
        text
    }
}

impl Scores {
    fn of(metric: Metric, a: &Side, b: &Side, seeds: &[u64]) -> Scores {
        let has = |side: &Side, seed: &u64| side.runs.get(seed).is_some_and(|run| run.record.metrics.contains_key(&metric));
        let both: Vec<u64> = seeds.iter().filter(|seed| has(a, seed) && has(b, seed)).copied().collect();
        let mean = |side: &Side| {
            let own = || side.runs.keys().filter(|seed| has(side, seed)).copied().collect();
            let seeds: Vec<u64> = if both.is_empty() { own() } else { both.clone() };
            let sum: f64 = seeds.iter().map(|seed| side.runs[seed].record.metrics[&metric].value).sum();
            (!seeds.is_empty()).then(|| sum / seeds.len() as f64)
        };
        let none = Scores { metric, a: mean(a), b: mean(b), difference: None, half_width: None, p: None, reason: None };
        match evidence(metric, a, b, seeds) {
            Err(reason) => Scores { reason: Some(reason), ..none },
            Ok((evidence, reason)) => Scores {
                difference: evidence.mean(),
                half_width: evidence.half_width(),
                p: evidence.half_width().map(|_| (2.0 * evidence.p_above().min(evidence.p_below())).min(1.0)),
                reason,
                ..none
            },
        }
    }

    fn row(&self) -> Vec<String> {
        let digits = self.metric.digits();
        let score = |value: Option<f64>| value.map_or_else(|| "–".to_string(), |v| format!("{v:.digits$}"));
        let difference = self.difference.map_or_else(
            || "–".into(),
            |d| {
                let mark = if self.p.is_some_and(|p| p > LEVEL) { "≈ " } else { "" };
                format!("{mark}{d:+.*}{}", digits + 1, self.half_width.map_or_else(String::new, |half| format!(" ± {half:.*}", digits + 1)))
            },
        );
        vec![self.metric.heading().into(), score(self.a), score(self.b), difference]
    }
}

/// The differences at the seeds at which both have the score, and what is missing of them or their interval; else why there are none.
fn evidence(metric: Metric, a: &Side, b: &Side, seeds: &[u64]) -> Result<(Evidence, Option<String>), String> {
    if seeds.is_empty() {
        return Err("no seed in common".into());
    }
    let pairs: Vec<(&Record, &Record)> = seeds.iter().map(|seed| (&a.runs[seed].record, &b.runs[seed].record)).collect();
    let of_side: [(&str, Vec<&Record>); 2] =
        [("A", pairs.iter().map(|pair| pair.0).collect()), ("B", pairs.iter().map(|pair| pair.1).collect())];
    let mut missing = None;
    for (side, records) in of_side {
        match records.iter().filter(|run| run.diverged(metric)).count() {
            0 => {}
            n => return Err(format!("{side} diverged or left every range in {n} of {} seeds", records.len())),
        }
        if let Some(run) = records.iter().find(|run| !run.metrics.contains_key(&metric)) {
            let why = run.blanks.get(&metric).map_or_else(|| "not measured".into(), Clone::clone);
            missing = Some(format!("{side} has none at seed {} ({why})", run.seed));
        }
    }
    if pairs.iter().any(|(a, b)| a.data != b.data) {
        return Err("measured on other images".into());
    }
    let measured: Vec<_> = pairs.iter().filter_map(|(a, b)| Some((a.metrics.get(&metric)?, b.metrics.get(&metric)?))).collect();
    if let Some((a, b)) = measured.iter().find(|(a, b)| !a.is_comparable(b)) {
        return Err(format!("measured unlike each other: A {} images, {}; B {} images, {}", a.n, a.method(), b.n, b.method()));
    }
    let differences: Vec<f64> = measured.iter().map(|(a, b)| b.value - a.value).collect();
    let missing = missing.map(|why| format!("of {} of {} seeds, since {why}", differences.len(), seeds.len()));
    match measured[..] {
        [] => Err(missing.unwrap_or_default()),
        [(a, b)] => match a.std_err.zip(b.std_err).filter(|_| metric.has_standard_error()) {
            Some((a, b)) => Ok((Evidence::Trainings { value: differences[0], std_err: a.hypot(b) }, missing)),
            None => {
                let why = "one seed does not tell how sure a difference is, and it has no standard error".to_string();
                Ok((Evidence::Seeds(differences), Some(missing.map_or(why.clone(), |missing| format!("{missing}; {why}")))))
            }
        },
        _ => Ok((Evidence::Seeds(differences), missing)),
    }
}
