//! Device work as data: a program is a list of operations on spans of one arena in the device's memory.
//!
//! Code that builds programs knows nothing of devices; code that runs them knows nothing of networks. There are two back ends:
//! [`cuda`](self) on an NVIDIA GPU (feature `cuda`) and [`emulated`](self) on the CPU (feature `emulation`), from the same CUDA source, so
//! that programs, launch configurations and every kernel's indexing are tested without a GPU. Convolutions and matrix products use cuDNN
//! and cuBLAS on the GPU and plain loops ([`mod@reference`]) in the emulation. [`compared`] runs two of them side by side, [`counted`]
//! runs nothing and only counts.

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
