//! Attention of one image, on slices. Scores are materialised for one block of queries at a time and recomputed in the backward pass.

use crate::gemm::Format;
use crate::gemm::matrix::product;
use crate::gemm::pack::{Matrix, OperandSplit};
use crate::scratch::{self, Scratch};
use crate::simd::{Real, Simd, SimdKernel, run};

/// Queries whose scores exist at a time.
const QUERIES: usize = 256;

fn matrix<T>(data: &[T], stride: usize, transposed: bool) -> Matrix<'_, T> {
    Matrix { data, stride, transposed }
}

/// Sums that run side by side, so that the compiler can keep them in vectors.
const LANES: usize = 16;

#[inline(always)]
fn total<T: Real>(sums: [T; LANES]) -> T {
    let mut total = sums[0];
    for v in &sums[1..] {
        total += *v;
    }
    total
}

/// Rows of \[n\] become softmax(scale row).
struct Softmax<'a, T> {
    n: usize,
    scale: T,
    rows: &'a mut [T],
}

impl<T: Real> SimdKernel<T> for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        for row in self.rows.chunks_exact_mut(self.n) {
            // Shifted by the largest, so that no exponential overflows.
            let mut tops = [row[0]; LANES];
            for part in row.chunks(LANES) {
                for (top, v) in tops.iter_mut().zip(part) {
                    *top = if *v > *top { *v } else { *top };
                }
            }
            let mut top = tops[0];
            for v in tops {
                top = if v > top { v } else { top };
            }
            for v in row.iter_mut() {
                *v = ((*v - top) * self.scale).exp();
            }
            let mut sums = [T::default(); LANES];
            for part in row.chunks(LANES) {
                sums.iter_mut().zip(part).for_each(|(s, v)| *s += *v);
            }
            let factor = T::of(1.0) / total(sums);
            row.iter_mut().for_each(|v| *v = *v * factor);
        }
    }
}

/// Rows of dp become those of the scores' gradient: scale p (dp - sum(p dp)).
struct SoftmaxGradient<'a, T> {
    n: usize,
    scale: T,
    p: &'a [T],
    dp: &'a mut [T],
}

impl<T: Real> SimdKernel<T> for SoftmaxGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        for (p, dp) in self.p.chunks_exact(self.n).zip(self.dp.chunks_exact_mut(self.n)) {
            let mut sums = [T::default(); LANES];
            for (p, dp) in p.chunks(LANES).zip(dp.chunks(LANES)) {
                for ((s, p), dp) in sums.iter_mut().zip(p).zip(dp) {
                    *s += *p * *dp;
                }
            }
            let mean = total(sums);
            dp.iter_mut().zip(p).for_each(|(dp, p)| *dp = self.scale * *p * (*dp - mean));
        }
    }
}

/// p of `rows` queries from `first` on: \[rows, P\].
fn scores<F: Format<Number: Scratch, Element: Scratch>>(
    split: OperandSplit,
    c: usize,
    qkv: &[F::Number],
    first: usize,
    p: &mut [F::Number],
) {
    let pixels = qkv.len() / (3 * c);
    let rows = p.len() / pixels;
    let (q, k) = (matrix(&qkv[first * 3 * c..], 3 * c, false), matrix(&qkv[c..], 3 * c, true));
    product::<F>(split, (rows, c, pixels), q, k, false, pixels, p);
    run(Softmax { n: pixels, scale: F::Number::of(1.0 / (c as f64).sqrt()), rows: p });
}

/// \[P, C\] from \[P, 3 C\].
pub fn forward<F: Format<Number: Scratch, Element: Scratch>>(split: OperandSplit, c: usize, qkv: &[F::Number], out: &mut [F::Number]) {
    let pixels = qkv.len() / (3 * c);
    for (block, out) in out.chunks_mut(QUERIES * c).enumerate() {
        let rows = out.len() / c;
        scratch::with(rows * pixels, |p: &mut [F::Number]| {
            scores::<F>(split, c, qkv, block * QUERIES, p);
            let v = matrix(&qkv[2 * c..], 3 * c, false);
            product::<F>(split, (rows, pixels, c), matrix(p, pixels, false), v, false, c, out);
        });
    }
}

/// dL/dqkv \[P, 3 C\], overwritten, from dL/dout \[P, C\].
pub fn backward<F: Format<Number: Scratch, Element: Scratch>>(
    split: OperandSplit,
    c: usize,
    qkv: &[F::Number],
    dout: &[F::Number],
    dqkv: &mut [F::Number],
) {
    let pixels = qkv.len() / (3 * c);
    let scale = F::Number::of(1.0 / (c as f64).sqrt());
    for (block, dout) in dout.chunks(QUERIES * c).enumerate() {
        let (rows, first) = (dout.len() / c, block * QUERIES);
        scratch::with(rows * pixels, |p: &mut [F::Number]| {
            scratch::with(rows * pixels, |dp: &mut [F::Number]| {
                scores::<F>(split, c, qkv, first, p);
                product::<F>(split, (rows, c, pixels), matrix(dout, c, false), matrix(&qkv[2 * c..], 3 * c, true), false, pixels, dp);
                let later = block > 0;
                product::<F>(split, (pixels, rows, c), matrix(p, pixels, true), matrix(dout, c, false), later, 3 * c, &mut dqkv[2 * c..]);
                run(SoftmaxGradient { n: pixels, scale, p, dp });
                let (q, k) = (matrix(&qkv[first * 3 * c..], 3 * c, false), matrix(&qkv[c..], 3 * c, false));
                product::<F>(split, (rows, pixels, c), matrix(dp, pixels, false), k, false, 3 * c, &mut dqkv[first * 3 * c..]);
                product::<F>(split, (pixels, rows, c), matrix(dp, pixels, true), q, later, 3 * c, &mut dqkv[c..]);
            });
        });
    }
}
