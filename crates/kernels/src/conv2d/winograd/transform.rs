//! What all transforms share: they go over the columns and then the rows of a tile, from where it lies to where it is wanted.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), equation 13: Y = Aᵀ \[(G g Gᵀ) ⊙ (Bᵀ d B)\] A, where rows of
//! the three matrices belong to points at which a product of polynomials is taken instead of a convolution. [`super::six`] and
//! [`super::four`] have them for tiles of 4x4 and of 2x2 results.

use crate::gemm::Storage;
use crate::simd::{Real, Simd};

/// Taps on a side of a filter.
pub(super) const TAPS: usize = 3;

/// a k + c.
///
/// # Safety
/// The instruction set of `S` must exist on this processor.
#[inline(always)]
pub(super) unsafe fn fma<S: Simd>(a: S::V, k: f64, c: S::V) -> S::V {
    // Safety: the caller's promise.
    unsafe { S::mul_add(a, S::splat(S::T::of(k)), c) }
}

/// a k.
///
/// # Safety
/// The instruction set of `S` must exist on this processor.
#[inline(always)]
pub(super) unsafe fn mul<S: Simd>(a: S::V, k: f64) -> S::V {
    // Safety: the caller's promise.
    unsafe { S::mul(a, S::splat(S::T::of(k))) }
}

/// A transform of a line of `I` vectors to one of `O`. A type, where a closure would not be inlined and so lose the instruction set.
pub(super) trait Transform<S: Simd, const I: usize, const O: usize> {
    /// # Safety
    /// The instruction set of `S` must exist on this processor.
    unsafe fn line(v: [S::V; I]) -> [S::V; O];
}

/// Names a function as a transform.
macro_rules! transform {
    ($name:ident, $inputs:expr, $outputs:expr, $function:ident $(, $n:expr)?) => {
        pub(super) struct $name;
        impl<S: Simd> Transform<S, { $inputs }, { $outputs }> for $name {
            #[inline(always)]
            unsafe fn line(v: [S::V; $inputs]) -> [S::V; $outputs] {
                // Safety: the caller's promise.
                unsafe { $function::<S $(, { $n })?>(v) }
            }
        }
    };
}
pub(super) use transform;

/// Vectors by row and column: what a transform reads.
pub(super) trait Load<S: Simd> {
    /// # Safety
    /// The instruction set of `S` must exist on this processor; what is read for this row and column must be readable.
    unsafe fn load(&self, row: usize, column: usize) -> S::V;
}

/// Vectors by row and column: what a transform writes.
pub(super) trait Store<S: Simd> {
    /// # Safety
    /// The instruction set of `S` must exist on this processor; what is written for this row and column must be writable.
    unsafe fn store(&self, row: usize, column: usize, v: S::V);
}

/// Vectors at equal distances from row to row and from column to column, in numbers.
pub(super) struct Strided<P> {
    pub first: P,
    pub row: usize,
    pub column: usize,
}

impl<S: Simd> Load<S> for Strided<*const S::T> {
    #[inline(always)]
    unsafe fn load(&self, row: usize, column: usize) -> S::V {
        // Safety: the caller's promise.
        unsafe { S::load(self.first.add(row * self.row + column * self.column)) }
    }
}

/// Elements of a format to write, a plane for each of `P` x `P` points.
pub(super) struct Planes<F: Storage, const P: usize> {
    pub first: *mut F::Element,
    pub plane: usize,
}

impl<S: Simd, F: Storage<Number = S::T>, const P: usize> Store<S> for Planes<F, P> {
    #[inline(always)]
    unsafe fn store(&self, row: usize, column: usize, v: S::V) {
        const { assert!(S::LANES <= 16) };
        let mut numbers = [F::Number::default(); 16];
        // Safety: no vector has more than 16 lanes; the caller's promise.
        unsafe {
            let to = self.first.add((row * P + column) * self.plane);
            S::store(numbers.as_mut_ptr(), v);
            match F::as_elements(&numbers) {
                Some(elements) => to.copy_from_nonoverlapping(elements.as_ptr(), S::LANES),
                None => numbers[..S::LANES].iter().enumerate().for_each(|(i, v)| to.add(i).write(F::round(*v))),
            }
        }
    }
}

/// A transform of columns, then of rows.
///
/// # Safety
/// The instruction set of `S` must exist on this processor; what `from` reads in `I` rows and columns must be readable, what `to` writes in `O` of
/// each writable.
#[inline(always)]
pub(super) unsafe fn both<S: Simd, T: Transform<S, I, O>, const I: usize, const O: usize>(from: &impl Load<S>, to: &impl Store<S>) {
    // Safety (all): the caller's promise.
    unsafe {
        let zero = S::splat(S::T::default());
        let mut columns = [[zero; O]; I];
        for (x, to) in columns.iter_mut().enumerate() {
            let mut column = [zero; I];
            for (y, to) in column.iter_mut().enumerate() {
                *to = from.load(y, x);
            }
            *to = T::line(column);
        }
        for y in 0..O {
            let mut row = [zero; I];
            for (to, column) in row.iter_mut().zip(&columns) {
                *to = column[y];
            }
            for (x, v) in T::line(row).into_iter().enumerate() {
                to.store(y, x, v);
            }
        }
    }
}
