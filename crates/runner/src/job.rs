//! A job: one configuration under one seed, named by what it depends on.

use crate::config::Config;
use crate::grid::{Cell, words};
use crate::store::FORMAT;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A cell's replicate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Readable choices, and eight hexadecimal digits of a digest of everything that changes the numbers.
    pub id: String,
    /// The same for what training depends on: jobs that differ only in sampling or evaluation share one training.
    pub training_id: String,
    /// The configuration.
    pub config: Config,
    /// The replicate's seed.
    pub seed: u64,
}

impl Job {
    /// The job of `config` under `seed` for a data set of digest `data` and features of digest `features`.
    pub fn new(config: Config, seed: u64, data: &str, features: &str) -> Job {
        let d = &config.diffusion;
        let choices = [
            config.data.kind().to_string(),
            words(&json!(d.prediction)),
            words(&json!(d.objective)).replace([' ', '='], "-"),
            words(&json!(d.variance)),
            d.schedule.kind().to_string(),
        ];
        let mut training = json!({
            "format": FORMAT, "data": data, "seed": seed,
            "diffusion": d, "network": config.network, "training": config.training,
        });
        // A fixed variance that the objective does not see changes no weight.
        if !d.objective.sees_variance() {
            training["diffusion"]["variance"] = Value::Null;
        }
        let all = json!({
            "training": training, "variance": d.variance, "sampling": config.sampling,
            "evaluation": config.evaluation, "features": features,
        });
        let training_choices =
            if d.objective.sees_variance() { choices.join("-") } else { [&choices[..3], &choices[4..]].concat().join("-") };
        Job {
            id: format!("{}-s{seed}-{}", choices.join("-"), digest(&all)),
            training_id: format!("{training_choices}-s{seed}-{}", digest(&training)),
            config,
            seed,
        }
    }
}

/// Eight hexadecimal digits. Keys keep the order of their types, so the text is canonical.
fn digest(value: &Value) -> String {
    blake3::hash(value.to_string().as_bytes()).to_hex()[..8].to_string()
}

/// All jobs of `cells`, cell after cell, and for each the place of its cell.
pub fn jobs(cells: &[Cell], seeds: &[u64], data: &str, features: &str) -> Vec<(usize, Job)> {
    let of_cell = |(i, cell): (usize, &Cell)| {
        seeds.iter().map(move |seed| (i, Job::new(cell.config.clone(), *seed, data, features))).collect::<Vec<_>>()
    };
    cells.iter().enumerate().flat_map(of_cell).collect()
}
