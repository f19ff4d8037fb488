use crate::common::*;
use candle_core::{DType, Tensor};
use ddpm_model::anatomy::{Change, Replacement};
use ddpm_model::network::{Downsample, Skips, TimeEmbedding};
use ddpm_model::parameters::Weights;
use ddpm_model::{Network, PassOptions, UNet};
use proptest::prelude::*;

/// Two levels of equally many channels, so that what a skip connection carries falls into groups of its own.
fn even() -> Network {
    Network { multipliers: vec![1, 1], ..tiny() }
}

fn unet(network: Network) -> UNet {
    UNet::new(&network, IMAGE, 2).unwrap()
}

fn images(seed: u64) -> Tensor {
    normal(seed, 1000, &[3, 4, 8, 2], DType::F64)
}

fn forward(unet: &UNet, w: &Weights, xt: &Tensor, t: &[usize]) -> Tensor {
    unet.forward(w, xt, t, PassOptions::default()).unwrap()
}

fn far(a: &Tensor, b: &Tensor) -> f64 {
    numbers(&(a - b).unwrap()).into_iter().fold(0.0, |most, v| most.max(v.abs()))
}

/// The weights with some parameters changed: number by number, by their place along the last axis but one (of a vector: the last).
fn changed(unet: &UNet, w: &Weights, name: &str, keep: impl Fn(usize) -> bool) -> Weights {
    let tensor = |(p, tensor): (&ddpm_model::parameters::Parameter, &Tensor)| {
        if p.name != name {
            return tensor.clone();
        }
        let inner = if p.shape.len() == 1 { 1 } else { p.shape[3] };
        let channels = if p.shape.len() == 1 { p.shape[0] } else { p.shape[2] };
        let kept = numbers(tensor).into_iter().enumerate().map(|(i, v)| if keep(i / inner % channels) { v } else { 0.0 });
        Tensor::from_vec(kept.collect::<Vec<f64>>(), tensor.dims(), tensor.device()).unwrap()
    };
    assert!(unet.parameters().iter().any(|p| p.name == name), "{name}");
    Weights(unet.parameters().iter().zip(&w.0).map(tensor).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_pass_without_a_change_is_the_networks(seed: u64, t in prop::collection::vec(1usize..=20, 3), embedding in 0usize..3) {
        let time_embedding = [TimeEmbedding::EveryBlock, TimeEmbedding::InputOnly, TimeEmbedding::None][embedding];
        let unet = unet(Network { time_embedding, ..tiny() });
        let (w, xt) = (spread(unet.parameters(), seed, DType::F64), images(seed));
        let (y, shifts) = unet.dissect(&w, &xt, Change::none(&t)).unwrap();
        prop_assert!(far(&y, &forward(&unet, &w, &xt, &t)) < 1e-9);
        // Each level has one block on the way down and two on the way up; in the middle are two.
        prop_assert_eq!(shifts.len(), [8, 1, 0][embedding]);
    }

    /// A block normalises zeros to its beta, and its shortcut adds nothing: as if gamma and the shortcut's weights were 0 there.
    #[test]
    fn a_connection_that_carries_zeros(seed: u64, t in prop::collection::vec(1usize..=20, 3)) {
        let unet = unet(even());
        let (w, xt) = (spread(unet.parameters(), seed, DType::F64), images(seed));
        for (place, skip) in unet.skips() {
            let change = Change { skip: Some((place, Replacement::Zeros)), ..Change::none(&t) };
            let (y, _) = unet.dissect(&w, &xt, change).unwrap();
            let without = changed(&unet, &w, &format!("{}.norm1.gamma", skip.to), |c| c < 4);
            let without = changed(&unet, &without, &format!("{}.shortcut.weight", skip.to), |c| c < 4);
            prop_assert!(far(&y, &forward(&unet, &without, &xt, &t)) < 1e-9, "{skip:?}");
            prop_assert!(far(&y, &forward(&unet, &w, &xt, &t)) > 1e-6, "{skip:?}");
        }
    }

    /// Images that are one another's next: their results with swapped connections are one another's too.
    #[test]
    fn a_connection_that_carries_the_next_images_features(seed: u64, t in 1usize..=20) {
        let unet = unet(tiny());
        let (w, xt) = (spread(unet.parameters(), seed, DType::F64), images(seed));
        let same = xt.narrow(0, 0, 1).unwrap().repeat((3, 1, 1, 1)).unwrap();
        let turned = Tensor::cat(&[xt.narrow(0, 1, 2).unwrap(), xt.narrow(0, 0, 1).unwrap()], 0).unwrap();
        let t = [t; 3];
        for (place, skip) in unet.skips() {
            let of = |x: &Tensor, replacement| {
                let change = Change { skip: Some((place, replacement)), ..Change::none(&t) };
                unet.dissect(&w, x, change).unwrap().0
            };
            let swapped = of(&xt, Replacement::NextImage);
            prop_assert!(far(&of(&same, Replacement::NextImage), &forward(&unet, &w, &same, &t)) < 1e-9, "{skip:?}");
            prop_assert!(far(&swapped, &forward(&unet, &w, &xt, &t)) > 1e-6, "{skip:?}");
            prop_assert!(far(&swapped, &of(&xt, Replacement::Zeros)) > 1e-6, "{skip:?}");
            let back = of(&turned, Replacement::NextImage);
            prop_assert!(far(&back.narrow(0, 0, 2).unwrap(), &swapped.narrow(0, 1, 2).unwrap()) < 1e-9, "{skip:?}");
            prop_assert!(far(&back.narrow(0, 2, 1).unwrap(), &swapped.narrow(0, 0, 1).unwrap()) < 1e-9, "{skip:?}");
        }
    }

    /// Both ways told a step are the network told it; one way alone differs from that and from the truth; a way that hears nothing of t does
    /// not mind.
    #[test]
    fn each_way_is_told_its_step(seed: u64, t in 1usize..=10, told in 11usize..=20) {
        let (truth, wrong) = ([t; 3], [told; 3]);
        let of = |unet: &UNet, w: &Weights, down: &[usize], up: &[usize]| {
            unet.dissect(w, &images(seed), Change { skip: None, told_down: down, told_up: up }).unwrap().0
        };
        let every = unet(tiny());
        let w = spread(every.parameters(), seed, DType::F64);
        let plain = forward(&every, &w, &images(seed), &truth);
        let both = of(&every, &w, &wrong, &wrong);
        prop_assert!(far(&both, &forward(&every, &w, &images(seed), &wrong)) < 1e-9);
        let (down, up) = (of(&every, &w, &wrong, &truth), of(&every, &w, &truth, &wrong));
        for (one, other) in [(&down, &plain), (&up, &plain), (&down, &both), (&up, &both), (&down, &up)] {
            prop_assert!(far(one, other) > 1e-6);
        }
        let input = unet(Network { time_embedding: TimeEmbedding::InputOnly, ..tiny() });
        let w = spread(input.parameters(), seed, DType::F64);
        prop_assert!(far(&of(&input, &w, &truth, &wrong), &forward(&input, &w, &images(seed), &truth)) < 1e-9);
        prop_assert!(far(&of(&input, &w, &wrong, &truth), &forward(&input, &w, &images(seed), &wrong)) < 1e-9);
    }

    /// A shift is as long as its block's dense layer makes it.
    #[test]
    fn shifts_grow_with_their_layer(seed: u64, t in 1usize..=20) {
        let unet = unet(tiny());
        let w = spread(unet.parameters(), seed, DType::F64);
        let of = |w: &Weights| unet.dissect(w, &images(seed), Change::none(&[t; 3])).unwrap().1;
        let name = "down.0.0.time";
        let scaled = Weights(unet.parameters().iter().zip(&w.0).map(|(p, v)| {
            if p.name == format!("{name}.weight") || p.name == format!("{name}.bias") { (v * -3.0).unwrap() } else { v.clone() }
        }).collect());
        let (plain, scaled) = (&of(&w)[0], &of(&scaled)[0]);
        prop_assert_eq!(&plain.block[..], "down.0.0");
        prop_assert!((scaled.size - 3.0 * plain.size).abs() < 1e-9 * plain.size && plain.size > 0.0);
        prop_assert!((scaled.direction + plain.direction).abs() < 1e-9 && plain.direction.abs() <= 1.0);
    }
}

/// By hand: the authors' network for CIFAR-10 has twelve, those of the first layer and of the three that halve among them.
#[test]
fn connections_are_those_of_the_authors() {
    let cifar10 = UNet::new(&Network::cifar10(), ddpm_model::network::ImageShape { height: 32, width: 32, channels: 3 }, 3).unwrap();
    let skips = cifar10.skips();
    let places: Vec<usize> = skips.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, (0..12).collect::<Vec<_>>());
    let of = |i: usize| (&skips[i].1.from[..], &skips[i].1.to[..], skips[i].1.height, skips[i].1.width, skips[i].1.channels);
    assert_eq!(of(0), ("stem", "up.0.2", 32, 32, 128));
    assert_eq!(of(2), ("down.0.1", "up.0.0", 32, 32, 128));
    assert_eq!(of(3), ("down.0.halve", "up.1.2", 16, 16, 128));
    assert_eq!(of(4), ("down.1.0", "up.1.1", 16, 16, 256));
    assert_eq!(of(11), ("down.3.1", "up.3.0", 4, 4, 256));
    let pooled = unet(Network { downsample: Downsample::MaxPool, ..tiny() }).skips()[2].1.clone();
    assert_eq!((&pooled.from[..], &pooled.to[..], pooled.height, pooled.width, pooled.channels), ("down.0.pool", "up.1.1", 1, 2, 4));
    let some = |skips| unet(Network { skips, ..tiny() }).skips().into_iter().map(|(place, _)| place).collect::<Vec<_>>();
    assert_eq!((some(Skips::All), some(Skips::None), some(Skips::Resolutions(vec![2]))), (vec![0, 1, 2, 3], vec![], vec![0, 1]));
}
