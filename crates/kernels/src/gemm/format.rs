//! Formats: the product for each storage type, compiled for each instruction set.

#[cfg(target_arch = "x86_64")]
use super::dot::x86::{Native512, Pairs256, Pairs512};
use super::dot::{Dot, Pairs};
use super::kernel::Products;
use super::storage::{Bf16, F32, F64, Storage};
#[cfg(target_arch = "x86_64")]
use super::{amx, tiles};
use crate::simd::Isa;
use crate::simd::portable::Wide;
#[cfg(target_arch = "x86_64")]
use crate::simd::x86::{F32x8, F32x16, F64x4, F64x8};

/// A storage whose products there are kernels for.
pub trait Format: Storage {
    /// Whether its convolutions are Winograd's where that is faster: f64 is for checks.
    const WINOGRAD: bool;
    /// Pixels on a side of a tile of Winograd's convolutions: larger ones take fewer products, and lose more digits.
    const TILE: usize;
    /// The format in which its numbers are multiplied as they are.
    type Numbers: Format<Number = Self::Number, Element = Self::Number>;

    /// Runs a product with an instruction set that is available.
    fn multiply(isa: Isa, products: Products<Self>);
}

/// The instruction set used for products: the active one, unless its matrix unit fails the self-test.
pub fn isa() -> Isa {
    match Isa::active() {
        #[cfg(target_arch = "x86_64")]
        Isa::AmxBf16 if !amx::is_right() => Isa::Avx512Bf16,
        isa => isa,
    }
}

/// Whether the products of a format are computed by a matrix unit.
pub fn on_matrix_unit<F: Format>() -> bool {
    F::PER_WORD == Bf16::PER_WORD && isa() == Isa::AmxBf16
}

/// Runs a product with the best instruction set.
pub fn multiply<F: Format>(products: Products<F>) {
    multiply_with(isa(), products);
}

/// Runs a product with `isa`, which must be available.
pub fn multiply_with<F: Format>(isa: Isa, products: Products<F>) {
    assert!(isa.is_available(), "instruction set {} does not exist on this processor", isa.name());
    F::multiply(isa, products);
}

macro_rules! plain {
    ($f:ty, $winograd:expr, $portable:ty, $avx2:ident, $avx512:ident) => {
        impl Format for $f {
            const WINOGRAD: bool = $winograd;
            const TILE: usize = 4;
            type Numbers = $f;

            fn multiply(isa: Isa, products: Products<Self>) {
                // Safety: `multiply` is called with an instruction set that is available.
                #[cfg(target_arch = "x86_64")]
                match isa {
                    Isa::Portable => {}
                    Isa::Avx2 => return unsafe { avx2::<$f, $avx2>(products) },
                    Isa::Avx512 | Isa::Avx512Bf16 | Isa::AmxBf16 => {
                        return unsafe { avx512::<$f, $avx512>(products) };
                    }
                }
                let _ = isa;
                // Safety: needs no instruction set.
                unsafe { products.run::<$portable>() }
            }
        }
    };
}

plain!(F32, true, Wide<f32, 8>, F32x8, F32x16);
plain!(F64, false, Wide<f64, 4>, F64x4, F64x8);

impl Format for Bf16 {
    const WINOGRAD: bool = true;
    const TILE: usize = 2;
    type Numbers = F32;

    fn multiply(isa: Isa, products: Products<Self>) {
        // Safety: `multiply` is called with an instruction set that is available.
        #[cfg(target_arch = "x86_64")]
        match isa {
            Isa::Portable => {}
            Isa::Avx2 => return unsafe { avx2::<Bf16, Pairs256>(products) },
            Isa::Avx512 => return unsafe { avx512::<Bf16, Pairs512>(products) },
            Isa::AmxBf16 if tiles::fits(&products) => return unsafe { matrix_unit(products) },
            Isa::Avx512Bf16 | Isa::AmxBf16 => return unsafe { avx512_bf16(products) },
        }
        let _ = isa;
        // Safety: needs no instruction set.
        unsafe { products.run::<Pairs>() }
    }
}

/// Compiles the product for AVX2 and FMA.
///
/// # Safety
/// The processor must have both.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<F: Storage, D: Dot<F>>(products: Products<F>) {
    // Safety: the caller's promise.
    unsafe { products.run::<D>() }
}

/// Compiles the product for AVX-512.
///
/// # Safety
/// The processor must have AVX-512 F, VL, BW and DQ, and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn avx512<F: Storage, D: Dot<F>>(products: Products<F>) {
    // Safety: the caller's promise.
    unsafe { products.run::<D>() }
}

/// Compiles the product for AVX-512 with bf16.
///
/// # Safety
/// As [`avx512`], and AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
unsafe fn avx512_bf16(products: Products<Bf16>) {
    // Safety: the caller's promise.
    unsafe { products.run::<Native512>() }
}

/// Compiles the product for the matrix unit, and what is around it for AVX-512.
///
/// # Safety
/// As [`avx512`], and the unit; [`tiles::fits`] must hold.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn matrix_unit(products: Products<Bf16>) {
    // Safety: the caller's promise.
    unsafe { tiles::run::<amx::Amx>(products) }
}
