//! Products of whole matrices, packed as they come.

use super::format::{Format, multiply};
use super::kernel::{Products, RowOffsets, Segment, panels_len};
use super::pack::{Matrix, OperandSplit};
use crate::scratch::{self, Scratch};

/// `out`, whose rows are `stride` apart, (+)= a b, of \[m, k\] and \[k, n\].
pub fn product<F: Format<Number: Scratch, Element: Scratch>>(
    split: OperandSplit,
    (m, k, n): (usize, usize, usize),
    a: Matrix<F::Number>,
    b: Matrix<F::Number>,
    accumulate: bool,
    stride: usize,
    out: &mut [F::Number],
) {
    let (words, copies) = (k.div_ceil(F::PER_WORD), split.copies());
    let (row, rows) = (words * F::PER_WORD, copies * words);
    let plain = F::as_elements(a.data).filter(|_| split == OperandSplit::One);
    scratch::with(if plain.is_some() { 0 } else { copies * m * row }, |left: &mut [F::Element]| {
        scratch::with(panels_len::<F>(rows, n), |right: &mut [F::Element]| {
            scratch::with(m, |places: &mut [RowOffsets]| {
                b.panels::<F>(k, n, split, right);
                // If numbers and elements are of the same type, `a` is read in place, along or across its rows.
                let (left, from, step) = match plain {
                    Some(all) if a.transposed => (all, 1, a.stride),
                    Some(all) => (all, a.stride, 1),
                    None => {
                        a.rows::<F>(m, k, split, left);
                        (&*left, row, F::PER_WORD)
                    }
                };
                places.iter_mut().enumerate().for_each(|(i, p)| *p = RowOffsets { from: i * from, to: i * stride, bias: 0 });
                let segments = split.segments(&[Segment { from: 0, row: 0, words }], m * row, words);
                multiply(Products::<F> {
                    a: left,
                    places,
                    segments: &segments,
                    step,
                    b: right,
                    rows,
                    columns: n,
                    bias: None,
                    accumulate,
                    out,
                });
            });
        });
    });
}
