//! Parameters: their names, initialisation and values.

use candle_core::{DType, Device, Tensor, Var};
use ddpm_kernels::random::{Random, Stream};

use crate::error::Result;

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every number this one.
    Constant(f64),
    /// U(-l, l) with l = sqrt(6 scale / (fan_in + fan_out)): the authors' variance scaling by the mean fan.
    Uniform {
        /// The limit l.
        limit: f64,
    },
}

/// One parameter of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in checkpoints, unique in the network.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How it begins.
    pub init: Init,
}

impl Parameter {
    /// How many numbers it has.
    #[expect(clippy::len_without_is_empty, reason = "a parameter has numbers")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its first values. `position` is its place in the network, the step of the stream.
    pub fn initial(&self, random: &Random, position: usize) -> Vec<f32> {
        match self.init {
            Init::Constant(value) => vec![value as f32; self.len()],
            Init::Uniform { limit } => {
                (0..self.len()).map(|i| ((2.0 * random.uniform(position as u64, i as u64) - 1.0) * limit) as f32).collect()
            }
        }
    }
}

/// The numbers of a network's parameters, in the network's order.
#[derive(Clone, Debug)]
pub struct Weights(pub Vec<Tensor>);

impl Weights {
    /// As the network begins under `seed`.
    pub fn initial(parameters: &[Parameter], seed: u64, stream: Stream, dtype: DType) -> Result<Weights> {
        let random = Random::new(seed, stream);
        let tensor =
            |(i, p): (usize, &Parameter)| Ok(Tensor::from_vec(p.initial(&random, i), p.shape.as_slice(), &Device::Cpu)?.to_dtype(dtype)?);
        Ok(Weights(parameters.iter().enumerate().map(tensor).collect::<Result<_>>()?))
    }

    /// From the concatenated numbers of all parameters.
    pub fn from_numbers(parameters: &[Parameter], numbers: &[f32]) -> Result<Weights> {
        let mut rest = numbers;
        let mut next = |p: &Parameter| {
            let (now, later) = rest.split_at(p.len());
            rest = later;
            Tensor::from_slice(now, p.shape.as_slice(), &Device::Cpu)
        };
        Ok(Weights(parameters.iter().map(&mut next).collect::<candle_core::Result<_>>()?))
    }

    /// All numbers, one parameter after the other.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for tensor in &self.0 {
            all.extend(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?);
        }
        Ok(all)
    }

    /// The same numbers as variables, to be trained.
    pub fn variables(&self) -> Result<Vec<Var>> {
        Ok(self.0.iter().map(Var::from_tensor).collect::<candle_core::Result<_>>()?)
    }

    /// The variables' tensors, which gradients can be traced to.
    pub fn of_variables(variables: &[Var]) -> Weights {
        Weights(variables.iter().map(|v| v.as_tensor().clone()).collect())
    }
}
