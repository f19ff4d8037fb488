//! The matrix unit of Sapphire Rapids and later processors (AMX), in inline assembly: its intrinsics are not stable in Rust.

use super::tiles::{Rows, Unit};
use std::arch::asm;
use std::sync::OnceLock;

/// Whether the unit passes its self-test, which runs once. The unit must exist.
pub fn is_right() -> bool {
    static RIGHT: OnceLock<bool> = OnceLock::new();
    *RIGHT.get_or_init(multiplies)
}

/// Compares a product that is exact in f32 with scalar code: if they differ, the unit does not work as this code assumes.
fn multiplies() -> bool {
    use super::kernel::{Products, RowOffsets, Segment};
    use super::storage::{Bf16, Storage};
    let (rows, words) = (40, 32);
    let a: Vec<u16> = (0..rows * 2 * words).map(|i| Bf16::round((i * 7 % 13) as f32 - 6.0)).collect();
    let b: Vec<u16> = (0..32 * 2 * words).map(|i| Bf16::round((i * 5 % 11) as f32 - 5.0)).collect();
    let places: Vec<RowOffsets> = (0..rows).map(|row| RowOffsets { from: row * 2 * words, to: row * 32, bias: 0 }).collect();
    let segments = [Segment { from: 0, row: 0, words }];
    let mut out = vec![0f32; rows * 32];
    let products = Products {
        a: &a,
        places: &places,
        segments: &segments,
        step: 2,
        b: &b,
        rows: words,
        columns: 32,
        bias: None,
        accumulate: false,
        out: &mut out,
    };
    // Safety: the unit exists and the system has granted it.
    unsafe { super::tiles::run::<Amx>(products) };
    out.iter().enumerate().all(|(at, sum)| {
        let (row, column) = (at / 32, at % 32);
        let factors = |k: usize| Bf16::widen(a[row * 2 * words + k]) * Bf16::widen(b[(k / 2 * 32 + column) * 2 + k % 2]);
        *sum == (0..2 * words).map(factors).sum::<f32>()
    })
}

/// Instructions that change tiles, all of which are named as changed.
macro_rules! tiles {
    ($($line:literal),*; $memory:ident; $($operands:tt)*) => {
        asm!(
            $($line,)* $($operands)* out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack, preserves_flags, $memory)
        )
    };
}

/// The processor's unit. A thread's tiles are its own.
pub struct Amx;

/// Palette 1; 16 rows of 64 bytes in each of eight tiles.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPE: TileConfig = TileConfig {
    palette: 1,
    start: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

// Safety: every instruction works on tiles, which Rust's own code never uses, and on the memory that the trait's callers promise.
unsafe impl Unit for Amx {
    #[inline(always)]
    unsafe fn configure() {
        // Safety: reads 64 bytes of a static of that size.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPE, options(nostack, preserves_flags)) };
    }
    #[inline(always)]
    unsafe fn release() {
        // Safety: the caller has configured the unit.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }
    #[inline(always)]
    unsafe fn zero() {
        // Safety: the caller has configured the unit.
        unsafe { tiles!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"; nomem;) };
    }
    #[inline(always)]
    unsafe fn add<const ROWS: usize, const COLUMNS: usize>(a: [Rows; 2], b: *const u16) {
        let [one, two] = a.map(|rows| (rows.first, 2 * rows.stride));
        // Safety: the caller promises 16 rows of 64 bytes of each tile.
        unsafe {
            match (ROWS, COLUMNS) {
                (2, 2) => tiles!(
                    "tileloadd tmm4, [{one} + {one_stride}*1]", "tileloadd tmm6, [{b} + {words}*1]", "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {words}*1 + 64]", "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{two} + {two_stride}*1]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7";
                    readonly; one = in(reg) one.0, one_stride = in(reg) one.1, two = in(reg) two.0, two_stride = in(reg) two.1,
                    b = in(reg) b, words = in(reg) 128usize,
                ),
                (2, 1) => tiles!(
                    "tileloadd tmm4, [{one} + {one_stride}*1]", "tileloadd tmm6, [{b} + {words}*1]", "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{two} + {two_stride}*1]", "tdpbf16ps tmm2, tmm5, tmm6";
                    readonly; one = in(reg) one.0, one_stride = in(reg) one.1, two = in(reg) two.0, two_stride = in(reg) two.1,
                    b = in(reg) b, words = in(reg) 64usize,
                ),
                (1, 2) => tiles!(
                    "tileloadd tmm4, [{one} + {one_stride}*1]", "tileloadd tmm6, [{b} + {words}*1]", "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {words}*1 + 64]", "tdpbf16ps tmm1, tmm4, tmm7";
                    readonly; one = in(reg) one.0, one_stride = in(reg) one.1, b = in(reg) b, words = in(reg) 128usize,
                ),
                (1, 1) => tiles!(
                    "tileloadd tmm4, [{one} + {one_stride}*1]", "tileloadd tmm6, [{b} + {words}*1]", "tdpbf16ps tmm0, tmm4, tmm6";
                    readonly; one = in(reg) one.0, one_stride = in(reg) one.1, b = in(reg) b, words = in(reg) 64usize,
                ),
                _ => unreachable!("one or two tiles of each factor"),
            }
        }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32) {
        // Safety: the caller promises room for four tiles of 1024 bytes.
        unsafe {
            asm!(
                "tilestored [{p} + {s}*1], tmm0", "tilestored [{p} + {s}*1 + 1024], tmm1",
                "tilestored [{p} + {s}*1 + 2048], tmm2", "tilestored [{p} + {s}*1 + 3072], tmm3",
                p = in(reg) p, s = in(reg) 64usize, options(nostack, preserves_flags)
            );
        }
    }
}
