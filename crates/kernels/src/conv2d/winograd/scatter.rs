//! Sums in planes, as results in an image.

use super::tiling::Tiling;
use super::transform::{Store, Strided, Transform, both};
use super::{four, six};
use crate::simd::{Real, Simd, SimdKernel};

/// Transforms `count` tiles' sums to results of an image, from tile `first` on.
pub(super) struct Scatter<'a, T> {
    pub tiling: &'a Tiling,
    /// Sums of the first of these tiles in the first plane: \[planes\]\[tiles\]\[columns\].
    pub sums: &'a [T],
    /// Numbers from a plane to the next.
    pub plane: usize,
    pub first: usize,
    pub count: usize,
    /// The first column's channel, and number of columns.
    pub columns: (usize, usize),
    /// Added to all results: a number for each channel of the image.
    pub bias: Option<&'a [T]>,
    /// Whether the image is added to.
    pub accumulate: bool,
    pub image: &'a mut [T],
}

impl<T: Real> SimdKernel<T> for Scatter<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let (to, (from, n)) = (self.tiling.to, self.columns);
        assert_eq!(self.image.len(), to.numbers(), "an image of {to:?}");
        assert!(
            self.first + self.count <= self.tiling.count() && from + n <= to.c && n.is_multiple_of(S::LANES),
            "results that are not there"
        );
        assert!(self.bias.is_none_or(|bias| bias.len() == to.c), "a bias for {} channels", to.c);
        assert!(self.sums.len() >= (self.tiling.planes() - 1) * self.plane + self.count * n, "sums that are not there");
        // Safety: the instruction set is the caller's promise; the asserts are what `tiles` asks for.
        unsafe {
            match (self.tiling.side, self.tiling.folds, self.accumulate) {
                (six::SIDE, false, false) => self.tiles::<S, six::Results, { six::POINTS }, _, false>(),
                (six::SIDE, false, true) => self.tiles::<S, six::Results, { six::POINTS }, _, true>(),
                (six::SIDE, true, false) => self.tiles::<S, six::Folded, { six::POINTS }, _, false>(),
                (four::SIDE, false, false) => self.tiles::<S, four::Results, { four::POINTS }, _, false>(),
                (four::SIDE, false, true) => self.tiles::<S, four::Results, { four::POINTS }, _, true>(),
                (side, folds, adds) => unreachable!("results of tiles of {side}, folded: {folds}, added: {adds}"),
            }
        }
    }
}

impl<T: Real> Scatter<'_, T> {
    /// All tiles, from sums in `P` x `P` planes to `O` x `O` pixels of the image each.
    ///
    /// # Safety
    /// The instruction set of `S`; an image of `to`, tiles and channels of it, sums and bias as long as [`Scatter`] says, whole vectors.
    #[inline(always)]
    unsafe fn tiles<S: Simd<T = T>, R: Transform<S, P, O>, const P: usize, const O: usize, const ADD: bool>(self) {
        let (to, columns, (from, n)) = (self.tiling.to, self.tiling.tiles.1, self.columns);
        let image = self.image.as_mut_ptr();
        for tile in 0..self.count {
            let at = self.first + tile;
            let (y, x) = (at / columns * O, at % columns * O);
            // What a tile has beyond the image is dropped.
            let (h, w) = ((to.h - y.min(to.h)).min(O), (to.w - x.min(to.w)).min(O));
            for column in (0..n).step_by(S::LANES) {
                // Safety: `h` and `w` keep what is written inside the image.
                unsafe {
                    let bias = self.bias.map_or(S::splat(T::default()), |bias| S::load(bias.as_ptr().add(from + column)));
                    let sums = Strided { first: self.sums.as_ptr().add(tile * n + column), row: P * self.plane, column: self.plane };
                    let first = image.wrapping_add((y * to.w + x) * to.c + from + column);
                    let tile = Tile::<S, ADD> { first, row: to.w * to.c, column: to.c, bias };
                    if (h, w) == (O, O) {
                        both::<S, R, P, O>(&sums, &tile);
                    } else {
                        both::<S, R, P, O>(&sums, &Cut { tile, h, w });
                    }
                }
            }
        }
    }
}

/// A tile of an image, to which `bias` is added before it is written, or with `ADD` added to what is there.
struct Tile<S: Simd, const ADD: bool> {
    first: *mut S::T,
    row: usize,
    column: usize,
    bias: S::V,
}

/// The first `h` rows and `w` columns of a tile; the others are dropped.
struct Cut<S: Simd, const ADD: bool> {
    tile: Tile<S, ADD>,
    h: usize,
    w: usize,
}

impl<S: Simd, const ADD: bool> Store<S> for Tile<S, ADD> {
    #[inline(always)]
    unsafe fn store(&self, row: usize, column: usize, v: S::V) {
        // Safety: the caller's promise.
        unsafe {
            let to = self.first.add(row * self.row + column * self.column);
            let v = S::add(v, self.bias);
            S::store(to, if ADD { S::add(v, S::load(to)) } else { v });
        }
    }
}

impl<S: Simd, const ADD: bool> Store<S> for Cut<S, ADD> {
    #[inline(always)]
    unsafe fn store(&self, row: usize, column: usize, v: S::V) {
        if row < self.h && column < self.w {
            // Safety: the caller's promise, for what is not dropped.
            unsafe { self.tile.store(row, column, v) }
        }
    }
}
