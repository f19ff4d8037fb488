//! Matrix products whose rows may be windows of images: the basis of convolution, its gradients, dense layers and attention.

#[cfg(target_arch = "x86_64")]
mod amx;
mod format;
pub mod kernel;
pub mod matrix;
pub mod pack;
mod peak;
mod storage;
pub mod tiles;
pub mod transpose;

pub use format::{Format, isa, multiply, multiply_with};
pub use kernel::{Products, RowOffsets, Segment, line, panels_len, width};
pub use peak::peak;
pub use storage::{Bf16, F32, F64, Storage};

#[cfg(test)]
mod tests;
