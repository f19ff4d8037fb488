//! A kernel of this crate with its grid and arguments.

use super::Span;

/// What a kernel is given, in its order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// A place.
    Place(Span),
    /// No place.
    Nothing,
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
}

/// A kernel with its grid and arguments. Made by this module's neighbours only, which see to it that every place is as long as the kernel
/// needs it for that grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub(super) name: String,
    /// Blocks in both directions.
    pub(super) grid: (u32, u32),
    /// Threads of a block.
    pub(super) threads: u32,
    /// Bytes that a block's threads share.
    pub(super) shared: u32,
    pub(super) arguments: Vec<Argument>,
}

/// Threads of a block where a thread stands for one number.
const THREADS: u32 = 256;

/// Blocks at most where threads take one number after another: some for each multiprocessor of a large GPU.
const BLOCKS: u64 = 2048;

impl Launch {
    /// A thread for each of `n`.
    pub(super) fn each(name: impl Into<String>, n: usize, arguments: Vec<Argument>) -> Launch {
        let blocks = u32::try_from(n.div_ceil(THREADS as usize).max(1)).expect("fewer than 2^40 threads");
        Launch { name: name.into(), grid: (blocks, 1), threads: THREADS, shared: 0, arguments }
    }

    /// Threads that share `n` among them, however many they are.
    pub(super) fn among(name: impl Into<String>, n: usize, arguments: Vec<Argument>) -> Launch {
        let blocks = (n as u64).div_ceil(THREADS as u64).clamp(1, BLOCKS) as u32;
        Launch { name: name.into(), grid: (blocks, 1), threads: THREADS, shared: 0, arguments }
    }

    /// The kernel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The places among the arguments.
    pub(super) fn places(&self) -> Vec<Span> {
        let place = |a: &Argument| if let Argument::Place(span) = a { Some(*span) } else { None };
        self.arguments.iter().filter_map(place).collect()
    }
}

/// The argument for a place of at least `bytes`. Panics where it is shorter.
pub(super) fn place(span: Span, bytes: usize) -> Argument {
    assert!(span.bytes >= bytes, "a place of {} bytes where {bytes} are needed", span.bytes);
    Argument::Place(span)
}

/// The argument for a number that a kernel keeps in 32 bits. Panics where it has more.
pub(super) fn u32(n: usize) -> Argument {
    Argument::U32(u32::try_from(n).expect("a number of 32 bits"))
}
