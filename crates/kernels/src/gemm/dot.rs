//! Vector arithmetic on the formats: what the inner loop of a product is made of.

use super::storage::{Bf16, F32, F64, Storage};
use crate::simd::{Real, Simd};

/// Vector arithmetic on a format: `LANES` sums, to each of which a word's product is added.
///
/// # Safety
/// Methods may only be called where the instruction set exists; pointers are read or written for as many numbers as the name says.
pub unsafe trait Dot<F: Storage>: Copy {
    /// Sums.
    type V: Copy;
    /// Words.
    type W: Copy;
    /// Sums in a register.
    const LANES: usize;
    /// Sums of 0.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn zero() -> Self::V;
    /// Reads `LANES` sums.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn load(p: *const F::Number) -> Self::V;
    /// Writes `LANES` sums.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn store(p: *mut F::Number, v: Self::V);
    /// a + b.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// One word for all lanes, from `PER_WORD` elements.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn spread(p: *const F::Element) -> Self::W;
    /// `LANES` words.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn line(p: *const F::Element) -> Self::W;
    /// v plus the words' products.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn dot(a: Self::W, b: Self::W, v: Self::V) -> Self::V;
}

macro_rules! plain {
    ($f:ty, $t:ty) => {
        // Safety: passed on to `Simd`, which asks the same of its callers.
        unsafe impl<S: Simd<T = $t>> Dot<$f> for S {
            type V = S::V;
            type W = S::V;
            const LANES: usize = S::LANES;
            #[inline(always)]
            unsafe fn zero() -> S::V {
                unsafe { S::splat(0.0) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> S::V {
                unsafe { S::load(p) }
            }
            #[inline(always)]
            unsafe fn store(p: *mut $t, v: S::V) {
                unsafe { S::store(p, v) }
            }
            #[inline(always)]
            unsafe fn add(a: S::V, b: S::V) -> S::V {
                unsafe { S::add(a, b) }
            }
            #[inline(always)]
            unsafe fn spread(p: *const $t) -> S::V {
                unsafe { S::splat(*p) }
            }
            #[inline(always)]
            unsafe fn line(p: *const $t) -> S::V {
                unsafe { S::load(p) }
            }
            #[inline(always)]
            unsafe fn dot(a: S::V, b: S::V, v: S::V) -> S::V {
                unsafe { S::mul_add(a, b, v) }
            }
        }
    };
}

plain!(F32, f32);
plain!(F64, f64);

/// Pairs of bf16 in plain code.
#[derive(Clone, Copy)]
pub struct Pairs;

const PAIRS: usize = 8;

#[inline(always)]
fn halves(word: u32) -> (f32, f32) {
    (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000))
}

// Safety: uses no instruction set; reads and writes what the names say.
unsafe impl Dot<Bf16> for Pairs {
    type V = [f32; PAIRS];
    type W = ([f32; PAIRS], [f32; PAIRS]);
    const LANES: usize = PAIRS;
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        [0.0; PAIRS]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn spread(p: *const u16) -> Self::W {
        let (low, high) = halves(unsafe { p.cast::<u32>().read_unaligned() });
        ([low; PAIRS], [high; PAIRS])
    }
    #[inline(always)]
    unsafe fn line(p: *const u16) -> Self::W {
        let words = unsafe { p.cast::<[u32; PAIRS]>().read_unaligned() };
        (words.map(|w| halves(w).0), words.map(|w| halves(w).1))
    }
    #[inline(always)]
    unsafe fn dot(a: Self::W, b: Self::W, v: Self::V) -> Self::V {
        std::array::from_fn(|i| a.1[i].mul_add_if_cheap(b.1[i], a.0[i].mul_add_if_cheap(b.0[i], v[i])))
    }
}

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    //! Pairs of bf16 in AVX2, AVX-512 and with AVX-512's own instruction.

    use super::{Bf16, Dot};
    use std::arch::x86_64::*;

    macro_rules! pairs {
        ($name:ident, $v:ty, $w:ty, $lanes:expr, $zero:ident, $load:ident, $store:ident, $add:ident,
         |$p:ident| $spread:expr, |$q:ident| $line:expr, |$a:ident, $b:ident, $c:ident| $dot:expr) => {
            #[derive(Clone, Copy)]
            pub struct $name;

            // Safety: the caller has checked the instruction set; what is read and written is what the trait says.
            unsafe impl Dot<Bf16> for $name {
                type V = $v;
                type W = $w;
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn zero() -> $v {
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn load(p: *const f32) -> $v {
                    unsafe { $load(p) }
                }
                #[inline(always)]
                unsafe fn store(p: *mut f32, v: $v) {
                    unsafe { $store(p, v) }
                }
                #[inline(always)]
                unsafe fn add(a: $v, b: $v) -> $v {
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                unsafe fn spread($p: *const u16) -> $w {
                    unsafe { $spread }
                }
                #[inline(always)]
                unsafe fn line($q: *const u16) -> $w {
                    unsafe { $line }
                }
                #[inline(always)]
                unsafe fn dot($a: $w, $b: $w, $c: $v) -> $v {
                    unsafe { $dot }
                }
            }
        };
    }

    #[inline(always)]
    unsafe fn halves256(words: __m256i) -> (__m256, __m256) {
        unsafe {
            let high = _mm256_and_si256(words, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            (_mm256_castsi256_ps(_mm256_slli_epi32(words, 16)), _mm256_castsi256_ps(high))
        }
    }

    #[inline(always)]
    unsafe fn halves512(words: __m512i) -> (__m512, __m512) {
        unsafe {
            let high = _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            (_mm512_castsi512_ps(_mm512_slli_epi32(words, 16)), _mm512_castsi512_ps(high))
        }
    }

    pairs!(
        Pairs256,
        __m256,
        (__m256, __m256),
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        |p| halves256(_mm256_set1_epi32(p.cast::<i32>().read_unaligned())),
        |p| halves256(_mm256_loadu_si256(p.cast())),
        |a, b, v| _mm256_fmadd_ps(a.1, b.1, _mm256_fmadd_ps(a.0, b.0, v))
    );
    pairs!(
        Pairs512,
        __m512,
        (__m512, __m512),
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        |p| halves512(_mm512_set1_epi32(p.cast::<i32>().read_unaligned())),
        |p| halves512(_mm512_loadu_si512(p.cast())),
        |a, b, v| _mm512_fmadd_ps(a.1, b.1, _mm512_fmadd_ps(a.0, b.0, v))
    );
    pairs!(
        Native512,
        __m512,
        __m512i,
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        |p| _mm512_set1_epi32(p.cast::<i32>().read_unaligned()),
        |p| _mm512_loadu_si512(p.cast()),
        // Safety: 64 bytes of bf16, whatever the type's name.
        |a, b, v| _mm512_dpbf16_ps(v, std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b))
    );
}
