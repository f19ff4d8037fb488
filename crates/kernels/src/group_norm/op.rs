//! GroupNorm as a candle operation.

use super::cpu;
use super::spec::Spec;
use crate::conv2d::cpu::sum_rows;
use crate::conv2d::op::slice;
use crate::simd::Real;
use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use rayon::prelude::*;

pub struct GroupNorm {
    pub spec: Spec,
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

impl GroupNorm {
    fn gradients<T: Real + WithDType>(&self, [x, gamma, beta, dy]: [&Tensor; 4]) -> Result<Gradients> {
        fn numbers<'a, T: WithDType>(storage: &'a Storage, layout: &Layout) -> Result<&'a [T]> {
            match storage {
                Storage::Cpu(storage) => slice(storage, layout),
                _ => bail!("group_norm: no fused kernel for this device"),
            }
        }
        let (b, h, w, c) = x.dims4()?;
        let (sx, lx) = x.storage_and_layout();
        let (sg, lg) = gamma.storage_and_layout();
        let (sb, lb) = beta.storage_and_layout();
        let (sy, ly) = dy.storage_and_layout();
        let (x, gamma, beta, dy) = (numbers::<T>(&sx, lx)?, numbers::<T>(&sg, lg)?, numbers::<T>(&sb, lb)?, numbers::<T>(&sy, ly)?);
        let mut dx = dy.to_vec();
        let mut partial = vec![T::default(); b * 2 * c];
        dx.par_chunks_mut(h * w * c).zip(partial.par_chunks_mut(2 * c)).zip(x.par_chunks(h * w * c)).for_each(|((dx, partial), x)| {
            let (parts, mut statistics, mut y) = ([(x, c)], vec![T::default(); 2 * c], vec![T::default(); x.len()]);
            cpu::forward(self.spec, &parts, gamma, beta, &mut statistics, &mut y);
            cpu::backward(self.spec, &parts, gamma, beta, &statistics, dx, partial);
        });
        let mut dgamma = sum_rows(&partial, 2 * c);
        let dbeta = dgamma.split_off(c);
        let device = Device::Cpu;
        Ok((
            Some(Tensor::from_vec(dx, (b, h, w, c), &device)?),
            Some(Tensor::from_vec(dgamma, c, &device)?),
            Some(Tensor::from_vec(dbeta, c, &device)?),
        ))
    }
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group-norm-nhwc"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        g: &CpuStorage,
        lg: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        fn go<T: Real + WithDType>(
            spec: Spec,
            x: (&CpuStorage, &Layout),
            g: (&CpuStorage, &Layout),
            b: (&CpuStorage, &Layout),
        ) -> Result<CpuStorage> {
            let (_, h, w, c) = x.1.shape().dims4()?;
            let (x, gamma, beta) = (slice::<T>(x.0, x.1)?, slice::<T>(g.0, g.1)?, slice::<T>(b.0, b.1)?);
            let mut y = vec![T::default(); x.len()];
            y.par_chunks_mut(h * w * c).zip(x.par_chunks(h * w * c)).for_each(|(y, x)| {
                cpu::forward(spec, &[(x, c)], gamma, beta, &mut vec![T::default(); 2 * c], y);
            });
            Ok(T::to_cpu_storage_owned(y))
        }
        let y = match x {
            CpuStorage::F64(_) => go::<f64>(self.spec, (x, lx), (g, lg), (b, lb))?,
            _ => go::<f32>(self.spec, (x, lx), (g, lg), (b, lb))?,
        };
        Ok((y, lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, gamma: &Tensor, beta: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Gradients> {
        let dy = dy.contiguous()?;
        match x.dtype() {
            DType::F64 => self.gradients::<f64>([x, gamma, beta, &dy]),
            _ => self.gradients::<f32>([x, gamma, beta, &dy]),
        }
    }
}
