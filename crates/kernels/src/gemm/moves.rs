//! The block that packing works on, and how bf16 are rounded, paired and transposed in AVX-512: compilers turn such short loops into one
//! element at a time.

/// Numbers of a line, and lines of a block, that are transposed in the nearest cache.
pub const BLOCK: usize = 32;

/// Columns of lines that are transposed at a time: half as many as lines, as a word is two elements.
pub const COLUMNS: usize = BLOCK / 2;

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    //! On x86-64.

    use super::{BLOCK, COLUMNS};
    use std::arch::x86_64::*;

    /// [`crate::gemm::Storage::elements`] of bf16: compilers turn short loops of it into one element at a time.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, VL, BW and DQ.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    pub unsafe fn elements(rest: bool, from: &[f32], to: &mut [u16]) {
        let n = from.len().min(to.len());
        for at in (0..n).step_by(16) {
            let some = 0xffff_u16 >> (16 - (n - at).min(16));
            // Safety: the mask has as many numbers as are left in both.
            unsafe {
                let v = _mm512_maskz_loadu_ps(some, from.as_ptr().add(at));
                let mut words = upper(v);
                if rest {
                    words = upper(_mm512_sub_ps(v, _mm512_castsi512_ps(_mm512_slli_epi32(words, 16))));
                }
                _mm256_mask_storeu_epi16(to.as_mut_ptr().add(at).cast(), some, _mm512_cvtepi32_epi16(words));
            }
        }
    }

    /// The nearest bf16, in the lower halves of words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    fn upper(v: __m512) -> __m512i {
        let bits = _mm512_castps_si512(v);
        let half = _mm512_srli_epi32(bits, 16);
        let odd = _mm512_and_si512(half, _mm512_set1_epi32(1));
        let nearest = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
        let kept = _mm512_or_si512(half, _mm512_set1_epi32(0x0040));
        _mm512_mask_mov_epi32(nearest, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), kept)
    }

    /// [`crate::gemm::Storage::pairs`] of bf16.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, VL, BW and DQ; `N` must be a multiple of 16.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    pub unsafe fn pairs<const N: usize>(first: &[u16; N], second: &[u16; N], to: &mut [[u16; 2]; N]) {
        for at in (0..N).step_by(16) {
            // Safety: 16 elements of each line, and as many words, as `N` is a multiple of 16.
            unsafe {
                let [a, b] = [first, second].map(|line| _mm512_cvtepu16_epi32(_mm256_loadu_si256(line.as_ptr().add(at).cast())));
                _mm512_storeu_si512(to.as_mut_ptr().add(at).cast(), _mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
            }
        }
    }

    /// The columns of some lines as lines.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, VL, BW and DQ.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    pub unsafe fn columns(lines: &[[u16; COLUMNS]; BLOCK]) -> [[u16; BLOCK]; COLUMNS] {
        // Two lines make one of words.
        let mut words = [_mm512_setzero_si512(); COLUMNS];
        for (word, pair) in words.iter_mut().zip(lines.as_chunks::<2>().0) {
            // Safety: 32 bytes each.
            let [a, b] = [0, 1].map(|i| _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(pair[i].as_ptr().cast()) }));
            *word = _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
        }
        let words = swapped(words);
        let mut columns = [[0; BLOCK]; COLUMNS];
        for (to, word) in columns.iter_mut().zip(words) {
            // Safety: 64 bytes.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), word) };
        }
        columns
    }

    /// [`crate::gemm::Storage::transposed`] of bf16.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, VL, BW and DQ.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    pub unsafe fn transposed(block: &[[u16; BLOCK]; BLOCK], stride: usize, to: &mut [u16]) {
        assert!(to.len() >= (COLUMNS - 1) * stride + 2 * BLOCK, "a block that leaves the panel");
        for half in 0..2 {
            let mut words = [_mm512_setzero_si512(); COLUMNS];
            for (word, line) in words.iter_mut().zip(&block[half * COLUMNS..]) {
                // Safety: 64 bytes.
                *word = unsafe { _mm512_loadu_si512(line.as_ptr().cast()) };
            }
            for (row, word) in swapped(words).into_iter().enumerate() {
                // Safety: half a row of the panel, which has all of them by the assert.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().add(row * stride + half * BLOCK).cast(), word) };
            }
        }
    }

    /// Words of 16 lines, transposed.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    fn swapped(mut words: [__m512i; COLUMNS]) -> [__m512i; COLUMNS] {
        const HALF: usize = COLUMNS / 2;
        // One word of each of two vectors in turn: of their lower halves, of their upper halves.
        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        // Lines i and i + 8 become lines 2 i and 2 i + 1: done four times, the transpose.
        for _ in 0..4 {
            let from = words;
            for i in 0..HALF {
                words[2 * i] = _mm512_permutex2var_epi32(from[i], low, from[i + HALF]);
                words[2 * i + 1] = _mm512_permutex2var_epi32(from[i], high, from[i + HALF]);
            }
        }
        words
    }
}
