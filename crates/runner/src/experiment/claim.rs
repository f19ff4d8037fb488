//! Claims: what a grid file says of its cells, each with the relation by which seeds decide it.

use super::cell::{Cell, belongs, condition};
use super::suggest::join;
use crate::base::error::ConfigError;
use crate::metrics::Metric;
use crate::metrics::verdict::{Margin, Relation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A sentence about cells, and one of `best`, `better` with `than`, and `level` with `with`, which decides it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What is claimed, in a sentence.
    pub sentence: String,
    /// Who claims it, and where: a paper's section or table. Absent where it is a hypothesis of the grid's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The score that decides it, one of the table's.
    pub metric: Metric,
    /// The cell that scores better than every other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Map<String, Value>>,
    /// The cell that scores better than another, or than each of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<Map<String, Value>>,
    /// The other: every other cell that has all these values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub than: Option<Map<String, Value>>,
    /// The cell that scores as another does, or as each of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Map<String, Value>>,
    /// The other: every other cell that has all these values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Map<String, Value>>,
    /// By how much scores may differ that are level, in units of the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<f64>,
    /// The same in percent of the other cell's score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_percent: Option<f64>,
}

/// A claim about cells by their places in the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The cell.
    pub cell: usize,
    /// Those that it is compared with, each.
    pub others: Vec<usize>,
    /// What it is to them.
    pub relation: Relation,
}

/// What does not fit: the key, and the problem there.
type Complaint = (String, String);

impl Claim {
    /// The cells that it is about, among those of its grid.
    pub fn resolved(&self, cells: &[Cell]) -> Result<Resolved, Complaint> {
        let complain = |key: &str, problem: &str| Err((key.to_string(), problem.to_string()));
        let (key, named, other) = match (&self.best, &self.better, &self.level) {
            (Some(cell), None, None) => ("best", cell, None),
            (None, Some(cell), None) => ("better", cell, Some(("than", &self.than))),
            (None, None, Some(cell)) => ("level", cell, Some(("with", &self.with))),
            _ => return complain("", "expected one of best, better and level"),
        };
        for (name, there, of) in [
            ("than", self.than.is_some(), "better"),
            ("with", self.with.is_some(), "level"),
            ("within", self.within.is_some(), "level"),
            ("within_percent", self.within_percent.is_some(), "level"),
        ] {
            if there && key != of {
                return complain(name, &format!("belongs to {of}, this claim has {key}"));
            }
        }
        let cell = one(named, cells, key)?;
        let others: Vec<usize> = match other {
            None => (0..cells.len()).collect(),
            Some((name, None)) => return complain(name, &format!("is missing beside {key}")),
            Some((name, Some(condition))) => matching(condition, cells, name)?,
        };
        let others: Vec<usize> = others.into_iter().filter(|other| *other != cell).collect();
        if others.is_empty() {
            return complain(other.map_or(key, |(name, _)| name), "agrees with no other cell");
        }
        let relation = if key == "level" { Relation::Level(self.margin()?) } else { Relation::Better { rises: self.metric.rises() } };
        Ok(Resolved { cell, others, relation })
    }

    /// The conditions by which it names cells, each with its key.
    pub fn conditions(&self) -> impl Iterator<Item = (&'static str, &Map<String, Value>)> {
        let all = [("best", &self.best), ("better", &self.better), ("than", &self.than), ("level", &self.level), ("with", &self.with)];
        all.into_iter().filter_map(|(key, condition)| Some((key, condition.as_ref()?)))
    }

    fn margin(&self) -> Result<Margin, Complaint> {
        let complain = |key: &str, problem: String| Err((key.to_string(), problem));
        match (self.within, self.within_percent) {
            (Some(margin), None) if margin > 0.0 && margin.is_finite() => Ok(Margin::Absolute(margin)),
            (Some(margin), None) => complain("within", format!("expected a positive number, got {margin}")),
            (None, Some(_)) if self.metric.may_be_negative() => {
                let problem = format!("expected within, since {} may be negative and a share of it is no margin", self.metric.name());
                complain("within_percent", problem)
            }
            (None, Some(percent)) if percent > 0.0 && percent < 100.0 => Ok(Margin::Relative(percent / 100.0)),
            (None, Some(percent)) => complain("within_percent", format!("expected more than 0 and less than 100, got {percent}")),
            _ => complain("", "expected one of within and within_percent beside level".into()),
        }
    }
}

/// The places of the cells that have all values of a condition.
fn matching(named: &Map<String, Value>, cells: &[Cell], key: &str) -> Result<Vec<usize>, Complaint> {
    let wanted = condition(named, key, "").map_err(|error| (error.path, error.problem))?;
    let found: Vec<usize> = (0..cells.len()).filter(|place| belongs(&cells[*place], &wanted)).collect();
    if found.is_empty() { Err((key.into(), "agrees with no cell".into())) } else { Ok(found) }
}

/// The place of the one cell that has all values of a condition.
fn one(named: &Map<String, Value>, cells: &[Cell], key: &str) -> Result<usize, Complaint> {
    match matching(named, cells, key)?[..] {
        [one] => Ok(one),
        ref several => {
            let labels: Vec<String> = several.iter().take(3).map(|place| cells[*place].label()).collect();
            let more = if several.len() > 3 { "; ..." } else { "" };
            Err((key.into(), format!("expected one cell, {} have these values: {}{more}", several.len(), labels.join("; "))))
        }
    }
}

/// Whether every claim is about cells that there are, and a score that the table shows.
pub fn check(claims: &[Claim], metrics: &[Metric], cells: &[Cell], origin: &str) -> Result<(), ConfigError> {
    for (i, claim) in claims.iter().enumerate() {
        let place = format!("claims[{i}]");
        let at =
            |(key, problem): Complaint| ConfigError::new(origin, &if key.is_empty() { place.clone() } else { join(&place, &key) }, problem);
        if claim.sentence.trim().is_empty() {
            return Err(at(("sentence".into(), "expected a sentence".into())));
        }
        if !metrics.contains(&claim.metric) {
            let known: Vec<&str> = metrics.iter().map(|metric| metric.name()).collect();
            return Err(at(("metric".into(), format!("expected one of the table's ({}), got {}", known.join(", "), claim.metric.name()))));
        }
        claim.resolved(cells).map_err(at)?;
    }
    Ok(())
}
