//! A job: one configuration under one seed, named by what it depends on.

use super::cell::brief;
use super::config::Config;
use super::expand::studies;
use super::load::Experiment;
use super::study::Study;
use crate::metrics::features::FeatureSource;
use anyhow::Result;
use ddpm_model::network::ImageShape;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Version of what the numbers of a record mean. Part of every name.
pub const FORMAT: u32 = 5;

/// A cell's replicate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Readable choices, and twelve hexadecimal digits of a digest of everything that changes the numbers.
    pub id: String,
    /// The same for what training depends on: jobs that differ only in sampling or evaluation share one training.
    pub training_id: String,
    /// The same for what samples depend on: jobs that differ only in what is measured, or in what else their training keeps, share them.
    pub sampling_id: String,
    /// The configuration.
    pub config: Config,
    /// The replicate's seed.
    pub seed: u64,
    /// The study to run; the usual scores if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study: Option<Study>,
    /// The step of training whose weights are scored; the last one's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

impl Job {
    /// The job of `config` under `seed` for a data set of identity `data` and features called `features`.
    pub fn new(config: Config, seed: u64, study: Option<Study>, data: &str, features: &str) -> Job {
        Job::named(config, Asked { cell_index: 0, seed, study, at: None }, data, features)
    }

    /// What is asked of `config`, for a data set of identity `data` and features called `features`.
    pub fn named(config: Config, asked: Asked, data: &str, features: &str) -> Job {
        let Asked { seed, study, at, .. } = asked;
        let d = &config.diffusion;
        let choices = [
            config.data.kind().to_string(),
            brief(&json!(d.prediction)),
            brief(&json!(d.objective)).replace([' ', '='], "-"),
            brief(&json!(d.variance)),
            d.schedule.kind().to_string(),
        ];
        let mut training = json!({ "format": FORMAT, "data": data, "seed": seed });
        training.as_object_mut().expect("a map, just made").extend(config.trained_by());
        // A training is named by the averages that it keeps, samples by the one that they are made with: it is the same in any training.
        let mut alone = training.clone();
        alone["training"]["optimiser"]["ema_decay"] = json!(config.training.optimiser.ema_decay);
        let optimiser = &mut training["training"]["optimiser"];
        match config.training.optimiser.kept() {
            [one] => optimiser["ema_decay"] = json!(one),
            several => optimiser["ema_kept"] = json!(several),
        }
        let mut sampling = json!({ "training": alone, "variance": d.variance, "sampling": config.sampling });
        // At other steps, other samples.
        if let Some(step) = at {
            sampling["at"] = json!(step);
        }
        // Features are what their name says, wherever their weights lie; and what is measured at other steps is another job's.
        let mut evaluation = json!(config.evaluation);
        evaluation["features"] = json!(features);
        evaluation.as_object_mut().and_then(|keys| keys.shift_remove("at"));
        let all = match &study {
            None => json!({ "sampling": sampling, "evaluation": evaluation }),
            Some(study) => json!({ "sampling": sampling, "features": features, "study": study }),
        };
        let training_choices =
            if d.objective.sees_variance() { choices.join("-") } else { [&choices[..3], &choices[4..]].concat().join("-") };
        let when = at.map_or_else(String::new, |step| format!("at-{step}-"));
        let looked_at = study.as_ref().map_or_else(String::new, |study| format!("{}-", study.name()));
        Job {
            id: format!("{looked_at}{when}{}-s{seed}-{}", choices.join("-"), digest(&all)),
            training_id: format!("{training_choices}-s{seed}-{}", digest(&training)),
            sampling_id: format!("{when}{}-s{seed}-{}", choices.join("-"), digest(&sampling)),
            config,
            seed,
            study,
            at,
        }
    }

    /// Whether it is the scores of its cell, at the end of training.
    pub fn scores_the_end(&self) -> bool {
        self.study.is_none() && self.at.is_none()
    }

    /// What it does, where that is not its cell's scores: in a few words.
    pub fn aside(&self) -> Option<String> {
        let step = self.at.map(|step| format!("at step {step}"));
        let words: Vec<String> = self.study.as_ref().map(|study| study.name().to_string()).into_iter().chain(step).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// What an experiment asks for: a job before it has a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The place of its cell.
    pub cell_index: usize,
    /// The replicate's seed.
    pub seed: u64,
    /// The study, if any.
    pub study: Option<Study>,
    /// The step of training, if not the last.
    pub at: Option<u64>,
}

/// Twelve hexadecimal digits: among 10,000 names two agree by chance once in six million. Keys keep the order of their types, so the text is canonical.
fn digest(value: &Value) -> String {
    blake3::hash(value.to_string().as_bytes()).to_hex()[..12].to_string()
}

/// What an experiment asks for, cell by cell. A study that draws all samples comes before the scores of its cell, which then use these
/// samples; scores along training come in its order.
pub fn asked(experiment: &Experiment) -> Vec<Asked> {
    let mut asked = Vec::new();
    let seeds = &experiment.file.seeds;
    for (cell_index, cell) in experiment.cells.iter().enumerate() {
        let (before, after): (Vec<_>, Vec<_>) = studies(&experiment.file, cell).into_iter().partition(Study::walks);
        let look = |study| Asked { cell_index, seed: seeds[0], study: Some(study), at: None };
        asked.extend(before.into_iter().map(look));
        for seed in seeds {
            let steps = cell.config.measured_at().into_iter().map(Some).chain([None]);
            asked.extend(steps.map(|at| Asked { cell_index, seed: *seed, study: None, at }));
        }
        asked.extend(after.into_iter().map(look));
    }
    asked
}

/// All jobs of an experiment on images of `shape` and a data set of identity `data`, and for each the place of its cell.
pub fn jobs(experiment: &Experiment, shape: ImageShape, data: &str) -> Result<Vec<(usize, Job)>> {
    let mut names: Vec<(&FeatureSource, String)> = Vec::new();
    let job = |asked: Asked| {
        let cell_index = asked.cell_index;
        let config = &experiment.cells[cell_index].config;
        let source = &config.evaluation.features;
        if !names.iter().any(|(known, _)| *known == source) {
            names.push((source, source.name_for(shape)?));
        }
        let name = names.iter().find(|(known, _)| *known == source).map_or("", |(_, name)| name);
        Ok((cell_index, Job::named(config.clone(), asked, data, name)))
    };
    asked(experiment).into_iter().map(job).collect()
}

/// A job on the smoke base for tests, with `sets` over it, and images of 4x4.
#[cfg(test)]
pub(crate) fn tiny(data: &crate::base::data::Dataset, sets: &[&str]) -> Job {
    use super::{paths, yaml};
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/bases/fashion-smoke.yaml");
    let mut tree = yaml::read(std::path::Path::new(base)).expect("a base");
    let small = ["network.channels=4", "network.groups=2", "network.multipliers=[1]", "network.attention=[]", "network.block_size=1"];
    for set in small.iter().chain(sets) {
        let (path, value) = paths::flag(set).expect("a setting");
        paths::set(&mut tree, &path, value, "test").expect("a place for it");
    }
    Job::new(Config::checked(&tree, "test").expect("a configuration"), 7, None, &data.info.digest, "none")
}
