//! The convolution as candle operations: forward, and one for each gradient.

use super::Resize;
use super::cpu::{self, Shape};
use super::gather::Frame;
use crate::simd::Real;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape as Dims, Tensor, WithDType, bail};

pub struct Conv2d {
    pub resize: Resize,
}

/// dx from (dy, w).
struct InputGradient(Shape);
/// dw from (x, dy).
struct WeightGradient(Shape);
/// db from (dy, dy); the second is not read.
struct BiasGradient(Shape, bool);

impl Conv2d {
    fn shape(&self, x: &Dims, weight: &Dims) -> Result<Shape> {
        let (batch, h, w, c) = x.dims4()?;
        let (k, _, _, c_out) = weight.dims4()?;
        Ok(Shape { batch, input: Frame { h, w, c }, c_out, k, resize: self.resize })
    }
}

/// The numbers of a contiguous tensor.
pub fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<T>()?[from..to]),
        None => bail!("expected a contiguous tensor, got strides {:?} for {:?}", layout.stride(), layout.dims()),
    }
}

fn dims(frame: Frame, batch: usize) -> Dims {
    Dims::from((batch, frame.h, frame.w, frame.c))
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Dims)> {
        fn go<T: Real + WithDType>(
            s: Shape,
            x: (&CpuStorage, &Layout),
            w: (&CpuStorage, &Layout),
            b: (&CpuStorage, &Layout),
        ) -> Result<CpuStorage> {
            Ok(T::to_cpu_storage_owned(cpu::forward::<T>(s, slice(x.0, x.1)?, slice(w.0, w.1)?, slice(b.0, b.1)?)))
        }
        let shape = self.shape(lx.shape(), lw.shape())?;
        let y = match x {
            CpuStorage::F64(_) => go::<f64>(shape, (x, lx), (w, lw), (b, lb))?,
            _ => go::<f32>(shape, (x, lx), (w, lw), (b, lb))?,
        };
        Ok((y, dims(shape.output(), shape.batch)))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, b: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = self.shape(x.shape(), w.shape())?;
        let dy = dy.contiguous()?;
        let dx = dy.apply_op2_no_bwd(w, &InputGradient(shape))?;
        let dw = x.apply_op2_no_bwd(&dy, &WeightGradient(shape))?;
        let db = dy.apply_op2_no_bwd(&dy, &BiasGradient(shape, b.dim(0)? != 1))?;
        Ok((Some(dx), Some(dw), Some(db)))
    }
}

macro_rules! gradient {
    ($op:ty, $name:expr, |$self:ident, $a:ident, $b:ident| $numbers:expr, $dims:expr) => {
        impl CustomOp2 for $op {
            fn name(&self) -> &'static str {
                $name
            }
            fn cpu_fwd(&self, a: &CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Dims)> {
                fn go<T: Real + WithDType>($self: &$op, $a: &[T], $b: &[T]) -> CpuStorage {
                    T::to_cpu_storage_owned($numbers)
                }
                let $self = self;
                let storage = match a.dtype() {
                    DType::F64 => go::<f64>(self, slice(a, la)?, slice(b, lb)?),
                    _ => go::<f32>(self, slice(a, la)?, slice(b, lb)?),
                };
                Ok((storage, $dims))
            }
        }
    };
}

use candle_core::backend::BackendStorage;

gradient!(InputGradient, "conv2d-nhwc-dx", |op, dy, w| cpu::input_gradient::<T>(op.0, dy, w), dims(op.0.input, op.0.batch));
gradient!(
    WeightGradient,
    "conv2d-nhwc-dw",
    |op, x, dy| cpu::weight_gradient::<T>(op.0, x, dy),
    Dims::from((op.0.k, op.0.k, op.0.input.c, op.0.c_out))
);
gradient!(
    BiasGradient,
    "conv2d-nhwc-db",
    |op, dy, _same| cpu::bias_gradient::<T>(op.0, dy, op.1),
    Dims::from((if op.1 { op.0.batch } else { 1 }, op.0.c_out))
);
