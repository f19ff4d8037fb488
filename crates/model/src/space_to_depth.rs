//! Blocks of s x s pixels as channels, and back.

use crate::error::Result;
use candle_core::Tensor;

/// `[B, H, W, C]` to `[B, H/s, W/s, s s C]`, TensorFlow's order: row in the block, column in the block, channel.
pub fn space_to_depth(x: &Tensor, s: usize) -> Result<Tensor> {
    if s == 1 {
        return Ok(x.clone());
    }
    let (b, h, w, c) = x.dims4()?;
    Ok(x.reshape((b, h / s, s, w / s, s, c))?.permute((0, 1, 3, 2, 4, 5))?.contiguous()?.reshape((b, h / s, w / s, s * s * c))?)
}

/// The inverse of [`space_to_depth`], to `c` channels.
pub fn depth_to_space(x: &Tensor, s: usize, c: usize) -> Result<Tensor> {
    if s == 1 {
        return Ok(x.clone());
    }
    let (b, h, w, _) = x.dims4()?;
    Ok(x.reshape((b, h, w, s, s, c))?.permute((0, 1, 3, 2, 4, 5))?.contiguous()?.reshape((b, h * s, w * s, c))?)
}
