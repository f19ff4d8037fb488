//! 3x3 and 1x1 convolution on `[B, H, W, C]`, with zero padding, stride 1 or 2, optional nearest upsampling before it; transposed
//! convolution of 4x4; and a bias that may differ between images (so that a time embedding is added for free).

pub mod algorithm;
pub mod cpu;
pub mod geometry;
pub mod layer;
pub(crate) mod op;
mod reference;
pub(crate) mod winograd;

pub use geometry::{Frame, Resample, Shape};

use crate::Kernel;
use candle_core::{Result, Tensor};

/// y\[b, p, n\] = bias\[b or 0, n\] + sum over the window of x w.
///
/// Shapes: `x` \[B, H, W, Ci\], `weight` \[K, K, Ci, Co\] with K = 4 for [`Resample::Transposed`], else 3 or 1 (1 only with
/// [`Resample::Same`]), `bias` \[B or 1, Co\]; result \[B, H', W', Co\]. Types: f32 or f64, all alike. Errors name the shapes that do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, resample: Resample, kernel: Kernel) -> Result<Tensor> {
    check(x, weight, bias, resample)?;
    match kernel {
        Kernel::Reference => reference::conv2d(x, weight, bias, resample),
        Kernel::Fused => x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op::Conv2d { resample }),
    }
}

fn check(x: &Tensor, weight: &Tensor, bias: &Tensor, resample: Resample) -> Result<()> {
    let (b, h, w, c_in) = x.dims4()?;
    let (kh, kw, wc_in, c_out) = weight.dims4()?;
    let (bias_b, bias_c) = bias.dims2()?;
    let sides: &[usize] = match resample {
        Resample::Same => &[3, 1],
        Resample::Halve | Resample::Double => &[3],
        Resample::Transposed => &[4],
    };
    if kh != kw || !sides.contains(&kh) {
        let expected: Vec<String> = sides.iter().map(|side| format!("{side}x{side}")).collect();
        candle_core::bail!("conv2d: expected a weight of {} with {resample:?}, got {kh}x{kw}", expected.join(" or "));
    }
    if wc_in != c_in {
        candle_core::bail!("conv2d: expected a weight for {c_in} input channels as x {:?} has, got {:?}", x.dims(), weight.dims());
    }
    if bias_c != c_out || (bias_b != 1 && bias_b != b) {
        candle_core::bail!("conv2d: expected a bias of [1 or {b}, {c_out}], got {:?}", bias.dims());
    }
    if resample == Resample::Halve && (h % 2 != 0 || w % 2 != 0) {
        candle_core::bail!("conv2d: halving needs even sizes, got {h}x{w}");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
