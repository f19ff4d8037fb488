//! A grid file: a question, the axes that vary, and what the paper says.

use super::claim::Claim;
use super::study::Study;
use super::tune::Tune;
use crate::metrics::Metric;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What a grid file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GridFile {
    /// What is asked, in a sentence.
    pub question: String,
    /// The base that is used where none is named on the command line.
    #[serde(default = "base")]
    pub base: String,
    /// Values that all cells share, by path, over the base's.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// The axes: a path or short name with a list of values, or a free name with a list of maps that vary together.
    pub grid: Map<String, Value>,
    /// Cells to leave out: those that match all values of a map.
    #[serde(default)]
    pub exclude: Vec<Map<String, Value>>,
    /// The seeds; one replicate is run for each.
    #[serde(default = "seeds")]
    pub seeds: Vec<u64>,
    /// How each cell gets settings of its own, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<Tune>,
    /// What is claimed of the cells, to be decided by the seeds.
    #[serde(default)]
    pub claims: Vec<Claim>,
    /// The columns of the table.
    #[serde(default = "metrics")]
    pub metrics: Vec<Metric>,
    /// The pictures; all where absent.
    #[serde(default = "figures")]
    pub figures: Vec<Figure>,
    /// Published numbers to stand beside ours.
    #[serde(default)]
    pub paper: Option<Paper>,
    /// Studies of some cells, in addition to scores.
    #[serde(default)]
    pub studies: Vec<Studied>,
    /// Published tables, with our cells beside their rows.
    #[serde(default)]
    pub tables: Vec<Published>,
    /// A published rate-distortion table, with one of our cells beside it.
    #[serde(default)]
    pub coding: Option<Coding>,
}

/// Studies of some cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Studied {
    /// The cells: those that match all these values.
    pub cell: Map<String, Value>,
    /// The studies; a kind may be written alone.
    pub kinds: Vec<Study>,
}

/// A table of a paper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Its heading.
    pub title: String,
    /// Where it was published, and what was measured on what.
    pub source: String,
    /// The images, by the name of a data set here.
    #[serde(default)]
    pub data: Option<String>,
    /// Its columns.
    pub metrics: Vec<Metric>,
    /// Its rows.
    pub rows: Vec<PublishedRow>,
}

/// A row of a published table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedRow {
    /// The row's name.
    pub name: String,
    /// What it says, as printed.
    #[schemars(schema_with = "by_metric")]
    pub says: BTreeMap<Metric, String>,
    /// The cell of this grid that it belongs to.
    #[serde(default)]
    pub cell: Option<Map<String, Value>>,
}

/// A published rate-distortion table (Table 4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Coding {
    /// Where it was published.
    pub source: String,
    /// The cell of this grid that it belongs to.
    pub cell: Map<String, Value>,
    /// Its rows.
    pub rows: Vec<CodingRow>,
}

/// A row of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodingRow {
    /// T - t + 1 as a share of T.
    pub received: f64,
    /// Bits/dim, as printed.
    pub rate: String,
    /// Root mean squared error on the 0-255 scale, as printed.
    pub rmse: String,
}

/// Published numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paper {
    /// Where they were published, and what they were measured on.
    pub source: String,
    /// The images, by the name of a data set here.
    #[serde(default)]
    pub data: Option<String>,
    /// What its trainings and scores were made with.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// One entry for each published row.
    pub rows: Vec<PaperRow>,
}

/// How much a published number took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Optimiser steps.
    pub steps: u64,
    /// Images in a step.
    pub batch: usize,
    /// T.
    pub timesteps: usize,
    /// Samples that were scored.
    pub samples: usize,
}

/// One published row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaperRow {
    /// The cells that it belongs to: those that match all these values.
    pub cell: Map<String, Value>,
    /// The row's name in the paper.
    #[serde(default)]
    pub name: Option<String>,
    /// What it says, as printed.
    #[schemars(schema_with = "by_metric")]
    pub says: BTreeMap<Metric, String>,
}

/// The pictures that a report can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// Loss against training step.
    TrainingLoss,
    /// Error of the predicted noise against t.
    LossPerT,
    /// Terms of the bound against t.
    BoundTerms,
    /// What the bound is made of, under the cell's own variance and under others.
    BitsLedger,
    /// Where a learned variance lies between the two fixed ones, against t.
    LearnedVariance,
    /// Scores over an axis of numbers, a row for each of the other values.
    ScoreMap,
    /// Weight of the noise error in each objective against t.
    Weights,
    /// beta, alpha_bar and SNR of each schedule.
    Schedules,
    /// Samples of each cell.
    Samples,
    /// The predicted x_0 along the reverse process (Figure 6).
    Progressive,
    /// Rate, distortion, and one against the other (Figure 5).
    RateDistortion,
    /// What studies showed and measured.
    Studies,
    /// The table's metrics as dots with intervals.
    Metrics,
    /// FID against network evaluations for a sample, where cells differ in them.
    Evaluations,
    /// The table's metrics against the training step, where they were measured at several.
    AlongTraining,
}

impl Figure {
    /// All of them.
    pub const ALL: [Figure; 15] = [
        Figure::Samples,
        Figure::Metrics,
        Figure::ScoreMap,
        Figure::Evaluations,
        Figure::AlongTraining,
        Figure::TrainingLoss,
        Figure::LossPerT,
        Figure::BoundTerms,
        Figure::BitsLedger,
        Figure::LearnedVariance,
        Figure::Weights,
        Figure::Schedules,
        Figure::Progressive,
        Figure::RateDistortion,
        Figure::Studies,
    ];
}

impl GridFile {
    /// The file of the experiment that tries what `tune` names: all candidates on their seeds, and nothing that is said of cells.
    pub fn candidates(&self, tune: &Tune) -> GridFile {
        let others = self.metrics.iter().copied().filter(|metric| *metric != tune.metric);
        GridFile {
            question: format!("Which {} for each cell, by {}? For: {}", tune.names().join(" and "), tune.metric.title(), self.question),
            grid: self.grid.iter().chain(&tune.grid).map(|(name, values)| (name.clone(), values.clone())).collect(),
            seeds: tune.seeds.clone(),
            metrics: [tune.metric].into_iter().chain(others).collect(),
            figures: vec![Figure::Metrics, Figure::ScoreMap, Figure::TrainingLoss],
            claims: Vec::new(),
            paper: None,
            studies: Vec::new(),
            tables: Vec::new(),
            coding: None,
            tune: None,
            ..self.clone()
        }
    }
}

/// A text for some of the metrics.
fn by_metric(_: &mut SchemaGenerator) -> Schema {
    let properties: Map<String, Value> =
        Metric::ALL.into_iter().map(|metric| (metric.name().into(), json!({ "type": "string" }))).collect();
    json_schema!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn base() -> String {
    "fashion-cpu".into()
}
fn seeds() -> Vec<u64> {
    vec![0]
}
fn metrics() -> Vec<Metric> {
    Metric::USUAL.to_vec()
}
fn figures() -> Vec<Figure> {
    Figure::ALL.to_vec()
}
