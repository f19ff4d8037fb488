//! Weights at the points, in the panels that the products read.

use super::tiling::{Tiling, panel, panels};
use super::transform::{Planes, Store, Strided, TAPS, Transform, both};
use super::{four, six};
use crate::gemm::Storage;
use crate::gemm::pack::Kernels;
use crate::simd::{Simd, SimdKernel, bodies, compiled, run};
use rayon::prelude::*;
use std::cell::Cell;

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
                run(AtPoints::<F> { side: self.side, block: &block, rows: n, columns, plane, out: &mut out[from * columns..] });
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

/// Transforms a block of filters to rows of planes.
struct AtPoints<'a, F: Storage> {
    side: usize,
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
        // Safety (all): the instruction set is the caller's promise.
        unsafe {
            match self.side {
                six::SIDE => self.planes::<S, six::Weights, { six::POINTS }>(),
                four::SIDE => self.planes::<S, four::Weights, { four::POINTS }>(),
                side => unreachable!("tiles of {side}"),
            }
        }
    }
}

impl<F: Storage> AtPoints<'_, F> {
    /// To `P` x `P` planes.
    ///
    /// # Safety
    /// The instruction set of `S` must exist on this processor.
    #[inline(always)]
    unsafe fn planes<S: Simd<T = F::Number>, T: Transform<S, TAPS, P>, const P: usize>(self) {
        let AtPoints { block, rows, columns, plane, out, .. } = self;
        assert!(rows <= ROWS && columns <= COLUMNS && columns.is_multiple_of(S::LANES) && rows.is_multiple_of(F::PER_WORD));
        assert!(out.len() >= (P * P - 1) * plane + rows * columns, "planes that are too short");
        let first = block.as_ptr().cast::<F::Number>();
        for row in (0..rows).step_by(F::PER_WORD) {
            for column in (0..columns).step_by(S::LANES) {
                // Safety: the instruction set is the caller's promise; rows and columns lie in the block and, by the asserts, in the planes.
                unsafe {
                    let of = |row: usize| Strided { first: first.add(row * COLUMNS + column), row: TAPS * TAP, column: TAP };
                    let to = Planes::<F, P> { first: out.as_mut_ptr().add(row * columns + column * F::PER_WORD), plane };
                    if F::PER_WORD == 1 {
                        both::<S, T, TAPS, P>(&of(row), &to);
                        continue;
                    }
                    let second = Kept::<S, P>(Cell::new([[S::splat(S::T::default()); P]; P]));
                    both::<S, T, TAPS, P>(&of(row + 1), &second);
                    both::<S, T, TAPS, P>(&of(row), &Words { to, second: second.0.get() });
                }
            }
        }
    }
}

/// Vectors that wait for those which they share words with.
struct Kept<S: Simd, const P: usize>(Cell<[[S::V; P]; P]>);

impl<S: Simd, const P: usize> Store<S> for Kept<S, P> {
    #[inline(always)]
    unsafe fn store(&self, row: usize, column: usize, v: S::V) {
        let mut all = self.0.get();
        all[row][column] = v;
        self.0.set(all);
    }
}

/// Words of two elements: of what is stored, and of a vector that was kept.
struct Words<S: Simd, F: Storage, const P: usize> {
    to: Planes<F, P>,
    second: [[S::V; P]; P],
}

impl<S: Simd, F: Storage<Number = S::T>, const P: usize> Store<S> for Words<S, F, P> {
    #[inline(always)]
    unsafe fn store(&self, row: usize, column: usize, v: S::V) {
        const { assert!(S::LANES <= 16) };
        let mut numbers = [[F::Number::default(); 16]; 2];
        // Safety: no vector has more than 16 lanes; the caller's promise for as many words.
        unsafe {
            S::store(numbers[0].as_mut_ptr(), v);
            S::store(numbers[1].as_mut_ptr(), self.second[row][column]);
            let mut words = [[F::Element::default(); 2]; 16];
            F::pairs(&numbers[0].map(F::round), &numbers[1].map(F::round), &mut words);
            let to = self.to.first.add((row * P + column) * self.to.plane);
            to.copy_from_nonoverlapping(words.as_ptr().cast(), 2 * S::LANES);
        }
    }
}
