//! Packs operands in the order in which the product reads them: panels of columns, rows of words.

use super::kernel::{Segment, width};
use super::lines::{element, interleave, rounded};
use super::moves::{BLOCK, COLUMNS};
use super::storage::Storage;
use crate::simd::{bodies, compiled};

/// How many elements represent a number, and thus how accurate a format's product is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandSplit {
    /// Each number is one element.
    One,
    /// Each number is split into an element and its rounding residual; the smallest of the four products is omitted. With bf16 the
    /// relative error of the factors is about 2^-16: close to f32 on a unit that supports only bf16.
    Two,
}

impl OperandSplit {
    /// Copies of an operand: the rounded numbers and, if split, their rounding residuals.
    pub fn copies(self) -> usize {
        match self {
            OperandSplit::One => 1,
            OperandSplit::Two => 2,
        }
    }

    /// The segments over all copies, where the second copy of `a` is `a_len` elements and that of `b` `rows` rows behind the first.
    pub fn segments(self, segments: &[Segment], a_len: usize, rows: usize) -> Vec<Segment> {
        let all = |a: usize, b: usize| segments.iter().map(move |s| Segment { from: s.from + a * a_len, row: s.row + b * rows, ..*s });
        match self {
            OperandSplit::One => segments.to_vec(),
            OperandSplit::Two => all(0, 0).chain(all(0, 1)).chain(all(1, 0)).collect(),
        }
    }
}

/// Kernels \[taps, c_in, c_out\] whose outputs stand side by side.
#[derive(Clone, Copy, Debug)]
pub struct Kernels<'a, T> {
    /// The kernels, one for each part.
    pub parts: &'a [&'a [T]],
    /// Number of input channels, the same for all parts.
    pub c_in: usize,
    /// Outputs of each part.
    pub c_out: usize,
}

impl<T: crate::simd::Real> Kernels<'_, T> {
    /// Outputs of all parts.
    pub fn outputs(&self) -> usize {
        self.parts.len() * self.c_out
    }

    /// `n` outputs of an input channel from `from` on, which belong to one part.
    #[inline(always)]
    fn some(&self, tap: usize, ci: usize, from: usize, n: usize) -> &[T] {
        &self.parts[from / self.c_out][(tap * self.c_in + ci) * self.c_out + from % self.c_out..][..n]
    }

    /// Copies outputs `from..` of an input channel, which may belong to several parts.
    #[inline]
    pub fn copy(&self, tap: usize, ci: usize, from: usize, to: &mut [T]) {
        let mut at = 0;
        while at < to.len() {
            let n = (self.c_out - (from + at) % self.c_out).min(to.len() - at);
            to[at..at + n].copy_from_slice(self.some(tap, ci, from + at, n));
            at += n;
        }
    }

    /// Outputs `from..` of an input channel, summed over taps, rounded; zeros past the last output.
    #[inline(always)]
    fn line<F: Storage<Number = T>>(&self, copy: usize, taps: &[usize], ci: usize, from: usize) -> [F::Element; BLOCK] {
        let n = BLOCK.min(self.outputs().saturating_sub(from));
        let one_part = n > 0 && from % self.c_out + n <= self.c_out;
        if let ([tap], true) = (taps, one_part) {
            return rounded::<F>(copy, self.some(*tap, ci, from, n));
        }
        let mut sum = [T::default(); BLOCK];
        for tap in taps {
            if one_part {
                add(&mut sum, self.some(*tap, ci, from, n));
            } else {
                sum[..n].iter_mut().enumerate().for_each(|(at, to)| *to += self.some(*tap, ci, from + at, 1)[0]);
            }
        }
        rounded::<F>(copy, &sum)
    }

    /// One panel of \[(group, c_in), outputs\]; each group of taps is added up.
    pub fn forward_panel<F: Storage<Number = T>>(&self, groups: &[Vec<usize>], panel: usize, split: OperandSplit, out: &mut [F::Element]) {
        compiled::<_, ForwardPanel<F>>((self, groups, panel, split, out));
    }

    /// One panel of \[(group, outputs), c_in\]; each group of taps is added up.
    pub fn transposed_panel<F: Storage<Number = T>>(
        &self,
        groups: &[Vec<usize>],
        panel: usize,
        split: OperandSplit,
        out: &mut [F::Element],
    ) {
        compiled::<_, TransposedPanel<F>>((self, groups, panel, split, out));
    }
}

/// Adds up to a block of numbers.
#[inline(always)]
fn add<T: crate::simd::Real>(sum: &mut [T; BLOCK], some: &[T]) {
    match <&[T; BLOCK]>::try_from(some) {
        Ok(some) => sum.iter_mut().zip(some).for_each(|(to, v)| *to += *v),
        Err(_) => sum.iter_mut().zip(some).for_each(|(to, v)| *to += *v),
    }
}

type PanelOf<'a, F> = (&'a Kernels<'a, <F as Storage>::Number>, &'a [Vec<usize>], usize, OperandSplit, &'a mut [<F as Storage>::Element]);

#[inline(always)]
fn forward_panel<F: Storage>((kernels, groups, panel, split, out): PanelOf<F>) {
    let (width, words) = (width::<F>(kernels.outputs()), kernels.c_in.div_ceil(F::PER_WORD));
    let rows = groups.len() * words;
    assert_eq!(out.len(), split.copies() * rows * width * F::PER_WORD);
    for copy in 0..split.copies() {
        for (g, taps) in groups.iter().enumerate() {
            for word in 0..words {
                let ci = word * F::PER_WORD;
                let first = kernels.line::<F>(copy, taps, ci, panel * width);
                let second = match F::PER_WORD > 1 && ci + 1 < kernels.c_in {
                    true => kernels.line::<F>(copy, taps, ci + 1, panel * width),
                    false => [F::Element::default(); BLOCK],
                };
                let to = &mut out[(copy * rows + g * words + word) * width * F::PER_WORD..][..width * F::PER_WORD];
                interleave::<F>(&first, &second, to);
            }
        }
    }
}

/// Blocks of a row that are read before any is transposed, so that memory is read sequentially.
const AHEAD: usize = 8;

#[inline(always)]
fn transposed_panel<F: Storage>((kernels, groups, panel, split, out): PanelOf<F>) {
    let (width, words) = (width::<F>(kernels.c_in), kernels.outputs().div_ceil(F::PER_WORD));
    let rows = groups.len() * words;
    assert_eq!(out.len(), split.copies() * rows * width * F::PER_WORD);
    let lines = width.min(kernels.c_in - panel * width);
    let mut blocks = [[[F::Element::default(); BLOCK]; BLOCK]; AHEAD];
    for copy in 0..split.copies() {
        for (g, taps) in groups.iter().enumerate() {
            for first in (0..kernels.outputs()).step_by(AHEAD * BLOCK) {
                let n = (kernels.outputs() - first).div_ceil(BLOCK).min(AHEAD);
                for j in 0..lines {
                    for (i, block) in blocks[..n].iter_mut().enumerate() {
                        block[j] = kernels.line::<F>(copy, taps, panel * width + j, first + i * BLOCK);
                    }
                }
                for (i, block) in blocks[..n].iter().enumerate() {
                    let from = first + i * BLOCK;
                    let n = (kernels.outputs() - from).min(BLOCK).div_ceil(F::PER_WORD);
                    let row = copy * rows + g * words + from / F::PER_WORD;
                    F::transposed(block, n, width, width * F::PER_WORD, &mut out[row * width * F::PER_WORD..]);
                }
            }
        }
    }
}

/// A matrix by rows, or by columns where `transposed`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    /// The stored numbers, row by row.
    pub data: &'a [T],
    /// Numbers between the beginnings of stored rows.
    pub stride: usize,
    /// Whether the stored rows are the columns of the matrix.
    pub transposed: bool,
}

impl<T: crate::simd::Real> Matrix<'_, T> {
    /// Rows of words: \[copies\]\[rows\]\[words\], each row filled up with zeros to whole words.
    pub fn rows<F: Storage<Number = T>>(&self, rows: usize, columns: usize, split: OperandSplit, out: &mut [F::Element]) {
        compiled::<_, MatrixRows<F>>((self, rows, columns, split, out));
    }

    /// All panels of the \[rows, columns\] matrix.
    pub fn panels<F: Storage<Number = T>>(&self, rows: usize, columns: usize, split: OperandSplit, out: &mut [F::Element]) {
        compiled::<_, MatrixPanels<F>>((self, rows, columns, split, out));
    }
}

type MatrixOf<'a, F> = (&'a Matrix<'a, <F as Storage>::Number>, usize, usize, OperandSplit, &'a mut [<F as Storage>::Element]);

#[inline(always)]
fn matrix_rows<F: Storage>((m, rows, columns, split, out): MatrixOf<F>) {
    let row_len = columns.next_multiple_of(F::PER_WORD);
    for (copy, out) in out.chunks_exact_mut(rows * row_len).enumerate().take(split.copies()) {
        if row_len > columns {
            out.fill(F::Element::default());
        }
        if !m.transposed {
            for (out, row) in out.chunks_exact_mut(row_len).zip(m.data.chunks(m.stride)) {
                F::elements(copy > 0, &row[..columns], out);
            }
            continue;
        }
        for first in (0..rows).step_by(BLOCK) {
            let n = (rows - first).min(BLOCK);
            for from in (0..columns).step_by(BLOCK) {
                let m_rows = (columns - from).min(BLOCK);
                let mut block = [[F::Element::default(); BLOCK]; BLOCK];
                for (j, line) in block.iter_mut().enumerate().take(m_rows) {
                    *line = rounded::<F>(copy, &m.data[(from + j) * m.stride + first..][..n]);
                }
                for i in 0..n {
                    let to = &mut out[(first + i) * row_len + from..][..m_rows];
                    to.iter_mut().zip(&block).for_each(|(to, line)| *to = line[i]);
                }
            }
        }
    }
}

#[inline(always)]
fn matrix_panels<F: Storage>((m, rows, columns, split, out): MatrixOf<F>) {
    let (width, words) = (width::<F>(columns), rows.div_ceil(F::PER_WORD));
    for (panel, out) in out.chunks_exact_mut(split.copies() * words * width * F::PER_WORD).enumerate() {
        let first = panel * width;
        let n = width.min(columns.saturating_sub(first));
        for (copy, out) in out.chunks_exact_mut(words * width * F::PER_WORD).enumerate() {
            if !m.transposed {
                for (word, to) in out.chunks_exact_mut(width * F::PER_WORD).enumerate() {
                    let row = word * F::PER_WORD;
                    let line = rounded::<F>(copy, &m.data[row * m.stride + first..][..n]);
                    let second = match F::PER_WORD > 1 && row + 1 < rows {
                        true => rounded::<F>(copy, &m.data[(row + 1) * m.stride + first..][..n]),
                        false => [F::Element::default(); BLOCK],
                    };
                    interleave::<F>(&line, &second, to);
                }
                continue;
            }
            let mut block = [[F::Element::default(); BLOCK]; BLOCK];
            for from in (0..rows).step_by(BLOCK) {
                let some = (rows - from).min(BLOCK);
                for (j, line) in block.iter_mut().enumerate().take(n) {
                    *line = rounded::<F>(copy, &m.data[(first + j) * m.stride + from..][..some]);
                }
                let to = &mut out[from / F::PER_WORD * width * F::PER_WORD..];
                F::transposed(&block, some.div_ceil(F::PER_WORD), width, width * F::PER_WORD, to);
            }
        }
    }
}

/// Copies a row of pixels, \[n, c\], to places of pixels, `pixel` elements apart from `at` on; what lies between stays.
pub fn pixels<F: Storage>(row: &[F::Number], c: usize, copy: usize, pixel: usize, at: usize, out: &mut [F::Element]) {
    compiled::<_, CopyPixels<F>>((row, c, copy, pixel, &mut out[at..]));
}

type PixelsOf<'a, F> = (&'a [<F as Storage>::Number], usize, usize, usize, &'a mut [<F as Storage>::Element]);

#[inline(always)]
fn copy_pixels<F: Storage>((row, c, copy, pixel, out): PixelsOf<F>) {
    if pixel == c {
        F::elements(copy > 0, row, &mut out[..row.len()]);
        return;
    }
    for (x, from) in row.chunks_exact(c).enumerate() {
        F::elements(copy > 0, from, &mut out[x * pixel..][..c]);
    }
}

/// Copies an image of `(c, w)` channels and columns to planes, \[c\]\[moves\]\[`plane`\]: the pixels of a channel, row by row in one piece.
/// With one move, they begin the plane; with three, they follow a row of zeros, and are those to the left, at the place itself, and to
/// the right, with zeros where the image ends. Zeros fill up the plane.
pub fn moved<F: Storage>(image: &[F::Number], (c, w): (usize, usize), copy: usize, (moves, plane): (usize, usize), out: &mut [F::Element]) {
    compiled::<_, MovedPlanes<F>>((image, [c, w, copy, moves, plane], out));
}

type MovedOf<'a, F> = (&'a [<F as Storage>::Number], [usize; 5], &'a mut [<F as Storage>::Element]);

#[inline(always)]
fn moved_planes<F: Storage>((image, [c, w, copy, moves, plane], out): MovedOf<F>) {
    let (pixels, above, zero) = (image.len() / c, moves / 2 * w, F::Element::default());
    // Channels whose planes stay in the nearest cache.
    for (group, out) in out.chunks_mut(COLUMNS * moves * plane).enumerate() {
        let first = group * COLUMNS;
        let n = out.len() / (moves * plane);
        for from in (0..pixels).step_by(BLOCK) {
            let m = (pixels - from).min(BLOCK);
            let mut lines = [[F::Element::default(); COLUMNS]; BLOCK];
            for (line, pixel) in lines.iter_mut().zip(image[from * c..].chunks_exact(c)) {
                F::elements(copy > 0, &pixel[first..first + n], line);
            }
            let columns = F::columns(&lines);
            for (channel, column) in out.chunks_exact_mut(moves * plane).zip(&columns) {
                let to = &mut channel[moves / 2 * plane + above + from..][..m];
                match <&mut [F::Element; BLOCK]>::try_from(&mut *to) {
                    Ok(to) => *to = *column,
                    Err(_) => to.copy_from_slice(&column[..m]),
                }
            }
        }
        for channel in out.chunks_exact_mut(moves * plane) {
            if moves > 1 {
                let (left, rest) = channel.split_at_mut(plane);
                let (middle, right) = rest.split_at_mut(plane);
                let [left, middle, right] = [left, middle, right].map(|plane| &mut plane[above..above + pixels]);
                left[1..].copy_from_slice(&middle[..pixels - 1]);
                right[..pixels - 1].copy_from_slice(&middle[1..]);
                left.iter_mut().step_by(w).for_each(|v| *v = zero);
                right[w - 1..].iter_mut().step_by(w).for_each(|v| *v = zero);
            }
            for plane in channel.chunks_exact_mut(plane) {
                plane[..above].fill(zero);
                plane[above + pixels..].fill(zero);
            }
        }
    }
}

/// Copies a row of pixels, \[n, c\], to two planes for each channel, `stride` elements from those of the channel before: those at even
/// places from `at` on, those at odd ones `other` further.
pub fn phases<F: Storage>(row: &[F::Number], c: usize, copy: usize, stride: usize, at: usize, other: usize, out: &mut [F::Element]) {
    compiled::<_, Phases<F>>((row, c, [copy, stride, other], &mut out[at..]));
}

type PhasesOf<'a, F> = (&'a [<F as Storage>::Number], usize, [usize; 3], &'a mut [<F as Storage>::Element]);

#[inline(always)]
fn phase_planes<F: Storage>((row, c, [copy, stride, other], out): PhasesOf<F>) {
    for (x, pixel) in row.chunks_exact(c).enumerate() {
        for (channel, v) in pixel.iter().enumerate() {
            out[channel * stride + x / 2 + x % 2 * other] = element::<F>(copy, *v);
        }
    }
}

bodies! {
    F: Storage;
    ForwardPanel = forward_panel(PanelOf);
    TransposedPanel = transposed_panel(PanelOf);
    MatrixRows = matrix_rows(MatrixOf);
    MatrixPanels = matrix_panels(MatrixOf);
    CopyPixels = copy_pixels(PixelsOf);
    MovedPlanes = moved_planes(MovedOf);
    Phases = phase_planes(PhasesOf);
}
