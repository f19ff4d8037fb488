//! Small networks and random tensors.

use candle_core::{DType, Device, Tensor};
use ddpm_core::{BetaScale, Objective, Prediction, ReverseVariance, Schedule, Setup, Space, Weight};
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::network::{Downsample, ImageShape, Skips, TimeEmbedding, Upsample};
use ddpm_model::optimiser::Optimiser;
use ddpm_model::parameters::{Parameter, Weights};
use ddpm_model::{Diffusion, Network};
use proptest::prelude::*;

pub const IMAGE: ImageShape = ImageShape { height: 4, width: 8, channels: 2 };

/// The smallest network with every kind of layer that the authors' has: two levels, attention in both, blocks of pixels.
pub fn tiny() -> Network {
    Network {
        channels: 4,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![1],
        dropout: 0.0,
        groups: 2,
        block_size: 2,
        skips: Skips::All,
        time_embedding: TimeEmbedding::EveryBlock,
        downsample: Downsample::Conv,
        upsample: Upsample::NearestConv,
    }
}

/// How feature maps are halved and doubled.
pub fn resampling() -> impl Strategy<Value = (Downsample, Upsample)> {
    (prop::sample::select(Downsample::ALL.to_vec()), prop::sample::select(Upsample::ALL.to_vec()))
}

/// Those of them whose gradient does not jump.
pub const SMOOTH: [(Downsample, Upsample); 3] = [
    (Downsample::Conv, Upsample::NearestConv),
    (Downsample::AveragePool, Upsample::TransposedConv),
    (Downsample::Conv, Upsample::TransposedConv),
];

/// The network, without what makes its gradient jump: where a block's two largest numbers are all but equal, another rounding makes another
/// one the largest.
pub fn smooth(network: Network) -> Network {
    let downsample = if network.downsample == Downsample::MaxPool { Downsample::AveragePool } else { network.downsample };
    Network { downsample, ..network }
}

/// Weights with each number one place up or down, by chance: one of several draws.
pub fn nudge(weights: &[f32], seed: u64, draw: u64) -> Vec<f32> {
    let random = Random::new(seed, Stream::Bootstrap);
    weights.iter().enumerate().map(|(i, v)| if random.word(draw, i as u64) & 1 == 0 { v.next_up() } else { v.next_down() }).collect()
}

pub fn setup(prediction: Prediction, variance: ReverseVariance, objective: Objective) -> Setup {
    Setup {
        timesteps: 20,
        schedule: Schedule::Linear { beta_start: 0.01, beta_end: 0.3 },
        beta_scale: BetaScale::AsGiven,
        prediction,
        variance,
        objective,
    }
}

pub fn diffusion(prediction: Prediction, variance: ReverseVariance, objective: Objective) -> Diffusion {
    Diffusion::new(setup(prediction, variance, objective)).unwrap()
}

/// Every weighted loss.
pub fn weighted() -> impl Strategy<Value = Objective> {
    let weight = prop_oneof![
        Just(Weight::Constant {}),
        Just(Weight::Snr {}),
        Just(Weight::TruncatedSnr {}),
        (0.1f64..20.0).prop_map(|gamma| Weight::MinSnr { gamma }),
        (0.1f64..5.0, 0.1f64..2.0).prop_map(|(k, gamma)| Weight::P2 { k, gamma }),
    ];
    (prop::sample::select(Space::ALL.to_vec()), weight).prop_map(|(space, weight)| Objective::Weighted { space, weight })
}

pub fn optimiser() -> Optimiser {
    serde_json::from_str(r#"{"learning_rate": 0.01, "warmup_steps": 2, "ema_decay": 0.9, "clip_norm": 1.0}"#).unwrap()
}

pub fn normal(seed: u64, step: u64, dims: &[usize], dtype: DType) -> Tensor {
    let numbers = Random::new(seed, Stream::Evaluation).normals(step, 0, 1, dims.iter().product());
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// Weights far from their start, so that no layer is near zero and every path carries signal.
pub fn spread(parameters: &[Parameter], seed: u64, dtype: DType) -> Weights {
    let tensor = |(i, p): (usize, &Parameter)| {
        let centre = if p.name.ends_with("gamma") { 1.0 } else { 0.0 };
        let scale = if p.shape.len() == 4 { (2.0 / (p.len() / p.shape[3]) as f64).sqrt() } else { 0.2 };
        (normal(seed, i as u64, &p.shape, dtype) * scale).unwrap().affine(1.0, centre).unwrap()
    };
    Weights(parameters.iter().enumerate().map(tensor).collect())
}

pub fn numbers(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// ||a - b|| / ||b||.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (numbers(a), numbers(b));
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied()).max(1e-300)
}
