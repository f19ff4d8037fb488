use crate::common::*;
use candle_core::{DType, Tensor};
use ddpm_kernels::Kernel;
use ddpm_kernels::random::Stream;
use ddpm_model::PassOptions;
use ddpm_model::network::{Downsample, ImageShape, Skips, TimeEmbedding, Upsample};
use ddpm_model::parameters::Weights;
use ddpm_model::{Network, UNet};
use proptest::prelude::*;

fn square(side: usize) -> ImageShape {
    ImageShape { height: side, width: side, channels: 3 }
}

/// The authors' networks; counts computed from their code.
#[test]
fn the_papers_networks_have_their_number_of_parameters() {
    let count = |network: &Network, side, out| UNet::new(network, square(side), out).unwrap().parameter_count();
    assert_eq!(count(&Network::cifar10(), 32, 3), 35_746_307);
    assert_eq!(count(&Network::cifar10(), 32, 6), 35_749_766);
    assert_eq!(count(&Network::large(), 256, 3), 113_673_219);
    assert_eq!(count(&Network { channels: 192, ..Network::large() }, 256, 3), 255_677_955);
    let macs = UNet::new(&Network::cifar10(), square(32), 3).unwrap().macs() as f64;
    assert!((macs / 1e9 - 6.222).abs() < 0.001, "{macs}");
}

#[test]
fn the_papers_network_has_328_parameter_tensors_with_names_of_their_own() {
    let unet = UNet::new(&Network::cifar10(), square(32), 3).unwrap();
    let names: std::collections::BTreeSet<_> = unet.parameters().iter().map(|p| p.name.as_str()).collect();
    assert_eq!((unet.parameters().len(), names.len()), (328, 328));
}

/// What changes with the layers between two levels, counted by hand: 3x3 weights and biases, 4x4 ones, none. A transposed convolution takes
/// 16 products for a pixel that it reads, nearest neighbours and a convolution 9 for each of the four that they make.
#[test]
fn resampling_layers_have_their_parameters_and_products() {
    let at = |downsample, upsample| {
        let unet = UNet::new(&Network { downsample, upsample, ..tiny() }, IMAGE, 2).unwrap();
        (unet.parameter_count() as i64, unet.macs() as i64)
    };
    let (parameters, macs) = at(Downsample::Conv, Upsample::NearestConv);
    // Level 0 has 2x4 pixels of 4 channels, level 1 has 1x2 of 8.
    for pool in [Downsample::AveragePool, Downsample::MaxPool] {
        assert_eq!(at(pool, Upsample::NearestConv), (parameters - (9 * 4 * 4 + 4), macs - 2 * 9 * 4 * 4));
    }
    assert_eq!(at(Downsample::Conv, Upsample::TransposedConv), (parameters + 7 * 8 * 8, macs + 2 * (16 - 36) * 8 * 8));
}

/// Every tap begins within sqrt(6 / (fan_in + fan_out)): of a transposed convolution a result is made of 4 taps of each channel, and a number
/// goes into 16 of each.
#[test]
fn a_transposed_convolution_begins_with_its_own_fans() {
    let unet = UNet::new(&Network { upsample: Upsample::TransposedConv, ..tiny() }, IMAGE, 2).unwrap();
    let weight = unet.parameters().iter().find(|p| p.name == "up.1.double.weight").unwrap();
    assert_eq!(weight.shape, [4, 4, 8, 8]);
    assert_eq!(weight.init, ddpm_model::parameters::Init::Uniform { limit: (6.0f64 / (4 * 8 + 16 * 8) as f64).sqrt() });
}

fn networks() -> impl Strategy<Value = Network> {
    let skips = prop_oneof![Just(Skips::All), Just(Skips::None), Just(Skips::Resolutions(vec![2])), Just(Skips::Resolutions(vec![1]))];
    let time = prop_oneof![Just(TimeEmbedding::EveryBlock), Just(TimeEmbedding::InputOnly), Just(TimeEmbedding::None)];
    (skips, time, 1usize..3, resampling()).prop_map(|(skips, time_embedding, blocks, (downsample, upsample))| Network {
        skips,
        time_embedding,
        blocks,
        downsample,
        upsample,
        ..tiny()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn fused_kernels_give_the_reference_network(network in networks(), seed: u64, t1 in 1usize..50, t2 in 1usize..50) {
        let unet = UNet::new(&network, IMAGE, 4).unwrap();
        let x = normal(seed, 1000, &[2, 4, 8, 2], DType::F64);
        let w = spread(unet.parameters(), seed, DType::F64);
        let run = |kernel| unet.forward(&w, &x, &[t1, t2], PassOptions { kernel, dropout: None }).unwrap();
        let (fused, reference) = (run(Kernel::Fused), run(Kernel::Reference));
        prop_assert_eq!(fused.dims(), &[2, 4, 8, 4]);
        prop_assert!(distance(&fused, &reference) < 1e-10);
        // An image's output does not depend on its neighbours in the batch.
        let alone = unet.forward(&w, &x.narrow(0, 1, 1).unwrap(), &[t2], PassOptions::default()).unwrap();
        prop_assert!(distance(&alone, &fused.narrow(0, 1, 1).unwrap()) < 1e-12);
    }

    /// With taps that are sums of a 3x3 convolution's, a network with transposed convolutions is the one with nearest neighbours.
    #[test]
    fn a_transposed_convolution_contains_nearest_neighbours(network in networks(), seed: u64) {
        let of = |upsample| UNet::new(&Network { upsample, ..network.clone() }, IMAGE, 2).unwrap();
        let (nearest, transposed) = (of(Upsample::NearestConv), of(Upsample::TransposedConv));
        let w = spread(nearest.parameters(), seed, DType::F64);
        let sums: [&[u32]; 4] = [&[2], &[1, 2], &[0, 1], &[0]];
        let fold = |w: &Tensor, dim: usize| {
            let sum = |taps: &[u32]| w.index_select(&Tensor::new(taps, w.device()).unwrap(), dim).unwrap().sum_keepdim(dim).unwrap();
            Tensor::cat(&sums.map(sum), dim).unwrap()
        };
        let tied = nearest.parameters().iter().zip(&w.0).map(|(p, w)| if p.name.ends_with("double.weight") { fold(&fold(w, 0), 1) } else { w.clone() });
        let tied = Weights(tied.collect());
        let x = normal(seed, 1000, &[2, 4, 8, 2], DType::F64);
        let [expected, found] = [(&nearest, &w), (&transposed, &tied)].map(|(unet, w)| unet.forward(w, &x, &[3, 17], PassOptions::default()).unwrap());
        prop_assert!(distance(&found, &expected) < 1e-9, "{}", distance(&found, &expected));
    }

    #[test]
    fn gradients_are_differences(network in networks(), seed: u64) {
        let unet = UNet::new(&smooth(network), IMAGE, 2).unwrap();
        let x = normal(seed, 1000, &[2, 4, 8, 2], DType::F64);
        let mix = normal(seed, 1001, &[2, 4, 8, 2], DType::F64);
        let start = spread(unet.parameters(), seed, DType::F64);
        let loss = |w: &Weights| (unet.forward(w, &x, &[3, 17], PassOptions::default()).unwrap() * &mix).unwrap().sum_all().unwrap();
        let variables = start.variables().unwrap();
        let gradients = loss(&Weights::of_variables(&variables)).backward().unwrap();
        // Along a random direction in each parameter tensor in turn.
        for (i, p) in unet.parameters().iter().enumerate() {
            let direction = normal(seed, 5000 + i as u64, &p.shape, DType::F64);
            // Small, because a normalisation over few and nearly equal numbers bends sharply.
            let h = 1e-6;
            let at = |h: f64| {
                let mut w = start.clone();
                w.0[i] = (&w.0[i] + (&direction * h).unwrap()).unwrap();
                loss(&w).to_scalar::<f64>().unwrap()
            };
            let difference = (at(h) - at(-h)) / (2.0 * h);
            let gradient = gradients.get(&variables[i]).unwrap_or_else(|| panic!("no gradient for {}", p.name));
            let slope = (gradient * &direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            prop_assert!((slope - difference).abs() < 1e-5 * (1.0 + slope.abs()), "{}: {slope} {difference}", p.name);
        }
    }
}

#[test]
fn the_network_begins_as_almost_nothing() {
    let unet = UNet::new(&tiny(), IMAGE, 2).unwrap();
    let w = Weights::initial(unet.parameters(), 3, Stream::Init, DType::F32).unwrap();
    let y = unet.forward(&w, &normal(1, 0, &[2, 4, 8, 2], DType::F32), &[1, 20], PassOptions::default()).unwrap();
    let top = numbers(&y).into_iter().fold(0.0f64, |m, v| m.max(v.abs()));
    assert!(top > 0.0 && top < 1e-3, "{top}");
    // Only the last layer of every block, of every attention and of the network.
    for (parameter, w) in unet.parameters().iter().zip(&w.0).filter(|(p, _)| p.shape.len() == 4) {
        let top = numbers(w).into_iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let begins_as_nothing = ["conv2.weight", "attention.out.weight", "out.conv.weight"].iter().any(|end| parameter.name.ends_with(end));
        assert!(if begins_as_nothing { top < 1e-4 } else { top > 1e-2 }, "{}: {top}", parameter.name);
    }
}

#[test]
fn time_reaches_the_output_only_where_it_is_embedded() {
    for (embedding, told) in [(TimeEmbedding::EveryBlock, true), (TimeEmbedding::InputOnly, true), (TimeEmbedding::None, false)] {
        let unet = UNet::new(&Network { time_embedding: embedding, ..tiny() }, IMAGE, 2).unwrap();
        let w = spread(unet.parameters(), 1, DType::F32);
        let x = normal(1, 0, &[1, 4, 8, 2], DType::F32);
        let at = |t| numbers(&unet.forward(&w, &x, &[t], PassOptions::default()).unwrap());
        assert_eq!(at(1) != at(9), told, "{embedding:?}");
    }
}

#[test]
fn networks_that_cannot_be_built_name_the_key() {
    let key = |network: Network| UNet::new(&network, IMAGE, 2).unwrap_err().to_string().split(':').next().unwrap().to_string();
    assert_eq!(key(Network { channels: 5, ..tiny() }), "channels");
    assert_eq!(key(Network { channels: 2, ..tiny() }), "channels");
    assert_eq!(key(Network { groups: 0, ..tiny() }), "channels");
    assert_eq!(key(Network { multipliers: vec![], ..tiny() }), "multipliers");
    assert_eq!(key(Network { multipliers: vec![1; 3], ..tiny() }), "multipliers");
    // Either side must halve.
    for (height, width) in [(4, 6), (6, 4)] {
        let error = UNet::new(&tiny(), ImageShape { height, width, channels: 2 }, 2).unwrap_err().to_string();
        assert!(error.starts_with("multipliers:"), "{height}x{width}: {error}");
    }
    assert_eq!(key(Network { blocks: 0, ..tiny() }), "blocks");
    assert_eq!(key(Network { dropout: 1.0, ..tiny() }), "dropout");
    assert_eq!(key(Network { attention: vec![3], ..tiny() }), "attention");
    assert_eq!(key(Network { skips: Skips::Resolutions(vec![9]), ..tiny() }), "skips.resolutions");
    assert_eq!(key(Network { block_size: 0, ..tiny() }), "multipliers");
    assert_eq!(key(Network { multipliers: vec![1, 0], ..tiny() }), "multipliers");
    let unet = UNet::new(&tiny(), IMAGE, 2).unwrap();
    let wrong: Tensor = normal(0, 0, &[1, 8, 4, 2], DType::F32);
    assert!(unet.forward(&spread(unet.parameters(), 0, DType::F32), &wrong, &[1], PassOptions::default()).is_err());
}

/// The last value that is taken, and the first that is not.
#[test]
fn networks_have_borders() {
    let error = |network: &Network, side: usize| network.check(square(side)).err().map(|e| e.to_string());
    let wide = |channels: usize, multiplier: usize| Network {
        channels,
        multipliers: vec![multiplier],
        groups: 2,
        attention: vec![],
        block_size: 1,
        ..tiny()
    };
    let borders = [
        (wide(4, 1), wide(2, 1), "channels: expected an even number"),
        (wide(4096, 1), wide(4098, 1), "channels: expected at most 4096"),
        (wide(4096, 4), wide(4096, 5), "multipliers: expected at most 16384"),
        (wide(4, 4096), wide(4, 4097), "multipliers: expected at most 16384"),
        (Network { blocks: 64, ..wide(4, 1) }, Network { blocks: 65, ..wide(4, 1) }, "blocks: expected 1 to 64"),
        (Network { dropout: 0.0, ..wide(4, 1) }, Network { dropout: -0.1, ..wide(4, 1) }, "dropout: expected a number in [0, 1)"),
        (Network { block_size: 16, ..wide(4, 1) }, Network { block_size: 32, ..wide(4, 1) }, "multipliers: expected block_size"),
        (Network { attention: vec![16], ..wide(4, 1) }, Network { attention: vec![8], ..wide(4, 1) }, "attention: expected resolutions"),
    ];
    for (last, first, words) in borders {
        assert_eq!(error(&last, 16), None);
        assert!(error(&first, 16).is_some_and(|e| e.starts_with(words)), "{:?}, expected {words}", error(&first, 16));
    }
    let deep = |levels: usize| Network { multipliers: vec![1; levels], ..wide(4, 1) };
    assert_eq!(error(&deep(16), 1 << 15), None);
    assert!(error(&deep(17), 1 << 16).is_some_and(|e| e.starts_with("multipliers: expected 1 to 16")));
    // Levels and blocks of pixels divide the image together.
    let both = |block_size: usize| Network { block_size, multipliers: vec![1; 3], ..wide(4, 1) };
    assert_eq!((error(&both(4), 16), error(&both(8), 16).is_some()), (None, true));
}
