//! The network as a fixed graph of kernels on slices, for training and sampling. Its oracle is the eager [`UNet::forward`].

mod buffers;
mod clock;
mod cpu;
pub mod device;
mod graph;
mod operand;
mod time;

use crate::error::Result;
use crate::network::Network;
use crate::unet::UNet;
use candle_core::{DType, Device, Tensor, Var};
use cpu::CpuBackend;
use ddpm_kernels::conv2d::algorithm::Algorithm;
use ddpm_kernels::device::Type;
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::gemm::pack::OperandSplit;
use ddpm_kernels::gemm::{self, Bf16, F32};
use ddpm_kernels::simd::Isa;
use device::DeviceBackend;
use graph::Graph;
use operand::Drops;
use serde::{Deserialize, Serialize};

/// What the network's products are computed in. Weights, moments, averages, feature maps and sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision; for wide networks on a matrix unit that supports only bf16, three products of bf16 parts, with an error of about
    /// 2^-16.
    F32,
    /// GPU only: operands of convolutions and attention rounded to a 10-bit mantissa, as its matrix units read f32.
    Tf32,
    /// Factors of convolutions and attention rounded to bf16, as in PyTorch's autocast: in Winograd's convolutions what is multiplied, after the
    /// transform, and in their weight gradients nothing; on a GPU feature maps too.
    Bf16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

    /// On a GPU.
    pub fn numbers(self) -> device::NumberFormat {
        let kind = if self == Precision::Bf16 { Type::Bf16 } else { Type::F32 };
        device::NumberFormat { kind, tf32: self == Precision::Tf32 }
    }

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
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
    /// The arithmetic for a network on this machine's CPU, where TF32 does not exist and means f32. For wide networks, a matrix unit that
    /// supports only bf16 is faster than f32 even with three products.
    pub fn arithmetic(self, network: &Network) -> Arithmetic {
        self.arithmetic_with(gemm::isa(), network)
    }

    fn arithmetic_with(self, isa: Isa, network: &Network) -> Arithmetic {
        match (self, isa) {
            (Precision::Bf16, _) => Arithmetic::Bf16,
            (Precision::F32 | Precision::Tf32, Isa::AmxBf16) if network.channels >= SPLIT_CHANNELS => Arithmetic::SplitBf16,
            (Precision::F32 | Precision::Tf32, _) => Arithmetic::F32,
        }
    }
}

/// Channels of the first level from which on f32 is computed in bf16 parts on a matrix unit. Measured by `ddpm bench` with `--channels` on
/// two cores of an Intel Xeon with AMX, as images/s over those of f32 in AVX-512 (`DDPM_ISA=avx512`), of a training step and of a forward
/// pass: 0.85 and 0.94 at 32 channels (with this constant at 0), 1.0 to 1.1 and 1.17 at 64, 1.1 and 1.4 at 128.
pub const SPLIT_CHANNELS: usize = 64;

impl Arithmetic {
    /// What this machine's convolutions are computed by where that is faster.
    pub fn algorithm(self) -> Algorithm {
        match self {
            Arithmetic::F32 => Algorithm::active::<F32>(),
            Arithmetic::Bf16 | Arithmetic::SplitBf16 => Algorithm::active::<Bf16>(),
        }
    }
}

enum Backend {
    F32(CpuBackend<F32>),
    Bf16(CpuBackend<Bf16>),
    Device(Box<DeviceBackend>),
}

/// A network ready to compute, forward and backward, with the memory that it needs.
pub struct Engine {
    unet: UNet,
    kind: Backend,
    /// Weights for forward passes, where they were given.
    weights: Vec<f32>,
}

macro_rules! either {
    ($kind:expr, $machine:ident => $body:expr, $remote:pat => $otherwise:expr) => {
        match $kind {
            Backend::F32($machine) => $body,
            Backend::Bf16($machine) => $body,
            Backend::Device($remote) => $otherwise,
        }
    };
}

impl Engine {
    /// Of a network, without weights. Errors where the precision is a GPU's.
    pub fn new(unet: &UNet, precision: Precision) -> Result<Engine> {
        if precision == Precision::Tf32 {
            return Err(crate::Error::InvalidKey { key: "precision", expected: "f32 or bf16 on a CPU".into(), got: "tf32".into() });
        }
        Engine::with_arithmetic(unet, precision.arithmetic(unet.network()))
    }

    /// The same with an explicit arithmetic instead of the machine's default.
    pub fn with_arithmetic(unet: &UNet, arithmetic: Arithmetic) -> Result<Engine> {
        Engine::with_algorithm(unet, arithmetic, arithmetic.algorithm())
    }

    /// The same with an explicit algorithm for the convolutions where it is the faster one.
    pub fn with_algorithm(unet: &UNet, arithmetic: Arithmetic, algorithm: Algorithm) -> Result<Engine> {
        let (graph, parameters) = (Graph::new(unet)?, unet.parameters());
        let kind = match arithmetic {
            Arithmetic::F32 => Backend::F32(CpuBackend::new(graph, parameters, OperandSplit::One, algorithm)),
            Arithmetic::Bf16 => Backend::Bf16(CpuBackend::new(graph, parameters, OperandSplit::One, algorithm)),
            Arithmetic::SplitBf16 => Backend::Bf16(CpuBackend::new(graph, parameters, OperandSplit::Two, algorithm)),
        };
        Ok(Engine { unet: unet.clone(), kind, weights: Vec::new() })
    }

    /// Of a network, on a device.
    pub fn remote(unet: &UNet, device: Box<dyn ddpm_kernels::device::Device>, numbers: device::NumberFormat) -> Result<Engine> {
        let kind = Backend::Device(Box::new(DeviceBackend::new(device, unet, numbers)?));
        Ok(Engine { unet: unet.clone(), kind, weights: Vec::new() })
    }

    /// Of a network, with weights.
    pub fn with_weights(unet: &UNet, precision: Precision, weights: Vec<f32>) -> Result<Engine> {
        Ok(Engine::new(unet, precision)?.load(weights))
    }

    /// With the weights that [`Engine::forward`] uses, all parameters one after the other.
    pub fn load(mut self, weights: Vec<f32>) -> Engine {
        assert_eq!(weights.len(), self.unet.parameter_count(), "one number for each of the network's");
        either!(&mut self.kind, machine => machine.pack(&weights), remote => remote.forget());
        self.weights = weights;
        self
    }

    /// The network.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// Floating-point operations in the products of one image's forward pass, and of its share of a training step, as this engine
    /// computes them: fewer than [`UNet::forward_flops`] and [`UNet::training_flops`] where convolutions get by with fewer. Winograd's
    /// transforms are not counted; what the libraries of a GPU leave out, they do not say.
    pub fn executed_flops(&self) -> [f64; 2] {
        let [forward, backward] = either!(&self.kind, machine => machine.saved(), _ => [0; 2]).map(|saved| 2.0 * saved as f64);
        [self.unet.forward_flops() - forward, self.unet.training_flops() - forward - backward]
    }

    fn embedding(&self, t: &[usize]) -> Result<Vec<f32>> {
        Ok(self.unet.embedding(t)?.into_iter().map(|v| v as f32).collect())
    }

    /// The output for noisy images `xt` `[B, H, W, C]` at steps `t` (1..=T, one for each image): `[B, H, W, out_channels]`, in f32.
    pub fn forward(&mut self, xt: &Tensor, t: &[usize]) -> Result<Tensor> {
        assert!(!self.weights.is_empty(), "an engine computes forward with the weights that it was made with");
        let (x, embedding) = (numbers(&self.unet.prepare(xt, t)?)?, self.embedding(t)?);
        let weights = std::mem::take(&mut self.weights);
        let y = either!(
            &mut self.kind,
            machine => Ok(machine.forward(&weights, x, embedding, t.len(), false, None)),
            remote => remote.forward(&weights, &x, &embedding, t.len())
        );
        self.weights = weights;
        tensor(&self.unet, y?, t.len())
    }

    /// Writes the gradient of the scalar `loss(output)` with respect to all of `weights` to `gradient`, both in the parameters' order.
    /// `dropout`: the masks and the training step.
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
        // The loss is a few operations on images: candle's autograd differentiates it.
        let unet = self.unet.clone();
        let differentiate = |y: Vec<f32>| -> Result<Vec<f32>> {
            let output = Var::from_tensor(&tensor(&unet, y, t.len())?)?;
            match loss(&output)?.backward()?.get(&output) {
                Some(dy) => numbers(&unet.finish_gradient(dy)?),
                None => Err(crate::Error::NoGradient { name: "the network's output".into() }),
            }
        };
        let dropout = dropout.filter(|_| unet.dropout() > 0.0);
        let layer = |layer: u64| unet.dropout_step(dropout.map_or(0, |d| d.1), layer);
        let drops = dropout.map(|(dropout, _)| Drops { dropout, step: &layer, p: unet.dropout() });
        either!(&mut self.kind, machine => {
            let y = machine.forward(weights, x, embedding, t.len(), true, drops);
            machine.backward(weights, differentiate(y)?, drops, gradient);
            Ok(())
        }, remote => remote.gradient(weights, (&x, &embedding, t.len()), dropout, differentiate, gradient))
    }

    /// The weights for forward passes: none before they were given.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The device's side and the weights, where the network is on a device.
    pub(crate) fn on_device(&mut self) -> Option<(&mut DeviceBackend, &[f32])> {
        let weights = &self.weights;
        either!(&mut self.kind, _machine => None, remote => Some((remote, weights)))
    }

    /// Bytes in use on the device, where the network is on one.
    pub fn device_bytes(&self) -> Option<usize> {
        either!(&self.kind, _machine => None, remote => Some(remote.device().bytes()))
    }

    /// Seconds by what they were spent on, since the last call.
    pub fn breakdown(&self) -> Vec<(&'static str, f64)> {
        either!(&self.kind, machine => machine.clock.read(), _ => Vec::new())
    }
}

/// The last layer's numbers as images.
fn tensor(unet: &UNet, y: Vec<f32>, batch: usize) -> Result<Tensor> {
    let map = unet.ends().1;
    unet.finish(&Tensor::from_vec(y, (batch, map.h, map.w, map.c), &Device::Cpu)?)
}

fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// f32 means f32, of wide networks on a matrix unit in two parts of bf16; TF32 is a GPU's.
    #[test]
    fn a_precision_is_what_it_says() {
        let on_gpu = Precision::ALL.map(|p| (p.numbers().kind, p.numbers().tf32));
        assert_eq!(on_gpu, [(Type::F32, false), (Type::F32, true), (Type::Bf16, false)]);
        for isa in Isa::ALL {
            for (channels, split) in [(32, false), (63, false), (64, true), (128, true)] {
                let f32s = if split && isa == Isa::AmxBf16 { Arithmetic::SplitBf16 } else { Arithmetic::F32 };
                let network = Network { channels, ..Network::cifar10() };
                assert_eq!(Precision::ALL.map(|p| p.arithmetic_with(isa, &network)), [f32s, f32s, Arithmetic::Bf16]);
            }
        }
    }
}
