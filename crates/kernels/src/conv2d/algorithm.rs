//! Which algorithm a convolution is computed by.

use super::geometry::Shape;
use super::winograd::Winograd;
use crate::gemm::pack::OperandSplit;
use crate::gemm::{Format, on_matrix_unit};
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

    /// What convolutions in format `F` use where it is the faster one: what `DDPM_CONV` asks for (read at the first call), or else
    /// Winograd's, but direct ones of bf16 on a matrix unit, which multiplies faster than tiles are made (`ddpm bench train-step
    /// --precision bf16` and DDPM_CONV=winograd before it).
    pub fn active<F: Format>() -> Algorithm {
        static ASKED: OnceLock<Option<Algorithm>> = OnceLock::new();
        match ASKED.get_or_init(|| Algorithm::asked().ok().flatten()) {
            Some(asked) => *asked,
            None if on_matrix_unit::<F>() => Algorithm::Direct,
            None => Algorithm::Winograd,
        }
    }

    /// The passes of a convolution in format `F` that are Winograd's where this is asked for: those that are faster.
    pub fn of<F: Format>(self, shape: Shape, split: OperandSplit) -> Winograd {
        match self {
            Algorithm::Direct => Winograd::default(),
            Algorithm::Winograd => Winograd::faster::<F>(shape, split),
        }
    }
}
