//! Windows of 3x3, forward only: what InceptionV3 has between its convolutions.

use crate::conv2d::Frame;
use crate::simd::Real;

/// How a window of 3x3 becomes one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The largest number, windows moved by 2 and inside the image.
    MaxHalve,
    /// The largest number, one window around each pixel; what lies outside the image does not count.
    Max,
    /// The mean of those numbers of the window around a pixel that lie inside the image.
    Average,
}

impl Pool {
    /// Size of the result.
    pub fn output(self, input: Frame) -> Frame {
        match self {
            Pool::MaxHalve => Frame { h: (input.h - 3) / 2 + 1, w: (input.w - 3) / 2 + 1, c: input.c },
            Pool::Max | Pool::Average => input,
        }
    }

    /// The result for one image; every number of `out` is written.
    pub fn apply<T: Real>(self, input: Frame, image: &[T], out: &mut [T]) {
        let to = self.output(input);
        assert_eq!((image.len(), out.len()), (input.numbers(), to.numbers()), "{self:?} of {input:?}");
        for (pixel, sum) in out.chunks_exact_mut(to.c).enumerate() {
            let (y, x) = (pixel / to.w, pixel % to.w);
            let (rows, columns) = match self {
                Pool::MaxHalve => (2 * y..2 * y + 3, 2 * x..2 * x + 3),
                Pool::Max | Pool::Average => (y.saturating_sub(1)..(y + 2).min(input.h), x.saturating_sub(1)..(x + 2).min(input.w)),
            };
            let n = rows.len() * columns.len();
            let mut first = true;
            for at in rows.flat_map(|row| columns.clone().map(move |column| (row * input.w + column) * input.c)) {
                let from = &image[at..at + input.c];
                match (first, self) {
                    (true, _) => sum.copy_from_slice(from),
                    (_, Pool::Average) => sum.iter_mut().zip(from).for_each(|(to, v)| *to += *v),
                    (_, Pool::MaxHalve | Pool::Max) => sum.iter_mut().zip(from).for_each(|(to, v)| *to = if *v > *to { *v } else { *to }),
                }
                first = false;
            }
            if self == Pool::Average {
                let share = T::of(1.0 / n as f64);
                sum.iter_mut().for_each(|v| *v = *v * share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn windows_are_what_lies_inside(h in 3usize..9, w in 3usize..9, c in 1usize..4, numbers in prop::collection::vec(-5.0f64..5.0, 8 * 8 * 3)) {
            let input = Frame { h, w, c };
            let image = &numbers[..input.numbers()];
            for pool in [Pool::MaxHalve, Pool::Max, Pool::Average] {
                let to = pool.output(input);
                let mut out = vec![f64::NAN; to.numbers()];
                pool.apply(input, image, &mut out);
                for (i, found) in out.iter().enumerate() {
                    let (y, x, channel) = (i / c / to.w, i / c % to.w, i % c);
                    let (top, left) = if pool == Pool::MaxHalve { (2 * y + 1, 2 * x + 1) } else { (y, x) };
                    // All offsets from the window's middle, those outside left out.
                    let inside = (-1i64..=1).flat_map(|dy| (-1i64..=1).map(move |dx| (top as i64 + dy, left as i64 + dx)))
                        .filter(|(y, x)| (0..h as i64).contains(y) && (0..w as i64).contains(x));
                    let seen: Vec<f64> = inside.map(|(y, x)| image[(y as usize * w + x as usize) * c + channel]).collect();
                    let expected = match pool {
                        Pool::Average => seen.iter().sum::<f64>() / seen.len() as f64,
                        Pool::MaxHalve | Pool::Max => seen.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b)),
                    };
                    prop_assert!((expected - found).abs() < 1e-12);
                }
            }
        }
    }
}
