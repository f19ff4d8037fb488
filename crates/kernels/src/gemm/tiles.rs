//! The product on a matrix unit that multiplies tiles: 16 rows of 16 pairs of bf16 against 16 pairs by 16 columns.
//!
//! A block of 2 x 2 result tiles stays in the unit, so that each loaded tile is used twice. The unit is a trait: the processor's is in
//! `amx`; an emulation in plain code lets the tests check everything around it on a machine without one.

use super::kernel::{Products, RowOffsets, width};
use super::storage::{Bf16, Storage};
use std::cell::RefCell;

/// Rows of a tile, columns of a result, and words of a row.
pub const SIDE: usize = 16;
/// Elements of a tile of factors.
pub const FACTORS: usize = SIDE * SIDE * 2;

/// A matrix unit with eight tiles of 16 rows of 64 bytes: 0..4 hold sums, 4 and 5 rows of `a`, 6 and 7 rows of `b`.
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
    /// Reads tile 4 or 5 (`second`): 16 rows of 32 elements, `stride` elements apart.
    ///
    /// # Safety
    /// The unit must be configured and the elements readable.
    unsafe fn load_a(second: bool, p: *const u16, stride: usize);
    /// Reads tile 6 or 7 (`second`): 16 rows of 32 elements, `stride` elements apart.
    ///
    /// # Safety
    /// The unit must be configured and the elements readable.
    unsafe fn load_b(second: bool, p: *const u16, stride: usize);
    /// Adds the product of `a` and `b` to the sums: tile 2 a + b. With `narrow`, the second tile of `b` is left out.
    ///
    /// # Safety
    /// The unit must be configured.
    unsafe fn dot(narrow: bool);
    /// Writes the sums, \[4\]\[16\]\[16\].
    ///
    /// # Safety
    /// The unit must be configured; 1024 numbers must be writable.
    unsafe fn store(p: *mut f32);
}

/// Whether the product consists of whole tiles: rows must be contiguous and sums multiples of a tile; rows and columns are padded.
pub fn fits(products: &Products<Bf16>) -> bool {
    products.step == Bf16::PER_WORD && products.segments.iter().all(|s| s.words.is_multiple_of(SIDE))
}

thread_local! {
    /// Rows of `a` that do not lie at equal distances, copied together.
    static GATHERED: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

/// Runs on the unit `U`.
///
/// # Safety
/// The unit must exist on this processor. [`fits`] must hold.
pub unsafe fn run<U: Unit>(mut products: Products<Bf16>) {
    assert!(fits(&products), "the sums are not made of whole tiles");
    products.check();
    GATHERED.with_borrow_mut(|gathered| {
        // Safety: the caller's promise; `check` has compared all places with the slices.
        unsafe {
            U::configure();
            all::<U>(&mut products, gathered);
            U::release();
        }
    });
}

/// The stride between a tile's rows in `a`, if it is constant.
fn stride(places: &[RowOffsets; SIDE]) -> Option<usize> {
    let step = places[1].from.wrapping_sub(places[0].from);
    let even = places.windows(2).all(|p| p[1].from.wrapping_sub(p[0].from) == step);
    (even && step < isize::MAX as usize).then_some(step)
}

/// # Safety
/// The unit must be configured and `check` passed.
unsafe fn all<U: Unit>(p: &mut Products<Bf16>, gathered: &mut Vec<u16>) {
    let (columns, width, rows) = (p.columns, width::<Bf16>(p.columns), p.places.len());
    let narrow = width == SIDE;
    let mut sums = [0f32; 4 * SIDE * SIDE];
    // Rows outside, panels inside: gathered rows serve all panels.
    for row in (0..rows).step_by(2 * SIDE) {
        let places: [[RowOffsets; SIDE]; 2] =
            std::array::from_fn(|half| std::array::from_fn(|i| p.places[(row + half * SIDE + i).min(rows - 1)]));
        let strides = [stride(&places[0]), stride(&places[1])];
        let total: usize = p.segments.iter().map(|s| s.words * 2).sum();
        for half in 0..2 {
            if strides[half].is_none() {
                gather(p, &places[half], total, half, gathered);
            }
        }
        for panel in 0..columns.div_ceil(width) {
            // Safety: panels and places were checked; gathered rows are `total` long.
            unsafe {
                let b = p.b.as_ptr().add(panel * p.rows * width * 2);
                U::zero();
                let mut passed = 0;
                for segment in p.segments {
                    for word in (0..segment.words).step_by(SIDE) {
                        for half in 0..2 {
                            match strides[half] {
                                Some(stride) => {
                                    U::load_a(half == 1, p.a.as_ptr().add(places[half][0].from + segment.from + 2 * word), stride)
                                }
                                None => U::load_a(half == 1, gathered.as_ptr().add(half * SIDE * total + passed), total),
                            }
                        }
                        let line = b.add((segment.row + word) * width * 2);
                        U::load_b(false, line, width * 2);
                        if !narrow {
                            U::load_b(true, line.add(2 * SIDE), width * 2);
                        }
                        U::dot(narrow);
                        passed += 2 * SIDE;
                    }
                }
                U::store(sums.as_mut_ptr());
            }
            for (i, place) in places.iter().flatten().enumerate().take(rows - row) {
                let column = panel * width;
                let n = width.min(columns - column);
                let out = &mut p.out[place.to + column..][..n];
                let bias = p.bias.map(|bias| &bias[place.bias + column..][..n]);
                for (j, part) in out.chunks_mut(SIDE).enumerate() {
                    let tile = 2 * (i / SIDE) + j;
                    let sums = &sums[(tile * SIDE + i % SIDE) * SIDE..][..part.len()];
                    let bias = bias.map(|b| &b[j * SIDE..][..part.len()]);
                    add(part, sums, bias, p.accumulate);
                }
            }
        }
    }
}

fn add(out: &mut [f32], sums: &[f32], bias: Option<&[f32]>, accumulate: bool) {
    match (bias, accumulate) {
        (None, false) => out.copy_from_slice(sums),
        (None, true) => out.iter_mut().zip(sums).for_each(|(o, s)| *o += *s),
        (Some(bias), false) => out.iter_mut().zip(sums).zip(bias).for_each(|((o, s), b)| *o = *s + *b),
        (Some(bias), true) => out.iter_mut().zip(sums).zip(bias).for_each(|((o, s), b)| *o += *s + *b),
    }
}

fn gather(p: &Products<Bf16>, places: &[RowOffsets; SIDE], total: usize, half: usize, gathered: &mut Vec<u16>) {
    if gathered.len() < 2 * SIDE * total {
        gathered.resize(2 * SIDE * total, 0);
    }
    for (i, place) in places.iter().enumerate() {
        let mut to = (half * SIDE + i) * total;
        for s in p.segments {
            gathered[to..to + 2 * s.words].copy_from_slice(&p.a[place.from + s.from..][..2 * s.words]);
            to += 2 * s.words;
        }
    }
}

/// The unit emulated in plain code: slow, but correct by inspection. One per thread.
pub mod emulated {
    use super::{FACTORS, SIDE, Unit};
    use crate::gemm::storage::{Bf16, Storage};
    use std::cell::RefCell;

    struct State {
        sums: [[f32; SIDE * SIDE]; 4],
        a: [[u16; FACTORS]; 2],
        b: [[u16; FACTORS]; 2],
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

    // Safety: plain code; reads and writes what the trait says.
    unsafe impl Unit for EmulatedTiles {
        unsafe fn configure() {
            let empty = State { sums: [[f32::NAN; SIDE * SIDE]; 4], a: [[0; FACTORS]; 2], b: [[0; FACTORS]; 2] };
            STATE.with_borrow_mut(|state| *state = Some(Box::new(empty)));
        }
        unsafe fn release() {
            STATE.with_borrow_mut(|state| *state = None);
        }
        unsafe fn zero() {
            with(|s| s.sums = [[0.0; SIDE * SIDE]; 4]);
        }
        unsafe fn load_a(second: bool, p: *const u16, stride: usize) {
            with(|s| unsafe { read(&mut s.a[usize::from(second)], p, stride) });
        }
        unsafe fn load_b(second: bool, p: *const u16, stride: usize) {
            with(|s| unsafe { read(&mut s.b[usize::from(second)], p, stride) });
        }
        unsafe fn dot(narrow: bool) {
            with(|s| {
                for (tile, sums) in s.sums.iter_mut().enumerate().filter(|(tile, _)| !narrow || tile % 2 == 0) {
                    let (a, b) = (&s.a[tile / 2], &s.b[tile % 2]);
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
            });
        }
        unsafe fn store(p: *mut f32) {
            with(|s| s.sums.iter().flatten().enumerate().for_each(|(i, v)| unsafe { p.add(i).write(*v) }));
        }
    }
}
