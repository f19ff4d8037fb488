//! What is done to an image before it is one of a set: its size and its channels.

use super::decode::MOST_PIXELS;
use super::resample::{Filter, Picture, resampled};
use anyhow::ensure;
use ddpm_model::network::ImageShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an image gets its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Transform {
    /// It has it.
    None {},
    /// As in guided-diffusion: halved by a box while the shorter side is at least twice too long, then bicubic, then cut from the middle.
    GuidedDiffusion {
        /// The side of the square.
        #[schemars(with = "usize", range(min = 1, max = 4096))]
        side: Side,
    },
    /// The shorter side made as long as the square's, then cut from the middle.
    Resize {
        /// The side of the square.
        #[schemars(with = "usize", range(min = 1, max = 4096))]
        side: Side,
        /// How pixels are weighed.
        filter: Filter,
    },
}

impl Default for Transform {
    fn default() -> Transform {
        Transform::None {}
    }
}

/// A square's side in pixels, 1 to 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub struct Side(usize);

impl TryFrom<usize> for Side {
    type Error = String;
    fn try_from(side: usize) -> Result<Side, String> {
        match side {
            1..=4096 => Ok(Side(side)),
            _ => Err(format!("expected a side of 1 to 4096 pixels, got {side}")),
        }
    }
}

impl From<Side> for usize {
    fn from(side: Side) -> usize {
        side.0
    }
}

/// How many channels images are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// One, the luma.
    Grey,
    /// Three.
    Colour,
}

impl From<Channels> for usize {
    fn from(channels: Channels) -> usize {
        match channels {
            Channels::Grey => 1,
            Channels::Colour => 3,
        }
    }
}

impl Transform {
    /// The picture with its size.
    pub fn apply(&self, picture: Picture) -> anyhow::Result<Picture> {
        match *self {
            Transform::None {} => Ok(picture),
            Transform::GuidedDiffusion { side: Side(side) } => {
                let (mut shape, mut pixels) = picture;
                while shape.height.min(shape.width) >= 2 * side {
                    (shape, pixels) = resampled((shape, pixels), shape.height / 2, shape.width / 2, Filter::Box);
                }
                cut(shortest((shape, pixels), side, Filter::Bicubic)?, side)
            }
            Transform::Resize { side: Side(side), filter } => cut(shortest(picture, side, filter)?, side),
        }
    }
}

/// With the shorter side as long as `side`, and the other in proportion, halves to the even number, as in Python.
fn shortest(picture: Picture, side: usize, filter: Filter) -> anyhow::Result<Picture> {
    let shape = picture.0;
    let scale = side as f64 / shape.height.min(shape.width) as f64;
    let [height, width] = [shape.height, shape.width].map(|length| (length as f64 * scale).round_ties_even() as usize);
    let most = MOST_PIXELS as usize;
    ensure!(height.saturating_mul(width) <= most, "expected a picture that has at most {most} pixels at a side of {side}, got {shape}");
    Ok(resampled(picture, height, width, filter))
}

/// The square in the middle.
fn cut((shape, pixels): Picture, side: usize) -> anyhow::Result<Picture> {
    ensure!(shape.height >= side && shape.width >= side, "expected at least {side}x{side}, got {shape}");
    let (top, left) = ((shape.height - side) / 2, (shape.width - side) / 2);
    let row = |y: usize| &pixels[(y * shape.width + left) * shape.channels..][..side * shape.channels];
    Ok((ImageShape { height: side, width: side, ..shape }, (top..top + side).flat_map(row).copied().collect()))
}

/// The picture with one channel or three: grey as its own colour three times, colour as its luma (ITU-R 601, rounded as in Pillow).
pub fn with_channels((shape, pixels): Picture, channels: usize) -> Picture {
    let pixels = match (shape.channels, channels) {
        (1, 3) => pixels.iter().flat_map(|grey| [*grey; 3]).collect(),
        (3, 1) => pixels.chunks_exact(3).map(luma).collect(),
        _ => return (shape, pixels),
    };
    (ImageShape { channels, ..shape }, pixels)
}

fn luma(colour: &[u8]) -> u8 {
    let [red, green, blue] = [0, 1, 2].map(|i| u32::from(colour[i]));
    ((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::data::decode::decode;
    use proptest::prelude::*;
    use std::path::Path;

    fn golden(name: &str) -> Picture {
        decode(&std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/transforms").join(name)).unwrap())
            .unwrap()
    }

    /// Pillow's bytes, of pictures larger and smaller than the square, lying and standing, grey, in colour, and of noise where every filter
    /// overshoots (`tests/golden/data/make.py`).
    #[test]
    fn pictures_are_resized_as_in_pillow() {
        let all = [
            ("guided-diffusion", Transform::GuidedDiffusion { side: Side(16) }),
            ("box", Transform::Resize { side: Side(16), filter: Filter::Box }),
            ("bicubic", Transform::Resize { side: Side(16), filter: Filter::Bicubic }),
            ("lanczos", Transform::Resize { side: Side(16), filter: Filter::Lanczos }),
        ];
        for picture in ["lying", "standing", "small", "grey", "noise-lying", "noise-standing"] {
            for (name, transform) in all {
                let made = transform.apply(golden(&format!("{picture}.png"))).unwrap();
                assert!(made == golden(&format!("{picture}-{name}.png")), "{picture}, {name}");
            }
        }
        assert_eq!(with_channels(golden("lying.png"), 1), golden("lying-luma.png"));
    }

    proptest! {
        /// A square of that side, whatever the picture's; one colour stays what it is; a square of its own side stays as it is.
        #[test]
        fn squares_come_out((height, width) in (1usize..90, 1usize..90), side in 1usize..40, grey in any::<bool>(), level in any::<u8>()) {
            let shape = ImageShape { height, width, channels: if grey { 1 } else { 3 } };
            for transform in [Transform::GuidedDiffusion { side: Side(side) }, Transform::Resize { side: Side(side), filter: Filter::Lanczos }] {
                let (found, pixels) = transform.apply((shape, vec![level; shape.len()])).unwrap();
                prop_assert_eq!(found, ImageShape { height: side, width: side, ..shape });
                prop_assert!(pixels.iter().all(|v| *v == level));
            }
            let square = ImageShape { height: side, width: side, ..shape };
            let pixels: Vec<u8> = (0..square.len()).map(|i| (i * 37) as u8).collect();
            for filter in [Filter::Box, Filter::Bicubic, Filter::Lanczos] {
                prop_assert_eq!(&Transform::Resize { side: Side(side), filter }.apply((square, pixels.clone())).unwrap().1, &pixels);
            }
        }

        /// Grey made colour and grey again is what it was.
        #[test]
        fn grey_comes_back(pixels in prop::collection::vec(any::<u8>(), 1..50)) {
            let shape = ImageShape { height: 1, width: pixels.len(), channels: 1 };
            let colour = with_channels((shape, pixels.clone()), 3);
            prop_assert_eq!(colour.0.channels, 3);
            prop_assert_eq!(with_channels(colour, 1), (shape, pixels.clone()));
            prop_assert_eq!(with_channels((shape, pixels.clone()), 1), (shape, pixels));
        }
    }
}
