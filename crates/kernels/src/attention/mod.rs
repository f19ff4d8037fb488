//! Attention of one head over the pixels of an image: softmax(q k^T / sqrt(C)) v, forward and backward.

pub mod cpu;
mod op;
mod reference;

use crate::Kernel;
use candle_core::{Result, Tensor};

/// softmax(q k^T / sqrt(C)) v of each image, the softmax over the keys.
///
/// Shapes: `qkv` \[B, P, 3 C\] with q, k and v side by side; result \[B, P, C\]. Types: f32 or f64.
pub fn attention(qkv: &Tensor, kernel: Kernel) -> Result<Tensor> {
    let (_, _, c) = qkv.dims3()?;
    if !c.is_multiple_of(3) {
        candle_core::bail!("attention: expected q, k and v side by side, got {:?}", qkv.dims());
    }
    match kernel {
        Kernel::Reference => reference::attention(qkv),
        Kernel::Fused => qkv.contiguous()?.apply_op1(op::Attention),
    }
}

#[cfg(test)]
mod tests;
