//! Winograd's convolutions, F(4x4, 3x3) and F(2x2, 3x3): 36 products for 16 results, or 16 for 4, where a direct convolution takes 9 for each.
//!
//! An image is cut into tiles of results. Each tile's 6x6 or 4x4 pixels become as many numbers ([`transform`]), one in each of 36 or 16
//! planes; a plane's tiles against its weights are one matrix product ([`crate::gemm`]); and the sums become the tile's results. The direct
//! convolution is the oracle, and remains where a map has few pixels or channels.
//!
//! Factors of f32 have tiles of 4x4 results. Their transforms would lose too much of bf16's eight bits: factors of bf16 have 2x2, and their
//! weight gradients are computed in f32. After upsampling tiles of 2x2 save nothing, so those passes stay direct in bf16.
//!
//! A convolution after nearest upsampling reads a tile from pixels that stand twice; its input gradient adds up 2x2 results. Work is
//! split by images and channels only, so the result is bit-identical for any number of threads.

mod four;
mod gather;
mod pack;
mod pass;
mod scatter;
mod six;
mod tiling;
mod transform;
mod weighing;

use super::geometry::{Resample, Shape};
use crate::gemm::Format;
use crate::gemm::pack::OperandSplit;
pub use pass::Onto;
use tiling::CHANNELS;
pub use tiling::Tiling;
use transform::TAPS;
pub use weighing::WeightGradient;

/// The passes of a convolution that are computed in tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Winograd {
    /// y from x.
    pub forward: Option<Tiling>,
    /// dx from dy.
    pub input_gradient: Option<Tiling>,
    /// dw from x and dy.
    pub weight_gradient: Option<WeightGradient>,
}

impl Winograd {
    /// All passes that can be cut into tiles: those of 3x3 convolutions with stride 1 and channels in sixteens.
    pub fn possible<F: Format>(shape: Shape, split: OperandSplit) -> Winograd {
        let sixteens = shape.input.c.is_multiple_of(CHANNELS) && shape.c_out.is_multiple_of(CHANNELS);
        if shape.k != TAPS || shape.resample == Resample::Halve || !sixteens || split != OperandSplit::One {
            return Winograd::default();
        }
        // Nearest upsampling adds up taps beforehand: 4 of 9 are left, 16 products for 2x2 results, as many as a tile takes.
        let few = shape.resample == Resample::Double && F::TILE == four::SIDE;
        let [forward, input_gradient] = Tiling::both(shape, F::TILE).map(|tiling| (!few).then_some(tiling));
        Winograd { forward, input_gradient, weight_gradient: Some(WeightGradient::new(shape)) }
    }

    /// Those of them that are faster than direct ones. Weight gradients of bf16 are where they take fewer products at all, as direct ones
    /// have to make words of pixels, and lose digits.
    pub fn faster<F: Format>(shape: Shape, split: OperandSplit) -> Winograd {
        if !F::WINOGRAD {
            return Winograd::default();
        }
        let all = Winograd::possible::<F>(shape, split);
        Winograd {
            forward: all.forward.filter(|tiling| tiling.pays(shape)),
            input_gradient: all.input_gradient.filter(|tiling| tiling.pays(shape)),
            weight_gradient: all.weight_gradient.filter(|gradient| match F::PER_WORD {
                1 => gradient.x.pays(shape),
                _ => gradient.x.saves(shape),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
