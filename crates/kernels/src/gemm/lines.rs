//! Rounded lines of numbers, the building blocks of all packing. Everything is inlined into functions that are compiled for the processor's
//! instruction set.

use super::moves::BLOCK;
use super::storage::Storage;

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
    F::elements(copy > 0, from, &mut line);
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
