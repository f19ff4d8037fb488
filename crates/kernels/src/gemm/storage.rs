//! Storage formats for the operands of a product.

#[cfg(target_arch = "x86_64")]
use super::moves::x86;
use super::moves::{BLOCK, COLUMNS};
#[cfg(target_arch = "x86_64")]
use crate::simd::Isa;
use crate::simd::Real;

/// How an operand is stored. Sums are accumulated in [`Storage::Number`], which is also the type of images.
pub trait Storage: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// One stored number.
    type Element: Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + 'static;
    /// What is converted, and what sums are kept in.
    type Number: Real;
    /// Elements that one step of the product takes from each factor.
    const PER_WORD: usize;
    /// To the nearest element, ties to even.
    fn round(v: Self::Number) -> Self::Element;
    /// The rounding residual, itself rounded to an element.
    fn rest(v: Self::Number) -> Self::Element;
    /// Rounds all of `from`, or with `rest` what rounding loses of them.
    #[inline(always)]
    fn elements(rest: bool, from: &[Self::Number], to: &mut [Self::Element]) {
        elements::<Self>(rest, from, to);
    }
    /// The numbers as elements, if the two types are the same.
    fn as_elements(numbers: &[Self::Number]) -> Option<&[Self::Element]>;
    /// Back, exactly.
    fn widen(e: Self::Element) -> Self::Number;
    /// Writes words of one element from each of two lines, for formats with two elements a word.
    #[inline(always)]
    fn pairs<const N: usize>(first: &[Self::Element; N], second: &[Self::Element; N], to: &mut [[Self::Element; 2]; N]) {
        for j in 0..N {
            to[j] = [first[j], second[j]];
        }
    }
    /// The first `words` words of each line, as rows of `width` words that begin `stride` elements apart: line j becomes column j.
    #[inline(always)]
    fn transposed(block: &[[Self::Element; BLOCK]; BLOCK], words: usize, width: usize, stride: usize, to: &mut [Self::Element]) {
        transposed::<Self>(block, words, width, stride, to);
    }
    /// The columns of some lines as lines.
    #[inline(always)]
    fn columns(lines: &[[Self::Element; COLUMNS]; BLOCK]) -> [[Self::Element; BLOCK]; COLUMNS] {
        columns(lines)
    }
}

/// Single precision.
#[derive(Clone, Copy, Debug)]
pub struct F32;
/// Double precision: for checks.
#[derive(Clone, Copy, Debug)]
pub struct F64;
/// bfloat16: the upper half of an f32. Products of pairs, summed in f32.
#[derive(Clone, Copy, Debug)]
pub struct Bf16;

macro_rules! plain {
    ($f:ty, $t:ty) => {
        impl Storage for $f {
            type Element = $t;
            type Number = $t;
            const PER_WORD: usize = 1;
            #[inline(always)]
            fn round(v: $t) -> $t {
                v
            }
            #[inline(always)]
            fn rest(_: $t) -> $t {
                0.0
            }
            #[inline(always)]
            fn as_elements(numbers: &[$t]) -> Option<&[$t]> {
                Some(numbers)
            }
            #[inline(always)]
            fn widen(e: $t) -> $t {
                e
            }
        }
    };
}

plain!(F32, f32);
plain!(F64, f64);

impl Storage for Bf16 {
    type Element = u16;
    type Number = f32;
    const PER_WORD: usize = 2;
    #[inline(always)]
    fn round(v: f32) -> u16 {
        let bits = v.to_bits();
        let nearest = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
        // A NaN is truncated, as rounding could turn it into a number; one bit of its fraction is set so that it stays a NaN.
        if v.is_nan() { (bits >> 16) as u16 | 0x0040 } else { nearest }
    }
    #[inline(always)]
    fn rest(v: f32) -> u16 {
        Bf16::round(v - Bf16::widen(Bf16::round(v)))
    }
    #[inline(always)]
    fn elements(rest: bool, from: &[f32], to: &mut [u16]) {
        #[cfg(target_arch = "x86_64")]
        if Isa::active() >= Isa::Avx512 {
            // Safety: the active instruction set is available.
            return unsafe { x86::elements(rest, from, to) };
        }
        elements::<Bf16>(rest, from, to);
    }
    #[inline(always)]
    fn as_elements(_: &[f32]) -> Option<&[u16]> {
        None
    }
    #[inline(always)]
    fn widen(e: u16) -> f32 {
        f32::from_bits((e as u32) << 16)
    }
    #[inline(always)]
    fn pairs<const N: usize>(first: &[u16; N], second: &[u16; N], to: &mut [[u16; 2]; N]) {
        #[cfg(target_arch = "x86_64")]
        if N.is_multiple_of(16) && Isa::active() >= Isa::Avx512 {
            // Safety: the active instruction set is available, and `N` as it asks.
            return unsafe { x86::pairs(first, second, to) };
        }
        // Written as whole words, the inverse of `halves`: compilers do not always vectorise two interleaved stores.
        for j in 0..N {
            let word = first[j] as u32 | (second[j] as u32) << 16;
            // Safety: `to[j]` is four bytes, for which no alignment is asked.
            unsafe { to.as_mut_ptr().add(j).cast::<u32>().write_unaligned(word) }
        }
    }
    #[inline(always)]
    fn transposed(block: &[[u16; BLOCK]; BLOCK], words: usize, width: usize, stride: usize, to: &mut [u16]) {
        #[cfg(target_arch = "x86_64")]
        if (words, width) == (COLUMNS, BLOCK) && Isa::active() >= Isa::Avx512 {
            // Safety: the active instruction set is available.
            return unsafe { x86::transposed(block, stride, to) };
        }
        transposed::<Bf16>(block, words, width, stride, to);
    }
    #[inline(always)]
    fn columns(lines: &[[u16; COLUMNS]; BLOCK]) -> [[u16; BLOCK]; COLUMNS] {
        #[cfg(target_arch = "x86_64")]
        if Isa::active() >= Isa::Avx512 {
            // Safety: the active instruction set is available.
            return unsafe { x86::columns(lines) };
        }
        columns(lines)
    }
}

/// [`Storage::transposed`], word by word.
#[inline(always)]
fn transposed<F: Storage>(block: &[[F::Element; BLOCK]; BLOCK], words: usize, width: usize, stride: usize, to: &mut [F::Element]) {
    for word in 0..words {
        let row = &mut to[word * stride..][..width * F::PER_WORD];
        for (to, line) in row.chunks_exact_mut(F::PER_WORD).zip(block) {
            to.copy_from_slice(&line[word * F::PER_WORD..][..F::PER_WORD]);
        }
    }
}

/// [`Storage::elements`], number by number.
#[inline(always)]
fn elements<F: Storage>(rest: bool, from: &[F::Number], to: &mut [F::Element]) {
    if rest {
        to.iter_mut().zip(from).for_each(|(to, v)| *to = F::rest(*v));
    } else {
        to.iter_mut().zip(from).for_each(|(to, v)| *to = F::round(*v));
    }
}

/// The columns of some lines as lines, one element at a time.
#[inline(always)]
fn columns<T: Copy + Default>(lines: &[[T; COLUMNS]; BLOCK]) -> [[T; BLOCK]; COLUMNS] {
    let mut columns = [[T::default(); BLOCK]; COLUMNS];
    for (j, column) in columns.iter_mut().enumerate() {
        column.iter_mut().zip(lines).for_each(|(to, line)| *to = line[j]);
    }
    columns
}
