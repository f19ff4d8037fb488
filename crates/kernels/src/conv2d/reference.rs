//! Convolution as one matrix product for each tap: plain tensor code with candle's gradients.

use super::geometry::Resample;
use candle_core::{Result, Tensor};

pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, resample: Resample) -> Result<Tensor> {
    if resample == Resample::Transposed {
        return transposed(x, weight, bias);
    }
    let (k, _, c_in, c_out) = weight.dims4()?;
    let x = match resample {
        Resample::Double => upsample(x)?,
        _ => x.clone(),
    };
    let (b, h, w, _) = x.dims4()?;
    let (before, after) = match (k, resample) {
        (1, _) => (0, 0),
        (_, Resample::Halve) => (0, 1),
        _ => (1, 1),
    };
    let padded = x.pad_with_zeros(1, before, after)?.pad_with_zeros(2, before, after)?;
    let (out_h, out_w) = if resample == Resample::Halve { (h / 2, w / 2) } else { (h, w) };
    let mut sum: Option<Tensor> = None;
    for dy in 0..k {
        for dx in 0..k {
            let window = match resample {
                Resample::Halve => every_other(&every_other(&padded, 1, dy, out_h)?, 2, dx, out_w)?,
                _ => padded.narrow(1, dy, out_h)?.narrow(2, dx, out_w)?,
            };
            let tap = weight.narrow(0, dy, 1)?.narrow(1, dx, 1)?.reshape((c_in, c_out))?;
            let part = window.contiguous()?.reshape((b * out_h * out_w, c_in))?.matmul(&tap)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => (sum + part)?,
            });
        }
    }
    let y = sum.expect("at least one tap").reshape((b, out_h, out_w, c_out))?;
    y.broadcast_add(&bias.reshape((bias.dim(0)?, 1, 1, c_out))?)
}

/// Every pixel times a window of 4x4, added up where windows overlap: tap (r, s) of pixel (y, x) is at (2 y + r - 1, 2 x + s - 1).
fn transposed(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let ((b, h, w, c_in), c_out) = (x.dims4()?, weight.dim(3)?);
    let mut sum: Option<Tensor> = None;
    for (r, s) in (0..4).flat_map(|r| (0..4).map(move |s| (r, s))) {
        let tap = weight.narrow(0, r, 1)?.narrow(1, s, 1)?.reshape((c_in, c_out))?;
        let product = x.reshape((b * h * w, c_in))?.matmul(&tap)?.reshape((b, h, w, c_out))?;
        // Zeros between the pixels, and around them until all windows stand on one canvas.
        let rows = Tensor::stack(&[&product, &product.zeros_like()?], 2)?.reshape((b, 2 * h, w, c_out))?;
        let all = Tensor::stack(&[&rows, &rows.zeros_like()?], 3)?.reshape((b, 2 * h, 2 * w, c_out))?;
        let placed = all.pad_with_zeros(1, r, 3 - r)?.pad_with_zeros(2, s, 3 - s)?;
        sum = Some(match sum {
            None => placed,
            Some(sum) => (sum + placed)?,
        });
    }
    let y = sum.expect("sixteen taps").narrow(1, 1, 2 * h)?.narrow(2, 1, 2 * w)?;
    y.broadcast_add(&bias.reshape((bias.dim(0)?, 1, 1, c_out))?)
}

/// Nearest-neighbour upsampling by 2, written so that candle's gradient of it is correct and accumulates (upsample_nearest2d's is not).
fn upsample(x: &Tensor) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    x.reshape((b, h, 1, w, 1, c))?.broadcast_as((b, h, 2, w, 2, c))?.contiguous()?.reshape((b, 2 * h, 2 * w, c))
}

fn every_other(x: &Tensor, dim: usize, start: usize, n: usize) -> Result<Tensor> {
    let indices: Vec<u32> = (0..n).map(|i| (start + 2 * i) as u32).collect();
    x.index_select(&Tensor::new(indices, x.device())?, dim)
}
