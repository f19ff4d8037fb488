//! What a kernel is written in: numbers, vectors of them, and computations that are compiled for each instruction set.

use super::isa::Isa;

/// f32 and f64: what the kernels compute in. f64 exists for gradient checks.
pub trait Real: Copy + Default + PartialOrd + Send + Sync + std::fmt::Debug + 'static
where
    Self: std::ops::Add<Output = Self> + std::ops::Sub<Output = Self> + std::ops::Mul<Output = Self> + std::ops::Div<Output = Self>,
    Self: std::ops::AddAssign + std::ops::Neg<Output = Self> + std::iter::Sum,
{
    /// From f64, rounded.
    fn of(v: f64) -> Self;
    /// To f64.
    fn wide(self) -> f64;
    /// e^self, with a relative error of a few units in the last place, in code that vectorises.
    fn exp(self) -> Self;
    /// self * b + c, rounded once where the processor does that in one instruction, else twice.
    fn mul_add_if_cheap(self, b: Self, c: Self) -> Self;
    /// The vector types of each instruction set for this number type, called by [`crate::simd::run`].
    fn dispatch<J: SimdKernel<Self>>(isa: Isa, job: J) -> J::Output;
}

/// A vector of `LANES` numbers.
///
/// # Safety
/// An implementation's methods may only be called where its instruction set exists; pointers are read and written for `LANES` numbers.
pub unsafe trait Simd: Copy {
    /// The number type.
    type T: Real;
    /// The register.
    type V: Copy;
    /// Numbers in a register.
    const LANES: usize;
    /// Every lane `v`.
    ///
    /// # Safety
    /// The instruction set must exist on this processor.
    unsafe fn splat(v: Self::T) -> Self::V;
    /// Reads `LANES` numbers, unaligned.
    ///
    /// # Safety
    /// The instruction set must exist on this processor; `LANES` numbers are readable at `p`.
    unsafe fn load(p: *const Self::T) -> Self::V;
    /// Writes `LANES` numbers, unaligned.
    ///
    /// # Safety
    /// The instruction set must exist on this processor; `LANES` numbers are writable at `p`.
    unsafe fn store(p: *mut Self::T, v: Self::V);
    /// a * b + c.
    ///
    /// # Safety
    /// The instruction set must exist on this processor.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a + b.
    ///
    /// # Safety
    /// The instruction set must exist on this processor.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// a - b.
    ///
    /// # Safety
    /// The instruction set must exist on this processor.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// a * b.
    ///
    /// # Safety
    /// The instruction set must exist on this processor.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
}

/// A computation that is compiled once for each instruction set.
pub trait SimdKernel<T: Real> {
    /// What it gives back.
    type Output;
    /// The computation. Implementations are `#[inline(always)]`, so that they are compiled with the caller's instruction set.
    ///
    /// # Safety
    /// The instruction set of `S` must exist on this processor.
    unsafe fn run<S: Simd<T = T>>(self) -> Self::Output;
}

/// A computation in plain loops, which the compiler vectorises by itself for each instruction set.
pub trait LoopKernel<A> {
    /// The computation. It and all that it calls are `#[inline(always)]`, closures included: code that is not inlined is compiled for the
    /// baseline instruction set, which is slower but still correct.
    fn run(arguments: A);
}
