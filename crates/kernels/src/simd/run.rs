//! Computations compiled for each instruction set, and run with the best.

use super::isa::Isa;
use super::portable;
use super::vector::{LoopKernel, Real, SimdKernel};
#[cfg(target_arch = "x86_64")]
use super::x86;

/// Runs `B` compiled for the best instruction set.
pub fn compiled<A, B: LoopKernel<A>>(arguments: A) {
    #[cfg(target_arch = "x86_64")]
    match Isa::active() {
        Isa::Portable => {}
        // Safety: the active instruction set is available.
        Isa::Avx2 => return unsafe { x86::body_avx2::<A, B>(arguments) },
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::AmxBf16 => return unsafe { x86::body_avx512::<A, B>(arguments) },
    }
    B::run(arguments);
}

/// Names functions of one tuple as bodies.
macro_rules! bodies {
    (F: $bound:ident; $($name:ident = $function:ident($arguments:ident);)*) => {
        $(struct $name<F>(std::marker::PhantomData<F>);

        impl<'a, F: $bound> $crate::simd::LoopKernel<$arguments<'a, F>> for $name<F> {
            #[inline(always)]
            fn run(arguments: $arguments<'a, F>) {
                $function::<F>(arguments);
            }
        })*
    };
}
pub(crate) use bodies;

/// Runs `job` with the best instruction set.
pub fn run<T: Real, J: SimdKernel<T>>(job: J) -> J::Output {
    run_with(Isa::active(), job)
}

/// Runs `job` with `isa`, which must be available.
pub fn run_with<T: Real, J: SimdKernel<T>>(isa: Isa, job: J) -> J::Output {
    assert!(isa.is_available(), "instruction set {} does not exist on this processor", isa.name());
    T::dispatch(isa, job)
}

macro_rules! real {
    ($t:ty, $exp:expr, $portable:ty, $avx2:ident, $avx512:ident) => {
        impl Real for $t {
            #[inline(always)]
            fn of(v: f64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn wide(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn mul_add_if_cheap(self, b: Self, c: Self) -> Self {
                if cfg!(target_arch = "aarch64") { self.mul_add(b, c) } else { self * b + c }
            }
            fn dispatch<J: SimdKernel<Self>>(isa: Isa, job: J) -> J::Output {
                // Safety: `run_with` has checked that the processor has `isa`.
                #[cfg(target_arch = "x86_64")]
                match isa {
                    Isa::Avx512 | Isa::Avx512Bf16 | Isa::AmxBf16 => return unsafe { x86::with_avx512::<$t, x86::$avx512, J>(job) },
                    Isa::Avx2 => return unsafe { x86::with_avx2::<$t, x86::$avx2, J>(job) },
                    Isa::Portable => {}
                }
                let _ = isa;
                unsafe { job.run::<$portable>() }
            }
        }
    };
}

real!(f32, exp_f32, portable::Wide<f32, 8>, F32x8, F32x16);
real!(f64, libm::exp, portable::Wide<f64, 4>, F64x4, F64x8);

/// e^x by 2^n times a polynomial of degree 7 on [-ln2/2, ln2/2]; 0 below -87.3, limited to e^88 above. Relative error below 2e-7.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.0);
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a call.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.984_127e-4_f32;
    let p = p * r + 1.388_889e-3;
    let p = p * r + 8.333_334e-3;
    let p = p * r + 4.166_666_6e-2;
    let p = p * r + 1.666_666_7e-1;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    // The integer stands in the last bits of `shifted`: a conversion that saturates would not vectorise.
    p * f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn exp_is_accurate(x in -87.0f32..88.0) {
            let exact = (x as f64).exp();
            prop_assert!(((Real::exp(x) as f64 - exact) / exact).abs() < 2e-7, "exp({x}) = {}", Real::exp(x));
        }
    }

    #[test]
    fn exp_has_no_surprises_at_the_ends() {
        assert!(Real::exp(-1e30f32) < 1.3e-38);
        assert!(Real::exp(1e30f32).is_finite());
        assert_eq!(Real::exp(0f32), 1.0);
    }
}
