//! Attention as a candle operation.

use super::cpu;
use crate::conv2d::op::slice;
use crate::gemm::pack::OperandSplit;
use crate::gemm::{F32, F64, Format};
use crate::scratch::Scratch;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

pub struct Attention;
/// dqkv from (qkv, dout).
struct Gradient;

fn forward<F: Format<Number: Scratch, Element: Scratch>>(pixels: usize, c: usize, qkv: &[F::Number]) -> Vec<F::Number> {
    let mut out = vec![F::Number::default(); qkv.len() / 3];
    let images = out.par_chunks_mut(pixels * c).zip(qkv.par_chunks(3 * pixels * c));
    images.for_each(|(out, qkv)| cpu::forward::<F>(OperandSplit::One, c, qkv, out));
    out
}

fn backward<F: Format<Number: Scratch, Element: Scratch>>(
    pixels: usize,
    c: usize,
    qkv: &[F::Number],
    dout: &[F::Number],
) -> Vec<F::Number> {
    let mut dqkv = vec![F::Number::default(); qkv.len()];
    let images = dqkv.par_chunks_mut(3 * pixels * c).zip(qkv.par_chunks(3 * pixels * c)).zip(dout.par_chunks(pixels * c));
    images.for_each(|((dqkv, qkv), dout)| cpu::backward::<F>(OperandSplit::One, c, qkv, dout, dqkv));
    dqkv
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, pixels, c) = layout.shape().dims3()?;
        let out = match qkv {
            CpuStorage::F64(_) => CpuStorage::F64(forward::<F64>(pixels, c / 3, slice(qkv, layout)?)),
            _ => CpuStorage::F32(forward::<F32>(pixels, c / 3, slice(qkv, layout)?)),
        };
        Ok((out, Shape::from((b, pixels, c / 3))))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, dout: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(qkv.apply_op2_no_bwd(&dout.contiguous()?, &Gradient)?))
    }
}

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        "attention-gradient"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, lq: &Layout, dout: &CpuStorage, ld: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, pixels, c) = lq.shape().dims3()?;
        let dqkv = match qkv {
            CpuStorage::F64(_) => CpuStorage::F64(backward::<F64>(pixels, c / 3, slice(qkv, lq)?, slice(dout, ld)?)),
            _ => CpuStorage::F32(backward::<F32>(pixels, c / 3, slice(qkv, lq)?, slice(dout, ld)?)),
        };
        Ok((dqkv, lq.shape().clone()))
    }
}
