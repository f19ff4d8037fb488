//! The network as a fixed plan over the kernels' slices: what trains and samples. [`UNet::forward`], tensor by tensor, is its oracle.

mod buffers;
mod clock;
mod machine;
mod operand;
mod plan;
mod time;

use crate::error::Result;
use crate::unet::UNet;
use candle_core::{DType, Device, Tensor, Var};
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::gemm::pack::Grade;
use ddpm_kernels::gemm::{Bf16, F32};
use ddpm_kernels::simd::Isa;
use machine::Machine;
use operand::Drops;
use plan::Plan;
use serde::{Deserialize, Serialize};

/// What the network's products are computed in. Weights, moments, averages, feature maps and sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision; on a matrix unit that knows bf16 only, three products of bf16 parts, whose error is about 2^-16.
    F32,
    /// Factors of convolutions and attention rounded to bf16, as PyTorch's autocast.
    Bf16,
}

impl Precision {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}

/// What a precision becomes on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32 products.
    F32,
    /// bf16 products.
    Bf16,
    /// f32 numbers as two bf16 parts, three products of which are summed.
    SplitBf16,
}

impl Precision {
    /// On this machine: the matrix unit knows bf16 only, and is faster than f32 even with three products.
    pub fn arithmetic(self) -> Arithmetic {
        match (self, Isa::active()) {
            (Precision::Bf16, _) => Arithmetic::Bf16,
            (Precision::F32, Isa::AmxBf16) => Arithmetic::SplitBf16,
            (Precision::F32, _) => Arithmetic::F32,
        }
    }
}

enum Kind {
    F32(Machine<F32>),
    Bf16(Machine<Bf16>),
}

/// A network ready to compute, forward and backward, with the memory that it needs.
pub struct Engine {
    unet: UNet,
    kind: Kind,
    /// Weights for forward passes, where they were given.
    weights: Vec<f32>,
}

macro_rules! either {
    ($kind:expr, $machine:ident => $body:expr) => {
        match $kind {
            Kind::F32($machine) => $body,
            Kind::Bf16($machine) => $body,
        }
    };
}

impl Engine {
    /// Of a network, without weights.
    pub fn new(unet: &UNet, precision: Precision) -> Result<Engine> {
        Engine::with_arithmetic(unet, precision.arithmetic())
    }

    /// The same in an arithmetic that is not the machine's own choice.
    pub fn with_arithmetic(unet: &UNet, arithmetic: Arithmetic) -> Result<Engine> {
        let (plan, parameters) = (Plan::new(unet)?, unet.parameters());
        let kind = match arithmetic {
            Arithmetic::F32 => Kind::F32(Machine::new(plan, parameters, Grade::Single)),
            Arithmetic::Bf16 => Kind::Bf16(Machine::new(plan, parameters, Grade::Single)),
            Arithmetic::SplitBf16 => Kind::Bf16(Machine::new(plan, parameters, Grade::Split)),
        };
        Ok(Engine { unet: unet.clone(), kind, weights: Vec::new() })
    }

    /// Of a network, with weights.
    pub fn with_weights(unet: &UNet, precision: Precision, weights: Vec<f32>) -> Result<Engine> {
        Ok(Engine::new(unet, precision)?.load(weights))
    }

    /// With the weights that [`Engine::forward`] uses, all parameters one after the other.
    pub fn load(mut self, weights: Vec<f32>) -> Engine {
        assert_eq!(weights.len(), self.unet.parameter_count(), "one number for each of the network's");
        either!(&mut self.kind, machine => machine.pack(&weights));
        self.weights = weights;
        self
    }

    /// The network.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    fn embedding(&self, t: &[usize]) -> Result<Vec<f32>> {
        Ok(self.unet.embedding(t)?.into_iter().map(|v| v as f32).collect())
    }

    /// The output for noisy images `xt` `[B, H, W, C]` at steps `t` (1..=T, one for each image): `[B, H, W, out_channels]`, in f32.
    pub fn forward(&mut self, xt: &Tensor, t: &[usize]) -> Result<Tensor> {
        assert!(!self.weights.is_empty(), "an engine computes forward with the weights that it was made with");
        let (x, embedding) = (numbers(&self.unet.prepare(xt, t)?)?, self.embedding(t)?);
        let weights = std::mem::take(&mut self.weights);
        let y = either!(&mut self.kind, machine => machine.forward(&weights, x, embedding, t.len(), false, None));
        self.weights = weights;
        self.tensor(y, t.len())
    }

    /// The gradient of `loss(output)`, a scalar, by all of `weights`, to `gradient`, both in the parameters' order. `dropout`: the masks
    /// and the training step.
    pub fn gradient(
        &mut self,
        weights: &[f32],
        xt: &Tensor,
        t: &[usize],
        dropout: Option<(Dropout, u64)>,
        loss: impl FnOnce(&Tensor) -> Result<Tensor>,
        gradient: &mut [f32],
    ) -> Result<()> {
        let count = self.unet.parameter_count();
        assert_eq!((weights.len(), gradient.len()), (count, count), "one number for each of the network's");
        let (x, embedding) = (numbers(&self.unet.prepare(xt, t)?)?, self.embedding(t)?);
        let unet = self.unet.clone();
        let layer = |layer: u64| unet.dropout_step(dropout.map_or(0, |d| d.1), layer);
        let drops = dropout.filter(|_| unet.dropout() > 0.0).map(|(dropout, _)| Drops { dropout, step: &layer, p: unet.dropout() });
        let y = either!(&mut self.kind, machine => machine.forward(weights, x, embedding, t.len(), true, drops));
        // The loss is a few operations on images: candle's autograd differentiates it.
        let output = Var::from_tensor(&self.tensor(y, t.len())?)?;
        let gradients = loss(&output)?.backward()?;
        let dy = match gradients.get(&output) {
            Some(dy) => numbers(&self.unet.finish_gradient(dy)?)?,
            None => return Err(crate::Error::NoGradient { name: "the network's output".into() }),
        };
        either!(&mut self.kind, machine => machine.backward(weights, dy, drops, gradient));
        Ok(())
    }

    /// Seconds by what they were spent on, since the last call.
    pub fn breakdown(&self) -> Vec<(&'static str, f64)> {
        either!(&self.kind, machine => machine.clock.read())
    }

    fn tensor(&self, y: Vec<f32>, batch: usize) -> Result<Tensor> {
        let map = self.unet.ends().1;
        self.unet.finish(&Tensor::from_vec(y, (batch, map.height, map.width, map.channels), &Device::Cpu)?)
    }
}

fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
}
