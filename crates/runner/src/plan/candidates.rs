//! What candidates are tried for, once all of them have left their records.

use crate::base::error::ConfigError;
use crate::experiment::{Experiment, Job};
use crate::metrics::Metric;
use crate::store::{Record, Store};
use anyhow::Result;
use std::collections::HashMap;

/// The experiment that `tuning` tries candidates for, each cell with the settings that scored best. None where it tries none, or where a job of
/// it is still to be done. An error where a candidate that did not diverge has no score to be chosen by.
pub fn chosen(store: &Store, tuning: &Experiment, jobs: &[(usize, Job)]) -> Result<Option<Experiment>> {
    let Some(aim) = &tuning.aim else { return Ok(None) };
    let mut records = HashMap::new();
    for (cell, job) in jobs {
        // One that cannot be read is made again.
        let Some(record) = store.done(&job.id).ok().flatten() else { return Ok(None) };
        records.insert((*cell, job.seed), record);
    }
    let metric = aim.tune().metric;
    tuning.chosen(|cell, seed| {
        score(&records[&(cell, seed)], metric).map_err(|why| {
            let (name, cell) = (metric.name(), tuning.cells[cell].label());
            let problem =
                format!("expected a score that every candidate has, got {name}: the candidate ({cell}) has none on seed {seed}, {why}");
            ConfigError::new(aim.name(), "tune.metric", problem).into()
        })
    })
}

/// What a record says of a score: none where its cell diverged; else why there is none.
fn score(record: &Record, metric: Metric) -> Result<Option<f64>, String> {
    match record.metrics.get(&metric) {
        _ if record.diverged(metric) => Ok(None),
        Some(measured) => Ok(Some(measured.value)),
        None => Err(record.blanks.get(&metric).map_or_else(|| "not measured".into(), Clone::clone)),
    }
}
