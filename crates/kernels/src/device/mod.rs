//! Work for a device as data: a program is a list of operations on places in one arena of the device's memory.
//!
//! What makes a program knows no device; what runs it knows no network. Two run it: [`cuda`](self) on an NVIDIA GPU (feature `cuda`) and
//! [`emulated`](self) on the CPU (feature `emulation`), from the same CUDA source, so that programs, launch configurations and every kernel's
//! indices are tested where no GPU is. Convolutions and matrix products are cuDNN's and cuBLAS's on the GPU and plain loops
//! ([`mod@reference`]) in the emulation. [`compared`] runs two of them side by side, [`counted`] runs nothing and only counts.

pub mod arena;
pub mod compared;
pub mod counted;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "emulation")]
pub mod emulated;
pub mod fault;
pub mod launch;
pub mod maps;
pub mod norm;
mod place;
pub mod probe;
mod program;
pub mod reference;
mod run;
pub mod sample;
pub mod space_to_depth;
pub mod train;

pub use place::{Span, Type};
pub use program::{ConvOp, MatrixSpan, Op, OpCost, Pass, Product, Sizes, check};
pub use run::Device;
