//! Studies: what is looked at beside scores, each on one trained network: what Section 4 shows, and what the network's parts do.

use super::config::Config;
use ddpm_core::Sampler;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What to examine. Where steps are given, they are fractions of T: 1 is T.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Study {
    /// Quality of the predicted x_0 along the reverse process (Figures 10 and 6).
    ReverseTime {
        /// Steps at which it is scored, evenly spread. The authors: 20.
        #[serde(default = "stops")]
        stops: usize,
    },
    /// Images that share x_t and are denoised separately from there (Figure 7).
    SharedLatents {
        /// Fractions of T at which they separate.
        #[serde(default = "quarters")]
        at: Vec<f64>,
        /// Images of each x_t.
        #[serde(default = "images")]
        images: usize,
    },
    /// Mixtures of two held-out images' x_t, decoded (Figures 8 and 9).
    Interpolation {
        /// Shares of T at which images are mixed; 0 is the images themselves.
        #[serde(default = "half")]
        at: Vec<f64>,
        /// Pairs of images.
        #[serde(default = "pairs")]
        pairs: usize,
    },
    /// Training images nearest to samples, in pixels and in features (Figures 12 and 15).
    Neighbours {
        /// Samples, the first ones.
        #[serde(default = "images")]
        samples: usize,
        /// Neighbours of each.
        #[serde(default = "neighbours")]
        neighbours: usize,
        /// Side of the square in the middle that is compared, in pixels; all of the image where it is not given. The authors: 100 of
        /// CelebA-HQ's 256, around the face.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crop: Option<usize>,
    },
    /// What the network's parts do: errors of the predicted eps where skip connections carry something else or a wrong t is told, time shifts
    /// beside features, and power by frequency along the reverse process. The network that is changed is computed on the host, in f32.
    Anatomy {
        /// Steps that are looked at, evenly spread.
        #[serde(default = "looks")]
        stops: usize,
        /// Images that each number is a mean over: the first held-out ones, or where there are fewer, training images.
        #[serde(default = "examined")]
        images: usize,
    },
    /// The exact score beside the learned one, of points whose law is known (data `mixture-2d`): arrows over the plane, and walks of samplers
    /// that follow each of them from the same noise, with their exact divergence from the law.
    ScoreField {
        /// Fractions of T at which the score is drawn.
        #[serde(default = "field")]
        at: Vec<f64>,
        /// Whose walks.
        #[serde(default = "walkers")]
        samplers: Vec<Sampler>,
        /// Samples whose paths are drawn, the first ones.
        #[serde(default = "paths")]
        paths: usize,
        /// Samples whose divergence from the law is measured.
        #[serde(default = "many")]
        samples: usize,
    },
}

fn stops() -> usize {
    20
}
fn quarters() -> Vec<f64> {
    vec![1.0, 0.75, 0.5, 0.25]
}
fn half() -> Vec<f64> {
    vec![0.5]
}
fn images() -> usize {
    8
}
fn pairs() -> usize {
    6
}
fn neighbours() -> usize {
    7
}
fn looks() -> usize {
    8
}
fn examined() -> usize {
    64
}

fn field() -> Vec<f64> {
    vec![1.0, 0.2, 0.1, 0.05, 0.02]
}
fn walkers() -> Vec<Sampler> {
    vec![
        Sampler::ancestral(),
        Sampler::Ddim { eta: 0.0, clip: true, steps: None },
        Sampler::Langevin { step_size: 0.1, inner: 3, steps: None },
    ]
}
fn paths() -> usize {
    4
}
fn many() -> usize {
    10_000
}

/// Mixtures between two images of an interpolation, ends not counted: the paper's λ = 0.1, ..., 0.9.
pub const MIXTURES: usize = 9;
/// Most points of the plane that are walked.
const MOST_POINTS: usize = 1_000_000;
/// Largest number of anything in a picture.
const MOST: usize = 64;

impl Study {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Study::ReverseTime { .. } => "reverse-time",
            Study::SharedLatents { .. } => "shared-latents",
            Study::Interpolation { .. } => "interpolation",
            Study::Neighbours { .. } => "neighbours",
            Study::Anatomy { .. } => "anatomy",
            Study::ScoreField { .. } => "score-field",
        }
    }

    /// Whether it makes all samples on its way.
    pub fn walks(&self) -> bool {
        match self {
            Study::ReverseTime { .. } => true,
            Study::SharedLatents { .. }
            | Study::Interpolation { .. }
            | Study::Neighbours { .. }
            | Study::Anatomy { .. }
            | Study::ScoreField { .. } => false,
        }
    }

    /// What does not fit, as (key, problem).
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let count = |key, n: usize| match n {
            1..=MOST => Ok(()),
            _ => Err((key, format!("expected 1 to {MOST}, got {n}"))),
        };
        let shares = |at: &[f64], least: f64| match at.iter().find(|s| !(least..=1.0).contains(*s)) {
            Some(share) => Err(("at", format!("expected shares of T in [{least}, 1], got {share}"))),
            None => count("at", at.len()),
        };
        match self {
            Study::ReverseTime { stops } => match stops {
                2..=1000 => Ok(()),
                _ => Err(("stops", format!("expected 2 to 1000, got {stops}"))),
            },
            Study::SharedLatents { at, images } => shares(at, 0.0).and(count("images", *images)),
            Study::Interpolation { at, pairs } => shares(at, 0.0).and(count("pairs", *pairs)),
            Study::Neighbours { crop: Some(0), .. } => Err(("crop", "expected a side of at least 1 pixel, got 0".into())),
            Study::Neighbours { samples, neighbours, .. } => count("samples", *samples).and(count("neighbours", *neighbours)),
            Study::Anatomy { stops, .. } if !(2..=16).contains(stops) => Err(("stops", format!("expected 2 to 16, got {stops}"))),
            Study::Anatomy { images, .. } => match images {
                2..=10_000 => Ok(()),
                _ => Err(("images", format!("expected 2 to 10000, got {images}"))),
            },
            Study::ScoreField { samplers, .. } if !(1..=8).contains(&samplers.len()) => {
                Err(("samplers", format!("expected 1 to 8, got {}", samplers.len())))
            }
            Study::ScoreField { samples, .. } if !(10..=MOST_POINTS).contains(samples) => {
                Err(("samples", format!("expected 10 to {MOST_POINTS}, got {samples}")))
            }
            Study::ScoreField { at, paths, samples, .. } => match paths {
                _ if paths > samples => Err(("paths", format!("expected at most the {samples} samples, got {paths}"))),
                _ => shares(at, 0.0).and(count("paths", *paths)),
            },
        }
    }
}

impl Study {
    /// What of it does not fit a cell's configuration, as (key, problem); the key is empty where all of it does not.
    pub fn check_cell(&self, config: &Config) -> Result<(), (String, String)> {
        let Study::ScoreField { samplers, .. } = self else { return Ok(()) };
        if config.data.mixture().is_none() {
            return Err((
                String::new(),
                format!("score-field needs data whose law is known, as mixture-2d is; got {}", config.data.kind()),
            ));
        }
        let diffusion = config.diffusion();
        for (i, sampler) in samplers.iter().enumerate() {
            diffusion.setup.sampling_plan(&diffusion.process, sampler).map_err(|e| (format!(".samplers[{i}]"), e.to_string()))?;
        }
        Ok(())
    }
}

/// A grid file's tree with every study that was written as its kind alone as a map.
pub fn normalised(mut tree: Value) -> Value {
    let rows = tree.get_mut("studies").and_then(Value::as_array_mut).into_iter().flatten();
    let kinds = rows.filter_map(|row| row.get_mut("kinds").and_then(Value::as_array_mut)).flatten();
    for value in kinds {
        if let Value::String(kind) = &*value {
            *value = json!({ "kind": kind });
        }
    }
    tree
}
