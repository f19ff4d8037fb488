//! Products of whole matrices, packed as they come.

use super::kernel::{Place, Products, Segment, panels_len};
use super::pack::{Grade, Matrix};
use super::{Format, multiply};
use crate::scratch::{self, Scratch};

/// `out`, whose rows are `stride` apart, (+)= a b, of \[m, k\] and \[k, n\].
pub fn product<F: Format<Number: Scratch, Element: Scratch>>(
    grade: Grade,
    (m, k, n): (usize, usize, usize),
    a: Matrix<F::Number>,
    b: Matrix<F::Number>,
    accumulate: bool,
    stride: usize,
    out: &mut [F::Number],
) {
    let (words, copies) = (k.div_ceil(F::PER_WORD), grade.copies());
    let (row, rows) = (words * F::PER_WORD, copies * words);
    scratch::with(copies * m * row, |left: &mut [F::Element]| {
        scratch::with(panels_len::<F>(rows, n), |right: &mut [F::Element]| {
            scratch::with(m, |places: &mut [Place]| {
                a.rows::<F>(m, k, grade, left);
                b.panels::<F>(k, n, grade, right);
                places.iter_mut().enumerate().for_each(|(i, p)| *p = Place { from: i * row, to: i * stride, bias: 0 });
                let segments = grade.segments(&[Segment { from: 0, row: 0, words }], m * row, words);
                multiply(Products::<F> { a: left, places, segments: &segments, b: right, rows, columns: n, bias: None, accumulate, out });
            });
        });
    });
}
