//! Convolution with a window of any size, forward only, for networks that are evaluated but never trained here.
//!
//! Works on slices, one image at a time, so that threads share the images. The product is [`crate::gemm`], as in [`crate::conv2d`].

mod reference;

use crate::conv2d::geometry::{Frame, windows};
use crate::conv2d::layer::PreparedPass;
use crate::gemm::Format;
use crate::gemm::pack::{Kernels, OperandSplit};
use crate::scratch::{self, Scratch};

pub use reference::convolve;

/// One convolution's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The image.
    pub input: Frame,
    /// Channels of the result.
    pub c_out: usize,
    /// Rows and columns of the window.
    pub size: (usize, usize),
    /// Pixels from a window to the next, in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the image.
    pub pad: (usize, usize),
}

impl Window {
    /// Size of the result: as many windows as fit.
    pub fn output(self) -> Frame {
        let side = |n: usize, pad: usize, size: usize| (n + 2 * pad - size) / self.stride + 1;
        Frame { h: side(self.input.h, self.pad.0, self.size.0), w: side(self.input.w, self.pad.1, self.size.1), c: self.c_out }
    }

    /// Numbers of the weights, `[rows, columns, c_in, c_out]`.
    pub fn weight_len(self) -> usize {
        self.size.0 * self.size.1 * self.input.c * self.c_out
    }

    /// Multiply-accumulates for one image.
    pub fn macs(self) -> u64 {
        (self.output().pixels() * self.weight_len()) as u64
    }
}

/// A convolution with its weights, ready to run.
#[derive(Clone, Debug)]
pub struct PackedConvolution<F: Format> {
    window: Window,
    ready: PreparedPass,
    packed: Vec<F::Element>,
    bias: Vec<F::Number>,
}

impl<F: Format<Number: Scratch, Element: Scratch>> PackedConvolution<F> {
    /// With `weights` `[rows, columns, c_in, c_out]` and a bias for each channel of the result.
    pub fn new(window: Window, weights: &[F::Number], bias: Vec<F::Number>) -> PackedConvolution<F> {
        assert_eq!((weights.len(), bias.len()), (window.weight_len(), window.c_out), "weights and bias of {window:?}");
        let ready = PreparedPass::new::<F>(
            windows::<F>(window.input, window.output(), window.size, window.stride, window.pad),
            window.c_out,
            OperandSplit::One,
        );
        let mut packed = vec![F::Element::default(); ready.packed_len::<F>()];
        ready.pack_forward::<F>(Kernels { parts: &[weights], c_in: window.input.c, c_out: window.c_out }, &mut packed);
        PackedConvolution { window, ready, packed, bias }
    }

    /// Its sizes.
    pub fn window(&self) -> Window {
        self.window
    }

    /// The result for one image; every number of `out` is written.
    pub fn apply(&self, image: &[F::Number], out: &mut [F::Number]) {
        assert_eq!((image.len(), out.len()), (self.window.input.numbers(), self.window.output().numbers()), "{:?}", self.window);
        if let (true, (0, 0), Some(operand)) =
            (self.ready.is_plain::<F>() && self.window.stride == 1, self.window.pad, F::as_elements(image))
        {
            return self.ready.multiply::<F>(operand, &self.packed, Some(&self.bias), false, out);
        }
        scratch::with(self.ready.operand_len(), |operand: &mut [F::Element]| {
            self.ready.operand::<F>(image, self.window.input, operand);
            self.ready.multiply::<F>(operand, &self.packed, Some(&self.bias), false, out);
        });
    }
}

#[cfg(test)]
mod tests;
