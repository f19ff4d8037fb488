//! AVX2 + FMA and AVX-512 vectors.

use super::vector::{LoopKernel, Real, Simd, SimdKernel};
use std::arch::x86_64::*;

macro_rules! vector {
    ($name:ident, $t:ty, $v:ty, $lanes:expr, $set1:ident, $loadu:ident, $storeu:ident, $fmadd:ident, $add:ident, $sub:ident, $mul:ident) => {
        #[derive(Clone, Copy)]
        pub struct $name;

        // Safety: the caller has checked the instruction set; `loadu` and `storeu` touch exactly `$lanes` numbers.
        unsafe impl Simd for $name {
            type T = $t;
            type V = $v;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn splat(v: $t) -> $v {
                unsafe { $set1(v) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> $v {
                unsafe { $loadu(p) }
            }
            #[inline(always)]
            unsafe fn store(p: *mut $t, v: $v) {
                unsafe { $storeu(p, v) }
            }
            #[inline(always)]
            unsafe fn mul_add(a: $v, b: $v, c: $v) -> $v {
                unsafe { $fmadd(a, b, c) }
            }
            #[inline(always)]
            unsafe fn add(a: $v, b: $v) -> $v {
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: $v, b: $v) -> $v {
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: $v, b: $v) -> $v {
                unsafe { $mul(a, b) }
            }
        }
    };
}

vector!(
    F32x8,
    f32,
    __m256,
    8,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps
);
vector!(
    F64x4,
    f64,
    __m256d,
    4,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_fmadd_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_mul_pd
);
vector!(
    F32x16,
    f32,
    __m512,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps
);
vector!(
    F64x8,
    f64,
    __m512d,
    8,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_fmadd_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    _mm512_mul_pd
);

/// Compiles `job` for AVX2 and FMA.
///
/// # Safety
/// The processor must have both.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn with_avx2<T: Real, S: Simd<T = T>, J: SimdKernel<T>>(job: J) -> J::Output {
    // Safety: the caller's promise.
    unsafe { job.run::<S>() }
}

/// Compiles `job` for AVX-512 F, VL, BW and DQ.
///
/// # Safety
/// The processor must have all four, and FMA.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
pub unsafe fn with_avx512<T: Real, S: Simd<T = T>, J: SimdKernel<T>>(job: J) -> J::Output {
    // Safety: the caller's promise.
    unsafe { job.run::<S>() }
}

/// Compiles `B` for AVX2 and FMA.
///
/// # Safety
/// The processor must have both.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn body_avx2<A, B: LoopKernel<A>>(arguments: A) {
    B::run(arguments);
}

/// Compiles `B` for AVX-512 F, VL, BW and DQ.
///
/// # Safety
/// The processor must have all four, and FMA.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
pub unsafe fn body_avx512<A, B: LoopKernel<A>>(arguments: A) {
    B::run(arguments);
}
