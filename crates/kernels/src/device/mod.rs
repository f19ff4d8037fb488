//! Work for a device as data: a program is a list of operations on places in one arena of the device's memory.
//!
//! What makes a program knows no device; what runs it knows no network. Two run it: [`cuda`](self) on an NVIDIA GPU (feature `cuda`) and
//! [`emulated`](self) on the CPU (feature `emulation`), from the same CUDA source, so that programs, launch configurations and every kernel's
//! indices are tested where no GPU is. Convolutions and matrix products are cuDNN's and cuBLAS's on the GPU and plain loops in the emulation.

pub mod arena;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "emulation")]
pub mod emulated;
pub mod launch;
pub mod maps;
pub mod norm;
pub mod sample;
pub mod train;

use candle_core::Result;
use launch::Launch;

/// A place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Its first byte.
    pub at: usize,
    /// Its length in bytes.
    pub bytes: usize,
}

impl Span {
    /// `bytes` of it from byte `from` on. Panics where it is shorter.
    pub fn part(self, from: usize, bytes: usize) -> Span {
        assert!(from + bytes <= self.bytes, "bytes {from}..{} of {}", from + bytes, self.bytes);
        Span { at: self.at + from, bytes }
    }
}

/// What feature maps and the weights of products are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Single precision.
    F32,
    /// bfloat16; sums are f32.
    Bf16,
}

impl Type {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Type::F32 => 4,
            Type::Bf16 => 2,
        }
    }

    /// What the names of its kernels end with.
    fn suffix(self) -> &'static str {
        match self {
            Type::F32 => "f32",
            Type::Bf16 => "bf16",
        }
    }
}

/// Row-major matrices of a product, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix {
    /// Where the first one begins; the span reaches to the last one's end at least.
    pub at: Span,
    /// Its numbers.
    pub kind: Type,
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Whether the product reads it transposed.
    pub turned: bool,
    /// Numbers from one matrix to the next.
    pub each: usize,
}

/// c = alpha a b, or added to c, for `batch` matrices: a \[m, k\], b \[k, n\], c \[m, n\]. Sums are f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    pub alpha: f32,
    pub a: Matrix,
    pub b: Matrix,
    /// Never turned.
    pub c: Matrix,
    pub add: bool,
    /// Whether f32 factors may be rounded to TF32.
    pub tf32: bool,
}

/// Which of the three a convolution computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// y from x and w.
    Forward,
    /// The gradient of x from w and that of y.
    InputGradient,
    /// The gradient of w from x and that of y.
    WeightGradient,
}

/// The sizes of a convolution of `[B, H, W, Ci]` with weights `[Co, k, k, Ci]` and as much zero padding on all sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    pub batch: usize,
    pub h: usize,
    pub w: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub k: usize,
    pub stride: usize,
    pub pad: usize,
}

impl Sizes {
    /// Height and width of the result.
    pub fn output(self) -> (usize, usize) {
        let side = |n: usize| (n + 2 * self.pad - self.k) / self.stride + 1;
        (side(self.h), side(self.w))
    }

    fn numbers(self) -> [usize; 3] {
        let (h, w) = self.output();
        [self.batch * self.h * self.w * self.c_in, self.c_out * self.k * self.k * self.c_in, self.batch * h * w * self.c_out]
    }
}

/// One pass of a convolution; the span that it computes is overwritten, or added to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convolution {
    pub pass: Pass,
    pub sizes: Sizes,
    pub kind: Type,
    pub x: Span,
    pub w: Span,
    pub y: Span,
    pub add: bool,
    /// Whether f32 factors may be rounded to TF32.
    pub tf32: bool,
}

/// One operation. All are done in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// One of this crate's kernels.
    Launch(Launch),
    /// Matrix products.
    Product(Product),
    /// A convolution.
    Convolution(Convolution),
}

impl Op {
    /// The places that it reads or writes. Panics where one is too short for what is done with it: nothing beyond a place is touched.
    pub fn places(&self) -> Vec<Span> {
        match self {
            Op::Launch(launch) => launch.places(),
            Op::Product(p) => {
                let reach = |m: &Matrix, rows: usize, columns: usize| {
                    let (rows, columns) = if m.turned { (columns, rows) } else { (rows, columns) };
                    let numbers = (p.batch - 1) * m.each + (rows - 1) * m.stride + columns;
                    assert!(columns <= m.stride && m.at.bytes >= numbers * m.kind.size(), "{m:?} for {rows}x{columns} in {p:?}");
                    m.at
                };
                assert!(!p.c.turned, "a product's result is not turned");
                vec![reach(&p.a, p.m, p.k), reach(&p.b, p.k, p.n), reach(&p.c, p.m, p.n)]
            }
            Op::Convolution(c) => {
                let spans = [c.x, c.w, c.y];
                for (span, numbers) in spans.iter().zip(c.sizes.numbers()) {
                    assert!(span.bytes >= numbers * c.kind.size(), "{span:?} for {numbers} numbers in {c:?}");
                }
                spans.to_vec()
            }
        }
    }
}

/// Checks that all places of a program lie in an arena of `bytes`; panics where not.
pub fn check(program: &[Op], bytes: usize) {
    for op in program {
        for span in op.places() {
            assert!(span.at + span.bytes <= bytes, "{span:?} in an arena of {bytes} bytes: {op:?}");
        }
    }
}

/// Something that has an arena and runs programs on it.
pub trait Device {
    /// Its name, for records.
    fn name(&self) -> String;

    /// Bytes of its memory that are in use for this.
    fn bytes(&self) -> usize;

    /// Makes an arena of this many bytes, all 0. Programs loaded before are gone.
    fn reserve(&mut self, bytes: usize) -> Result<()>;

    /// Writes bytes to the start of a place.
    fn upload(&mut self, to: Span, bytes: &[u8]) -> Result<()>;

    /// Reads a place, once everything asked for before is done.
    fn download(&mut self, from: Span, bytes: &mut [u8]) -> Result<()>;

    /// Makes a program ready to run and returns its number. It may overwrite whatever the program writes.
    fn load(&mut self, program: Vec<Op>) -> Result<usize>;

    /// Begins program `program`; what is asked for later comes after it.
    fn run(&mut self, program: usize) -> Result<()>;
}
