//! Scores of samples: streaming f64 moments, a pure distance, and a protocol that says exactly what was compared.

pub mod features;
pub mod frechet;
pub mod inception_score;
pub mod moments;

use serde::{Deserialize, Serialize};

/// A measured number, complete enough to stand alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The number.
    pub value: f64,
    /// Its standard error, or for the inception score its standard deviation over splits; absent where it cannot be had.
    pub std_err: Option<f64>,
    /// How many images it was measured on.
    pub n: usize,
    /// Everything that makes it comparable: features and their digest, rounding, reference, weights, Monte-Carlo scheme.
    pub protocol: String,
}

/// The scores that tables can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The variational bound on held-out images, in bits/dim.
    BitsPerDim,
    /// The variational bound on training images, in bits/dim.
    BitsPerDimTrain,
    /// Fréchet distance of features, samples to training images.
    Fid,
    /// The inception score.
    InceptionScore,
}

impl Metric {
    /// All of them, in the order of tables.
    pub const ALL: [Metric; 4] = [Metric::InceptionScore, Metric::Fid, Metric::BitsPerDim, Metric::BitsPerDimTrain];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::BitsPerDim => "bits-per-dim",
            Metric::BitsPerDimTrain => "bits-per-dim-train",
            Metric::Fid => "fid",
            Metric::InceptionScore => "inception-score",
        }
    }

    /// Its heading in tables and figures, with the direction that is better.
    pub fn heading(self) -> &'static str {
        match self {
            Metric::BitsPerDim => "bits/dim ↓",
            Metric::BitsPerDimTrain => "bits/dim (train) ↓",
            Metric::Fid => "FID ↓",
            Metric::InceptionScore => "IS ↑",
        }
    }

    /// Digits after the point.
    pub fn digits(self) -> usize {
        match self {
            Metric::BitsPerDim | Metric::BitsPerDimTrain => 3,
            Metric::Fid | Metric::InceptionScore => 2,
        }
    }
}
