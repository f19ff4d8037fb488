//! Winograd's convolution, F(4x4, 3x3): 36 products for 16 results where a direct convolution takes 144.
//!
//! An image is cut into tiles of 4x4 results. Each tile's 6x6 pixels become 36 numbers ([`transform`]), one in each of 36 planes; a plane's
//! tiles against its weights are one matrix product ([`crate::gemm`]); and 36 sums become the tile's results. The direct convolution is the
//! oracle, and remains where a map has few pixels or channels.
//!
//! A convolution after nearest upsampling reads a tile from pixels that stand twice; its input gradient adds up 2x2 results. Work is
//! split by images and channels only, so the result is bit-identical for any number of threads.

mod gather;
mod pack;
mod pass;
mod scatter;
mod transform;
mod weighing;

use super::geometry::{Frame, Resample, Shape};
use crate::gemm::{Storage, line};
pub use pass::Onto;
use transform::{PLANES, SIDE};

/// Numbers between planes beyond what they hold. A power of two between them would put all 36 into the same few sets of a cache. A whole
/// number of panels, as products count in rows of panels.
const PAD: usize = 32;

/// What the transform of a tile of one channel costs, in products of its 36 planes.
const TRANSFORM: f64 = 600.0;

/// What is gained at least, as the weights become four times as many numbers.
const GAIN: f64 = 1.1;

/// One pass over an image in tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// The image that is read.
    from: Frame,
    /// The image that is written.
    to: Frame,
    /// Rows and columns of tiles.
    tiles: (usize, usize),
    /// Whether each pixel of `from` stands for 2x2.
    doubles: bool,
    /// Whether 2x2 results are added up for one pixel of `to`.
    folds: bool,
}

/// All passes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Winograd {
    /// y from x.
    pub forward: Tiling,
    /// dx from dy.
    pub input_gradient: Tiling,
}

impl Winograd {
    /// Channels come in multiples of this: a vector of any instruction set, or half a panel.
    pub const CHANNELS: usize = 16;

    /// Whether a convolution is of the kind that can be cut into tiles at all: 3x3, stride 1, channels in sixteens.
    pub fn can(shape: Shape) -> bool {
        let sixteens = shape.input.c.is_multiple_of(Self::CHANNELS) && shape.c_out.is_multiple_of(Self::CHANNELS);
        shape.k == 3 && shape.resample != Resample::Halve && sixteens
    }

    /// Whether it is faster than the direct convolution, of which [`Winograd::can`] holds: by the products that both take for a tile and a
    /// pair of channels, and the transforms, which are shared by all pairs of a channel. The two constants were
    /// fitted to timings of both algorithms with AVX2, over 16 to 512 channels, sides of 3 to 32 and batches of 8 to 128.
    pub fn pays(shape: Shape) -> bool {
        let (out, tiles) = (shape.output(), Winograd::new(shape).forward.count());
        // Nearest upsampling adds up taps beforehand: 4 of 9 are left.
        let taps = if shape.resample == Resample::Double { 4.0 } else { 9.0 };
        let transforms = TRANSFORM * (1.0 / shape.input.c as f64 + 1.0 / shape.c_out as f64);
        taps * out.pixels() as f64 > GAIN * tiles as f64 * (PLANES as f64 + transforms)
    }

    /// Multiplications in the products of one image, the same in each pass.
    pub fn multiplications(&self) -> u64 {
        (PLANES * self.forward.count() * self.forward.from.c * self.forward.to.c) as u64
    }

    /// The passes of a convolution of which [`Winograd::can`] holds.
    pub fn new(shape: Shape) -> Winograd {
        assert!(Winograd::can(shape), "{shape:?} cannot be cut into tiles");
        let (out, doubled) = (shape.output(), shape.resample == Resample::Double);
        let tiles = (out.h.div_ceil(SIDE), out.w.div_ceil(SIDE));
        Winograd {
            forward: Tiling { from: shape.input, to: out, tiles, doubles: doubled, folds: false },
            input_gradient: Tiling { from: out, to: shape.input, tiles, doubles: false, folds: doubled },
        }
    }
}

impl Tiling {
    /// Tiles of an image.
    fn count(&self) -> usize {
        self.tiles.0 * self.tiles.1
    }

    /// Elements of the packed weights.
    pub fn packed_len<F: Storage>(&self) -> usize {
        panels::<F>(self.to.c).count() * self.panel_len::<F>()
    }

    /// Elements of a panel of packed weights: \[36\]\[c of `from`\]\[columns\], each plane padded.
    fn panel_len<F: Storage>(&self) -> usize {
        PLANES * self.plane_len::<F>()
    }

    /// Elements from a plane of a panel to the next.
    fn plane_len<F: Storage>(&self) -> usize {
        self.from.c * panel::<F>().min(self.to.c) + PAD
    }
}

/// Columns of a panel of weights or gradients.
fn panel<F: Storage>() -> usize {
    2 * line::<F>()
}

/// The panels of `c` columns: first column and number of columns, which may be half as many in the last.
fn panels<F: Storage>(c: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..c).step_by(panel::<F>()).map(move |first| (first, panel::<F>().min(c - first)))
}

#[cfg(test)]
mod tests;
