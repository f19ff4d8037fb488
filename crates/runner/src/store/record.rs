//! Records of training runs and of jobs, each self-contained.

use super::anatomy::Anatomy;
use super::score_field::ScoreField;
use crate::base::cause::Cause;
use crate::base::device::Device;
use crate::experiment::{Config, FORMAT, Job};
use crate::metrics::{Measured, Metric};
use ddpm_core::likelihood::{Bound, UnderVariances};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How something ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// As it should.
    Finished {},
    /// The numbers left their range: a result, not a failure.
    Diverged {
        /// What happened, where, with the number.
        reason: String,
    },
    /// The program or the machine failed; the job is to be done again.
    Failed {
        /// What kind of reason.
        cause: Cause,
        /// What happened.
        reason: String,
        /// How often it was tried in one go.
        attempts: u32,
    },
}

/// What the numbers were computed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Commit that the program was built from.
    pub commit: String,
    /// Device in words.
    pub device: String,
    /// Threads of the process.
    pub threads: usize,
}

impl Machine {
    /// This process.
    pub fn here() -> Machine {
        let device = Device::here().description();
        Machine { commit: env!("DDPM_COMMIT").into(), device, threads: rayon::current_num_threads() }
    }
}

/// How images come to where training steps are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// They are read for each step, and steps are made where they are read.
    Host,
    /// All of them are in the device's memory.
    Resident,
    /// They are brought to the device beside its steps.
    Streamed,
}

/// Where a training's images came from, and what that cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loading {
    /// How they were kept, by the last process: `memory`, or prepared as `bytes` or `compressed`.
    pub form: String,
    /// How they came, in the last process.
    pub delivery: Delivery,
    /// Seconds that steps waited for them, over all resumptions.
    pub waited_s: f64,
}

/// A point of the training curve: means over the steps since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Steps made.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// Mean norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Share of these steps whose gradient was longer than the limit, and was clipped; absent in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipped: Option<f64>,
}

/// What a training leaves beside its checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// The training's name.
    pub id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Steps made.
    pub steps: u64,
    /// Number of trainable parameters of the network.
    pub parameters: usize,
    /// Loss and gradient norm along it.
    pub curve: Vec<Point>,
    /// Seconds of computing, over all resumptions.
    pub wall_s: f64,
    /// Where its images came from; absent in older records.
    #[serde(default)]
    pub loading: Option<Loading>,
    /// Floating-point operations, three forward passes for a step.
    pub flops: f64,
    /// What it ran on last.
    pub machine: Machine,
}

/// Means over images at one step, in bits/dim where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermAt {
    /// The step.
    pub t: usize,
    /// KL divergence that remains if the means agree.
    pub variance_mismatch: f64,
    /// KL divergence due to the difference between the means.
    pub mean_error: f64,
    /// The decoder's term.
    pub decoder: f64,
    /// Mean squared difference of the means, mu_tilde - mu; 0 at t = 1.
    pub mean_squared: f64,
    /// Mean squared error of the predicted x_0, [-1, 1] scale.
    pub mse_x0: f64,
    /// Mean over images of the root of each one's mean squared error, [-1, 1] scale.
    pub rmse_x0: f64,
    /// Mean squared error of the predicted eps; absent where alpha_bar is 0.
    pub mse_eps: Option<f64>,
    /// Where a learned variance lies; absent where it is fixed, at t = 1, and in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<LogShare>,
}

/// Where ln sigma2_t lies between ln beta_tilde_t (0) and ln beta_t (1), over the numbers of all images. The two meet as t grows: where they
/// are nearer than a few hundredths, a share says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogShare {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
}

/// What a bound is made of, means over images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundBreakdown {
    /// By kind.
    pub bound: Bound,
    /// By step, t = 1 first.
    pub terms: Vec<TermAt>,
    /// What the bound would be under other variances.
    pub under: UnderVariances,
    /// Over whole batches of the authors' size only, as they evaluate; absent where that is the same images.
    pub authors: Option<Measured>,
}

/// What a study found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// Pictures in the job's folder.
    pub pictures: Vec<Shown>,
    /// Scores along the reverse process, from T down.
    #[serde(rename = "course")]
    pub scores: Vec<ScoresAt>,
    /// What the network's parts do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anatomy: Option<Anatomy>,
    /// The exact score beside the learned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_field: Option<ScoreField>,
    /// Why a part is missing.
    pub blank: Option<String>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// Its file in the job's folder.
    pub file: String,
    /// What is seen.
    pub caption: String,
    /// What its rows and columns are.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// Names of the rows and columns that a picture's images are laid in; empty where there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Labels {
    /// Before the columns' names: what they are of.
    pub corner: String,
    /// Over each column.
    pub columns: Vec<String>,
    /// Before each row.
    pub rows: Vec<String>,
    /// Under each image, row by row.
    pub notes: Vec<String>,
}

impl Labels {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == Labels::default()
    }
}

/// Scores of the x_0 predicted at one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoresAt {
    /// The step.
    pub t: usize,
    /// The scores.
    pub metrics: BTreeMap<Metric, Measured>,
}

/// What a job leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// The job's name.
    pub id: String,
    /// Its training's name.
    pub training_id: String,
    /// The configuration, every default written out.
    pub config: Config,
    /// The replicate's seed.
    pub seed: u64,
    /// The step of training whose weights were scored; the last one's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Digest of the data set.
    pub data: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The scores.
    pub metrics: BTreeMap<Metric, Measured>,
    /// Scores that could not be computed, with the reason.
    pub blanks: BTreeMap<Metric, String>,
    /// Of these, scores that are blank because samples, their features or the bound left every range: no measurement failed, the cell did.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub out_of_range: BTreeSet<Metric>,
    /// Scores of as many real held-out images by the same measure, where there are as many: for scale.
    pub real: BTreeMap<Metric, Measured>,
    /// What the bounds are made of, for each bits/dim.
    pub bounds: BTreeMap<Metric, BoundBreakdown>,
    /// Steps at which the predicted x_0 in `progressive.png` was taken, left to right.
    pub progressive: Vec<usize>,
    /// Network evaluations for one sample.
    #[serde(rename = "evaluations")]
    pub nfe: usize,
    /// What a study found; absent where the job was no study.
    pub findings: Option<Findings>,
    /// Seconds for sampling and scoring.
    pub wall_s: f64,
    /// What it ran on.
    pub machine: Machine,
}

impl Record {
    /// Of a job on images of digest `data` before anything is measured; if the outcome has a reason, every score is blank for that reason.
    pub fn of(job: &Job, data: &str, outcome: Outcome) -> Record {
        let reason = match &outcome {
            Outcome::Finished {} => None,
            Outcome::Diverged { reason } | Outcome::Failed { reason, .. } => Some(reason.clone()),
        };
        Record {
            format: FORMAT,
            id: job.id.clone(),
            training_id: job.training_id.clone(),
            config: job.config.clone(),
            seed: job.seed,
            at: job.at,
            data: data.into(),
            outcome,
            metrics: BTreeMap::new(),
            blanks: reason.map(|why| Metric::of_data(&job.config.data).map(|metric| (metric, why.clone())).collect()).unwrap_or_default(),
            out_of_range: BTreeSet::new(),
            real: BTreeMap::new(),
            bounds: BTreeMap::new(),
            progressive: Vec::new(),
            nfe: 0,
            findings: None,
            wall_s: 0.0,
            machine: Machine::here(),
        }
    }

    /// Whether a score is missing because the cell left every range, in training or in what was scored: it is then the worst that there is.
    pub fn diverged(&self, metric: Metric) -> bool {
        matches!(self.outcome, Outcome::Diverged { .. }) || self.out_of_range.contains(&metric)
    }
}
