//! Settings of a cell's own: what a grid file says of how they are chosen.

use super::cell::Cell;
use super::paths::{full, inside, short};
use super::schema::Complaint;
use super::seeds;
use super::suggest::join;
use crate::metrics::Metric;
use crate::metrics::extrapolate::sizes;
use ddpm_model::network::ImageShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What says how cells are scored, and not what they are.
const MEASURING: [&str; 2] = ["evaluation", "sampling.count"];

/// How each cell gets settings of its own before it is scored for the table: candidates are tried on seeds of their own, and the one with the
/// best mean score stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tune {
    /// What is tried in every cell: axes as those of `grid`.
    pub grid: Map<String, Value>,
    /// The score that chooses.
    pub metric: Metric,
    /// The seeds on which candidates are tried: others than the grid's, since what is chosen on a seed has an advantage there.
    pub seeds: Vec<u64>,
}

impl Tune {
    /// Whether `name`, of an axis or a path, is something that is tried, or a part of it.
    pub fn tries(&self, name: &str) -> bool {
        let path = full(name).unwrap_or_else(|_| name.into());
        self.paths().any(|tried| inside(&path, &tried) || inside(&tried, &path))
    }

    /// What is tried in a candidate.
    pub fn tried(&self, cell: &Cell) -> Vec<(String, Value)> {
        cell.axes.iter().filter(|(name, _)| self.tries(name)).cloned().collect()
    }

    /// What names a cell whichever of its candidates is chosen.
    pub fn given(&self, cell: &Cell) -> Vec<(String, Value)> {
        cell.axes.iter().filter(|(name, _)| !self.tries(name)).cloned().collect()
    }

    /// Which cells are candidates for one: those that are alike but for what is tried, in the cells' order.
    pub fn groups(&self, cells: &[Cell]) -> Vec<Vec<usize>> {
        let given: Vec<Vec<(String, Value)>> = cells.iter().map(|cell| self.given(cell)).collect();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for place in 0..cells.len() {
            match groups.iter_mut().find(|group| given[group[0]] == given[place]) {
                Some(group) => group.push(place),
                None => groups.push(vec![place]),
            }
        }
        groups
    }

    /// Whether its axes are others than those of the grid's own `grid`.
    pub fn check_axes(&self, grid: &Map<String, Value>) -> Result<(), Complaint> {
        if self.grid.is_empty() {
            return Err(("tune.grid".into(), "expected at least one axis".into()));
        }
        if let Some(name) = self.grid.keys().find(|name| grid.contains_key(*name)) {
            return Err((join("tune.grid", name), "is an axis of grid too".into()));
        }
        for (axis, values) in &self.grid {
            let is_measuring = |path: &String| MEASURING.iter().any(|part| inside(path, part) || inside(part, path));
            if let Some(path) = paths_of(axis, values).into_iter().find(is_measuring) {
                let problem = format!("expected what makes a cell better, got {path}, with which it is scored unlike others");
                return Err((join("tune.grid", axis), problem));
            }
        }
        Ok(())
    }

    /// Whether the cells, each as all its candidates, can be tuned: on seeds that are none of those that are reported, by a score that they have,
    /// and without a word in the file, by place, about cells of one candidate alone.
    pub fn check(&self, seeds: &[u64], cells: &[Cell], named: &[(String, &Map<String, Value>)]) -> Result<(), Complaint> {
        if let Some(seed) = self.seeds.iter().find(|seed| seeds.contains(seed)) {
            let reported = seeds::list(seeds);
            return Err(("tune.seeds".into(), format!("expected others than the seeds that are reported ({reported}), got {seed}")));
        }
        for cell in cells {
            let (evaluation, metric) = (&cell.config.evaluation, self.metric);
            let images = match metric {
                Metric::BitsPerDim | Metric::BitsPerDimOptimal => evaluation.held_out,
                Metric::BitsPerDimTrain => evaluation.train,
                _ => usize::MAX,
            };
            if images == 0 || Metric::of_data(&cell.config.data).all(|other| other != metric) {
                return Err(self.missing(cell));
            }
        }
        for (place, condition) in named {
            if let Some(name) = condition.keys().find(|name| self.tries(name)) {
                return Err((join(place, name), "is tried in every cell, and what is chosen is not known: leave it out".into()));
            }
        }
        Ok(())
    }

    /// Whether the score that chooses can be measured on images of `shape`, as far as can be told before.
    pub fn check_data(&self, cells: &[Cell], shape: ImageShape) -> Result<(), Complaint> {
        let has_it = |cell: &Cell| {
            let Some(dimensions) = cell.config.evaluation.features.dimensions(shape) else { return false };
            self.metric != Metric::FidInfinity || sizes(cell.config.sampling.count, dimensions).is_some()
        };
        match cells.iter().find(|cell| self.metric.is_of_features() && !has_it(cell)) {
            Some(cell) => Err(self.missing(cell)),
            None => Ok(()),
        }
    }

    fn missing(&self, cell: &Cell) -> Complaint {
        (
            "tune.metric".into(),
            format!("expected a score that every cell has, got {}: the cell ({}) has none", self.metric.name(), cell.label()),
        )
    }

    /// The short names of what is tried.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.paths().map(|path| short(&path)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The paths of what is tried.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        self.grid.iter().flat_map(|(axis, values)| paths_of(axis, values))
    }
}

/// The paths that an axis sets: its own or, where its name is free, the keys of its values.
fn paths_of(axis: &str, values: &Value) -> Vec<String> {
    let keys = || values.as_array().into_iter().flatten().filter_map(Value::as_object).flat_map(Map::keys);
    full(axis).map_or_else(|_| keys().flat_map(|key| full(key)).collect(), |path| vec![path])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::data::few;
    use crate::experiment::tiny;
    use serde_json::json;

    /// No classifier for images of 4x4; 100 samples are too few for the line through FIDs of 96 features, 400 are enough.
    #[test]
    fn a_score_that_cannot_be_measured_chooses_nothing() {
        let cells = |sets: &[&str]| vec![Cell { axes: Vec::new(), config: tiny(&few("d", 20, 3), sets).config }];
        let checked = |metric: &str, side: usize, sets: &[&str]| {
            let tune: Tune = serde_json::from_value(json!({ "grid": { "steps": [1] }, "metric": metric, "seeds": [0] })).unwrap();
            tune.check_data(&cells(sets), ImageShape { height: side, width: side, channels: 1 }).is_ok()
        };
        assert!(checked("fid", 28, &[]) && !checked("fid", 4, &[]) && checked("bits-per-dim", 4, &[]));
        assert!(!checked("fid-infinity", 28, &[]) && checked("fid-infinity", 28, &["sampling.count=400"]));
    }
}
