//! The definition, number by number.

use super::Window;
use crate::simd::Real;

/// What [`super::PackedConvolution::apply`] computes, in the plainest way.
pub fn convolve<T: Real>(window: Window, weights: &[T], bias: &[T], image: &[T]) -> Vec<T> {
    let (input, out) = (window.input, window.output());
    let mut result = Vec::with_capacity(out.numbers());
    for pixel in 0..out.pixels() {
        let (top, left) = (pixel / out.w * window.stride, pixel % out.w * window.stride);
        for (n, bias) in bias.iter().enumerate() {
            let mut sum = *bias;
            for tap in 0..window.size.0 * window.size.1 {
                let (y, x) = (top + tap / window.size.1, left + tap % window.size.1);
                if y < window.pad.0 || x < window.pad.1 || y - window.pad.0 >= input.h || x - window.pad.1 >= input.w {
                    continue;
                }
                let at = ((y - window.pad.0) * input.w + x - window.pad.1) * input.c;
                for c in 0..input.c {
                    sum += image[at + c] * weights[(tap * input.c + c) * window.c_out + n];
                }
            }
            result.push(sum);
        }
    }
    result
}
