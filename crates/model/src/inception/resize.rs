//! How images become 299x299 numbers in [-1, 1]. The two ways in use give different FIDs, so each has a name.

use ddpm_kernels::simd::Real;
use serde::{Deserialize, Serialize};

/// How images are resized and scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Resize {
    /// TensorFlow 1's bilinear interpolation, without half-pixel centres (output i reads input i s), then (x - 128) / 128: the authors,
    /// TTUR, torch-fidelity.
    #[default]
    #[serde(rename = "tensorflow1")]
    TensorFlow1,
    /// PyTorch's bilinear interpolation, with half-pixel centres (output i reads input (i + 1/2) s - 1/2), of x / 255, then 2 x - 1:
    /// pytorch-fid.
    #[serde(rename = "pytorch")]
    PyTorch,
}

/// What an output pixel reads along one axis: two input positions, and the weight of the second.
#[derive(Clone, Copy)]
struct Read {
    low: usize,
    high: usize,
    share: f32,
}

impl Resize {
    /// Its name in protocols and configurations.
    pub fn name(self) -> &'static str {
        match self {
            Resize::TensorFlow1 => "tensorflow1",
            Resize::PyTorch => "pytorch",
        }
    }

    /// One side's reads, in single precision as the originals compute them.
    fn reads(self, from: usize, to: usize) -> Vec<Read> {
        let scale = from as f32 / to as f32;
        let read = |i: usize| {
            let at = match self {
                Resize::TensorFlow1 => i as f32 * scale,
                Resize::PyTorch => ((i as f32 + 0.5) * scale - 0.5).max(0.0),
            };
            let low = (at as usize).min(from - 1);
            Read { low, high: (low + 1).min(from - 1), share: at - low as f32 }
        };
        (0..to).map(read).collect()
    }

    /// An image `[h, w, c]` as `[side, side, 3]`; one channel stands for all three. In the arithmetic of `T`.
    pub fn apply<T: Real>(self, image: &[u8], (h, w, c): (usize, usize, usize), side: usize, out: &mut [T]) {
        assert_eq!((image.len(), out.len()), (h * w * c, side * side * 3));
        let unit = match self {
            Resize::TensorFlow1 => T::of(1.0),
            Resize::PyTorch => T::of(255.0),
        };
        let (rows, columns) = (self.reads(h, side), self.reads(w, side));
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(side * 3)) {
            for (column, pixel) in columns.iter().zip(out.chunks_exact_mut(3)) {
                for (channel, to) in pixel.iter_mut().enumerate() {
                    let at = |y: usize, x: usize| T::of(image[(y * w + x) * c + channel % c] as f64) / unit;
                    let between = |a: T, b: T, share: f32| match self {
                        Resize::TensorFlow1 => a + (b - a) * T::of(share as f64),
                        Resize::PyTorch => a * T::of((1.0 - share) as f64) + b * T::of(share as f64),
                    };
                    let upper = between(at(row.low, column.low), at(row.low, column.high), column.share);
                    let lower = between(at(row.high, column.low), at(row.high, column.high), column.share);
                    let value = between(upper, lower, row.share);
                    *to = match self {
                        Resize::TensorFlow1 => (value - T::of(128.0)) / T::of(128.0),
                        Resize::PyTorch => T::of(2.0) * value - T::of(1.0),
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_image_stays_flat_and_rules_differ_by_their_shift() {
        for resize in [Resize::TensorFlow1, Resize::PyTorch] {
            let mut out = vec![0f64; 7 * 7 * 3];
            resize.apply(&[200; 5 * 4], (5, 4, 1), 7, &mut out);
            assert!(out.iter().all(|v| (v - out[0]).abs() < 1e-12 && v.abs() <= 1.0));
        }
        // Twice the size: the first reads 0, 1/2, 1, ...; the second -1/4 (so 0), 1/4, 3/4, ...
        let ramp: Vec<u8> = (0..16).map(|i| (i % 4) * 40).collect();
        let row = |resize: Resize| {
            let mut out = vec![0f64; 8 * 8 * 3];
            resize.apply(&ramp, (4, 4, 1), 8, &mut out);
            out.chunks(3).take(8).map(|p| p[0]).collect::<Vec<f64>>()
        };
        let expected = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 120.0].map(|v| (v - 128.0) / 128.0);
        assert!(row(Resize::TensorFlow1).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
        let expected = [0.0, 10.0, 30.0, 50.0, 70.0, 90.0, 110.0, 120.0].map(|v| 2.0 * v / 255.0 - 1.0);
        assert!(row(Resize::PyTorch).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
