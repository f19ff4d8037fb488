//! The feature network: the project's own Fashion-MNIST classifier, embedded with its weights.

use crate::data::sha256;
use anyhow::{Context, Result, ensure};
use ddpm_model::checkpoint;
use ddpm_model::classifier::Classifier;
use ddpm_model::network::ImageShape;
use ddpm_model::parameters::Weights;
use ddpm_model::tensor::Tensor;

/// Written by `ddpm classifier`; its description holds the recipe and the accuracy that it reached.
const WEIGHTS: &[u8] = include_bytes!("../../data/fashion-mnist/classifier.safetensors");

/// Classes of the embedded network.
pub const CLASSES: usize = 10;
const SHAPE: ImageShape = ImageShape { height: 28, width: 28, channels: 1 };

/// Images seen by one pass.
const BATCH: usize = 100;

/// A feature network with its weights.
pub struct FeatureNet {
    classifier: Classifier,
    weights: Weights,
    /// Its name and digest, for protocols.
    pub name: String,
}

/// What the network sees in images.
pub struct Features {
    /// Numbers in a row of `rows`.
    pub dim: usize,
    /// `[n, dim]`.
    pub rows: Vec<f32>,
    /// `[n, CLASSES]`: class probabilities.
    pub probabilities: Vec<f32>,
}

impl FeatureNet {
    /// The network for images of `shape`; none where the project has none.
    pub fn embedded(shape: ImageShape) -> Result<Option<FeatureNet>> {
        if shape != SHAPE {
            return Ok(None);
        }
        let classifier = Classifier::new(SHAPE, CLASSES);
        let weights = checkpoint::read_weights(WEIGHTS, classifier.parameters()).context("the embedded feature network")?;
        Ok(Some(FeatureNet { classifier, weights, name: format!("fashion-classifier {}", &sha256(WEIGHTS)[..8]) }))
    }

    /// The network's name for images of `shape`, or `none`: part of what a job's scores depend on.
    pub fn name_for(shape: ImageShape) -> Result<String> {
        Ok(FeatureNet::embedded(shape)?.map_or_else(|| "none".into(), |net| net.name))
    }

    /// The recipe and accuracy stored with the weights, as JSON text.
    pub fn description() -> Result<String> {
        Ok(checkpoint::description(WEIGHTS)?)
    }

    /// Features of `images`, a batch at a time.
    pub fn see(&self, images: &Tensor) -> Result<Features> {
        let n = images.dim(0)?;
        ensure!(n > 0, "features of no images");
        let mut seen = Features { dim: 0, rows: Vec::new(), probabilities: Vec::new() };
        for first in (0..n).step_by(BATCH) {
            let part = self.classifier.forward(&self.weights, &images.narrow(0, first, BATCH.min(n - first))?, None)?;
            seen.dim = part.features.dim(1)?;
            seen.rows.extend(part.features.flatten_all()?.to_vec1::<f32>()?);
            seen.probabilities.extend(part.probabilities()?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(seen)
    }
}

impl Features {
    /// Each image's features.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.rows.chunks(self.dim)
    }

    /// The first `n` images, where there are as many.
    pub fn first(&self, n: usize) -> Option<Features> {
        let part = |numbers: &[f32], width: usize| numbers.get(..n * width).map(<[f32]>::to_vec);
        Some(Features { dim: self.dim, rows: part(&self.rows, self.dim)?, probabilities: part(&self.probabilities, CLASSES)? })
    }

    /// Number of images.
    pub fn n(&self) -> usize {
        self.rows.len() / self.dim
    }
}
