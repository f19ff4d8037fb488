//! Weights at the points, in the panels that the products read.

use super::transform::{POINTS, Planes, Strided, TAPS, Weights, both};
use super::{Tiling, panel, panels};
use crate::gemm::Storage;
use crate::gemm::pack::Kernels;
use crate::simd::{Simd, SimdKernel, bodies, compiled, run};
use rayon::prelude::*;

/// Taps of a filter.
const ALL: usize = TAPS * TAPS;

/// Rows of a panel that are packed at a time: enough to read weights in long pieces, few enough for their nine taps to stay in a cache.
const ROWS: usize = 64;
/// Columns of a panel at most.
const COLUMNS: usize = 32;

/// Numbers from a tap of a block to the next.
const TAP: usize = ROWS * COLUMNS;

/// Nine taps of some rows of a panel.
type Block<T> = [[[T; COLUMNS]; ROWS]; ALL];

impl Tiling {
    /// Weights as the forward pass reads them: rows are input channels, columns outputs.
    pub fn pack_forward<F: Storage>(&self, kernels: Kernels<F::Number>, out: &mut [F::Element]) {
        self.pack::<F>(out, |columns, rows, block| compiled::<_, Along<F>>((kernels, columns, rows, block)));
    }

    /// Weights as the input gradient reads them: rows are outputs, columns input channels, filters turned by half a turn.
    pub fn pack_input_gradient<F: Storage>(&self, kernels: Kernels<F::Number>, out: &mut [F::Element]) {
        self.pack::<F>(out, |columns, rows, block| compiled::<_, Turned<F>>((kernels, columns, rows, block)));
    }

    /// Packs panel by panel. `taps` writes the taps of a block, whose columns and rows are given by the first and their number.
    fn pack<F: Storage>(&self, out: &mut [F::Element], taps: impl Fn((usize, usize), (usize, usize), &mut Block<F::Number>) + Sync) {
        assert_eq!(out.len(), self.packed_len::<F>(), "the packed weights' length");
        assert!(panel::<F>() <= COLUMNS);
        let (rows, plane) = (self.from.c, self.plane_len::<F>());
        let places = out.par_chunks_exact_mut(self.panel_len::<F>()).enumerate();
        places.for_each(|(at, out)| {
            let (first, columns) = panels::<F>(self.to.c).nth(at).expect("a panel");
            let mut block: Block<F::Number> = [[[F::Number::default(); COLUMNS]; ROWS]; ALL];
            for from in (0..rows).step_by(ROWS) {
                let n = ROWS.min(rows - from);
                taps((first, columns), (from, n), &mut block);
                run(AtPoints::<F> { block: &block, rows: n, columns, plane, out: &mut out[from * columns..] });
            }
        });
    }
}

type Fill<'a, F> = (Kernels<'a, <F as Storage>::Number>, (usize, usize), (usize, usize), &'a mut Block<<F as Storage>::Number>);

#[inline(always)]
fn along<F: Storage>((kernels, (first, columns), (from, rows), block): Fill<F>) {
    for (tap, to) in block.iter_mut().enumerate() {
        for (row, to) in to[..rows].iter_mut().enumerate() {
            kernels.copy(tap, from + row, first, &mut to[..columns]);
        }
    }
}

#[inline(always)]
fn turned<F: Storage>((kernels, (first, columns), (from, rows), block): Fill<F>) {
    let mut lines = [[F::Number::default(); ROWS]; COLUMNS];
    for (tap, to) in block.iter_mut().enumerate() {
        for (column, line) in lines[..columns].iter_mut().enumerate() {
            kernels.copy(ALL - 1 - tap, first + column, from, &mut line[..rows]);
        }
        for (row, to) in to[..rows].iter_mut().enumerate() {
            for (to, line) in to[..columns].iter_mut().zip(&lines) {
                *to = line[row];
            }
        }
    }
}

bodies! {
    F: Storage;
    Along = along(Fill);
    Turned = turned(Fill);
}

/// Transforms a block of filters to rows of 36 planes.
struct AtPoints<'a, F: Storage> {
    block: &'a Block<F::Number>,
    rows: usize,
    columns: usize,
    plane: usize,
    out: &'a mut [F::Element],
}

impl<F: Storage> SimdKernel<F::Number> for AtPoints<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = F::Number>>(self) {
        assert!(self.rows <= ROWS && self.columns <= COLUMNS && self.columns.is_multiple_of(S::LANES));
        assert!(self.out.len() >= (POINTS * POINTS - 1) * self.plane + self.rows * self.columns, "planes that are too short");
        let out = self.out.as_mut_ptr();
        for row in 0..self.rows {
            for column in (0..self.columns).step_by(S::LANES) {
                // Safety: the instruction set is the caller's promise; rows and columns lie in the block and, by the assert, in the planes.
                unsafe {
                    let from = Strided {
                        first: self.block.as_ptr().cast::<F::Number>().add(row * COLUMNS + column),
                        row: TAPS * TAP,
                        column: TAP,
                    };
                    let to = Planes::<F> { first: out.add(row * self.columns + column), plane: self.plane };
                    both::<S, Weights, TAPS, POINTS>(&from, &to);
                }
            }
        }
    }
}
