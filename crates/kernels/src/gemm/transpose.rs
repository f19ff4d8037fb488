//! Rounding and transposing blocks of numbers, the building blocks of all packing. Everything is inlined into functions that are compiled
//! for the processor's instruction set.

use super::storage::Storage;

/// Numbers of a line, and lines of a block, that are transposed in the nearest cache.
pub const BLOCK: usize = 32;

/// A line of elements.
pub type Line<F> = [<F as Storage>::Element; BLOCK];

/// Rounds for copy `copy`: the number, or what its rounding lost.
#[inline(always)]
pub fn element<F: Storage>(copy: usize, v: F::Number) -> F::Element {
    if copy == 0 { F::round(v) } else { F::rest(v) }
}

/// A line of up to [`BLOCK`] numbers, rounded, with zeros behind them.
#[inline(always)]
pub fn rounded<F: Storage>(copy: usize, from: &[F::Number]) -> Line<F> {
    let mut line = [F::Element::default(); BLOCK];
    match <&[F::Number; BLOCK]>::try_from(from) {
        Ok(from) => line.iter_mut().zip(from).for_each(|(to, v)| *to = element::<F>(copy, *v)),
        Err(_) => line.iter_mut().zip(from).for_each(|(to, v)| *to = element::<F>(copy, *v)),
    }
    line
}

/// Words of one element from each of two lines; of the first alone where a word is one element.
#[inline(always)]
pub fn interleave<F: Storage>(first: &Line<F>, second: &Line<F>, to: &mut [F::Element]) {
    if F::PER_WORD == 1 {
        to.copy_from_slice(&first[..to.len()]);
        return;
    }
    let (words, _) = to.as_chunks_mut::<2>();
    if let Ok(words) = <&mut [[F::Element; 2]; BLOCK]>::try_from(&mut *words) {
        F::pairs(first, second, words);
        return;
    }
    words.iter_mut().enumerate().for_each(|(j, word)| *word = [first[j], second[j]]);
}

/// The first `words` words of each line, as rows of `width` words `stride` elements apart: line j becomes column j.
#[inline(always)]
pub fn transpose<F: Storage>(block: &[Line<F>; BLOCK], words: usize, width: usize, stride: usize, to: &mut [F::Element]) {
    for word in 0..words {
        let row = &mut to[word * stride..][..width * F::PER_WORD];
        for (to, line) in row.chunks_exact_mut(F::PER_WORD).zip(block) {
            to.copy_from_slice(&line[word * F::PER_WORD..][..F::PER_WORD]);
        }
    }
}
