//! Pictures made larger or smaller, with Pillow's arithmetic to the last bit (its `ImagingResample`, as in all versions before 13): weights in
//! fixed point of 22 bits, rows first, and a byte again between rows and columns. Libraries that round otherwise differ from it by any amount:
//! where a filter overshoots black or white, since what is cut off depends on the order; and in a mean over boxes, since a pixel whose
//! middle lies on the border of two boxes belongs to one of them, both or none, as rounding has it.

use ddpm_model::network::ImageShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pixels `[H, W, C]` and their shape.
pub type Picture = (ImageShape, Vec<u8>);

/// A filter, as wide as the pixels that are made where the image shrinks (antialias).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// The mean of an area.
    Box,
    /// Cubic with a = -1/2.
    Bicubic,
    /// Windowed sinc over three pixels to either side.
    Lanczos,
}

impl Filter {
    /// How far it reaches to either side, in pixels.
    fn reach(self) -> f64 {
        match self {
            Filter::Box => 0.5,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    /// Its value `x` pixels from the middle.
    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let r = x.abs();
        match self {
            Filter::Box => f64::from(x > -0.5 && x <= 0.5),
            Filter::Bicubic if r < 1.0 => ((A + 2.0) * r - (A + 3.0)) * r * r + 1.0,
            Filter::Bicubic if r < 2.0 => (((r - 5.0) * r + 8.0) * r - 4.0) * A,
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Bicubic | Filter::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let angle = x * std::f64::consts::PI;
    libm::sin(angle) / angle
}

/// The picture with another height and width.
pub fn resampled((shape, mut pixels): Picture, height: usize, width: usize, filter: Filter) -> Picture {
    if width != shape.width {
        pixels = match shape.channels {
            1 => narrowed::<1>(&pixels, shape.width, &taps(shape.width, width, filter)),
            _ => narrowed::<3>(&pixels, shape.width, &taps(shape.width, width, filter)),
        };
    }
    if height != shape.height {
        pixels = lowered(&pixels, width * shape.channels, &taps(shape.height, height, filter));
    }
    (ImageShape { height, width, ..shape }, pixels)
}

/// Bits behind the point of a weight.
const BITS: u32 = 22;

/// What one new pixel is made of: weights of consecutive old ones.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// What each of `to` pixels in a line is made of, of `from`.
fn taps(from: usize, to: usize, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let wide = scale.max(1.0);
    let (reach, narrow) = (filter.reach() * wide, 1.0 / wide);
    let of = |i: usize| {
        let middle = (i as f64 + 0.5) * scale;
        // A number below zero becomes zero.
        let (first, end) = ((middle - reach + 0.5) as usize, ((middle + reach + 0.5) as usize).min(from));
        let values: Vec<f64> = (first..end).map(|x| filter.at((x as f64 - middle + 0.5) * narrow)).collect();
        let sum: f64 = values.iter().sum();
        let fixed = |value: &f64| {
            let share = value / sum * f64::from(1 << BITS);
            (share + if share < 0.0 { -0.5 } else { 0.5 }) as i32
        };
        Taps { first, weights: values.iter().map(fixed).collect() }
    };
    (0..to).map(of).collect()
}

/// The byte of a sum that began with one half.
fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (BITS - 1);

/// Rows of `width` pixels of `C` channels with another width.
fn narrowed<const C: usize>(pixels: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pixels.len() / width * taps.len());
    for row in pixels.chunks_exact(width * C) {
        let row = row.as_chunks::<C>().0;
        for Taps { first, weights } in taps {
            let mut sums = [HALF; C];
            for (weight, pixel) in weights.iter().zip(&row[*first..]) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(*value);
                }
            }
            out.extend(sums.map(byte));
        }
    }
    out
}

/// Rows of `line` bytes, more or fewer of them.
fn lowered(pixels: &[u8], line: usize, taps: &[Taps]) -> Vec<u8> {
    let (mut out, mut sums) = (Vec::with_capacity(taps.len() * line), vec![0; line]);
    for Taps { first, weights } in taps {
        sums.fill(HALF);
        for (weight, row) in weights.iter().zip(pixels[first * line..].chunks_exact(line)) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(*value);
            }
        }
        out.extend(sums.iter().copied().map(byte));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A filter's value is the kernel's (Keys 1981; Duchon 1979), and no pixel is made of ones outside the line.
    #[test]
    fn filters_have_their_known_values() {
        for (filter, x, value) in [
            (Filter::Box, -0.5, 0.0),
            (Filter::Box, 0.5, 1.0),
            (Filter::Bicubic, 0.0, 1.0),
            (Filter::Bicubic, 0.5, 0.5625),
            (Filter::Bicubic, -1.5, -0.0625),
            (Filter::Lanczos, 0.5, 0.6079271018540267),
            (Filter::Lanczos, 3.0, 0.0),
        ] {
            assert!((filter.at(x) - value).abs() < 1e-15, "{filter:?} at {x}: {}", filter.at(x));
        }
    }

    proptest! {
        /// Weights sum to one but for their rounding, and reach no further than the line.
        #[test]
        fn weights_sum_to_one(from in 1usize..500, to in 1usize..500, filter in 0usize..3) {
            let filter = [Filter::Box, Filter::Bicubic, Filter::Lanczos][filter];
            for Taps { first, weights } in taps(from, to, filter) {
                prop_assert!(first + weights.len() <= from && !weights.is_empty());
                prop_assert!((weights.iter().sum::<i32>() - (1 << BITS)).unsigned_abs() as usize <= weights.len());
            }
        }

        /// Rows and columns are treated alike: a picture laid on its side, if it is a single line.
        #[test]
        fn a_line_is_the_same_lying_and_standing(pixels in prop::collection::vec(any::<u8>(), 1..60), to in 1usize..60, filter in 0usize..3) {
            let (from, filter) = (pixels.len(), [Filter::Box, Filter::Bicubic, Filter::Lanczos][filter]);
            let lying = ImageShape { height: 1, width: from, channels: 1 };
            let standing = ImageShape { height: from, width: 1, channels: 1 };
            prop_assert_eq!(resampled((lying, pixels.clone()), 1, to, filter).1, resampled((standing, pixels), to, 1, filter).1);
        }
    }
}
