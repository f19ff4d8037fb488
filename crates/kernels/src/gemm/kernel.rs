//! The product itself: out\[row, n\] (+)= bias\[n\] + sum_k a\[row, k\] b\[k, n\].
//!
//! `a` need not be a regular matrix: each row starts at its own offset and continues in segments, so that a window of a padded image is a
//! row without being copied. `b` is packed into panels of a few columns. A tile of the result is accumulated in registers.

use super::dot::Dot;
use super::storage::Storage;

/// Where a row begins in `a`, where its result goes in `out`, and where its bias begins. In elements and numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowOffsets {
    /// First element of the row in `a`.
    pub from: usize,
    /// First number of its result in `out`.
    pub to: usize,
    /// First number of its bias.
    pub bias: usize,
}

crate::scratch::scratch!(RowOffsets, Segment);

/// Part of the sum: `words` words, starting `from` elements into a row of `a`, against the rows of `b` starting at `row`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Elements from the beginning of a row of `a` to the segment.
    pub from: usize,
    /// The segment's first row of words in a panel of `b`.
    pub row: usize,
    /// Length of the segment in words.
    pub words: usize,
}

/// Rows of the part of a panel that should stay in the L2 cache throughout the loop over all rows of `a`.
const CHUNK: usize = 1536;

/// The same where the words of a row are strided, so that each loads a cache line whose remainder neighbouring rows use.
const SPREAD_CHUNK: usize = 128;

/// A product.
#[derive(Debug)]
pub struct Products<'a, F: Storage> {
    /// Elements of the left factor; its rows may overlap.
    pub a: &'a [F::Element],
    /// Offsets of each row of the result.
    pub places: &'a [RowOffsets],
    /// Parts of each row's sum, the same for all rows.
    pub segments: &'a [Segment],
    /// Elements from a word of a row to the next: [`Storage::PER_WORD`] where rows lie in one piece.
    pub step: usize,
    /// Panels of [`width`] columns, each `rows` words a column; the last one filled up with zeros.
    pub b: &'a [F::Element],
    /// Words in a column of a panel.
    pub rows: usize,
    /// Columns of the result that begin with the first panel given.
    pub columns: usize,
    /// Added to each row, from the row's place on.
    pub bias: Option<&'a [F::Number]>,
    /// Whether `out` is added to.
    pub accumulate: bool,
    /// The result: `columns` consecutive numbers for each row, at the row's offset.
    pub out: &'a mut [F::Number],
}

/// Sums in 64 bytes.
pub const fn line<F: Storage>() -> usize {
    64 / size_of::<F::Number>()
}

/// Columns of a panel: two 64-byte lines of sums, or one where that is enough.
pub fn width<F: Storage>(columns: usize) -> usize {
    if columns <= line::<F>() { line::<F>() } else { 2 * line::<F>() }
}

/// Elements of the packed panels of a \[rows, columns\] matrix.
pub fn panels_len<F: Storage>(rows: usize, columns: usize) -> usize {
    columns.next_multiple_of(width::<F>(columns)) * rows * F::PER_WORD
}

impl<F: Storage> Products<'_, F> {
    /// What the pointers of every implementation rely on.
    pub fn check(&self) {
        let end = |s: &Segment| if s.words == 0 { s.from } else { s.from + (s.words - 1) * self.step + F::PER_WORD };
        let reach = self.segments.iter().map(end).max().unwrap_or(0);
        let rows = self.segments.iter().map(|s| s.row + s.words).max().unwrap_or(0);
        assert!(rows <= self.rows, "segments reach row {rows} of {}", self.rows);
        assert_eq!(self.b.len(), panels_len::<F>(self.rows, self.columns), "panels of {} x {}", self.rows, self.columns);
        let (mut from, mut to, mut bias) = (0, 0, 0);
        for place in self.places {
            (from, to, bias) = (from.max(place.from), to.max(place.to), bias.max(place.bias));
        }
        if self.places.is_empty() {
            return;
        }
        assert!(from + reach <= self.a.len(), "rows reach {} of {}", from + reach, self.a.len());
        assert!(to + self.columns <= self.out.len(), "results reach {} of {}", to + self.columns, self.out.len());
        assert!(self.bias.is_none_or(|b| bias + self.columns <= b.len()), "a bias is too short");
    }

    /// The end of the longest run of segments from `first` that fits the cache; at least one segment.
    pub fn chunk_end(&self, first: usize) -> usize {
        let limit = if self.step == F::PER_WORD { CHUNK } else { SPREAD_CHUNK };
        let (mut words, mut end) = (self.segments[first].words, first + 1);
        while end < self.segments.len() && words + self.segments[end].words <= limit {
            words += self.segments[end].words;
            end += 1;
        }
        end
    }

    /// Runs with the vectors of `D`.
    ///
    /// # Safety
    /// The instruction set of `D` must exist on this processor, and the caller must be compiled for it.
    #[inline(always)]
    pub unsafe fn run<D: Dot<F>>(mut self) {
        self.check();
        let registers = width::<F>(self.columns) / D::LANES;
        let n = self.places.len();
        let waste = |rows: usize| n.div_ceil(rows) * rows - n;
        let wide = D::LANES == line::<F>();
        // A row of a low tile takes longer than one of a high tile, as each line of `b` serves fewer: in sixteenths, measured with AVX2.
        let narrow =
            [(6, 16), (5, 17), (4, 18)].into_iter().min_by_key(|(rows, time)| n.div_ceil(*rows) * rows * time).map_or(6, |(rows, _)| rows);
        // Safety (all): the caller's promise; a panel that is wider than a tile is processed in several passes.
        unsafe {
            match (registers, wide) {
                (1, _) => self.tiles::<D, 8, 1>(),
                (_, true) if waste(12) <= waste(8) && waste(12) <= waste(7) => self.tiles::<D, 12, 2>(),
                (_, true) if waste(7) < waste(8) => self.tiles::<D, 7, 2>(),
                (_, true) => self.tiles::<D, 8, 2>(),
                // 256-bit registers: 16 of them.
                (2 | 4, _) if narrow == 6 => self.tiles::<D, 6, 2>(),
                (2 | 4, _) if narrow == 5 => self.tiles::<D, 5, 2>(),
                _ => self.tiles::<D, 4, 2>(),
            }
        }
    }

    /// All tiles of `MR` rows by `NV` registers.
    #[inline(always)]
    unsafe fn tiles<D: Dot<F>, const MR: usize, const NV: usize>(&mut self) {
        let (columns, width, last) = (self.columns, width::<F>(self.columns), self.places.len().wrapping_sub(1));
        for panel in 0..columns.div_ceil(width) {
            let mut end = 0;
            while end < self.segments.len() {
                let first = end;
                end = self.chunk_end(first);
                let (segments, accumulate) = (&self.segments[first..end], self.accumulate || first > 0);
                let bias = self.bias.filter(|_| first == 0);
                for row in (0..self.places.len()).step_by(MR) {
                    // Rows past the end repeat the last one; their results are dropped.
                    let places: [RowOffsets; MR] = std::array::from_fn(|i| self.places[(row + i).min(last)]);
                    let valid = (self.places.len() - row).min(MR);
                    for inner in (0..width).step_by(NV * D::LANES) {
                        let column = panel * width + inner;
                        if column >= columns {
                            break;
                        }
                        // Safety: `check` has compared every place, segment and panel with the slices.
                        unsafe {
                            let b = self.b.as_ptr().add((panel * self.rows * width + inner) * F::PER_WORD);
                            let sums = sum::<F, D, MR, NV>((self.a.as_ptr(), self.step), &places, segments, b, width);
                            for (i, sums) in sums.iter().enumerate().take(valid) {
                                let RowOffsets { to, bias: from, .. } = places[i];
                                let bias = bias.map(|bias| &bias[from + column..from + columns]);
                                finish::<F, D, NV>(sums, &mut self.out[to + column..to + columns], bias, accumulate);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A tile's sums over `segments`.
///
/// # Safety
/// The instruction set of `D`; every place and segment inside `a`; every segment's rows behind `b`, `width` words apart.
#[inline(always)]
unsafe fn sum<F: Storage, D: Dot<F>, const MR: usize, const NV: usize>(
    (a, step): (*const F::Element, usize),
    places: &[RowOffsets; MR],
    segments: &[Segment],
    b: *const F::Element,
    width: usize,
) -> [[D::V; NV]; MR] {
    // Safety: the caller's promise.
    unsafe {
        let mut sums = [[D::zero(); NV]; MR];
        for segment in segments {
            let pointers: [*const F::Element; MR] = std::array::from_fn(|i| a.add(places[i].from + segment.from));
            let mut line = b.add(segment.row * width * F::PER_WORD);
            let mut at = 0;
            for _ in 0..segment.words {
                let words: [D::W; NV] = std::array::from_fn(|j| D::line(line.add(j * D::LANES * F::PER_WORD)));
                for i in 0..MR {
                    let word = D::spread(pointers[i].add(at));
                    for j in 0..NV {
                        sums[i][j] = D::dot(word, words[j], sums[i][j]);
                    }
                }
                line = line.add(width * F::PER_WORD);
                at += step;
            }
        }
        sums
    }
}

/// Writes one row of a tile: `out` is what is left of the row, which may be shorter than the tile.
///
/// # Safety
/// The instruction set of `D`.
#[inline(always)]
unsafe fn finish<F: Storage, D: Dot<F>, const NV: usize>(
    sums: &[D::V; NV],
    out: &mut [F::Number],
    bias: Option<&[F::Number]>,
    accumulate: bool,
) {
    if out.len() >= NV * D::LANES {
        // Safety: as long as the tile's row; the bias as long as `out`.
        unsafe {
            for (j, v) in sums.iter().enumerate() {
                let to = out.as_mut_ptr().add(j * D::LANES);
                let mut v = *v;
                if let Some(bias) = bias {
                    v = D::add(v, D::load(bias.as_ptr().add(j * D::LANES)));
                }
                if accumulate {
                    v = D::add(v, D::load(to));
                }
                D::store(to, v);
            }
        }
        return;
    }
    let mut spill = [F::Number::default(); 64];
    // Safety: a tile's row is at most 32 numbers.
    unsafe {
        for (j, v) in sums.iter().enumerate() {
            D::store(spill.as_mut_ptr().add(j * D::LANES), *v);
        }
    }
    for (i, to) in out.iter_mut().enumerate() {
        let v = spill[i] + bias.map_or(F::Number::default(), |bias| bias[i]);
        *to = if accumulate { *to + v } else { v };
    }
}
