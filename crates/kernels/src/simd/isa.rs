//! The instruction sets, and which of them is used.

use std::sync::OnceLock;

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
            Isa::AmxBf16 => Isa::Avx512Bf16.is_available() && super::amx::is_there(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Isa::Portable;
    }

    /// The instruction set named by `DDPM_ISA`: none if it is unset or empty, an error if the name is unknown.
    pub fn limit() -> Result<Option<Isa>, String> {
        let name = match std::env::var_os("DDPM_ISA") {
            Some(name) if !name.is_empty() => name,
            _ => return Ok(None),
        };
        // NEON is what the portable kernels are compiled for on ARM.
        let found = Isa::ALL.into_iter().find(|isa| name == isa.name() || *isa == Isa::Portable && name == "portable");
        found.map(Some).ok_or_else(|| format!("DDPM_ISA: expected one of {}, got {name:?}", Isa::ALL.map(Isa::name).join(", ")))
    }

    /// The best available one that `DDPM_ISA` allows (an unknown name allows any). Decided at the first call.
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
