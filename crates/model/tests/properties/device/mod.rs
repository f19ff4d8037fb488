//! The network, training and sampling on a device against the same on the host. The device is GPU 0 in a build with the feature `cuda`,
//! where there is one; else, or where the environment variable `DDPM_TEST_DEVICE` is `emulated`, the CUDA kernels' own source on the CPU.

mod ends;

use crate::common::*;
use crate::engine::errors_of;
use candle_core::{DType, Device, Tensor};
use ddpm_core::{Objective, Prediction, ReverseVariance, Sampler};
use ddpm_kernels::device::{Device as Programs, Type};
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::engine::device::{Held, NumberFormat, TrainInputs, Trainer};
use ddpm_model::network::{ImageShape, Skips, TimeEmbedding};
use ddpm_model::optimiser::{Optimiser, Training};
use ddpm_model::sampling::{Walk, Walked};
use ddpm_model::{Diffusion, Engine, Network, Precision, UNet};
use proptest::prelude::*;

const F32: NumberFormat = NumberFormat { kind: Type::F32, tf32: false };
const BF16: NumberFormat = NumberFormat { kind: Type::Bf16, tf32: false };
const IMAGE: ImageShape = ImageShape { height: 8, width: 8, channels: 3 };

/// Networks with every kind of layer, in widths that a device's kernels take: groups narrower and wider than a pack, across the border
/// between two feature maps, and more channels than one block has; pixels by themselves and in blocks.
fn networks() -> impl Strategy<Value = Network> {
    let skips = prop_oneof![3 => Just(Skips::All), 1 => Just(Skips::None), 1 => Just(Skips::Resolutions(vec![4]))];
    let time = prop_oneof![3 => Just(TimeEmbedding::EveryBlock), 1 => Just(TimeEmbedding::InputOnly), 1 => Just(TimeEmbedding::None)];
    let widths = prop_oneof![Just((8, 4)), Just((16, 16)), Just((24, 3)), Just((24, 6)), Just((8, 1))];
    let shape = (prop::collection::vec(1usize..3, 1..3), prop_oneof![2 => Just(1usize), 1 => Just(2usize)]);
    (skips, time, 1usize..3, widths, any::<bool>(), shape, resampling()).prop_map(
        |(skips, time_embedding, blocks, (channels, groups), drop, (multipliers, block_size), (downsample, upsample))| Network {
            // The resolution 4 is the lower of two levels, or the only one of blocks.
            skips: if multipliers.len() == 1 { Skips::All } else { skips },
            time_embedding,
            blocks,
            channels,
            groups,
            attention: if multipliers.len() == 1 { vec![] } else { vec![4] },
            multipliers,
            dropout: if drop { 0.3 } else { 0.0 },
            block_size,
            downsample,
            upsample,
        },
    )
}

/// Whether the device is a GPU.
fn on_gpu() -> bool {
    cfg!(feature = "cuda") && std::env::var("DDPM_TEST_DEVICE").as_deref() != Ok("emulated")
}

fn device() -> Box<dyn Programs> {
    #[cfg(feature = "cuda")]
    if on_gpu() {
        return Box::new(ddpm_kernels::device::cuda::Cuda::new(0).unwrap());
    }
    #[cfg(feature = "emulation")]
    return Box::new(ddpm_kernels::device::emulated::Emulated::default());
    #[cfg(not(feature = "emulation"))]
    panic!("this build has no emulated device");
}

/// Whether there is a device; prints a message if there is none.
fn is_here() -> bool {
    #[cfg(feature = "cuda")]
    if on_gpu()
        && let Err(why) = ddpm_kernels::device::cuda::count()
    {
        eprintln!("SKIPPED: {why}");
        return false;
    }
    true
}

/// `n` cases; on a GPU, where every case selects algorithms again and time is short, only a few, and failures are not shrunk.
fn cases(n: u32) -> ProptestConfig {
    match on_gpu() {
        true => ProptestConfig { cases: n.min(6), max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() },
        false => ProptestConfig::with_cases(n),
    }
}

fn remote(unet: &UNet, numbers: NumberFormat) -> Engine {
    Engine::remote(unet, device(), numbers).unwrap()
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn forward_and_gradient_follow_the_oracle(network in networks(), seed: u64, batch in 1usize..4) {
        if !is_here() {
            return Ok(());
        }
        let unet = UNet::new(&network, IMAGE, 3).unwrap();
        let [ours, reference] = errors_of(&mut remote(&unet, F32), &unet, seed, batch);
        let near = |ours: f64, reference: f64| ours < 1e-5 + 10.0 * reference;
        prop_assert!(near(ours.0, reference.0) && near(ours.1, reference.1), "{ours:?} {reference:?}");
    }
}

proptest! {
    #![proptest_config(cases(8))]

    /// The trained rows after some steps: data order over the end of an epoch, mirroring, shards, dropout, clipping, warm-up, average.
    #[test]
    fn training_follows_the_host(network in networks(), seed: u64, shards in 1usize..3, flip: bool, corrected: bool, prediction in predictions(), choice in choices()) {
        if !is_here() {
            return Ok(());
        }
        let (variance, objective) = choice;
        let d = diffusion(prediction, variance, objective);
        let unet = UNet::new(&smooth(network), IMAGE, d.out_channels(3)).unwrap();
        let optimiser: Optimiser = serde_json::from_value(serde_json::json!({
            "learning_rate": 0.002, "warmup_steps": if corrected { 0 } else { 2 }, "ema_decay": 0.9, "ema_kept": if flip { vec![0.5, 0.9, 0.99] } else { vec![] }, "clip_norm": 0.5, "clip_shards": shards, "epsilon": 1e-3,
            "epsilon_mode": if corrected { "corrected" } else { "hat" },
        })).unwrap();
        let (batch, count, steps) = (4, 6, 4);
        let images: Vec<u8> = (0..count * IMAGE.len()).map(|i| Random::new(seed, Stream::Bootstrap).word(0, i as u64) as u8).collect();
        let start = || Training::new(unet.parameters(), optimiser.clone(), seed, Stream::Init);
        let (mut here, mut losses) = (start(), Vec::new());
        let mut engine = Engine::new(&unet, Precision::F32).unwrap();
        for step in 0..steps {
            losses.push(on_the_host(&mut here, &mut engine, &d, &images, seed, batch, flip, step));
        }
        let rates: Vec<f64> = (0..steps).map(|step| optimiser.rate(step)).collect();
        let inputs = TrainInputs { held: Held::All(count), seed, batch, flip, rates: &rates };
        let mut there = Trainer::new(device(), F32, &unet, &d, &start(), inputs).unwrap();
        let split = count / 2 * IMAGE.len();
        there.bring(0, &images[..split]).unwrap();
        there.bring(count / 2, &images[split..]).unwrap();
        let mut told = there.run(1).unwrap();
        // The first update copies the weights to the average.
        let first = there.state().unwrap();
        let kept = if flip { 3 } else { 1 };
        prop_assert!(first.averages.len() == kept && first.averages.iter().all(|average| average.numbers == first.theta));
        told.extend(there.run(steps - 1).unwrap());
        for ((loss, norm), (found_loss, found_norm)) in losses.iter().zip(&told) {
            prop_assert!((loss - found_loss).abs() < 1e-4 * (loss + 1.0) && (norm - found_norm).abs() < 1e-3 * (norm + 0.1), "{losses:?} {told:?}");
        }
        for (ours, theirs) in there.state().unwrap().rows().into_iter().zip(here.state().rows()) {
            let size = theirs.iter().map(|v| (*v as f64).powi(2)).sum::<f64>().sqrt();
            let off = ours.iter().zip(theirs).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum::<f64>().sqrt();
            prop_assert!(off < 2e-3 * size + 1e-12, "{off} of {size}");
        }
    }

    #[test]
    fn walks_follow_the_host(network in networks(), seed: u64, learned: bool, prediction in predictions(), which in 0usize..7, first in 0usize..5) {
        if !is_here() {
            return Ok(());
        }
        let variance = if learned { ReverseVariance::LearnedRange } else { ReverseVariance::FixedLarge };
        let d = diffusion(prediction, variance, Objective::Vlb {});
        let unet = UNet::new(&network, IMAGE, d.out_channels(3)).unwrap();
        let weights = spread(unet.parameters(), seed, DType::F32).numbers().unwrap();
        let sampler = [
            Sampler::ancestral(),
            Sampler::Ancestral { clip: true, steps: Some(7) },
            Sampler::Ddim { eta: 0.5, clip: true, steps: Some(5) },
            Sampler::Ddim { eta: 0.0, clip: true, steps: None },
            Sampler::Ddim { eta: 0.3, clip: false, steps: Some(3) },
            Sampler::Langevin { step_size: 0.1, inner: 2, steps: Some(3) },
            Sampler::DpmSolver2m { clip: true, steps: Some(6) },
        ][which];
        let mut engine = Engine::with_weights(&unet, Precision::F32, weights.clone()).unwrap();
        let mut walk = Walk::new(&mut engine, &d, &sampler).unwrap();
        let here = walk.run(seed, first, 2, &[1, 20]).unwrap();
        // Errors can grow from step to step, so the tolerance is how far changes in the weights' last place move the host's own images: the
        // farthest of several, as one may happen to move them little.
        let moved = [0, 1, 2, 3].map(|draw| {
            let mut engine = Engine::with_weights(&unet, Precision::F32, nudge(&weights, seed, draw)).unwrap();
            Walk::new(&mut engine, &d, &sampler).unwrap().run(seed, first, 2, &[1, 20]).unwrap()
        });
        let farthest = |image: &dyn Fn(&Walked) -> Tensor, from: &Tensor| moved.iter().map(|m| distance(&image(m), from)).fold(0.0, f64::max);
        let mut engine = remote(&unet, F32).load(weights);
        let mut walk = Walk::new(&mut engine, &d, &sampler).unwrap();
        // A larger batch first: the smaller one is made by the same programs.
        walk.run(seed, 0, 3, &[]).unwrap();
        let there = walk.run(seed, first, 2, &[1, 20]).unwrap();
        let (off, far) = (distance(&there.x0, &here.x0), farthest(&|moved| moved.x0.clone(), &here.x0));
        prop_assert!(off < 1e-5 + 10.0 * far, "{off} {far}");
        prop_assert_eq!(there.predictions.iter().map(|(t, _)| *t).collect::<Vec<_>>(), here.predictions.iter().map(|(t, _)| *t).collect::<Vec<_>>());
        prop_assert!(there.predictions.len() >= 2);
        for (i, ((_, ours), (t, theirs))) in there.predictions.iter().zip(&here.predictions).enumerate() {
            let (off, far) = (distance(ours, theirs), farthest(&|moved| moved.predictions[i].1.clone(), theirs));
            prop_assert!(off < 1e-5 + 10.0 * far, "t = {t}: {off} {far}");
        }
        // Other programs take the arena, and the same walk takes it back.
        let end = walk.nfe();
        walk.walk(here.x0.clone(), end - 1..end, &|walk, place| walk.noise(seed, Some(place), 0, 2), &mut |_| {}).unwrap();
        prop_assert_eq!(numbers(&walk.run(seed, first, 2, &[]).unwrap().x0), numbers(&there.x0));
    }
}

/// Objectives with a variance that they can have.
fn choices() -> impl Strategy<Value = (ReverseVariance, Objective)> {
    let bounds = prop_oneof![Just(Objective::Vlb {}), Just(Objective::VlbRescaled {})];
    let learned = prop_oneof![Just(ReverseVariance::Learned), Just(ReverseVariance::LearnedRange)];
    let fixed = prop_oneof![Just(ReverseVariance::FixedSmall), Just(ReverseVariance::FixedLarge)];
    prop_oneof![
        fixed.clone().prop_map(|variance| (variance, Objective::Simple {})),
        (fixed, weighted()),
        (prop::sample::select(ReverseVariance::ALL.to_vec()), bounds),
        learned.prop_map(|variance| (variance, Objective::hybrid())),
    ]
}

fn predictions() -> impl Strategy<Value = Prediction> {
    prop::sample::select(Prediction::ALL.to_vec())
}

/// One step as the runner makes it. (mean loss, gradient's norm).
#[allow(clippy::too_many_arguments)]
fn on_the_host(
    training: &mut Training,
    engine: &mut Engine,
    d: &Diffusion,
    images: &[u8],
    seed: u64,
    size: usize,
    flip: bool,
    step: u64,
) -> (f64, f64) {
    let (count, shards) = (images.len() / IMAGE.len(), training.optimiser().clip_shards);
    let each = size / shards;
    let stream = |stream| Random::new(seed, stream);
    let mut losses = Vec::new();
    let norm = training
        .update(|weights, shard, out| {
            let mut x0 = Vec::new();
            let mut t = Vec::new();
            for i in (0..each).map(|i| shard * each + i) {
                let position = step as usize * size + i;
                let order = stream(Stream::Shuffle).permutation((position / count) as u64, count);
                let image = &images[order[position % count] * IMAGE.len()..][..IMAGE.len()];
                let mirror = flip && stream(Stream::Flip).word(step, i as u64) & 1 == 1;
                for (row, column, c) in
                    (0..IMAGE.height).flat_map(|r| (0..IMAGE.width).flat_map(move |x| (0..IMAGE.channels).map(move |c| (r, x, c))))
                {
                    let column = if mirror { IMAGE.width - 1 - column } else { column };
                    x0.push(image[(row * IMAGE.width + column) * IMAGE.channels + c] as f32 / 127.5 - 1.0);
                }
                t.push(1 + stream(Stream::Timestep).below(step, i as u64, d.process.timesteps()));
            }
            let dims = (each, IMAGE.height, IMAGE.width, IMAGE.channels);
            let eps = stream(Stream::TrainNoise).normals(step, shard * each, each, IMAGE.len());
            let batch = d.batch(Tensor::from_vec(x0, dims, &Device::Cpu)?, Tensor::from_vec(eps, dims, &Device::Cpu)?, t)?;
            // In f64, as on the device: in f32 the decoder's small probabilities lose their digits.
            let wide = |x: &Tensor| x.to_dtype(DType::F64);
            let exact = d.batch(wide(&batch.x0)?, wide(&batch.eps)?, batch.t.clone())?;
            let loss = |output: &Tensor| {
                let loss = d.loss(&wide(output)?, &exact)?.mean;
                losses.push(loss.to_scalar::<f64>()?);
                Ok(loss)
            };
            engine.gradient(weights, &batch.xt, &batch.t, Some((Dropout::new(seed, shard * each), step)), loss, out)
        })
        .unwrap();
    (losses.iter().sum::<f64>() / shards as f64, norm)
}

/// Two runs of one seed give the same bits.
#[test]
fn training_is_repeatable() {
    if !is_here() {
        return;
    }
    let d = diffusion(Prediction::Eps, ReverseVariance::FixedLarge, Objective::Simple {});
    let network = Network { channels: 16, groups: 8, block_size: 1, dropout: 0.1, multipliers: vec![1], attention: vec![], ..tiny() };
    let unet = UNet::new(&network, IMAGE, 3).unwrap();
    let images: Vec<u8> = (0..6 * IMAGE.len()).map(|i| Random::new(1, Stream::Bootstrap).word(0, i as u64) as u8).collect();
    for numbers in [F32, BF16] {
        let run = || {
            let training = Training::new(unet.parameters(), optimiser(), 1, Stream::Init);
            let inputs = TrainInputs { held: Held::All(6), seed: 1, batch: 4, flip: true, rates: &[1e-3; 5] };
            let mut trainer = Trainer::new(device(), numbers, &unet, &d, &training, inputs).unwrap();
            trainer.bring(0, &images).unwrap();
            (trainer.run(5).unwrap(), trainer.state().unwrap())
        };
        let (first, second) = (run(), run());
        assert!(first == second, "{numbers:?}");
    }
}

/// Images that are brought window by window, beside the steps of the window before, give the bits of those that are all there; also where
/// the training goes on from the middle of a window.
#[test]
fn windows_of_images_give_the_same_bits() {
    if !is_here() {
        return;
    }
    let d = diffusion(Prediction::Eps, ReverseVariance::FixedLarge, Objective::Simple {});
    let network = Network { channels: 16, groups: 8, block_size: 1, dropout: 0.1, multipliers: vec![1], attention: vec![], ..tiny() };
    let unet = UNet::new(&network, IMAGE, 3).unwrap();
    let (count, batch, steps, len) = (6, 4, 11u64, IMAGE.len());
    let images: Vec<u8> = (0..count * len).map(|i| Random::new(1, Stream::Bootstrap).word(0, i as u64) as u8).collect();
    let inputs = |held| TrainInputs { held, seed: 1, batch, flip: true, rates: &[1e-3; 11] };
    let start = || Training::new(unet.parameters(), optimiser(), 1, Stream::Init);
    let mut all = Trainer::new(device(), F32, &unet, &d, &start(), inputs(Held::All(count))).unwrap();
    all.bring(0, &images).unwrap();
    let expected = (all.run(steps).unwrap(), all.state().unwrap());
    let window = |number: u64| {
        let places = (number * 3 * batch as u64)..((number + 1) * 3).min(steps) * batch as u64;
        let order = |epoch| Random::new(1, Stream::Shuffle).permutation(epoch, count);
        let image = |place: u64| order(place / count as u64)[place as usize % count];
        places.flat_map(|place| images[image(place) * len..][..len].to_vec()).collect::<Vec<u8>>()
    };
    let mut told = Vec::new();
    let mut training = start();
    // The first part ends within the second window.
    for part in [0..4u64, 4..steps] {
        let mut trainer = Trainer::new(device(), F32, &unet, &d, &training, inputs(Held::Windows(3))).unwrap();
        let mut step = part.start;
        while step < part.end {
            let (number, end) = (step / 3, ((step / 3 + 1) * 3).min(part.end));
            if !trainer.has_window(number) {
                trainer.bring_window(number, &window(number)).unwrap();
            }
            trainer.begin(end - step).unwrap();
            if end < part.end {
                trainer.bring_window(number + 1, &window(number + 1)).unwrap();
            }
            told.extend(trainer.end().unwrap());
            step = end;
        }
        training.replace(trainer.state().unwrap(), trainer.step());
    }
    assert!((told, training.state().clone()) == expected);
}

/// As in the engine's own test: bf16 keeps 8 bits, here of feature maps and gradients too.
#[test]
fn bf16_follows_the_oracle_to_its_digits() {
    if !is_here() {
        return;
    }
    for (seed, (downsample, upsample)) in (0..4).flat_map(|seed| SMOOTH.map(|layers| (seed, layers))) {
        let network = Network { channels: 32, groups: 8, blocks: 2, attention: vec![4], block_size: 1, downsample, upsample, ..tiny() };
        let unet = UNet::new(&network, ImageShape { height: 8, width: 16, channels: 2 }, 2).unwrap();
        let [(output, gradient), _] = errors_of(&mut remote(&unet, BF16), &unet, seed, 2);
        assert!(output < 0.03 && gradient < 0.08, "{output} {gradient}");
        assert!(output > 1e-4, "{output}");
    }
}

/// Channels that no pack divides are refused before anything runs.
#[test]
fn a_network_that_does_not_fit_is_refused() {
    if !is_here() {
        return;
    }
    let unet = UNet::new(&tiny(), crate::common::IMAGE, 2).unwrap();
    let error = Engine::remote(&unet, device(), F32).err().unwrap().to_string();
    assert!(error.contains("multiples of 8"), "{error}");
}

/// A walk's programs are made once, for as many images as were asked for and fewer.
#[test]
fn a_walk_is_made_once() {
    let network = Network { channels: 8, groups: 4, multipliers: vec![1], attention: vec![], ..tiny() };
    let unet = UNet::new(&network, IMAGE, 3).unwrap();
    let d = diffusion(Prediction::Eps, ReverseVariance::FixedLarge, Objective::Simple {});
    let weights = Training::new(unet.parameters(), optimiser(), 0, Stream::Init).weights().to_vec();
    let counted = Box::new(ddpm_kernels::device::counted::Counted::default());
    let mut engine = Engine::remote(&unet, counted, F32).unwrap().load(weights);
    let mut walk = Walk::new(&mut engine, &d, &Sampler::ancestral()).unwrap();
    // The number of an extra program loaded next to them: it grows until the device is reserved again.
    let mut more = |images: usize| walk.program(images).unwrap().unwrap().0.load(Vec::new()).unwrap();
    let first = more(3);
    assert_eq!([more(3), more(2), more(4), more(4)], [first + 1, first + 2, first, first + 1]);
}
