//! A small residual classifier: its last features are the space in which FID and IS are measured where Inception is not at hand.

use crate::error::Result;
use crate::layers::{Builder, Conv, Dense, Norm};
use crate::network::ImageShape;
use crate::parameters::{Parameter, Weights};
use candle_core::{D, Tensor};
use ddpm_kernels::Kernel;
use ddpm_kernels::conv2d::{Frame, Resample};
use ddpm_kernels::dropout::Dropout;

const GROUPS: usize = 8;

/// The classifier's size: levels at full, half and quarter resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Channels of each level; the last is the number of features.
    pub channels: [usize; 3],
    /// Residual blocks of each level.
    pub blocks: [usize; 3],
}

impl Size {
    /// For grey images of clothes.
    pub const SMALL: Size = Size { channels: [24, 48, 96], blocks: [1, 1, 1] };
    /// For colour photographs.
    pub const MEDIUM: Size = Size { channels: [32, 64, 128], blocks: [1, 2, 2] };
}

/// The classifier's layers. It holds no numbers.
#[derive(Clone, Debug)]
pub struct Classifier {
    parameters: Vec<Parameter>,
    stem: Conv,
    levels: Vec<(Option<Conv>, Vec<Block>)>,
    norm: Norm,
    logits: Dense,
}

#[derive(Clone, Debug)]
struct Block {
    norm1: Norm,
    conv1: Conv,
    norm2: Norm,
    conv2: Conv,
}

/// The classifier's output for a batch.
pub struct ClassifierOutput {
    /// `[B, features]`: global averages of the last feature map.
    pub features: Tensor,
    /// `[B, classes]`.
    pub logits: Tensor,
}

impl Classifier {
    /// For images whose sides divide by 4.
    pub fn new(size: Size, image: ImageShape, classes: usize) -> Classifier {
        let mut b = Builder::default();
        let mut map = Frame { h: image.height, w: image.width, c: image.channels };
        let stem = b.conv("stem", 3, map, size.channels[0], Resample::Same, 1.0);
        map.c = size.channels[0];
        let mut levels = Vec::new();
        for (level, channels) in size.channels.into_iter().enumerate() {
            let halve = (level > 0).then(|| b.conv(&format!("{level}.halve"), 3, map, channels, Resample::Halve, 1.0));
            if level > 0 {
                map = Frame { h: map.h / 2, w: map.w / 2, c: channels };
            }
            let mut block = |i: usize| {
                // The first block of a level has no number: names in older files stay valid.
                let name = |part: &str| if i == 0 { format!("{level}.{part}") } else { format!("{level}.{i}.{part}") };
                Block {
                    norm1: b.norm(&name("norm1"), channels, GROUPS),
                    conv1: b.conv(&name("conv1"), 3, map, channels, Resample::Same, 1.0),
                    norm2: b.norm(&name("norm2"), channels, GROUPS),
                    conv2: b.conv(&name("conv2"), 3, map, channels, Resample::Same, 0.1),
                }
            };
            levels.push((halve, (0..size.blocks[level]).map(&mut block).collect()));
        }
        let norm = b.norm("norm", map.c, GROUPS);
        let logits = b.dense("logits", map.c, classes);
        Classifier { parameters: b.parameters, stem, levels, norm, logits }
    }

    /// The parameters in their fixed order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.logits.from
    }

    /// Features and logits of `[B, H, W, C]` in [-1, 1]. `dropout` (masks, step, probability) falls on the features in training.
    pub fn forward(&self, w: &Weights, x: &Tensor, dropout: Option<(Dropout, u64, f64)>) -> Result<ClassifierOutput> {
        let kernel = Kernel::Fused;
        let mut h = self.stem.apply(w, x, None, kernel)?;
        for (halve, blocks) in &self.levels {
            if let Some(halve) = halve {
                h = halve.apply(w, &h, None, kernel)?;
            }
            for block in blocks {
                let inner = block.conv1.apply(w, &block.norm1.apply(w, &h, true, kernel)?, None, kernel)?;
                h = (&h + block.conv2.apply(w, &block.norm2.apply(w, &inner, true, kernel)?, None, kernel)?)?;
            }
        }
        let h = self.norm.apply(w, &h, true, kernel)?;
        let (b, height, width, c) = h.dims4()?;
        let features = h.reshape((b, height * width, c))?.mean(1)?;
        let seen = match dropout {
            Some((dropout, step, p)) => dropout.apply(&features, step, p)?,
            None => features.clone(),
        };
        Ok(ClassifierOutput { logits: self.logits.apply(w, &seen, kernel)?, features })
    }

    /// Cross-entropy with a share `smoothing` of the target spread over all classes: a scalar.
    pub fn loss(logits: &Tensor, labels: &[u32], smoothing: f64) -> Result<Tensor> {
        let log_p = candle_nn::ops::log_softmax(logits, D::Minus1)?;
        let labels = Tensor::from_slice(labels, (labels.len(), 1), logits.device())?;
        let right = log_p.gather(&labels, 1)?.mean_all()?;
        Ok((right.affine(-(1.0 - smoothing), 0.0)? + log_p.mean_all()?.affine(-smoothing, 0.0)?)?)
    }
}
