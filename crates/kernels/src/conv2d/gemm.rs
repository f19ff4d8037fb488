//! The two matrix products behind every convolution, over windows of a padded image, without building the matrix of windows.
//!
//! `windows_times_weight`: out\[p, n\] = bias\[n\] + sum_k window_p\[k\] w\[k, n\].
//! `windows_transposed_times`: dw\[k, n\] += sum_p window_p\[k\] dy\[p, n\].
//!
//! Both keep a tile of the result in registers and step through the sum with one broadcast number against one or two vectors.

use super::gather::Padded;
use crate::simd::{Job, Real, Simd};

/// Weights for [`Forward`]: columns in blocks as wide as a tile, each block K rows of `width`, the last one filled up with zeros.
pub struct Packed<T> {
    pub data: Vec<T>,
    pub rows: usize,
    pub columns: usize,
    pub width: usize,
}

impl<T: Real> Packed<T> {
    /// Packs the \[rows, columns\] matrix `at(row, column)`.
    pub fn new(rows: usize, columns: usize, at: impl Fn(usize, usize) -> T) -> Packed<T> {
        let width = tile_width::<T>(columns);
        let blocks = columns.div_ceil(width);
        let mut data = vec![T::default(); blocks * rows * width];
        for block in 0..blocks {
            for row in 0..rows {
                let to = &mut data[(block * rows + row) * width..][..width];
                for (j, v) in to.iter_mut().enumerate().take(columns - (block * width).min(columns)) {
                    *v = at(row, block * width + j);
                }
            }
        }
        Packed { data, rows, columns, width }
    }
}

/// Columns of a tile: two AVX-512 registers, or one where that is enough.
pub fn tile_width<T: Real>(columns: usize) -> usize {
    let register = 64 / size_of::<T>();
    if columns <= register { register } else { 2 * register }
}

/// out\[p, n\] = bias\[n\] + sum_k window_p\[k\] w\[k, n\], for all output pixels of one padded image.
pub struct Forward<'a, T> {
    pub windows: Padded,
    pub padded: &'a [T],
    pub weight: &'a Packed<T>,
    pub bias: Option<&'a [T]>,
    /// \[out_h * out_w, columns\].
    pub out: &'a mut [T],
}

impl<T: Real> Job<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let register = 64 / size_of::<T>();
        let pixels = self.windows.out_h * self.windows.out_w;
        // Registers in a tile's row: the width is one or two 64-byte lines, whatever the instruction set's registers are.
        let lines = self.weight.width / register;
        let per_line = register / S::LANES;
        let waste = |rows: usize| pixels.div_ceil(rows) * rows - pixels;
        // Safety (all four): passed on from the caller; the tile's shape fits the packed width.
        unsafe {
            match (lines * per_line, per_line) {
                (1, _) => self.tiles::<S, 8, 1>(),
                (2, 1) if waste(7) < waste(8) => self.tiles::<S, 7, 2>(),
                (2, 1) => self.tiles::<S, 8, 2>(),
                // 256-bit registers: 16 of them, so 6 x 2 accumulators.
                (2, _) if waste(5) < waste(6) => self.tiles::<S, 5, 2>(),
                (2, _) => self.tiles::<S, 6, 2>(),
                (4, _) => self.tiles::<S, 6, 2>(),
                _ => self.tiles::<S, 4, 2>(),
            }
        }
    }
}

impl<T: Real> Forward<'_, T> {
    /// All tiles of `MR` pixels by `NV` registers.
    #[inline(always)]
    unsafe fn tiles<S: Simd<T = T>, const MR: usize, const NV: usize>(self) {
        let Forward { windows, padded, weight, bias, out } = self;
        let (pixels, columns, width, rows) = (windows.out_h * windows.out_w, weight.columns, weight.width, weight.rows);
        let (row_len, row_step, k) = (windows.row_len(), windows.frame.w * windows.frame.c, windows.k);
        // What the pointers below rely on.
        assert_eq!(padded.len(), windows.frame.len());
        assert_eq!((out.len(), rows), (pixels * columns, k * row_len));
        assert!(weight.data.len() == columns.div_ceil(width) * rows * width && width.is_multiple_of(NV * S::LANES));
        assert!(bias.is_none_or(|bias| bias.len() == columns));
        assert!(windows.base(pixels - 1) + (k - 1) * row_step + row_len <= padded.len());
        let mut spill = [T::default(); 64];
        for p in (0..pixels).step_by(MR) {
            // Rows past the end repeat the last pixel; their results are dropped.
            let bases: [usize; MR] = std::array::from_fn(|i| windows.base((p + i).min(pixels - 1)));
            let valid = (pixels - p).min(MR);
            for column in (0..columns).step_by(NV * S::LANES) {
                // Safety: offsets stay below base(last) + window, asserted above; the packed block has `rows` rows of `width`.
                unsafe {
                    let block = weight.data.as_ptr().add((column / width) * rows * width + column % width);
                    let mut acc = [[S::splat(T::default()); NV]; MR];
                    for dy in 0..k {
                        let pointers: [*const T; MR] = std::array::from_fn(|i| padded.as_ptr().add(bases[i] + dy * row_step));
                        let mut w = block.add(dy * row_len * width);
                        for r in 0..row_len {
                            let b: [S::V; NV] = std::array::from_fn(|j| S::load(w.add(j * S::LANES)));
                            for i in 0..MR {
                                let a = S::splat(*pointers[i].add(r));
                                for j in 0..NV {
                                    acc[i][j] = S::mul_add(a, b[j], acc[i][j]);
                                }
                            }
                            w = w.add(width);
                        }
                    }
                    let n = (columns - column).min(NV * S::LANES);
                    for (i, row) in acc.iter().enumerate().take(valid) {
                        for (j, v) in row.iter().enumerate() {
                            S::store(spill.as_mut_ptr().add(j * S::LANES), *v);
                        }
                        let to = &mut out[(p + i) * columns + column..][..n];
                        match bias {
                            Some(bias) => to.iter_mut().zip(&spill).zip(&bias[column..]).for_each(|((o, v), b)| *o = *v + *b),
                            None => to.copy_from_slice(&spill[..n]),
                        }
                    }
                }
            }
        }
    }
}

/// dw\[k, n\] += sum_p window_p\[k\] dy\[p, n\], for one padded image.
pub struct WeightGradient<'a, T> {
    pub windows: Padded,
    pub padded: &'a [T],
    /// \[pixels, width\]: columns past the real ones are 0.
    pub gradient: &'a [T],
    pub width: usize,
    /// \[k * row_len, width\].
    pub out: &'a mut [T],
}

impl<T: Real> Job<T> for WeightGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(mut self) {
        let k_rows = self.windows.k * self.windows.row_len();
        let pixels = self.windows.out_h * self.windows.out_w;
        assert_eq!(self.padded.len(), self.windows.frame.len());
        assert_eq!((self.gradient.len(), self.out.len()), (pixels * self.width, k_rows * self.width));
        assert!(self.width.is_multiple_of(S::LANES));
        let mut at = 0;
        // Safety (all): passed on from the caller; `at + MR <= k_rows` in each.
        unsafe {
            if S::LANES * size_of::<T>() == 64 {
                // 32 registers: 12 x 2 accumulators.
                while at + 12 <= k_rows {
                    self.rows::<S, 12>(at);
                    at += 12;
                }
            }
            while at + 6 <= k_rows {
                self.rows::<S, 6>(at);
                at += 6;
            }
            while at < k_rows {
                self.rows::<S, 1>(at);
                at += 1;
            }
        }
    }
}

impl<T: Real> WeightGradient<'_, T> {
    /// Rows `at..at + MR` of the result.
    #[inline(always)]
    unsafe fn rows<S: Simd<T = T>, const MR: usize>(&mut self, at: usize) {
        let mut column = 0;
        while column < self.width {
            // Safety: passed on; each branch stays within the width.
            unsafe {
                let wide = column + 2 * S::LANES <= self.width;
                match (wide, self.in_one_row(at, MR)) {
                    (true, true) => self.tile::<S, MR, 2, true>(at, column),
                    (true, false) => self.tile::<S, MR, 2, false>(at, column),
                    (false, true) => self.tile::<S, MR, 1, true>(at, column),
                    (false, false) => self.tile::<S, MR, 1, false>(at, column),
                }
                column += if wide { 2 * S::LANES } else { S::LANES };
            }
        }
    }

    /// Whether window elements `at..at + n` lie side by side in one row of the window.
    fn in_one_row(&self, at: usize, n: usize) -> bool {
        at / self.windows.row_len() == (at + n - 1) / self.windows.row_len()
    }

    /// `ONE_ROW`: [`Self::in_one_row`], known to the compiler so that the inner loop does not ask.
    #[inline(always)]
    unsafe fn tile<S: Simd<T = T>, const MR: usize, const NV: usize, const ONE_ROW: bool>(&mut self, at: usize, column: usize) {
        let (row_len, row_step) = (self.windows.row_len(), self.windows.frame.w * self.windows.frame.c);
        // Element k of a window is at (k / row_len) rows plus k % row_len: a tile's elements may lie in two rows.
        let offsets: [usize; MR] = std::array::from_fn(|i| ((at + i) / row_len) * row_step + (at + i) % row_len);
        let (step, frame_row) = (self.windows.stride * self.windows.frame.c, self.windows.stride * row_step);
        // Safety: `run` has asserted the lengths; base + offset is inside the padded image for every pixel and k.
        unsafe {
            let out = self.out.as_mut_ptr().add(at * self.width + column);
            let mut acc: [[S::V; NV]; MR] =
                std::array::from_fn(|i| std::array::from_fn(|j| S::load(out.add(i * self.width + j * S::LANES))));
            let mut dy = self.gradient.as_ptr().add(column);
            for y in 0..self.windows.out_h {
                let mut base = self.padded.as_ptr().add(y * frame_row);
                if ONE_ROW {
                    base = base.add(offsets[0]);
                }
                for _ in 0..self.windows.out_w {
                    let b: [S::V; NV] = std::array::from_fn(|j| S::load(dy.add(j * S::LANES)));
                    for i in 0..MR {
                        let a = S::splat(*base.add(if ONE_ROW { i } else { offsets[i] }));
                        for j in 0..NV {
                            acc[i][j] = S::mul_add(a, b[j], acc[i][j]);
                        }
                    }
                    dy = dy.add(self.width);
                    base = base.wrapping_add(step);
                }
            }
            for (i, row) in acc.iter().enumerate() {
                for (j, v) in row.iter().enumerate() {
                    S::store(out.add(i * self.width + j * S::LANES), *v);
                }
            }
        }
    }
}
