//! Blocks of 2x2 in plain tensor code, with candle's gradients.

use super::BlockPool;
use candle_core::{Result, Tensor};

/// One number for each block of 2x2 of `x` \[B, H, W, C\], both sizes even: \[B, H/2, W/2, C\].
pub fn pool(x: &Tensor, kind: BlockPool) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    if h % 2 != 0 || w % 2 != 0 {
        candle_core::bail!("pool: halving needs even sizes, got {h}x{w}");
    }
    let blocks = x.reshape((b, h / 2, 2, w / 2, 2, c))?;
    let corner = |row, column| blocks.narrow(2, row, 1)?.narrow(4, column, 1)?.contiguous()?.reshape((b, h / 2, w / 2, c));
    let [first, rest @ ..] = [corner(0, 0)?, corner(0, 1)?, corner(1, 0)?, corner(1, 1)?];
    match kind {
        BlockPool::Average => rest.iter().try_fold(first, |sum, x| sum + x)? * 0.25,
        // A gradient goes to one number alone, also where several are the largest. What is not a number is unlike itself, and stays.
        BlockPool::Max => rest.iter().try_fold(first, |most, x| (x.gt(&most)? + x.ne(x)?)?.where_cond(x, &most)),
    }
}
