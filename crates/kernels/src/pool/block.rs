//! Blocks of 2x2, forward and backward.

use crate::conv2d::Frame;
use crate::simd::Real;

/// How a block of 2x2 pixels becomes one pixel, channel by channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockPool {
    /// The mean.
    Average,
    /// The largest number; the first one, row by row, where several are. What is not a number is larger than all, the last one where several
    /// are not.
    Max,
}

impl BlockPool {
    /// Both.
    pub const ALL: [BlockPool; 2] = [BlockPool::Average, BlockPool::Max];

    /// Size of the result. Panics where a side is odd.
    pub fn output(self, input: Frame) -> Frame {
        assert!(input.h.is_multiple_of(2) && input.w.is_multiple_of(2), "{self:?} of blocks of 2x2 in {input:?}");
        Frame { h: input.h / 2, w: input.w / 2, c: input.c }
    }

    /// y from x, for one image; every number of `y` is written.
    pub fn forward<T: Real>(self, input: Frame, x: &[T], y: &mut [T]) {
        assert_eq!((x.len(), y.len()), (input.numbers(), self.output(input).numbers()), "{self:?} of {input:?}");
        for (pixel, y) in y.chunks_exact_mut(input.c).enumerate() {
            let [a, b, c, d] = corners(input, pixel).map(|at| &x[at..at + input.c]);
            match self {
                BlockPool::Average => {
                    let quarter = T::of(0.25);
                    for (i, y) in y.iter_mut().enumerate() {
                        *y = ((a[i] + b[i]) + (c[i] + d[i])) * quarter;
                    }
                }
                BlockPool::Max => {
                    for (i, y) in y.iter_mut().enumerate() {
                        *y = [b[i], c[i], d[i]].into_iter().fold(a[i], |most, v| if exceeds(v, most) { v } else { most });
                    }
                }
            }
        }
    }

    /// dL/dx from dL/dy, written or added, for one image. `x`, what was pooled, is read by [`BlockPool::Max`] alone, and may be empty else.
    pub fn backward<T: Real>(self, input: Frame, x: &[T], dy: &[T], add: bool, dx: &mut [T]) {
        assert_eq!((dx.len(), dy.len()), (input.numbers(), self.output(input).numbers()), "{self:?} of {input:?}");
        let quarter = T::of(0.25);
        for (pixel, dy) in dy.chunks_exact(input.c).enumerate() {
            let corners = corners(input, pixel);
            for (i, dy) in dy.iter().enumerate() {
                let shares = match self {
                    BlockPool::Average => [*dy * quarter; 4],
                    BlockPool::Max => {
                        let mut first = 0;
                        for corner in 1..4 {
                            if exceeds(x[corners[corner] + i], x[corners[first] + i]) {
                                first = corner;
                            }
                        }
                        std::array::from_fn(|corner| if corner == first { *dy } else { T::default() })
                    }
                };
                for (at, share) in corners.into_iter().zip(shares) {
                    dx[at + i] = if add { dx[at + i] + share } else { share };
                }
            }
        }
    }
}

/// Whether `v` takes the place of the largest so far: what is not a number must not get lost.
fn exceeds<T: Real>(v: T, most: T) -> bool {
    v > most || v.wide().is_nan()
}

/// Where the four pixels of the block of result `pixel` begin in the image, row by row.
fn corners(input: Frame, pixel: usize) -> [usize; 4] {
    let (row, column) = (pixel / (input.w / 2), pixel % (input.w / 2));
    [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(y, x)| ((2 * row + y) * input.w + 2 * column + x) * input.c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::pool;
    use candle_core::{Device, Tensor, Var};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Against the tensors, forward and backward; few values, so that the largest often stands twice.
        #[test]
        fn blocks_are_those_of_the_reference(h in 1usize..5, w in 1usize..5, c in 1usize..4, values in prop::collection::vec((-2i8..3, -9.0f64..9.0), 8 * 8 * 3), few: bool, add: bool) {
            let input = Frame { h: 2 * h, w: 2 * w, c };
            let number = |(small, wide): (i8, f64)| if few { small as f64 } else { wide };
            let x: Vec<f64> = values[..input.numbers()].iter().copied().map(number).collect();
            let dy: Vec<f64> = values.iter().rev().take(h * w * c).map(|v| v.1).collect();
            let tensor = |numbers: &[f64], h, w| Tensor::from_slice(numbers, (1, h, w, c), &Device::Cpu).unwrap();
            for kind in BlockPool::ALL {
                let var = Var::from_tensor(&tensor(&x, 2 * h, 2 * w)).unwrap();
                let expected = pool(&var, kind).unwrap();
                let gradients = (&expected * tensor(&dy, h, w)).unwrap().sum_all().unwrap().backward().unwrap();
                let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                let mut y = vec![f64::NAN; h * w * c];
                kind.forward(input, &x, &mut y);
                let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
                prop_assert!(near(&y, &flat(&expected)), "{:?} {:?}", y, expected);
                let mut dx = vec![if add { 3.0 } else { f64::NAN }; x.len()];
                kind.backward(input, if kind == BlockPool::Max { &x } else { &[] }, &dy, add, &mut dx);
                dx.iter_mut().for_each(|v| *v -= if add { 3.0 } else { 0.0 });
                prop_assert!(near(&dx, &flat(gradients.get(&var).unwrap())), "{:?} of {:?}", dx, kind);
            }
        }
    }

    /// By hand, in both of them: which pixels belong together, and which of two equal ones is the largest.
    #[test]
    fn a_block_by_hand() {
        let input = Frame { h: 2, w: 4, c: 1 };
        let x = [1.0, 5.0, 2.0, 2.0, 5.0, 3.0, -1.0, 2.0];
        let of = |kind: BlockPool| {
            let (mut y, mut dx) = ([0.0; 2], [0.0; 8]);
            kind.forward(input, &x, &mut y);
            kind.backward(input, &x, &[4.0, 8.0], false, &mut dx);
            (y, dx)
        };
        assert_eq!(of(BlockPool::Average), ([3.5, 1.25], [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]));
        assert_eq!(of(BlockPool::Max), ([5.0, 2.0], [0.0, 4.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        // What is not a number stays, wherever it stands.
        for place in [0, 1, 4, 5] {
            let mut numbers = x;
            numbers[place] = f64::NAN;
            let mut y = [0.0; 2];
            BlockPool::Max.forward(input, &numbers, &mut y);
            let reference = pool(&Tensor::from_slice(&numbers, (1, 2, 4, 1), &Device::Cpu).unwrap(), BlockPool::Max).unwrap();
            let reference = reference.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert!(y[0].is_nan() && reference[0].is_nan() && y[1] == 2.0 && reference[1] == 2.0, "{place}: {y:?} {reference:?}");
        }
        let odd = Tensor::zeros((1, 3, 4, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(pool(&odd, BlockPool::Max).unwrap_err().to_string().contains("even sizes, got 3x4"));
    }
}
