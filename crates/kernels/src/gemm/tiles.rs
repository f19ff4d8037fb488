//! The product on a matrix unit that multiplies tiles: 16 rows of 16 pairs of bf16 against 16 pairs by 16 columns.
//!
//! A block of 2 x 2 result tiles stays in the unit, so that each loaded tile is used twice. A tile's rows lie at equal distances: rows of
//! an image's line do, and those of the next line are a few distances further, so a tile may hold places between lines that are nobody's,
//! and whose results are dropped. The unit is a trait: the processor's is in `amx`; an emulation in plain code lets the tests check
//! everything around it on a machine without one.

use super::kernel::{Products, RowOffsets, Segment, width};
use super::storage::{Bf16, Storage};
use std::cell::Cell;

/// Rows of a tile, columns of a result, and words of a row.
pub const SIDE: usize = 16;
/// Elements of a tile of factors.
pub const FACTORS: usize = SIDE * SIDE * 2;
/// Sums of a block of 2 x 2 tiles.
pub const SUMS: usize = 4 * SIDE * SIDE;

/// Where 16 rows of a factor begin: the first, and elements from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The first row's first element.
    pub first: *const u16,
    /// Elements from a row to the next.
    pub stride: usize,
}

/// A matrix unit with eight tiles of 16 rows of 64 bytes: four hold sums, two rows of `a`, two rows of `b`.
///
/// # Safety
/// Methods may only be called where the unit exists, between `configure` and `release` on one thread.
pub unsafe trait Unit {
    /// Sets the shape of the tiles.
    ///
    /// # Safety
    /// The unit must exist.
    unsafe fn configure();
    /// Gives the unit back.
    ///
    /// # Safety
    /// The unit must be configured.
    unsafe fn release();
    /// Sets the sums to 0.
    ///
    /// # Safety
    /// The unit must be configured.
    unsafe fn zero();
    /// Adds the products of `ROWS` tiles of `a` and `COLUMNS` of `b`, 1 or 2 of each, to the sums: tile 2 row + column. `b` is a row of
    /// words, \[16\]\[`COLUMNS` 16\].
    ///
    /// # Safety
    /// The unit must be configured and 16 rows of 32 elements of each tile readable.
    unsafe fn add<const ROWS: usize, const COLUMNS: usize>(a: [Rows; 2], b: *const u16);
    /// Writes the sums, \[4\]\[16\]\[16\].
    ///
    /// # Safety
    /// The unit must be configured; [`SUMS`] numbers must be writable.
    unsafe fn store(p: *mut f32);
}

/// Whether the product consists of whole tiles: rows must be contiguous and sums multiples of a tile; rows and columns are padded.
pub fn fits(products: &Products<Bf16>) -> bool {
    products.step == Bf16::PER_WORD && products.segments.iter().all(|s| s.words.is_multiple_of(SIDE))
}

/// A tile's rows: 16 beginnings at equal distances, some of which are those of rows of the product.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The first beginning, in elements of `a`.
    from: usize,
    /// Elements from one to the next; 0 where all are the same row.
    stride: usize,
    /// The product's rows that it has: the first and their number.
    rows: (usize, usize),
    /// Which of the 16 each of them is.
    places: [u8; SIDE],
}

impl Window {
    /// The longest window for the rows from `first` on. Rows are read up to `reach` elements from where they begin, in `len`.
    #[inline(always)]
    fn new(places: &[RowOffsets], first: usize, reach: usize, len: usize) -> Window {
        let from = places[first].from;
        let alone = Window { from, stride: 0, rows: (first, 1), places: [0; SIDE] };
        let stride = match places.get(first + 1) {
            Some(next) if next.from > from => next.from - from,
            _ => return alone,
        };
        let mut window = Window { stride, ..alone };
        let (mut last, mut reached) = (0, from);
        for (n, place) in places[first + 1..].iter().take(SIDE - 1).enumerate() {
            let before = last;
            while reached < place.from && last < SIDE - 1 {
                (reached, last) = (reached + stride, last + 1);
            }
            if reached != place.from || last == before {
                last = before;
                break;
            }
            window.places[n + 1] = last as u8;
            window.rows.1 = n + 2;
        }
        // Where the last beginnings lie past the end, all are moved to earlier ones.
        let past = SIDE - 1 - last;
        if from + (SIDE - 1) * stride + reach > len {
            if from < past * stride {
                return alone;
            }
            window.from = from - past * stride;
            window.places[..window.rows.1].iter_mut().for_each(|place| *place += past as u8);
        }
        window
    }

    #[inline(always)]
    fn rows(&self, a: &[u16], from: usize) -> Rows {
        Rows { first: a.as_ptr().wrapping_add(self.from + from), stride: self.stride }
    }
}

thread_local! {
    /// The windows of a product.
    static WINDOWS: Cell<Vec<Window>> = const { Cell::new(Vec::new()) };
}

/// Runs on the unit `U`.
///
/// # Safety
/// The unit must exist on this processor. [`fits`] must hold.
#[inline(always)]
pub unsafe fn run<U: Unit>(mut products: Products<Bf16>) {
    assert!(fits(&products), "the sums are not made of whole tiles");
    products.check();
    let mut windows = WINDOWS.take();
    windows.clear();
    let reach = products.segments.iter().map(|s| s.from + s.words * Bf16::PER_WORD).max().unwrap_or(0);
    let mut row = 0;
    while row < products.places.len() {
        windows.push(Window::new(products.places, row, reach, products.a.len()));
        row += windows[windows.len() - 1].rows.1;
    }
    // Safety: the caller's promise; `check` has compared all places with the slices, and windows stay in `a`.
    unsafe {
        U::configure();
        if width::<Bf16>(products.columns) == SIDE {
            panels::<U, 1>(&mut products, &windows);
        } else {
            panels::<U, 2>(&mut products, &windows);
        }
        U::release();
    }
    WINDOWS.set(windows);
}

/// All panels of `COLUMNS` tiles.
///
/// # Safety
/// The unit must be configured, `check` passed, and the windows inside `a`.
#[inline(always)]
unsafe fn panels<U: Unit, const COLUMNS: usize>(p: &mut Products<Bf16>, windows: &[Window]) {
    let width = COLUMNS * SIDE;
    let mut sums = Sums([0.0; SUMS]);
    // Panels outside, rows inside: a panel comes from a near cache for all rows but the first.
    for panel in 0..p.columns.div_ceil(width) {
        let mut end = 0;
        while end < p.segments.len() {
            let first = end;
            end = p.chunk_end(first);
            let segments = &p.segments[first..end];
            let b = &p.b[panel * p.rows * width * 2..];
            let columns = (panel * width, p.columns - panel * width);
            let finish = Finish { columns, bias: p.bias.filter(|_| first == 0), accumulate: p.accumulate || first > 0 };
            for pair in windows.chunks(2) {
                // Safety: the caller's promise.
                unsafe {
                    match *pair {
                        [one, two] => tile::<U, 2, COLUMNS>((p.a, [one, two]), segments, b, &mut sums),
                        [one] => tile::<U, 1, COLUMNS>((p.a, [one, one]), segments, b, &mut sums),
                        _ => unreachable!("chunks of one or two"),
                    }
                    for (window, sums) in pair.iter().zip(sums.0.chunks_exact(SUMS / 2)) {
                        let (row, n) = window.rows;
                        finish.rows::<COLUMNS>(&p.places[row..row + n], &window.places[..n], sums, p.out);
                    }
                }
            }
        }
    }
}

/// The sums of one or two windows over `segments`, \[4\]\[16\]\[16\].
///
/// # Safety
/// The unit must be configured, all windows inside `a` and all segments' rows in `b`.
#[inline(always)]
unsafe fn tile<U: Unit, const ROWS: usize, const COLUMNS: usize>(
    (a, windows): (&[u16], [Window; 2]),
    segments: &[Segment],
    b: &[u16],
    sums: &mut Sums,
) {
    // Safety: the caller's promise.
    unsafe {
        U::zero();
        for segment in segments {
            let mut rows = windows.map(|window| window.rows(a, segment.from));
            let mut words = b.as_ptr().add(segment.row * COLUMNS * SIDE * 2);
            for _ in 0..segment.words / SIDE {
                U::add::<ROWS, COLUMNS>(rows, words);
                rows.iter_mut().for_each(|rows| rows.first = rows.first.wrapping_add(2 * SIDE));
                words = words.wrapping_add(COLUMNS * FACTORS);
            }
        }
        U::store(sums.0.as_mut_ptr());
    }
}

/// Four tiles of sums, each row in a cache line of its own.
#[repr(align(64))]
struct Sums([f32; SUMS]);

/// What becomes of sums.
struct Finish<'a> {
    /// The panel's first column, and how many are left from it on.
    columns: (usize, usize),
    bias: Option<&'a [f32]>,
    accumulate: bool,
}

impl Finish<'_> {
    /// Writes rows of `COLUMNS` tiles, of which each stands `at` its place in the tiles, to their places in `out`.
    ///
    /// # Safety
    /// The columns that are left must lie in `out` and the bias from each place on; `sums` are two tiles.
    #[inline(always)]
    unsafe fn rows<const COLUMNS: usize>(&self, places: &[RowOffsets], at: &[u8], sums: &[f32], out: &mut [f32]) {
        if self.columns.1 < COLUMNS * SIDE {
            return self.some(places, at, sums, out);
        }
        // Safety: the caller's promise.
        unsafe {
            match (self.bias, self.accumulate) {
                (None, false) => self.whole::<COLUMNS, false, false>(places, at, sums, out),
                (None, true) => self.whole::<COLUMNS, false, true>(places, at, sums, out),
                (Some(_), false) => self.whole::<COLUMNS, true, false>(places, at, sums, out),
                (Some(_), true) => self.whole::<COLUMNS, true, true>(places, at, sums, out),
            }
        }
    }

    /// Rows of which all columns are wanted.
    ///
    /// # Safety
    /// See [`Finish::rows`].
    #[inline(always)]
    unsafe fn whole<const COLUMNS: usize, const BIAS: bool, const ADD: bool>(
        &self,
        places: &[RowOffsets],
        at: &[u8],
        sums: &[f32],
        out: &mut [f32],
    ) {
        debug_assert_eq!(sums.len(), SUMS / 2);
        let bias = self.bias.unwrap_or_default();
        for (place, at) in places.iter().zip(at) {
            for tile in 0..COLUMNS {
                let column = self.columns.0 + tile * SIDE;
                // Safety: 16 numbers of a tile's row; as many from a place on lie in `out` and the bias by the caller's promise.
                unsafe {
                    let mut v: [f32; SIDE] = sums.as_ptr().add((tile * SIDE + usize::from(*at)) * SIDE).cast::<[f32; SIDE]>().read();
                    if BIAS {
                        let bias = bias.as_ptr().add(place.bias + column).cast::<[f32; SIDE]>().read();
                        v.iter_mut().zip(&bias).for_each(|(v, b)| *v += *b);
                    }
                    let to = out.as_mut_ptr().add(place.to + column).cast::<[f32; SIDE]>();
                    if ADD {
                        v.iter_mut().zip(&to.read()).for_each(|(v, o)| *v += *o);
                    }
                    to.write(v);
                }
            }
        }
    }

    /// Rows of which only the first columns are wanted.
    #[inline(always)]
    fn some(&self, places: &[RowOffsets], at: &[u8], sums: &[f32], out: &mut [f32]) {
        let (first, left) = self.columns;
        for (place, at) in places.iter().zip(at) {
            for column in 0..left {
                let bias = self.bias.map_or(0.0, |bias| bias[place.bias + first + column]);
                let sum = sums[(column / SIDE * SIDE + usize::from(*at)) * SIDE + column % SIDE] + bias;
                let to = &mut out[place.to + first + column];
                *to = if self.accumulate { *to + sum } else { sum };
            }
        }
    }
}

/// The unit emulated in plain code: slow, but correct by inspection. One per thread.
pub mod emulated {
    use super::{FACTORS, Rows, SIDE, Unit};
    use crate::gemm::storage::{Bf16, Storage};
    use std::cell::RefCell;

    struct State {
        sums: [[f32; SIDE * SIDE]; 4],
    }

    thread_local! {
        static STATE: RefCell<Option<Box<State>>> = const { RefCell::new(None) };
    }

    /// The emulated matrix unit; each thread has tiles of its own.
    pub struct EmulatedTiles;

    fn with<T>(f: impl FnOnce(&mut State) -> T) -> T {
        STATE.with_borrow_mut(|state| f(state.as_mut().expect("configured before it is used")))
    }

    unsafe fn read(to: &mut [u16; FACTORS], p: *const u16, stride: usize) {
        for (i, row) in to.chunks_mut(2 * SIDE).enumerate() {
            for (j, to) in row.iter_mut().enumerate() {
                // Safety: the caller promises 16 rows of 32 elements.
                *to = unsafe { p.add(i * stride + j).read() };
            }
        }
    }

    /// Adds the product of two tiles.
    fn multiply(a: &[u16; FACTORS], b: &[u16; FACTORS], sums: &mut [f32; SIDE * SIDE]) {
        for (at, sum) in sums.iter_mut().enumerate() {
            let (row, column) = (at / SIDE, at % SIDE);
            for k in 0..SIDE {
                for half in 0..2 {
                    let (x, y) = (a[row * 2 * SIDE + 2 * k + half], b[k * 2 * SIDE + 2 * column + half]);
                    *sum += Bf16::widen(x) * Bf16::widen(y);
                }
            }
        }
    }

    // Safety: plain code; reads and writes what the trait says.
    unsafe impl Unit for EmulatedTiles {
        unsafe fn configure() {
            let empty = State { sums: [[f32::NAN; SIDE * SIDE]; 4] };
            STATE.with_borrow_mut(|state| *state = Some(Box::new(empty)));
        }
        unsafe fn release() {
            STATE.with_borrow_mut(|state| *state = None);
        }
        unsafe fn zero() {
            with(|s| s.sums = [[0.0; SIDE * SIDE]; 4]);
        }
        unsafe fn add<const ROWS: usize, const COLUMNS: usize>(rows: [Rows; 2], b: *const u16) {
            with(|s| {
                for (row, rows) in rows.iter().take(ROWS).enumerate() {
                    let mut a = [0; FACTORS];
                    // Safety: the caller promises 16 rows of 32 elements of each.
                    unsafe { read(&mut a, rows.first, rows.stride) };
                    for column in 0..COLUMNS {
                        let mut words = [0; FACTORS];
                        unsafe { read(&mut words, b.add(2 * SIDE * column), 2 * SIDE * COLUMNS) };
                        multiply(&a, &words, &mut s.sums[2 * row + column]);
                    }
                }
            });
        }
        unsafe fn store(p: *mut f32) {
            with(|s| s.sums.iter().flatten().enumerate().for_each(|(i, v)| unsafe { p.add(i).write(*v) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Windows have all rows in their order, each where it begins, and none of their 16 is read past the end, even where nobody's.
        #[test]
        fn windows_hold_their_rows_and_stay_inside(steps in prop::collection::vec(0usize..4, 1..60), scale in 1usize..5, reach in 1usize..40, room in 0usize..40) {
            let begin = |steps: &[usize]| steps.iter().sum::<usize>() * scale;
            let places: Vec<RowOffsets> = (0..steps.len()).map(|row| RowOffsets { from: begin(&steps[..=row]), to: 0, bias: 0 }).collect();
            let len = begin(&steps) + reach + room;
            let mut row = 0;
            while row < places.len() {
                let window = Window::new(&places, row, reach, len);
                prop_assert!(window.rows.0 == row && (1..=SIDE).contains(&window.rows.1), "{window:?}");
                prop_assert!(window.from + (SIDE - 1) * window.stride + reach <= len, "{window:?} of {len}");
                for (place, at) in places[row..row + window.rows.1].iter().zip(window.places) {
                    prop_assert!(usize::from(at) < SIDE);
                    prop_assert_eq!(window.from + usize::from(at) * window.stride, place.from);
                }
                row += window.rows.1;
            }
        }
    }
}
