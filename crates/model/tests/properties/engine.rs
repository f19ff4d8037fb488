//! The engine against its oracle: the same network tensor by tensor, in f64, with the reference kernels.

use crate::common::*;
use candle_core::{DType, Tensor};
use ddpm_kernels::Kernel;
use ddpm_kernels::conv2d::algorithm::Algorithm;
use ddpm_kernels::dropout::Dropout;
use ddpm_model::network::{Downsample, ImageShape, Skips, TimeEmbedding};
use ddpm_model::parameters::Weights;
use ddpm_model::{Arithmetic, Engine, Network, PassOptions, UNet};
use proptest::prelude::*;

const T: [usize; 5] = [3, 17, 1, 50, 8];

/// Networks with every kind of layer; widths that are no multiples of a tile, and some that Winograd's convolution can have.
fn networks() -> impl Strategy<Value = Network> {
    let skips = prop_oneof![Just(Skips::All), Just(Skips::None), Just(Skips::Resolutions(vec![2])), Just(Skips::Resolutions(vec![1]))];
    let time = prop_oneof![Just(TimeEmbedding::EveryBlock), Just(TimeEmbedding::InputOnly), Just(TimeEmbedding::None)];
    let widths = prop_oneof![Just((4, 2)), Just((6, 3)), Just((18, 3)), Just((34, 17)), Just((16, 4)), Just((32, 8))];
    (skips, time, 1usize..3, widths, any::<bool>(), prop::collection::vec(1usize..3, 2), resampling()).prop_map(
        |(skips, time_embedding, blocks, (channels, groups), drop, multipliers, (downsample, upsample))| Network {
            skips,
            time_embedding,
            downsample,
            upsample,
            blocks,
            channels,
            groups,
            multipliers,
            dropout: if drop { 0.3 } else { 0.0 },
            ..tiny()
        },
    )
}

/// The same network for images of 16x32, so that normalisations run over at least 32 pixels and single gradients keep their digits.
pub fn for_larger_images(network: Network) -> (Network, ImageShape) {
    let skips = match network.skips {
        Skips::Resolutions(kept) => Skips::Resolutions(kept.iter().map(|r| 4 * r).collect()),
        all_or_none => all_or_none,
    };
    (Network { skips, attention: vec![4], ..network }, ImageShape { height: 16, width: 32, channels: 2 })
}

fn sample(unet: &UNet, seed: u64, batch: usize) -> (Vec<f32>, Tensor, Tensor) {
    let weights = spread(unet.parameters(), seed, DType::F32).numbers().unwrap();
    let image = unet.image();
    let dims = [batch, image.height, image.width, image.channels];
    (weights, normal(seed, 1000, &dims, DType::F32), normal(seed, 1001, &dims, DType::F32))
}

type Found = (Vec<f64>, Vec<Vec<f64>>);

/// (output, gradient of sum(output mix)) by the reference kernels in f64.
fn oracle(unet: &UNet, weights: &[f32], x: &Tensor, mix: &Tensor, dropout: Option<(Dropout, u64)>) -> Found {
    reference(DType::F64, unet, weights, x, mix, dropout)
}

/// The same in f32: how far it is from f64 says how much the network magnifies rounding. A normalisation over a few nearly equal
/// numbers, as small networks on small images have, magnifies it a lot.
fn rounded(unet: &UNet, weights: &[f32], x: &Tensor, mix: &Tensor, dropout: Option<(Dropout, u64)>) -> Found {
    reference(DType::F32, unet, weights, x, mix, dropout)
}

fn reference(dtype: DType, unet: &UNet, weights: &[f32], x: &Tensor, mix: &Tensor, dropout: Option<(Dropout, u64)>) -> Found {
    let wide = |t: &Tensor| t.to_dtype(dtype).unwrap();
    let w = Weights(Weights::from_numbers(unet.parameters(), weights).unwrap().0.iter().map(wide).collect());
    let variables = w.variables().unwrap();
    let t = &T[..x.dims()[0]];
    let y = unet.forward(&Weights::of_variables(&variables), &wide(x), t, PassOptions { kernel: Kernel::Reference, dropout }).unwrap();
    let gradients = (&y * wide(mix)).unwrap().sum_all().unwrap().backward().unwrap();
    (numbers(&y), variables.iter().map(|v| numbers(gradients.get(v).unwrap())).collect())
}

fn gradient(engine: &mut Engine, weights: &[f32], x: &Tensor, mix: &Tensor, dropout: Option<(Dropout, u64)>) -> (Vec<f64>, Vec<f32>) {
    // Poisoned with NaN, so that anything left unwritten shows.
    let (mut gradient, mut output) = (vec![f32::NAN; weights.len()], Vec::new());
    let loss = |y: &Tensor| {
        output = numbers(y);
        Ok((y * mix)?.sum_all()?)
    };
    engine.gradient(weights, x, &T[..x.dims()[0]], dropout, loss, &mut gradient).unwrap();
    (output, gradient)
}

/// ||a - b|| / ||b||, not a number where something is not.
fn relative(a: impl Iterator<Item = f64>, b: &[f64]) -> f64 {
    let norm = b.iter().map(|x| x * x).sum::<f64>().sqrt();
    a.zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt() / norm.max(1e-6)
}

/// Relative errors of the output and of the whole gradient: the engine's, and those of the reference in f32.
fn errors(unet: &UNet, arithmetic: Arithmetic, seed: u64, batch: usize) -> [(f64, f64); 2] {
    errors_of(&mut Engine::with_arithmetic(unet, arithmetic).unwrap(), unet, seed, batch)
}

pub fn errors_of(engine: &mut Engine, unet: &UNet, seed: u64, batch: usize) -> [(f64, f64); 2] {
    let (weights, x, mix) = sample(unet, seed, batch);
    let dropout = Some((Dropout::new(seed, 3), 5));
    let (y, gradients) = oracle(unet, &weights, &x, &mix, dropout);
    let (y32, gradients32) = rounded(unet, &weights, &x, &mix, dropout);
    let gradients32: Vec<f64> = gradients32.into_iter().flatten().collect();
    let (output, gradient) = gradient(engine, &weights, &x, &mix, dropout);
    let all: Vec<f64> = gradients.into_iter().flatten().collect();
    let off = |exact: &[f64]| relative(gradient.iter().map(|g| *g as f64), exact);
    let (output, rounded) = (relative(output.into_iter(), &y), relative(gradients32.iter().copied(), &all));
    let ours = off(&all);
    // Where the gradient jumps, it must be that of weights a rounding away; so must the reference's.
    let jumps = |far: f64, enough: f64, off: &dyn Fn(&[f64]) -> f64| {
        if unet.network().downsample != Downsample::MaxPool || far <= enough {
            return far;
        }
        let nearby = (0..32).map(|draw| oracle(unet, &nudge(&weights, seed, draw), &x, &mix, dropout).1.into_iter().flatten().collect());
        nearby.map(|exact: Vec<f64>| off(&exact)).fold(far, f64::min)
    };
    let rounded = jumps(rounded, 1e-5, &|exact| relative(gradients32.iter().copied(), exact));
    let ours = jumps(ours, 1e-5 + 10.0 * rounded, &off);
    [(output, ours), (relative(y32.into_iter(), &y), rounded)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn f32_follows_the_oracle(network in networks(), seed: u64, batch in 1usize..4) {
        let (network, image) = for_larger_images(network);
        let unet = UNet::new(&network, image, 2).unwrap();
        let [ours, reference] = errors(&unet, Arithmetic::F32, seed, batch);
        let near = |ours: f64, reference: f64| ours < 1e-5 + 10.0 * reference;
        prop_assert!(near(ours.0, reference.0) && near(ours.1, reference.1), "{ours:?} {reference:?}");
    }

    /// Every parameter by itself, so that a small gradient that is wrong does not hide behind a large one.
    #[test]
    fn every_parameter_has_its_gradient(network in networks(), seed: u64) {
        let (network, image) = for_larger_images(smooth(network));
        let unet = UNet::new(&network, image, 2).unwrap();
        let (weights, x, mix) = sample(&unet, seed, 2);
        let (_, exact) = oracle(&unet, &weights, &x, &mix, None);
        let (_, rounded) = rounded(&unet, &weights, &x, &mix, None);
        let mut engine = Engine::with_arithmetic(&unet, Arithmetic::F32).unwrap();
        let (_, gradient) = gradient(&mut engine, &weights, &x, &mix, None);
        let typical = exact.iter().flatten().map(|g| g * g).sum::<f64>().sqrt() / (weights.len() as f64).sqrt();
        let mut rest = &gradient[..];
        for ((p, exact), rounded) in unet.parameters().iter().zip(&exact).zip(&rounded) {
            let magnified = exact.iter().zip(rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            let (now, later) = rest.split_at(p.len());
            rest = later;
            for (a, b) in now.iter().zip(exact) {
                prop_assert!((*a as f64 - b).abs() <= 1e-4 * (b.abs() + typical) + 20.0 * magnified, "{}: {a} {b}", p.name);
            }
        }
    }

    /// Results are bit-identical whatever the number of threads, the engine's earlier passes, and whether weights were packed in advance.
    #[test]
    fn bits_do_not_depend_on_threads_or_history(network in networks(), seed: u64, arithmetic in prop_oneof![Just(Arithmetic::F32), Just(Arithmetic::Bf16), Just(Arithmetic::SplitBf16)]) {
        let unet = UNet::new(&network, IMAGE, 2).unwrap();
        let (weights, x, mix) = sample(&unet, seed, 5);
        let dropout = Some((Dropout::new(seed, 0), 2));
        let on = |threads: usize, before: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut engine = Engine::with_arithmetic(&unet, arithmetic).unwrap();
                for batch in (1..=before).rev() {
                    let (weights, x, mix) = sample(&unet, seed + 1, batch);
                    gradient(&mut engine, &weights, &x, &mix, dropout);
                }
                gradient(&mut engine, &weights, &x, &mix, dropout)
            })
        };
        let first = on(1, 0);
        for (threads, before) in [(2, 0), (3, 2), (1, 4)] {
            prop_assert!(on(threads, before) == first);
        }
        let mut packed = Engine::with_arithmetic(&unet, arithmetic).unwrap().load(weights.clone());
        let plain = packed.forward(&x, &T).unwrap();
        let again = packed.forward(&x, &T).unwrap();
        prop_assert_eq!(numbers(&plain), numbers(&again));
        let (kept, _) = gradient(&mut Engine::with_arithmetic(&unet, arithmetic).unwrap(), &weights, &x, &mix, None);
        prop_assert_eq!(numbers(&plain), kept);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Convolutions with fewer products are hardly less exact in a whole network, and there are fewer.
    #[test]
    fn winograd_is_as_exact_as_direct_convolutions(network in networks(), multiples in 1usize..4, seed: u64) {
        let (network, image) = for_larger_images(smooth(Network { channels: 16 * multiples, groups: 8, ..network }));
        let unet = UNet::new(&network, image, 2).unwrap();
        let of = |algorithm| {
            let mut engine = Engine::with_algorithm(&unet, Arithmetic::F32, algorithm).unwrap();
            (errors_of(&mut engine, &unet, seed, 2)[0], engine.executed_flops())
        };
        let ((direct, all), (winograd, executed)) = (of(Algorithm::Direct), of(Algorithm::Winograd));
        prop_assert!(winograd.0 < 3e-6 + 4.0 * direct.0 && winograd.1 < 3e-6 + 4.0 * direct.1, "{winograd:?} {direct:?}");
        prop_assert!(winograd != direct, "nothing was different");
        prop_assert!(executed[0] < 0.8 * all[0] && executed[1] < 0.8 * all[1], "{executed:?} {all:?}");
        prop_assert!(all[0] <= unet.forward_flops() && all[1] <= unet.training_flops());
        // Every pass of a convolution leaves out the same number.
        for [forward, training] in [all, executed] {
            let (one, three) = (unet.forward_flops() - forward, unet.training_flops() - training);
            prop_assert!((three - 3.0 * one).abs() < 1e-9 * unet.training_flops(), "{three} {one}");
        }
    }
}

/// bf16 keeps 8 bits: each factor is off by up to 2^-9, some twenty layers follow each other, and roundings add up as they are random.
/// Ordinary widths, because a normalisation over a few nearly equal numbers magnifies any rounding.
#[test]
fn bf16_follows_the_oracle_to_its_digits() {
    for (seed, (downsample, upsample)) in (0..6).flat_map(|seed| SMOOTH.map(|layers| (seed, layers))) {
        let network = Network { channels: 32, groups: 8, blocks: 2, attention: vec![4], block_size: 1, downsample, upsample, ..tiny() };
        let unet = UNet::new(&network, ImageShape { height: 8, width: 16, channels: 2 }, 2).unwrap();
        let [(output, gradient), _] = errors(&unet, Arithmetic::Bf16, seed, 2);
        assert!(output < 0.02 && gradient < 0.05, "{output} {gradient}");
        // And it is bf16: f32 would be a thousand times nearer.
        assert!(output > 1e-4, "{output}");
    }
}

/// The transforms of tiles lose half as much again of bf16, which is not seen in a whole network.
#[test]
fn winograd_of_bf16_is_hardly_less_exact() {
    for seed in 0..4 {
        let network = Network { channels: 64, groups: 8, blocks: 1, attention: vec![4], block_size: 1, ..tiny() };
        let unet = UNet::new(&network, ImageShape { height: 8, width: 16, channels: 2 }, 2).unwrap();
        let of = |algorithm| {
            let mut engine = Engine::with_algorithm(&unet, Arithmetic::Bf16, algorithm).unwrap();
            (errors_of(&mut engine, &unet, seed, 2)[0], engine.executed_flops())
        };
        let ((direct, all), (winograd, executed)) = (of(Algorithm::Direct), of(Algorithm::Winograd));
        assert!(winograd.0 < 1.5 * direct.0 && winograd.1 < 1.5 * direct.1, "{winograd:?} {direct:?}");
        assert!(executed[0] < 0.8 * all[0] && executed[1] < 0.6 * all[1], "{executed:?} {all:?}");
    }
}

/// Two bf16 parts keep 16 bits: f32-grade.
#[test]
fn split_bf16_follows_the_oracle() {
    for (seed, (downsample, upsample)) in (0..6).flat_map(|seed| SMOOTH.map(|layers| (seed, layers))) {
        let network = Network { channels: 32, groups: 8, blocks: 2, attention: vec![4], block_size: 1, downsample, upsample, ..tiny() };
        let unet = UNet::new(&network, ImageShape { height: 8, width: 16, channels: 2 }, 2).unwrap();
        let [(output, gradient), _] = errors(&unet, Arithmetic::SplitBf16, seed, 2);
        assert!(output < 1e-4 && gradient < 1e-4, "{output} {gradient}");
    }
}

/// The paper's shapes: 32 pixels wide, groups that lie across the border of a concatenation, attention at 16x16.
#[test]
fn a_narrow_network_of_the_papers_shape_follows_the_oracle() {
    let network = Network { channels: 32, ..Network::cifar10() };
    let unet = UNet::new(&network, ImageShape { height: 32, width: 32, channels: 3 }, 3).unwrap();
    let [(output, gradient), _] = errors(&unet, Arithmetic::F32, 4, 1);
    assert!(output < 1e-4 && gradient < 1e-4, "{output} {gradient}");
}
