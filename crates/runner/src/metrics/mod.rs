//! Scores of samples: streaming f64 moments, a pure distance, and a protocol that says exactly what was compared.

pub mod extrapolate;
pub mod features;
pub mod frechet;
pub mod inception_score;
pub mod kid;
pub mod manifold;
pub mod moments;
pub mod reference;
pub mod score;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A measured number, complete enough to stand alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The number.
    pub value: f64,
    /// Its uncertainty, as the protocol says: the standard error; of the inception score the standard deviation over splits, of KID that over
    /// subsets, of FID∞ the error of the fitted line alone. Absent where it cannot be had.
    pub std_err: Option<f64>,
    /// How many images it was measured on.
    pub n: usize,
    /// Everything that makes it comparable: features and their digest, rounding, reference, weights, Monte-Carlo scheme.
    pub protocol: String,
}

/// The scores that tables can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The inception score.
    InceptionScore,
    /// Fréchet distance of features, samples to training images.
    Fid,
    /// The same to held-out images.
    FidHeldOut,
    /// The distance to training images that infinitely many samples would have.
    FidInfinity,
    /// The kernel inception distance to training images.
    Kid,
    /// Share of the samples among the training images' nearest neighbours.
    Precision,
    /// Share of the training images among the samples' nearest neighbours.
    Recall,
    /// The variational bound on held-out images, in bits/dim.
    BitsPerDim,
    /// The variational bound on training images, in bits/dim.
    BitsPerDimTrain,
    /// The bound on held-out images with the trained mean and, at each t >= 2, the best variance that is one number for all pixels; in bits/dim.
    BitsPerDimOptimal,
}

impl Metric {
    /// All of them, in the order of tables.
    pub const ALL: [Metric; 10] = [
        Metric::InceptionScore,
        Metric::Fid,
        Metric::FidHeldOut,
        Metric::FidInfinity,
        Metric::Kid,
        Metric::Precision,
        Metric::Recall,
        Metric::BitsPerDim,
        Metric::BitsPerDimTrain,
        Metric::BitsPerDimOptimal,
    ];

    /// Those that a table has where a grid names none.
    pub const USUAL: [Metric; 4] = [Metric::InceptionScore, Metric::Fid, Metric::BitsPerDim, Metric::BitsPerDimTrain];

    /// Those that compare samples with images; the others need none.
    pub const OF_SAMPLES: [Metric; 7] =
        [Metric::InceptionScore, Metric::Fid, Metric::FidHeldOut, Metric::FidInfinity, Metric::Kid, Metric::Precision, Metric::Recall];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::InceptionScore => "inception-score",
            Metric::Fid => "fid",
            Metric::FidHeldOut => "fid-held-out",
            Metric::FidInfinity => "fid-infinity",
            Metric::Kid => "kid",
            Metric::Precision => "precision",
            Metric::Recall => "recall",
            Metric::BitsPerDim => "bits-per-dim",
            Metric::BitsPerDimTrain => "bits-per-dim-train",
            Metric::BitsPerDimOptimal => "bits-per-dim-optimal",
        }
    }

    /// Its heading in tables and figures, with the direction that is better.
    pub fn heading(self) -> &'static str {
        match self {
            Metric::InceptionScore => "IS ↑",
            Metric::Fid => "FID ↓",
            Metric::FidHeldOut => "FID (held out) ↓",
            Metric::FidInfinity => "FID∞ ↓",
            Metric::Kid => "KID ↓",
            Metric::Precision => "precision ↑",
            Metric::Recall => "recall ↑",
            Metric::BitsPerDim => "bits/dim ↓",
            Metric::BitsPerDimTrain => "bits/dim (train) ↓",
            Metric::BitsPerDimOptimal => "bits/dim (best σ) ↓",
        }
    }

    /// Whether more is better.
    pub fn rises(self) -> bool {
        match self {
            Metric::InceptionScore | Metric::Precision | Metric::Recall => true,
            Metric::Fid | Metric::FidHeldOut | Metric::FidInfinity | Metric::Kid => false,
            Metric::BitsPerDim | Metric::BitsPerDimTrain | Metric::BitsPerDimOptimal => false,
        }
    }

    /// Digits after the point.
    pub fn digits(self) -> usize {
        match self {
            Metric::InceptionScore | Metric::Fid | Metric::FidHeldOut | Metric::FidInfinity => 2,
            Metric::Precision | Metric::Recall | Metric::BitsPerDim | Metric::BitsPerDimTrain | Metric::BitsPerDimOptimal => 3,
            Metric::Kid => 4,
        }
    }
}
