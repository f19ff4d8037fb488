//! Products of matrices whose rows are windows of images: what convolution, its gradients, dense layers and attention are made of.

#[cfg(target_arch = "x86_64")]
mod amx;
pub mod format;
pub mod kernel;
pub mod matrix;
pub mod pack;
mod peak;
pub mod tiles;
pub mod turn;

pub use format::{Bf16, F32, F64, Format};
pub use kernel::{Place, Products, Segment, line, panels_len, width};
pub use peak::peak;

use crate::simd::Isa;

/// Runs a product with the best instruction set.
pub fn multiply<F: Format>(products: Products<F>) {
    multiply_with(Isa::active(), products);
}

/// Runs a product with `isa`, which must be available.
pub fn multiply_with<F: Format>(isa: Isa, products: Products<F>) {
    assert!(isa.is_available(), "instruction set {} does not exist on this processor", isa.name());
    F::multiply(isa, products);
}

/// Whether this process can use the processor's matrix unit.
#[cfg(target_arch = "x86_64")]
pub fn amx_is_usable() -> bool {
    amx::is_usable()
}

#[cfg(test)]
mod tests;
