//! Vectors as arrays: what the compiler makes of them on any processor.

use super::vector::{Real, Simd};
use std::marker::PhantomData;

#[derive(Clone, Copy)]
pub struct Wide<T, const N: usize>(PhantomData<T>);

// Safety: uses no instruction set; reads and writes N numbers.
unsafe impl<T: Real, const N: usize> Simd for Wide<T, N> {
    type T = T;
    type V = [T; N];
    const LANES: usize = N;
    #[inline(always)]
    unsafe fn splat(v: T) -> [T; N] {
        [v; N]
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> [T; N] {
        // Safety: the caller promises N readable numbers.
        unsafe { p.cast::<[T; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut T, v: [T; N]) {
        // Safety: the caller promises N writable numbers.
        unsafe { p.cast::<[T; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: [T; N], b: [T; N], c: [T; N]) -> [T; N] {
        std::array::from_fn(|i| a[i].mul_add_if_cheap(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn add(a: [T; N], b: [T; N]) -> [T; N] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [T; N], b: [T; N]) -> [T; N] {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [T; N], b: [T; N]) -> [T; N] {
        std::array::from_fn(|i| a[i] * b[i])
    }
}
