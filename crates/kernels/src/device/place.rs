//! Places in a device's memory, and the numbers in them.

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
    pub fn suffix(self) -> &'static str {
        match self {
            Type::F32 => "f32",
            Type::Bf16 => "bf16",
        }
    }
}
