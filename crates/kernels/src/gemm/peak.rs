//! Peak throughput of the product with all data in the L1 cache: the baseline that larger computations are compared with.

use super::format::{Format, multiply};
use super::kernel::{Products, RowOffsets, Segment, panels_len};
use crate::simd::Real;
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Rows, words and columns: panels of 32 KiB in f32 or less, and rows that overlap.
const ROWS: usize = 96;
const WORDS: usize = 128;
const COLUMNS: usize = 32;

/// What is multiplied: every number is 1.
struct Ones<F: Format> {
    a: Vec<F::Element>,
    places: Vec<RowOffsets>,
    b: Vec<F::Element>,
    out: Vec<F::Number>,
}

impl<F: Format> Ones<F> {
    fn new() -> Ones<F> {
        let one = F::round(F::Number::of(1.0));
        Ones {
            a: vec![one; (WORDS + 16 * ROWS) * F::PER_WORD],
            places: (0..ROWS).map(|row| RowOffsets { from: row * 16 * F::PER_WORD, to: row * COLUMNS, bias: 0 }).collect(),
            b: vec![one; panels_len::<F>(WORDS, COLUMNS)],
            out: vec![F::Number::default(); ROWS * COLUMNS],
        }
    }

    fn multiply(&mut self) {
        multiply(Products::<F> {
            a: &self.a,
            places: &self.places,
            segments: &[Segment { from: 0, row: 0, words: WORDS }],
            step: F::PER_WORD,
            b: &self.b,
            rows: WORDS,
            columns: COLUMNS,
            bias: None,
            accumulate: false,
            out: &mut self.out,
        });
    }

    /// Floating-point operations of one product.
    const fn operations() -> usize {
        2 * ROWS * WORDS * F::PER_WORD * COLUMNS
    }
}

/// Floating-point operations a second of all threads together, the best of several short trials.
pub fn peak<F: Format>() -> f64 {
    let once = || {
        let mut ones = Ones::<F>::new();
        let (start, mut calls) = (Instant::now(), 0u64);
        while start.elapsed() < Duration::from_millis(40) {
            (0..50).for_each(|_| ones.multiply());
            calls += 50;
        }
        Ones::<F>::operations() as f64 * calls as f64 / start.elapsed().as_secs_f64()
    };
    let trial = |_| (0..rayon::current_num_threads()).into_par_iter().with_max_len(1).map(|_| once()).sum::<f64>();
    (0..5).map(trial).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::{Bf16, F32, F64};

    fn counted<F: Format>() {
        let mut ones = Ones::<F>::new();
        ones.multiply();
        assert_eq!(Ones::<F>::operations() as f64, 2.0 * ones.out.iter().map(|v| v.wide()).sum::<f64>());
    }

    /// A product of ones adds up to the number of its multiplications, and there are as many additions.
    #[test]
    fn operations_are_those_that_are_done() {
        counted::<F32>();
        counted::<F64>();
        counted::<Bf16>();
    }
}
