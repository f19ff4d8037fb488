//! GroupNorm over `[B, H, W, C]`, with SiLU after it where asked, forward and backward in one pass each.

pub mod cpu;
mod op;
mod reference;
mod spec;

pub use spec::Spec;

use crate::Kernel;
use candle_core::{Result, Tensor};

/// silu?((x - mean) / sqrt(variance + epsilon) * gamma + beta), with mean and variance over (H, W, C/groups) of each image.
///
/// Shapes: `x` \[B, H, W, C\], `gamma` and `beta` \[C\]; result as `x`. Types: f32 or f64, all alike.
pub fn group_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, spec: Spec, kernel: Kernel) -> Result<Tensor> {
    let c = x.dims4()?.3;
    if spec.groups == 0 || !c.is_multiple_of(spec.groups) {
        candle_core::bail!("group_norm: expected channels divisible by {} groups, got {:?}", spec.groups, x.dims());
    }
    if gamma.dims() != [c] || beta.dims() != [c] {
        candle_core::bail!("group_norm: expected gamma and beta of [{c}], got {:?} and {:?}", gamma.dims(), beta.dims());
    }
    match kernel {
        Kernel::Reference => reference::group_norm(x, gamma, beta, spec),
        Kernel::Fused => x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op::GroupNorm { spec }),
    }
}

#[cfg(test)]
mod tests;
