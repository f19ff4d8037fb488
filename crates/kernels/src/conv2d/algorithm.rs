//! Which algorithm a convolution is computed by.

use super::geometry::Shape;
use super::winograd::Winograd;
use crate::gemm::pack::OperandSplit;
use crate::gemm::{Format, isa};
use crate::simd::Isa;
use std::sync::OnceLock;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// A product for each tap.
    Direct,
    /// Winograd's, of 3x3 convolutions with stride 1 or after upsampling: fewer products, rounded a little differently. In bf16
    /// only the weight gradient has it after upsampling.
    Winograd,
}

impl Algorithm {
    /// Both.
    pub const ALL: [Algorithm; 2] = [Algorithm::Direct, Algorithm::Winograd];

    /// Its name, as `DDPM_CONV`, records and `ddpm doctor` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Direct => "direct",
            Algorithm::Winograd => "winograd",
        }
    }

    /// The algorithm named by `DDPM_CONV`: none if it is unset or empty, an error if the name is unknown.
    pub fn asked() -> Result<Option<Algorithm>, String> {
        let name = match std::env::var_os("DDPM_CONV") {
            Some(name) if !name.is_empty() => name,
            _ => return Ok(None),
        };
        let found = Algorithm::ALL.into_iter().find(|algorithm| name == algorithm.name());
        found
            .map(Some)
            .ok_or_else(|| format!("DDPM_CONV: expected one of {}, got {name:?}", Algorithm::ALL.map(Algorithm::name).join(", ")))
    }

    /// What convolutions use where it is the faster one: what `DDPM_CONV` asks for, or else Winograd's, but direct ones on a matrix unit, which
    /// is taken to multiply faster than tiles are made (not measured yet). Decided at the first call.
    pub fn active() -> Algorithm {
        static ACTIVE: OnceLock<Algorithm> = OnceLock::new();
        *ACTIVE.get_or_init(|| match (Algorithm::asked(), isa()) {
            (Ok(Some(asked)), _) => asked,
            (_, Isa::AmxBf16) => Algorithm::Direct,
            _ => Algorithm::Winograd,
        })
    }

    /// The passes of a convolution in format `F` that are Winograd's where this is asked for: those that are faster.
    pub fn of<F: Format>(self, shape: Shape, split: OperandSplit) -> Winograd {
        match self {
            Algorithm::Direct => Winograd::default(),
            Algorithm::Winograd => Winograd::faster::<F>(shape, split),
        }
    }
}
