//! Instruction sets: one small vector interface, chosen once per process, so that a kernel is written once.
//!
//! A kernel implements [`SimdKernel`] for every [`Simd`]; [`run`] compiles it for each instruction set and calls the best one that the
//! processor has. `DDPM_ISA` set to the name of a lesser one forces that, to test it.

#[cfg(target_arch = "x86_64")]
mod amx;
mod isa;
pub(crate) mod portable;
mod run;
mod vector;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

pub use isa::Isa;
pub(crate) use run::bodies;
pub use run::{compiled, run, run_with};
pub use vector::{LoopKernel, Real, Simd, SimdKernel};
