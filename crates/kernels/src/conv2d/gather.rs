//! Images with zeros around them, one at a time: what a window of 3x3 reads without asking where the border is.

use super::Resize;
use crate::simd::Real;

/// One image's size and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub h: usize,
    pub w: usize,
    pub c: usize,
}

impl Frame {
    pub fn len(self) -> usize {
        self.h * self.w * self.c
    }
}

/// A padded copy, and how windows are laid over it: output pixel (y, x) begins at (y stride, x stride).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padded {
    /// Size of the copy.
    pub frame: Frame,
    /// Size of the output.
    pub out_h: usize,
    pub out_w: usize,
    /// Width of the square window: 3 or 1.
    pub k: usize,
    pub stride: usize,
}

impl Padded {
    /// For a convolution's forward pass over an image of `frame`.
    pub fn forward(frame: Frame, k: usize, resize: Resize) -> Padded {
        let (out_h, out_w) = resize.output(frame.h, frame.w);
        let (h, w, stride) = match (k, resize) {
            (1, _) => (frame.h, frame.w, 1),
            (_, Resize::Same | Resize::Double) => (out_h + 2, out_w + 2, 1),
            (_, Resize::Halve) => (frame.h + 1, frame.w + 1, 2),
        };
        Padded { frame: Frame { h, w, c: frame.c }, out_h, out_w, k, stride }
    }

    /// For the input gradient: windows over the padded (and, after halving, spread) output gradient of `out`, giving `(h, w)`.
    pub fn input_gradient(out: Frame, k: usize, resize: Resize, input: Frame) -> Padded {
        let (h, w) = match resize {
            Resize::Same | Resize::Halve => (input.h, input.w),
            Resize::Double => (out.h, out.w),
        };
        let margin = k - 1;
        Padded { frame: Frame { h: h + margin, w: w + margin, c: out.c }, out_h: h, out_w: w, k, stride: 1 }
    }

    /// Where output pixel `p` (row-major) begins in the copy.
    pub fn base(self, p: usize) -> usize {
        ((p / self.out_w) * self.stride * self.frame.w + (p % self.out_w) * self.stride) * self.frame.c
    }

    /// Length of a window's row.
    pub fn row_len(self) -> usize {
        self.k * self.frame.c
    }
}

/// Copies an image into the forward pass's padded form. `padded` is overwritten whole.
pub fn pad_forward<T: Real>(image: &[T], frame: Frame, k: usize, resize: Resize, padded: &mut [T]) {
    let to = Padded::forward(frame, k, resize).frame;
    assert_eq!((image.len(), padded.len()), (frame.len(), to.len()));
    let row = frame.w * frame.c;
    match (k, resize) {
        (1, _) => padded.copy_from_slice(image),
        (_, Resize::Same) => {
            padded.fill(T::default());
            for y in 0..frame.h {
                let at = ((y + 1) * to.w + 1) * to.c;
                padded[at..at + row].copy_from_slice(&image[y * row..(y + 1) * row]);
            }
        }
        (_, Resize::Halve) => {
            padded.fill(T::default());
            for y in 0..frame.h {
                let at = y * to.w * to.c;
                padded[at..at + row].copy_from_slice(&image[y * row..(y + 1) * row]);
            }
        }
        (_, Resize::Double) => {
            padded.fill(T::default());
            for y in 0..2 * frame.h {
                for x in 0..2 * frame.w {
                    let (from, at) = (((y / 2) * frame.w + x / 2) * frame.c, ((y + 1) * to.w + x + 1) * to.c);
                    padded[at..at + to.c].copy_from_slice(&image[from..from + to.c]);
                }
            }
        }
    }
}

/// Copies an output gradient into the form over which the input gradient slides its windows.
pub fn pad_gradient<T: Real>(gradient: &[T], out: Frame, k: usize, resize: Resize, input: Frame, padded: &mut [T]) {
    let to = Padded::input_gradient(out, k, resize, input).frame;
    assert_eq!((gradient.len(), padded.len()), (out.len(), to.len()));
    if k == 1 {
        padded.copy_from_slice(gradient);
        return;
    }
    padded.fill(T::default());
    // Forward, output o reads input o + tap - 1 (or 2 o + tap); so input i collects outputs through flipped taps.
    let (first, spread) = match resize {
        Resize::Same | Resize::Double => (1, 1),
        Resize::Halve => (2, 2),
    };
    for y in 0..out.h {
        for x in 0..out.w {
            let (from, at) = ((y * out.w + x) * out.c, ((y * spread + first) * to.w + x * spread + first) * to.c);
            padded[at..at + out.c].copy_from_slice(&gradient[from..from + out.c]);
        }
    }
}

/// Sums 2x2 blocks: the gradient of nearest upsampling.
pub fn fold_double<T: Real>(large: &[T], small: Frame, out: &mut [T]) {
    out.fill(T::default());
    for y in 0..2 * small.h {
        for x in 0..2 * small.w {
            let (from, at) = ((y * 2 * small.w + x) * small.c, ((y / 2) * small.w + x / 2) * small.c);
            for c in 0..small.c {
                out[at + c] += large[from + c];
            }
        }
    }
}
