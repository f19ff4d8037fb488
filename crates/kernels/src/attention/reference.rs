//! Attention as tensor algebra.

use candle_core::{Result, Tensor};

pub fn attention(qkv: &Tensor) -> Result<Tensor> {
    let c = qkv.dim(2)? / 3;
    let part = |i: usize| qkv.narrow(2, i * c, c)?.contiguous();
    let scores = (part(0)?.matmul(&part(1)?.transpose(1, 2)?.contiguous()?)? * (c as f64).powf(-0.5))?;
    // candle's softmax_last_dim has no gradient; this one has.
    candle_nn::ops::softmax(&scores, 2)?.matmul(&part(2)?)
}
