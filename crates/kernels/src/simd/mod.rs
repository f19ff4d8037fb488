//! Instruction sets: one small vector interface, chosen once per process, so that a kernel is written once.
//!
//! A kernel implements [`Job`] for every [`Simd`]; [`run`] compiles it for each instruction set and calls the best one that the
//! processor has. `DDPM_ISA` set to the name of a lesser one forces that, to test it.

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

pub(crate) mod portable;

use std::sync::OnceLock;

/// f32 and f64: what the kernels compute in. f64 exists for gradient checks.
pub trait Real: Copy + Default + PartialOrd + Send + Sync + std::fmt::Debug + 'static
where
    Self: std::ops::Add<Output = Self> + std::ops::Sub<Output = Self> + std::ops::Mul<Output = Self> + std::ops::Div<Output = Self>,
    Self: std::ops::AddAssign + std::ops::Neg<Output = Self> + std::iter::Sum,
{
    /// From f64, rounded.
    fn of(v: f64) -> Self;
    /// To f64.
    fn wide(self) -> f64;
    /// e^self, with a relative error of a few units in the last place, in code that vectorises.
    fn exp(self) -> Self;
    /// self * b + c, rounded once where the processor does that in one instruction, else twice.
    fn mul_add_if_cheap(self, b: Self, c: Self) -> Self;
    /// The vector types of each instruction set for this number type, called by [`run`].
    fn dispatch<J: Job<Self>>(isa: Isa, job: J) -> J::Output;
}

/// A vector of `LANES` numbers.
///
/// # Safety
/// An implementation's methods may only be called where its instruction set exists; pointers are read and written for `LANES` numbers.
pub unsafe trait Simd: Copy {
    /// The number type.
    type T: Real;
    /// The register.
    type V: Copy;
    /// Numbers in a register.
    const LANES: usize;
    /// Every lane `v`.
    ///
    /// # Safety
    /// The instruction set must exist on this processor.
    unsafe fn splat(v: Self::T) -> Self::V;
    /// Reads `LANES` numbers, unaligned.
    ///
    /// # Safety
    /// The instruction set must exist on this processor; `LANES` numbers are readable at `p`.
    unsafe fn load(p: *const Self::T) -> Self::V;
    /// Writes `LANES` numbers, unaligned.
    ///
    /// # Safety
    /// The instruction set must exist on this processor; `LANES` numbers are writable at `p`.
    unsafe fn store(p: *mut Self::T, v: Self::V);
    /// a * b + c.
    ///
    /// # Safety
    /// The instruction set must exist on this processor.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a + b.
    ///
    /// # Safety
    /// The instruction set must exist on this processor.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
}

/// A computation that is compiled once for each instruction set.
pub trait Job<T: Real> {
    /// What it gives back.
    type Output;
    /// The computation. Implementations are `#[inline(always)]`, so that they are compiled with the caller's instruction set.
    ///
    /// # Safety
    /// The instruction set of `S` must exist on this processor.
    unsafe fn run<S: Simd<T = T>>(self) -> Self::Output;
}

/// The instruction sets that the CPU kernels are compiled for, worst first. Each has what the ones before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the compiler may assume everywhere: SSE2 on x86-64, NEON on 64-bit Arm.
    Portable,
    /// AVX2 with fused multiply-add, 256-bit registers.
    Avx2,
    /// AVX-512 F, VL, BW and DQ, 512-bit registers.
    Avx512,
    /// AVX-512 with products of bf16 pairs.
    Avx512Bf16,
    /// The matrix unit of Sapphire Rapids and later: tiles of 16 x 32 bf16.
    AmxBf16,
}

impl Isa {
    /// All, worst first.
    pub const ALL: [Isa; 5] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::AmxBf16];

    /// Its name, as `DDPM_ISA` and `ddpm doctor` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable if cfg!(target_arch = "aarch64") => "neon",
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512-bf16",
            Isa::AmxBf16 => "amx-bf16",
        }
    }

    /// Whether this processor, and its operating system, have it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Isa::Portable => true,
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Isa::Avx512 => has_avx512(),
            Isa::Avx512Bf16 => has_avx512() && is_x86_feature_detected!("avx512bf16"),
            Isa::AmxBf16 => Isa::Avx512Bf16.is_available() && crate::gemm::amx_is_usable(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Isa::Portable;
    }

    /// The one that `DDPM_ISA` names; none where it is not set or empty, an error where it names none of them.
    pub fn limit() -> Result<Option<Isa>, String> {
        let name = match std::env::var_os("DDPM_ISA") {
            Some(name) if !name.is_empty() => name,
            _ => return Ok(None),
        };
        // NEON is what the portable kernels are compiled for on ARM.
        let found = Isa::ALL.into_iter().find(|isa| name == isa.name() || *isa == Isa::Portable && name == "portable");
        found.map(Some).ok_or_else(|| format!("DDPM_ISA: expected one of {}, got {name:?}", Isa::ALL.map(Isa::name).join(", ")))
    }

    /// The best one that exists here and that `DDPM_ISA` allows (any, where it names none of them). Decided at the first call.
    pub fn active() -> Isa {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        *ACTIVE.get_or_init(|| {
            let limit = Isa::limit().ok().flatten();
            let allowed = |isa: &Isa| limit.is_none_or(|limit| *isa <= limit) && isa.is_available();
            Isa::ALL.into_iter().rev().find(allowed).unwrap_or(Isa::Portable)
        })
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("fma")
}

/// A computation in plain loops, which the compiler vectorises by itself for each instruction set.
pub trait Body<A> {
    /// The computation. It and all that it calls are `#[inline(always)]`, closures included: what is not inlined is compiled for the
    /// least instruction set, slower and no less right.
    fn run(arguments: A);
}

/// Runs `B` compiled for the best instruction set.
pub fn compiled<A, B: Body<A>>(arguments: A) {
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
    ($($name:ident = $function:ident($arguments:ident);)*) => {
        $(struct $name<F>(std::marker::PhantomData<F>);

        impl<'a, F: Format> $crate::simd::Body<$arguments<'a, F>> for $name<F> {
            #[inline(always)]
            fn run(arguments: $arguments<'a, F>) {
                $function::<F>(arguments);
            }
        })*
    };
}
pub(crate) use bodies;

/// Runs `job` with the best instruction set.
pub fn run<T: Real, J: Job<T>>(job: J) -> J::Output {
    run_with(Isa::active(), job)
}

/// Runs `job` with `isa`, which must be available.
pub fn run_with<T: Real, J: Job<T>>(isa: Isa, job: J) -> J::Output {
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
            fn dispatch<J: Job<Self>>(isa: Isa, job: J) -> J::Output {
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
