//! What candidates are tried for, once all of them have left their records.

use crate::base::error::ConfigError;
use crate::experiment::{Experiment, Job};
use crate::metrics::Metric;
use crate::store::{FORMAT, Outcome, Record, Store};
use anyhow::Result;
use std::collections::HashMap;

/// The experiment that `tuning` tries candidates for, each cell with the settings that scored best. None where it tries none, or where a job of
/// it is still to be done. An error where a candidate that did not diverge has no score to be chosen by.
pub fn chosen(store: &Store, tuning: &Experiment, jobs: &[(usize, Job)]) -> Result<Option<Experiment>> {
    let Some(by) = tuning.aim.as_ref().map(|aim| aim.tune().by) else { return Ok(None) };
    let mut records = HashMap::new();
    for (cell, job) in jobs {
        match store.record(&job.id).ok().flatten() {
            Some(record) if record.format == FORMAT && !matches!(record.outcome, Outcome::Failed { .. }) => {
                records.insert((*cell, job.seed), record);
            }
            _ => return Ok(None),
        }
    }
    let label = |cell: usize| tuning.cells[cell].label();
    tuning.chosen(|cell, seed| score(&records[&(cell, seed)], by).map_err(|why| missing(&label(cell), by, seed, &why).into()))
}

/// What a record says of a score: none where its cell diverged; else why there is none.
fn score(record: &Record, metric: Metric) -> Result<Option<f64>, String> {
    match record.metrics.get(&metric) {
        _ if record.diverged(metric) => Ok(None),
        Some(measured) => Ok(Some(measured.value)),
        None => Err(record.blanks.get(&metric).map_or_else(|| "not measured".into(), Clone::clone)),
    }
}

fn missing(cell: &str, metric: Metric, seed: u64, why: &str) -> ConfigError {
    let problem = format!("expected a score that every candidate has, {cell} has no {} on seed {seed}: {why}", metric.name());
    ConfigError::new("grid", "tune.by", problem)
}
