//! GroupNorm as tensor algebra.

use super::spec::Spec;
use candle_core::{Result, Tensor};

pub fn group_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, spec: Spec) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let grouped = x.contiguous()?.reshape((b, h * w, spec.groups, c / spec.groups))?;
    let mean = grouped.mean_keepdim(3)?.mean_keepdim(1)?;
    let centred = grouped.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim(3)?.mean_keepdim(1)?;
    let normal = centred.broadcast_div(&(variance + spec.epsilon)?.sqrt()?)?.reshape((b, h, w, c))?;
    let y = normal.broadcast_mul(gamma)?.broadcast_add(beta)?;
    if spec.silu { candle_nn::ops::silu(&y) } else { Ok(y) }
}
