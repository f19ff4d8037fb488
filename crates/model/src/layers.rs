//! The layers that both networks are built from: each holds a few sizes and the indices of its parameters.

use crate::error::Result;
use crate::parameters::{Init, Parameter, Weights};
use candle_core::Tensor;
use ddpm_kernels::Kernel;
use ddpm_kernels::conv2d::{Frame, Resample, Shape, conv2d};
use ddpm_kernels::group_norm::{Spec, group_norm};

/// The init scale of layers whose output should start near zero: in the authors' code, init_scale 0 means 1e-10.
pub const NEAR_ZERO: f64 = 1e-10;

/// Epsilon of every normalisation: TensorFlow's default in the authors' code, not PyTorch's 1e-5.
const EPSILON: f64 = 1e-6;

/// Collects parameters in the order in which layers are made, and counts what a forward pass costs.
#[derive(Debug, Default)]
pub struct Builder {
    /// The parameters so far.
    pub parameters: Vec<Parameter>,
    /// Multiply-accumulates of one image's forward pass so far.
    pub macs: u64,
}

/// A 3x3 or 1x1 convolution, or a transposed one of 4x4, with bias.
#[derive(Clone, Debug)]
pub struct Conv {
    pub(crate) weight: usize,
    pub(crate) bias: usize,
    pub(crate) k: usize,
    /// Of the feature map that it reads.
    pub(crate) from: Frame,
    pub(crate) out: usize,
    pub(crate) resample: Resample,
}

/// A dense layer with bias.
#[derive(Clone, Debug)]
pub struct Dense {
    pub(crate) weight: usize,
    pub(crate) bias: usize,
    pub(crate) from: usize,
    pub(crate) out: usize,
}

/// A group normalisation with scale and shift.
#[derive(Clone, Debug)]
pub struct Norm {
    pub(crate) gamma: usize,
    pub(crate) beta: usize,
    pub(crate) groups: usize,
}

impl Builder {
    fn add(&mut self, name: String, shape: Vec<usize>, init: Init) -> usize {
        debug_assert!(self.parameters.iter().all(|p| p.name != name), "{name} is taken");
        self.parameters.push(Parameter { name, shape, init });
        self.parameters.len() - 1
    }

    /// A `k` x `k` convolution to `out` channels.
    pub fn conv(&mut self, name: &str, k: usize, from: Frame, out: usize, resample: Resample, scale: f64) -> Conv {
        // The numbers that one result is made of, and the results that one number goes into. The authors count every tap in both.
        let [ins, outs] =
            if resample == Resample::Transposed { [k * k / 4 * from.c, k * k * out] } else { [from.c, out].map(|c| k * k * c) };
        let fans = (ins + outs) as f64;
        let weight = self.add(format!("{name}.weight"), vec![k, k, from.c, out], Init::Uniform { limit: (6.0 * scale / fans).sqrt() });
        let bias = self.add(format!("{name}.bias"), vec![out], Init::Constant(0.0));
        self.macs += Shape { input: from, c_out: out, k, resample }.multiplications();
        Conv { weight, bias, k, from, out, resample }
    }

    /// A dense layer from `from` to `out` numbers.
    pub fn dense(&mut self, name: &str, from: usize, out: usize) -> Dense {
        let limit = (6.0 / (from + out) as f64).sqrt();
        let weight = self.add(format!("{name}.weight"), vec![1, 1, from, out], Init::Uniform { limit });
        let bias = self.add(format!("{name}.bias"), vec![out], Init::Constant(0.0));
        self.macs += (from * out) as u64;
        Dense { weight, bias, from, out }
    }

    /// A normalisation of `channels` in `groups`.
    pub fn norm(&mut self, name: &str, channels: usize, groups: usize) -> Norm {
        let gamma = self.add(format!("{name}.gamma"), vec![channels], Init::Constant(1.0));
        let beta = self.add(format!("{name}.beta"), vec![channels], Init::Constant(0.0));
        Norm { gamma, beta, groups }
    }
}

impl Conv {
    /// `[B, H, W, Ci]` to `[B, H', W', Co]`; `extra` `[B, Co]` is added to every pixel of its image.
    pub fn apply(&self, w: &Weights, x: &Tensor, extra: Option<&Tensor>, kernel: Kernel) -> Result<Tensor> {
        let bias = w.0[self.bias].unsqueeze(0)?;
        let bias = match extra {
            Some(extra) => extra.broadcast_add(&bias)?,
            None => bias,
        };
        Ok(conv2d(x, &w.0[self.weight], &bias, self.resample, kernel)?)
    }
}

impl Dense {
    /// `[B, from]` to `[B, out]`. The rows are the pixels of one image, so that one thread sums in one order.
    pub fn apply(&self, w: &Weights, x: &Tensor, kernel: Kernel) -> Result<Tensor> {
        let (b, n) = x.dims2()?;
        let bias = w.0[self.bias].unsqueeze(0)?;
        let y = conv2d(&x.reshape((1, b, 1, n))?, &w.0[self.weight], &bias, Resample::Same, kernel)?;
        Ok(y.squeeze(2)?.squeeze(0)?)
    }
}

impl Norm {
    /// Normalises over each group of channels, followed by SiLU if `silu` is set. The result has the shape of `x`.
    pub fn apply(&self, w: &Weights, x: &Tensor, silu: bool, kernel: Kernel) -> Result<Tensor> {
        Ok(group_norm(x, &w.0[self.gamma], &w.0[self.beta], self.spec(silu), kernel)?)
    }

    pub(crate) fn spec(&self, silu: bool) -> Spec {
        Spec { groups: self.groups, epsilon: EPSILON, silu }
    }
}
