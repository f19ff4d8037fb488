//! Eager evaluation of the network with candle's autograd: slow, readable, and in f64 on request. The engine's oracle.

use crate::error::Result;
use crate::interpreter::{ConvCall, Interpreter, Normalise};
use crate::layers::Dense;
use crate::parameters::Weights;
use crate::unet::UNet;
use candle_core::{Device, Tensor};
use candle_nn::ops::silu;
use ddpm_kernels::Kernel;
use ddpm_kernels::attention::attention;
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::pool::{self, BlockPool};

/// How a pass is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassOptions {
    /// Which kernels.
    pub kernel: Kernel,
    /// The dropout stream at a training step; none outside training.
    pub dropout: Option<(Dropout, u64)>,
}

impl UNet {
    /// The output for noisy images `xt` `[B, H, W, C]` at steps `t` (1..=T, one for each image): `[B, H, W, out_channels]`.
    /// Tensor by tensor, under candle's autograd: what [`crate::Engine`] is checked against.
    pub fn forward(&self, w: &Weights, xt: &Tensor, t: &[usize], pass: PassOptions) -> Result<Tensor> {
        let x = self.prepare(xt, t)?;
        let y = self.describe(&mut Eager::new(self, w, t, &x, pass), x)?;
        self.finish(&y)
    }
}

/// One pass over a batch.
pub struct Eager<'a> {
    unet: &'a UNet,
    weights: &'a Weights,
    t: &'a [usize],
    like: Tensor,
    pass: PassOptions,
}

impl<'a> Eager<'a> {
    /// Images like `x` at steps `t`.
    pub(crate) fn new(unet: &'a UNet, weights: &'a Weights, t: &'a [usize], x: &Tensor, pass: PassOptions) -> Eager<'a> {
        Eager { unet, weights, t, like: x.clone(), pass }
    }
}

fn beside(parts: &[Tensor]) -> Result<Tensor> {
    Ok(if let [one] = parts { one.clone() } else { Tensor::cat(parts, 3)? })
}

impl Interpreter for Eager<'_> {
    type Image = Tensor;
    type Vector = Tensor;

    fn time(&mut self, first: &Dense, second: &Dense) -> Result<Tensor> {
        let (numbers, kernel) = (self.unet.embedding(self.t)?, self.pass.kernel);
        let embedding = Tensor::from_vec(numbers, (self.t.len(), first.from), &Device::Cpu)?.to_dtype(self.like.dtype())?;
        let hidden = silu(&first.apply(self.weights, &embedding, kernel)?)?;
        Ok(silu(&second.apply(self.weights, &hidden, kernel)?)?)
    }

    fn dense(&mut self, dense: &Dense, x: &Tensor) -> Result<Tensor> {
        dense.apply(self.weights, x, self.pass.kernel)
    }

    fn conv(&mut self, call: ConvCall<Tensor, Tensor>) -> Result<Tensor> {
        let kernel = self.pass.kernel;
        let mut x = beside(call.input)?;
        if let Some(Normalise { norm, silu }) = call.norm {
            x = norm.apply(self.weights, &x, silu, kernel)?;
        }
        if let (Some((dropout, step)), Some(layer)) = (self.pass.dropout, call.dropout) {
            x = dropout.apply(&x, self.unet.dropout_step(step, layer), self.unet.dropout())?;
        }
        let y = beside(&call.convs.iter().map(|conv| conv.apply(self.weights, &x, call.shift, kernel)).collect::<Result<Vec<_>>>()?)?;
        if call.residual.is_empty() { Ok(y) } else { Ok((beside(call.residual)? + y)?) }
    }

    fn pool(&mut self, kind: BlockPool, x: &Tensor) -> Result<Tensor> {
        Ok(pool::pool(x, kind)?)
    }

    fn attend(&mut self, qkv: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = qkv.dims4()?;
        Ok(attention(&qkv.reshape((b, h * w, c))?, self.pass.kernel)?.reshape((b, h, w, c / 3))?)
    }
}
