//! Matrix products whose rows may be windows of images: the basis of convolution, its gradients, dense layers and attention.

#[cfg(target_arch = "x86_64")]
mod amx;
mod dot;
mod format;
pub mod kernel;
pub mod lines;
pub mod matrix;
pub mod moves;
pub mod pack;
mod peak;
mod storage;
pub mod tiles;

pub use format::{Format, isa, multiply, multiply_with, on_matrix_unit};
pub use kernel::{Products, RowOffsets, Segment, line, panels_len, width};
pub use peak::peak;
pub use storage::{Bf16, F32, F64, Storage};

#[cfg(test)]
mod tests;
