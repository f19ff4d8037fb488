//! A kernel of this crate with its grid and arguments.

use super::place::{Span, Type};

/// What the numbers in a place are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit floating point.
    F32,
    /// bfloat16.
    Bf16,
    /// 64-bit floating point.
    F64,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 8-bit unsigned integer.
    Byte,
}

impl ElementType {
    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            ElementType::F64 | ElementType::U64 => 8,
            ElementType::F32 | ElementType::U32 => 4,
            ElementType::Bf16 => 2,
            ElementType::Byte => 1,
        }
    }
}

impl From<Type> for ElementType {
    fn from(kind: Type) -> ElementType {
        match kind {
            Type::F32 => ElementType::F32,
            Type::Bf16 => ElementType::Bf16,
        }
    }
}

/// What a kernel does with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    Reads,
    /// All that it touches, whatever was there.
    Writes,
    /// Reads and writes.
    Updates,
}

/// A place that a kernel is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryArg {
    /// The numbers that it may touch: none outside.
    pub span: Span,
    /// Type of the numbers.
    pub element: ElementType,
    /// Whether the kernel reads the numbers, writes them, or both.
    pub access: Access,
    /// Numbers that it does touch.
    pub touched: usize,
}

/// What a kernel is given, in its order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// A place in the device's memory, passed as a pointer.
    MemoryArg(MemoryArg),
    /// No place.
    Nothing,
    /// A 32-bit unsigned integer.
    U32(u32),
    /// A 64-bit unsigned integer.
    U64(u64),
    /// A 32-bit floating-point number.
    F32(f32),
    /// A 64-bit floating-point number.
    F64(f64),
}

impl Argument {
    /// The same place where only `touched` of its numbers are touched.
    pub(super) fn touching(self, touched: usize) -> Argument {
        match self {
            Argument::MemoryArg(place) => Argument::MemoryArg(MemoryArg { touched, ..place }),
            other => other,
        }
    }
}

/// A kernel with its grid and arguments. Built only by sibling modules, which ensure that every span is as long as the kernel needs for
/// that grid.
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

/// Maximum number of blocks of a grid-stride loop: several for each multiprocessor of a large GPU.
const BLOCKS: u64 = 2048;

impl Launch {
    /// A thread for each of `n`.
    pub(super) fn each(name: impl Into<String>, n: usize, arguments: Vec<Argument>) -> Launch {
        let blocks = u32::try_from(n.div_ceil(THREADS as usize).max(1)).expect("fewer than 2^40 threads");
        Launch { name: name.into(), grid: (blocks, 1), threads: THREADS, shared: 0, arguments }
    }

    /// A grid-stride launch over `n` elements.
    pub(super) fn among(name: impl Into<String>, n: usize, arguments: Vec<Argument>) -> Launch {
        let blocks = (n as u64).div_ceil(THREADS as u64).clamp(1, BLOCKS) as u32;
        Launch { name: name.into(), grid: (blocks, 1), threads: THREADS, shared: 0, arguments }
    }

    /// The kernel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The places among the arguments.
    pub fn places(&self) -> impl Iterator<Item = MemoryArg> {
        self.arguments.iter().filter_map(|a| if let Argument::MemoryArg(place) = a { Some(*place) } else { None })
    }
}

fn place(span: Span, n: usize, element: ElementType, access: Access) -> Argument {
    let bytes = n * element.size();
    assert!(span.bytes >= bytes, "a place of {} bytes where {bytes} are needed", span.bytes);
    Argument::MemoryArg(MemoryArg { span: span.part(0, bytes), element, access, touched: n })
}

/// The argument for a place whose first `n` numbers are read. Panics where it is shorter, as do the two below.
pub(super) fn reads(span: Span, n: usize, element: impl Into<ElementType>) -> Argument {
    place(span, n, element.into(), Access::Reads)
}

/// The argument for a place whose first `n` numbers are written.
pub(super) fn writes(span: Span, n: usize, element: impl Into<ElementType>) -> Argument {
    place(span, n, element.into(), Access::Writes)
}

/// The argument for a place whose first `n` numbers are read and written.
pub(super) fn updates(span: Span, n: usize, element: impl Into<ElementType>) -> Argument {
    place(span, n, element.into(), Access::Updates)
}

/// [`updates`] where what is there counts, else [`writes`].
pub(super) fn adds(add: bool, span: Span, n: usize, element: impl Into<ElementType>) -> Argument {
    place(span, n, element.into(), if add { Access::Updates } else { Access::Writes })
}

/// The argument for a number that a kernel keeps in 32 bits. Panics where it has more.
pub(super) fn u32(n: usize) -> Argument {
    Argument::U32(u32::try_from(n).expect("a number of 32 bits"))
}
