//! The convolution as candle operations: forward, and one for each gradient.

use super::cpu::{self, Source, kernels};
use super::geometry::Resample;
use super::geometry::{Frame, Shape};
use super::layer::Layer;
use crate::gemm::pack::OperandSplit;
use crate::gemm::{F32, F64, Format};
use crate::scratch::{self, Scratch};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape as Dims, Tensor, WithDType, bail};

pub struct Conv2d {
    pub resample: Resample,
}

/// dx from (dy, w).
struct InputGradient(Shape);
/// dw from (x, dy).
struct WeightGradient(Shape);
/// db from (dy, dy); the second is not read.
struct BiasGradient(Shape, bool);

impl Conv2d {
    fn shape(&self, x: &Dims, weight: &Dims) -> Result<Shape> {
        let (_, h, w, c) = x.dims4()?;
        let (k, _, _, c_out) = weight.dims4()?;
        Ok(Shape { input: Frame { h, w, c }, c_out, k, resample: self.resample })
    }
}

/// The numbers of a contiguous tensor.
pub fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<T>()?[from..to]),
        None => bail!("expected a contiguous tensor, got strides {:?} for {:?}", layout.stride(), layout.dims()),
    }
}

/// A format whose numbers and elements are one type of candle's.
trait Plain: Format<Number: Scratch + WithDType, Element: Scratch> {}
impl Plain for F32 {}
impl Plain for F64 {}

fn forward<F: Plain>(shape: Shape, x: &[F::Number], w: &[F::Number], bias: &[F::Number]) -> Vec<F::Number> {
    let layer = Layer::<F>::new(shape, OperandSplit::One);
    let mut y = vec![F::Number::default(); x.len() / shape.input.numbers() * shape.output().numbers()];
    scratch::with(layer.forward_len(), |packed: &mut [F::Element]| {
        layer.pack_forward(kernels(&[w], shape.input.c, shape.c_out), packed);
        cpu::forward(&layer, packed, Source::Plain(x), bias, false, &mut y);
    });
    y
}

fn input_gradient<F: Plain>(shape: Shape, dy: &[F::Number], w: &[F::Number]) -> Vec<F::Number> {
    let layer = Layer::<F>::new(shape, OperandSplit::One);
    let (len, batch) = (shape.input.numbers(), dy.len() / shape.output().numbers());
    let mut dx = vec![F::Number::default(); batch * len];
    let mut sinks: Vec<&mut [F::Number]> = dx.chunks_mut(len).collect();
    scratch::with(layer.input_gradient_len(), |packed: &mut [F::Element]| {
        layer.pack_input_gradient(kernels(&[w], shape.input.c, shape.c_out), packed);
        cpu::input_gradient(&layer, packed, dy, &mut sinks, |_, to, from| to.copy_from_slice(from));
    });
    dx
}

fn weight_gradient<F: Plain>(shape: Shape, x: &[F::Number], dy: &[F::Number]) -> Vec<F::Number> {
    let mut dw = vec![F::Number::default(); shape.weight_len()];
    cpu::weight_gradient(&Layer::<F>::new(shape, OperandSplit::One), Source::Plain(x), dy, &mut [&mut dw]);
    dw
}

fn bias_gradient<F: Plain>(shape: Shape, dy: &[F::Number], per_image: bool) -> Vec<F::Number> {
    let mut db = vec![F::Number::default(); dy.len() / shape.output().pixels()];
    cpu::bias_gradient(shape.output(), dy, &mut db);
    if per_image { db } else { cpu::sum_rows(&db, shape.c_out) }
}

fn dims(frame: Frame, batch: usize) -> Dims {
    Dims::from((batch, frame.h, frame.w, frame.c))
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d-nhwc"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Dims)> {
        let shape = self.shape(lx.shape(), lw.shape())?;
        let y = match x {
            CpuStorage::F64(_) => CpuStorage::F64(forward::<F64>(shape, slice(x, lx)?, slice(w, lw)?, slice(b, lb)?)),
            _ => CpuStorage::F32(forward::<F32>(shape, slice(x, lx)?, slice(w, lw)?, slice(b, lb)?)),
        };
        Ok((y, dims(shape.output(), lx.dims()[0])))
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
    ($op:ty, $name:expr, |$self:ident, $a:ident, $b:ident, $batch:ident| $numbers:ident($($arg:expr),*), $dims:expr) => {
        impl CustomOp2 for $op {
            fn name(&self) -> &'static str {
                $name
            }
            fn cpu_fwd(&self, a: &CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Dims)> {
                fn go<F: Plain>($self: &$op, $a: &[F::Number], $b: &[F::Number]) -> Vec<F::Number> {
                    $numbers::<F>($($arg),*)
                }
                let ($self, $batch) = (self, la.dims()[0]);
                let storage = match a.dtype() {
                    DType::F64 => CpuStorage::F64(go::<F64>(self, slice(a, la)?, slice(b, lb)?)),
                    _ => CpuStorage::F32(go::<F32>(self, slice(a, la)?, slice(b, lb)?)),
                };
                let _ = $batch;
                Ok((storage, $dims))
            }
        }
    };
}

gradient!(InputGradient, "conv2d-nhwc-dx", |op, dy, w, batch| input_gradient(op.0, dy, w), dims(op.0.input, batch));
gradient!(
    WeightGradient,
    "conv2d-nhwc-dw",
    |op, x, dy, batch| weight_gradient(op.0, x, dy),
    Dims::from((op.0.k, op.0.k, op.0.input.c, op.0.c_out))
);
gradient!(
    BiasGradient,
    "conv2d-nhwc-db",
    |op, dy, _same, batch| bias_gradient(op.0, dy, op.1),
    Dims::from((if op.1 { batch } else { 1 }, op.0.c_out))
);
