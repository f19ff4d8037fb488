//! An image cut into tiles: which pass it is, how many products it takes, and where its packed weights stand.

use super::six;
use super::transform::TAPS;
use crate::conv2d::geometry::{Frame, Resample, Shape};
use crate::gemm::{Storage, line};

/// Channels come in multiples of this: a vector of any instruction set, or half a panel.
pub const CHANNELS: usize = 16;

/// Numbers between planes beyond what they hold. A power of two between them would put all of them into the same few sets of a cache. A whole
/// number of panels, as products count in rows of panels.
pub const PAD: usize = 32;

/// What is gained at least, as the weights become up to four times as many numbers.
const GAIN: f64 = 1.1;

/// One pass over an image in tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// The image that is read.
    pub from: Frame,
    /// The image that is written.
    pub to: Frame,
    /// Pixels on a side of a tile of results: 4 or 2.
    pub side: usize,
    /// Rows and columns of tiles.
    pub tiles: (usize, usize),
    /// Whether each pixel of `from` stands for 2x2.
    pub doubles: bool,
    /// Whether 2x2 results are added up for one pixel of `to`.
    pub folds: bool,
}

impl Tiling {
    /// The forward pass of a convolution and its input gradient, with tiles of `side` x `side` results of the forward pass.
    pub fn both(shape: Shape, side: usize) -> [Tiling; 2] {
        let (out, doubled) = (shape.output(), shape.resample == Resample::Double);
        let tiles = (out.h.div_ceil(side), out.w.div_ceil(side));
        [
            Tiling { from: shape.input, to: out, side, tiles, doubles: doubled, folds: false },
            Tiling { from: out, to: shape.input, side, tiles, doubles: false, folds: doubled },
        ]
    }

    /// Whether a pass is faster in tiles: by the products that both algorithms take for a tile and a pair of channels, and the transforms,
    /// which are shared by all pairs of a channel. The constant of 4x4 was fitted to timings of both with AVX2, over 16 to 512 channels, sides of
    /// 3 to 32 and batches of 8 to 128. The same timings of bf16 ask for 150; twice as much, as there are processors that multiply bf16
    /// faster than AVX2 can, and the rule is to be one for all of them.
    pub fn pays(&self, shape: Shape) -> bool {
        // What the transform of a tile of one channel costs, in products.
        let transform = if self.side == six::SIDE { 600.0 } else { 300.0 };
        let transforms = transform * (1.0 / shape.input.c as f64 + 1.0 / shape.c_out as f64);
        products(shape) as f64 > GAIN * self.count() as f64 * (self.planes() as f64 + transforms)
    }

    /// Whether a pass takes fewer products in tiles.
    pub fn saves(&self, shape: Shape) -> bool {
        products(shape) > self.count() * self.planes()
    }

    /// Multiplications in the products of one image.
    pub fn multiplications(&self) -> u64 {
        (self.planes() * self.count() * self.from.c * self.to.c) as u64
    }

    /// Tiles of an image.
    pub fn count(&self) -> usize {
        self.tiles.0 * self.tiles.1
    }

    /// Products that a tile takes for each pair of channels.
    pub fn planes(&self) -> usize {
        (self.side + TAPS - 1).pow(2)
    }

    /// Elements of the packed weights.
    pub fn packed_len<F: Storage>(&self) -> usize {
        panels::<F>(self.to.c).count() * self.panel_len::<F>()
    }

    /// Elements of a panel of packed weights: \[planes\]\[c of `from`\]\[columns\], each plane padded.
    pub fn panel_len<F: Storage>(&self) -> usize {
        self.planes() * self.plane_len::<F>()
    }

    /// Elements from a plane of a panel to the next.
    pub fn plane_len<F: Storage>(&self) -> usize {
        self.from.c * panel::<F>().min(self.to.c) + PAD
    }
}

/// Products that a direct convolution takes for each pair of channels.
fn products(shape: Shape) -> usize {
    let taps = if shape.resample == Resample::Double { 4 } else { TAPS * TAPS };
    taps * shape.output().pixels()
}

/// Columns of a panel of weights or gradients.
pub fn panel<F: Storage>() -> usize {
    2 * line::<F>()
}

/// The panels of `c` columns: first column and number of columns, which may be half as many in the last.
pub fn panels<F: Storage>(c: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..c).step_by(panel::<F>()).map(move |first| (first, panel::<F>().min(c - first)))
}
