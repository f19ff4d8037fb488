//! The speed of the product with everything in the first-level cache: what longer computations are compared with.

use super::kernel::{Place, Products, Segment, panels_len};
use super::{Format, multiply};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Rows, words and columns: panels of 32 KiB in f32 or less, and rows that overlap.
const ROWS: usize = 96;
const WORDS: usize = 128;
const COLUMNS: usize = 32;

/// Floating-point operations a second of all threads together, the best of several short trials.
pub fn peak<F: Format>() -> f64 {
    let threads = rayon::current_num_threads();
    let once = || {
        let (a, b) =
            (vec![F::Element::default(); (WORDS + 16 * ROWS) * F::PER_WORD], vec![F::Element::default(); panels_len::<F>(WORDS, COLUMNS)]);
        let mut out = vec![F::Number::default(); ROWS * COLUMNS];
        let places: Vec<Place> = (0..ROWS).map(|row| Place { from: row * F::PER_WORD, to: row * COLUMNS, bias: 0 }).collect();
        let segments = [Segment { from: 0, row: 0, words: WORDS }];
        let (start, mut calls) = (Instant::now(), 0u64);
        while start.elapsed() < Duration::from_millis(40) {
            for _ in 0..50 {
                let (places, segments) = (&places[..], &segments[..]);
                multiply(Products::<F> {
                    a: &a,
                    places,
                    segments,
                    step: F::PER_WORD,
                    b: &b,
                    rows: WORDS,
                    columns: COLUMNS,
                    bias: None,
                    accumulate: false,
                    out: &mut out,
                });
            }
            calls += 50;
        }
        2.0 * (ROWS * WORDS * F::PER_WORD * COLUMNS) as f64 * calls as f64 / start.elapsed().as_secs_f64()
    };
    let trial = |_| (0..threads).into_par_iter().with_max_len(1).map(|_| once()).sum::<f64>();
    (0..5).map(trial).fold(0.0, f64::max)
}
