//! Configurations: a parsed tree becomes a [`RawConfig`] and that, once validated, a [`Config`]: the type is the proof of validity.

use super::{paths, strict};
use crate::base::data::{DataSource, DatasetInfo};
use crate::base::error::ConfigError;
use crate::metrics::features::FeatureSource;
use ddpm_core::likelihood::DecoderCdf;
use ddpm_core::{Sampler, Setup};
use ddpm_model::network::ImageShape;
use ddpm_model::optimiser::Optimiser;
use ddpm_model::{Diffusion, Network, Precision, UNet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::ops::Deref;
use std::sync::Arc;

/// Everything that affects a cell's numbers, as typed: each value is valid for its type, but not yet in combination with the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The images.
    pub data: DataSource,
    /// The axes of Section 4.
    pub diffusion: Setup,
    /// The U-Net.
    pub network: Network,
    /// How it is trained.
    pub training: TrainingConfig,
    /// How samples are made.
    pub sampling: SamplingConfig,
    /// What is measured.
    pub evaluation: EvaluationConfig,
}

/// How a cell is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Optimiser steps. The paper: 800,000 on CIFAR-10.
    pub steps: u64,
    /// Images in a step. The paper: 128.
    pub batch: usize,
    /// Whether images are mirrored left to right at random. The paper: yes on CIFAR-10.
    pub flip: bool,
    /// What the network computes in.
    pub precision: Precision,
    /// Learning-rate decay. The paper: none.
    #[serde(default)]
    pub decay: Decay,
    /// Adam, warm-up, clipping, moving average.
    pub optimiser: Optimiser,
}

/// How the learning rate falls over the whole training, after and on top of the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// No decay: the authors' setting.
    #[default]
    None,
    /// Linearly to 0.
    Linear,
    /// Along half a cosine to 0.
    Cosine,
}

impl Decay {
    /// The share of the rate at step `step` (from 0) of `steps`: 1 at first.
    pub fn share(self, step: u64, steps: u64) -> f64 {
        let u = step as f64 / steps as f64;
        match self {
            Decay::None => 1.0,
            Decay::Linear => 1.0 - u,
            Decay::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * u)),
        }
    }
}

/// How samples are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplingConfig {
    /// The sampler.
    pub sampler: Sampler,
    /// Samples that are made and scored. The paper: 50,000.
    pub count: usize,
    /// Samples made at once.
    pub batch: usize,
}

/// What is measured beside the samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Held-out images whose bound is measured, the first ones.
    pub held_out: usize,
    /// Training images whose bound is measured, the first ones.
    pub train: usize,
    /// Batch size.
    pub batch: usize,
    /// The decoder's distribution function: `tanh` as the authors, or the exact `erf`. Training always has theirs.
    #[serde(default)]
    pub decoder: DecoderCdf,
    /// The feature network that samples are scored with.
    #[serde(default)]
    pub features: FeatureSource,
    /// When in training, rising, everything is measured as it is at its end: after so many steps, or after a share of all in (0, 1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<f64>")]
    pub at: Vec<Moment>,
}

/// A moment of a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Moment {
    /// After so many steps, 1 or more.
    Steps(u64),
    /// After this share of all steps, in (0, 1), to the nearest one.
    Share(f64),
}

impl Moment {
    /// Steps made by then, of `all`.
    pub fn step(self, all: u64) -> u64 {
        match self {
            Moment::Steps(steps) => steps,
            Moment::Share(share) => (share * all as f64).round() as u64,
        }
    }
}

/// A complaint about one key of the section at `path`, with the key in the path.
fn placed(path: &str, error: &ddpm_model::Error) -> (String, String) {
    match error {
        ddpm_model::Error::InvalidKey { key, expected, got } => (format!("{path}.{key}"), format!("expected {expected}, got {got}")),
        ddpm_model::Error::Setup(ddpm_core::Error::Parameter { name, expected, got }) => {
            (format!("{path}.{name}"), format!("expected {expected}, got {got}"))
        }
        ddpm_model::Error::Setup(ddpm_core::Error::Subsequence { expected, got }) => {
            (format!("{path}.steps"), format!("expected {expected}, got {got}"))
        }
        other => (path.to_string(), other.to_string()),
    }
}

/// Largest number of anything that is counted in images or steps: far above any use, far below an overflow.
const MAX_COUNT: u64 = 1_000_000_000;

/// A validated configuration, and the diffusion that it describes. Its values are read like those of a [`RawConfig`], and cannot be
/// changed. Jobs accept nothing else:
///
/// ```compile_fail
/// use ddpm_runner::experiment::{Job, RawConfig};
/// fn job(typed: RawConfig) -> Job {
///     Job::new(typed, 0, None, "digest of the images", "features")
/// }
/// ```
///
/// ```
/// use ddpm_runner::base::error::ConfigError;
/// use ddpm_runner::experiment::{Config, Job, RawConfig};
/// fn job(typed: RawConfig) -> Result<Job, ConfigError> {
///     Ok(Job::new(Config::new(typed, "base.yaml")?, 0, None, "digest of the images", "features"))
/// }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "RawConfig", into = "RawConfig")]
pub struct Config {
    raw: RawConfig,
    /// What `raw.diffusion` describes; shared, for the jobs of a cell are many.
    built: Arc<Diffusion>,
}

impl Deref for Config {
    type Target = RawConfig;
    fn deref(&self) -> &RawConfig {
        &self.raw
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Config) -> bool {
        self.raw == other.raw
    }
}

impl From<Config> for RawConfig {
    fn from(config: Config) -> RawConfig {
        config.raw
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;
    fn try_from(raw: RawConfig) -> Result<Config, ConfigError> {
        Config::new(raw, "the configuration")
    }
}

impl RawConfig {
    /// From a tree, with every key checked by itself.
    pub fn typed(tree: &Value, origin: &str) -> Result<RawConfig, ConfigError> {
        strict::typed(&paths::normalised(tree), origin)
    }

    /// The steps of training before its last one at which everything is measured.
    pub fn measured_at(&self) -> Vec<u64> {
        self.evaluation.at.iter().map(|moment| moment.step(self.training.steps)).collect()
    }

    /// The diffusion, where everything fits; else what does not, with its path. Whatever needs the images themselves is checked by
    /// [`Config::check_images`].
    fn check(&self) -> Result<Diffusion, (String, String)> {
        self.data.check().map_err(|(key, problem)| (format!("data.{key}"), problem))?;
        let t = &self.training;
        let counts = [
            ("training.steps", t.steps),
            ("training.batch", t.batch as u64),
            ("sampling.count", self.sampling.count as u64),
            ("sampling.batch", self.sampling.batch as u64),
            ("evaluation.batch", self.evaluation.batch as u64),
            ("evaluation.held_out", self.evaluation.held_out as u64),
        ];
        if let Some((path, n)) = counts.iter().find(|(_, n)| *n == 0 || *n > MAX_COUNT) {
            return Err((path.to_string(), format!("expected 1 to {MAX_COUNT}, got {n}")));
        }
        if self.sampling.count < 10 {
            return Err((
                "sampling.count".into(),
                format!("expected at least 10, one for each split of the inception score, got {}", self.sampling.count),
            ));
        }
        let at = self.measured_at();
        if let Some(i) = at.iter().position(|step| !(1..t.steps).contains(step)) {
            let (end, got) = (t.steps, json!(self.evaluation.at[i]));
            let problem =
                format!("expected a step from 1 on, before the last one, {end}, which is always measured, or a share of them, got {got}");
            return Err((format!("evaluation.at[{i}]"), problem));
        }
        if !at.is_sorted_by(|a, b| a < b) {
            return Err(("evaluation.at".into(), format!("expected rising steps, got {at:?}")));
        }
        if self.diffusion.timesteps > 1_000_000 {
            return Err(("diffusion.timesteps".into(), format!("expected at most 1000000, got {}", self.diffusion.timesteps)));
        }
        t.optimiser.check(t.batch).map_err(|e| placed("training.optimiser", &e))?;
        let process = self.diffusion.process().map_err(|e| match &e {
            ddpm_core::Error::Parameter { name: "lambda", .. } => placed("diffusion.objective", &e.into()),
            ddpm_core::Error::Parameter { name: "gamma" | "k", .. } => placed("diffusion.objective.weight", &e.into()),
            ddpm_core::Error::Parameter { .. } => placed("diffusion.schedule", &e.into()),
            _ => ("diffusion".to_string(), e.to_string()),
        })?;
        let plan = self.diffusion.sampling_plan(&process, &self.sampling.sampler);
        plan.map_err(|e| placed("sampling.sampler", &e.into()))?;
        Diffusion::new(self.diffusion.clone()).map_err(|e| ("diffusion".to_string(), e.to_string()))
    }
}

impl Config {
    /// The only one: with all parts fitting together. `origin` is where the values came from.
    pub fn new(raw: RawConfig, origin: &str) -> Result<Config, ConfigError> {
        let built = raw.check().map_err(|(path, problem)| ConfigError::new(origin, &path, problem))?;
        Ok(Config { raw, built: Arc::new(built) })
    }

    /// The same with the longest of the averages that its training keeps.
    pub fn with_longest_average(&self) -> Config {
        let mut longest = self.clone();
        let optimiser = &mut longest.raw.training.optimiser;
        optimiser.ema_decay = optimiser.kept().last().copied().unwrap_or(optimiser.ema_decay);
        longest
    }

    /// The same without the averages that it does not use.
    pub fn with_one_average(&self) -> Config {
        let mut one = self.clone();
        one.raw.training.optimiser.ema_kept = Vec::new();
        one
    }

    /// What its training depends on beside the images and the seed, but for the averages that are kept.
    pub fn trained_by(&self) -> Map<String, Value> {
        let mut diffusion = json!(self.diffusion);
        // A fixed variance that the objective does not see changes no weight.
        if !self.diffusion.objective.sees_variance() {
            diffusion["variance"] = Value::Null;
        }
        let mut training = json!(self.training);
        let optimiser = &mut training["optimiser"];
        optimiser["ema_decay"] = Value::Null;
        optimiser.as_object_mut().and_then(|keys| keys.shift_remove("ema_kept"));
        let parts = [("diffusion", diffusion), ("network", json!(self.network)), ("training", training)];
        parts.map(|(name, part)| (name.to_string(), part)).into_iter().collect()
    }

    /// From a tree.
    pub fn checked(tree: &Value, origin: &str) -> Result<Config, ConfigError> {
        Config::new(RawConfig::typed(tree, origin)?, origin)
    }

    /// Whether the network fits images of `image`.
    pub fn check_network(&self, origin: &str, image: ImageShape) -> Result<(), ConfigError> {
        self.network.check(image).map_err(|e| {
            let (path, problem) = placed("network", &e);
            ConfigError::new(origin, &path, problem)
        })
    }

    /// Whether the network and the features that samples are scored with fit images of `image`.
    pub fn check_shape(&self, origin: &str, image: ImageShape) -> Result<(), ConfigError> {
        self.evaluation.features.check(origin, image)?;
        self.check_network(origin, image)
    }

    /// Whether the network fits the data set's images, and the evaluation their number.
    pub fn check_data(&self, origin: &str, data: &DatasetInfo) -> Result<(), ConfigError> {
        self.check_images(origin, data.shape, data.train, data.held_out)
    }

    /// The same for `train` and `held_out` images of `image`.
    pub fn check_images(&self, origin: &str, image: ImageShape, train: usize, held_out: usize) -> Result<(), ConfigError> {
        self.check_shape(origin, image)?;
        for (path, asked, there) in [
            ("evaluation.held_out", self.evaluation.held_out, held_out),
            ("evaluation.train", self.evaluation.train, train),
            ("training.batch", self.training.batch, train),
        ] {
            if asked > there {
                return Err(ConfigError::new(origin, path, format!("expected at most the {there} images there are, got {asked}")));
            }
        }
        Ok(())
    }

    /// The diffusion that it describes.
    pub fn diffusion(&self) -> &Diffusion {
        &self.built
    }

    /// The network for images of `image`; it has been checked.
    pub fn unet(&self, image: ImageShape) -> UNet {
        UNet::new(&self.network, image, self.diffusion().out_channels(image.channels)).expect("checked against the images")
    }
}
