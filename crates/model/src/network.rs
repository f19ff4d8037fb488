//! The U-Net's configuration: the hyperparameters of the authors' code, and four axes for ablations.

use crate::error::{Error, Result};
use ddpm_kernels::pool::BlockPool;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The U-Net's configuration. Resolutions are heights of feature maps inside the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Channels of the first level, even and divisible by `groups`. The paper: 128.
    pub channels: usize,
    /// Channels of each level as multiples of `channels`; each level after the first halves the resolution. The paper: \[1, 2, 2, 2\].
    pub multipliers: Vec<usize>,
    /// Residual blocks per level in the down path; one more per level in the up path. The paper: 2.
    pub blocks: usize,
    /// Resolutions at which every block is followed by attention. The paper: \[16\]. The middle always has attention.
    pub attention: Vec<usize>,
    /// Probability that a feature is dropped before each block's second convolution, in [0, 1). The paper: 0.1 on CIFAR-10.
    pub dropout: f64,
    /// Groups of the normalisations. The authors: 32.
    #[serde(default = "groups")]
    pub groups: usize,
    /// Space to depth: blocks of `block_size` x `block_size` pixels become channels before the network and pixels after it. The authors: 1.
    #[serde(default = "block_size")]
    pub block_size: usize,
    /// Which skip connections from the down path to the up path exist.
    #[serde(default)]
    pub skips: Skips,
    /// Where the timestep enters the network.
    #[serde(default)]
    pub time_embedding: TimeEmbedding,
    /// How feature maps are halved between two levels of the down path. The authors: conv.
    #[serde(default, skip_serializing_if = "is_default")]
    pub downsample: Downsample,
    /// How feature maps are doubled between two levels of the up path. The authors: nearest-conv.
    #[serde(default, skip_serializing_if = "is_default")]
    pub upsample: Upsample,
}

/// Keys that came later are not written where they say what was there before: names that are made of a configuration stay what they were.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn groups() -> usize {
    32
}
fn block_size() -> usize {
    1
}

/// Which skip connections from the down path to the up path exist.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Skips {
    /// All of them: the authors.
    #[default]
    All,
    /// None: an auto-encoder.
    None,
    /// Those at these resolutions.
    Resolutions(Vec<usize>),
}

impl Skips {
    /// Whether a connection at this resolution exists.
    pub fn kept(&self, resolution: usize) -> bool {
        match self {
            Skips::All => true,
            Skips::None => false,
            Skips::Resolutions(kept) => kept.contains(&resolution),
        }
    }
}

/// One skip connection of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The layer on the way down whose features it carries.
    pub from: String,
    /// The block on the way up that reads them.
    pub to: String,
    /// Height of the feature map.
    pub height: usize,
    /// Width of the feature map.
    pub width: usize,
    /// Its channels.
    pub channels: usize,
}

/// Where the timestep enters the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TimeEmbedding {
    /// In every residual block: the authors.
    #[default]
    EveryBlock,
    /// Once, after the first convolution.
    InputOnly,
    /// Nowhere: the network must read the noise level off the image.
    None,
}

/// How feature maps are halved between two levels of the down path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Downsample {
    /// A 3x3 convolution with stride 2: the authors.
    #[default]
    Conv,
    /// The mean of each block of 2x2, without parameters.
    AveragePool,
    /// The largest number of each block of 2x2, without parameters.
    MaxPool,
}

impl Downsample {
    /// All of them.
    pub const ALL: [Downsample; 3] = [Downsample::Conv, Downsample::AveragePool, Downsample::MaxPool];

    /// The pooling that it is, where it is one.
    pub fn pool(self) -> Option<BlockPool> {
        match self {
            Downsample::Conv => None,
            Downsample::AveragePool => Some(BlockPool::Average),
            Downsample::MaxPool => Some(BlockPool::Max),
        }
    }

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Downsample::Conv => "conv",
            Downsample::AveragePool => "average-pool",
            Downsample::MaxPool => "max-pool",
        }
    }
}

/// How feature maps are doubled between two levels of the up path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Upsample {
    /// Every pixel four times, then a 3x3 convolution: the authors.
    #[default]
    NearestConv,
    /// A transposed 4x4 convolution with stride 2. Nearest-conv is the special case in which its 16 taps are sums of 9.
    TransposedConv,
}

impl Upsample {
    /// Both.
    pub const ALL: [Upsample; 2] = [Upsample::NearestConv, Upsample::TransposedConv];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Upsample::NearestConv => "nearest-conv",
            Upsample::TransposedConv => "transposed-conv",
        }
    }
}

/// Height, width and channels of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageShape {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Channels: 1 for grey, 3 for colour.
    pub channels: usize,
}

impl ImageShape {
    /// Numbers in one image.
    #[expect(clippy::len_without_is_empty, reason = "an image has pixels")]
    pub fn len(self) -> usize {
        self.height * self.width * self.channels
    }
}

impl fmt::Display for ImageShape {
    /// Height x width x channels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

impl Network {
    /// The paper's network for 32x32 images (`unet2d16b2` of the authors' code).
    pub fn cifar10() -> Network {
        Network {
            channels: 128,
            multipliers: vec![1, 2, 2, 2],
            blocks: 2,
            attention: vec![16],
            dropout: 0.1,
            groups: groups(),
            block_size: 1,
            skips: Skips::All,
            time_embedding: TimeEmbedding::EveryBlock,
            downsample: Downsample::Conv,
            upsample: Upsample::NearestConv,
        }
    }

    /// The paper's network for 256x256 images (`unet2d16b2c112244`).
    pub fn large() -> Network {
        Network { multipliers: vec![1, 1, 2, 2, 4, 4], dropout: 0.0, ..Network::cifar10() }
    }

    /// Whether such a network exists for images of `image`; the error names the key.
    pub fn check(&self, image: ImageShape) -> Result<()> {
        let error = |key, expected: &str, got: String| Err(Error::InvalidKey { key, expected: expected.into(), got });
        if self.multipliers.is_empty() || self.multipliers.contains(&0) || self.multipliers.len() > 16 {
            return error("multipliers", "1 to 16 positive numbers", format!("{:?}", self.multipliers));
        }
        if self.groups == 0 || self.channels == 0 || !self.channels.is_multiple_of(self.groups) {
            return error("channels", "a positive multiple of groups", format!("{} with {} groups", self.channels, self.groups));
        }
        if self.channels < 4 || !self.channels.is_multiple_of(2) {
            return error("channels", "an even number, at least 4", self.channels.to_string());
        }
        if self.channels > 4096 {
            return error("channels", "at most 4096", self.channels.to_string());
        }
        if let Some(m) = self.multipliers.iter().find(|m| m.checked_mul(self.channels).is_none_or(|width| width > 16384)) {
            return error("multipliers", &format!("at most 16384 channels, {} times a multiplier", self.channels), m.to_string());
        }
        if self.blocks == 0 || self.blocks > 64 {
            return error("blocks", "1 to 64", self.blocks.to_string());
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return error("dropout", "a number in [0, 1)", self.dropout.to_string());
        }
        let factor = self.block_size.saturating_mul(1 << (self.multipliers.len() - 1));
        if factor == 0 || !image.height.is_multiple_of(factor) || !image.width.is_multiple_of(factor) {
            let expected = format!("block_size x 2^(levels - 1) to divide the image's {}x{}", image.height, image.width);
            return error("multipliers", &expected, format!("block_size {} and {} levels", self.block_size, self.multipliers.len()));
        }
        let resolutions: Vec<usize> = (0..self.multipliers.len()).map(|level| (image.height / self.block_size) >> level).collect();
        let kept: &[usize] = if let Skips::Resolutions(kept) = &self.skips { kept } else { &[] };
        for (key, asked) in [("attention", &self.attention[..]), ("skips.resolutions", kept)] {
            if let Some(resolution) = asked.iter().find(|r| !resolutions.contains(r)) {
                return error(key, &format!("resolutions among {resolutions:?}"), resolution.to_string());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of trainings are made of what is written here: a key that came later is there only where it says something new.
    #[test]
    fn the_authors_network_is_written_as_it_was_before_there_were_other_layers() {
        let before = r#"{"channels":128,"multipliers":[1,2,2,2],"blocks":2,"attention":[16],"dropout":0.1,"groups":32,"block_size":1,"skips":"all","time_embedding":"every-block"}"#;
        assert_eq!(serde_json::to_string(&Network::cifar10()).unwrap(), before);
        for (downsample, upsample) in Downsample::ALL.into_iter().flat_map(|down| Upsample::ALL.map(|up| (down, up))) {
            let network = Network { downsample, upsample, ..Network::cifar10() };
            let written = serde_json::to_value(&network).unwrap();
            let named = |key: &str| written.get(key).map_or("", |name| name.as_str().unwrap()).to_string();
            let unless = |name: &str, usual: &str| if name == usual { String::new() } else { name.to_string() };
            assert_eq!(named("downsample"), unless(downsample.name(), "conv"));
            assert_eq!(named("upsample"), unless(upsample.name(), "nearest-conv"));
            assert_eq!(serde_json::from_value::<Network>(written).unwrap(), network);
        }
    }
}
