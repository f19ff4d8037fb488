//! The network, training and sampling on a device against the same on the host. The device is GPU 0 in a build with the feature `cuda`,
//! where there is one; else, or where the environment variable `DDPM_TEST_DEVICE` is `emulated`, the CUDA kernels' own source on the CPU.

use crate::common::*;
use crate::engine::errors_of;
use candle_core::{DType, Device, Tensor, Var};
use ddpm_core::likelihood::{DecoderCdf, decoder_log_likelihood};
use ddpm_core::{Objective, Prediction, ReverseVariance, Sampler};
use ddpm_kernels::device::arena::Arena;
use ddpm_kernels::device::frame::Frame;
use ddpm_kernels::device::sample::{ROW, Row, Walk as Steps};
use ddpm_kernels::device::train::{Images, Shard, TERMS};
use ddpm_kernels::device::{Device as Programs, Span, Type};
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::engine::device::{Course, Numbers, Trainer, terms, weights};
use ddpm_model::network::{ImageShape, Skips, TimeEmbedding};
use ddpm_model::optimiser::{Optimiser, Training};
use ddpm_model::sampling::Walk;
use ddpm_model::{Diffusion, Engine, Network, Precision, UNet};
use proptest::prelude::*;

const F32: Numbers = Numbers { kind: Type::F32, tf32: false };
const BF16: Numbers = Numbers { kind: Type::Bf16, tf32: false };
const IMAGE: ImageShape = ImageShape { height: 8, width: 8, channels: 3 };

/// Networks with every kind of layer, in widths that a device's kernels take: groups narrower and wider than a pack, across the border
/// between two feature maps, and more channels than one block has; pixels by themselves and in blocks.
fn networks() -> impl Strategy<Value = Network> {
    let skips = prop_oneof![3 => Just(Skips::All), 1 => Just(Skips::None), 1 => Just(Skips::Resolutions(vec![4]))];
    let time = prop_oneof![3 => Just(TimeEmbedding::EveryBlock), 1 => Just(TimeEmbedding::InputOnly), 1 => Just(TimeEmbedding::None)];
    let widths = prop_oneof![Just((8, 4)), Just((16, 16)), Just((24, 3)), Just((24, 6)), Just((8, 1))];
    let shape = (prop::collection::vec(1usize..3, 1..3), prop_oneof![2 => Just(1usize), 1 => Just(2usize)]);
    (skips, time, 1usize..3, widths, any::<bool>(), shape).prop_map(
        |(skips, time_embedding, blocks, (channels, groups), drop, (multipliers, block_size))| Network {
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

/// Whether there is a device; one word where there is none.
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

/// `n` cases; on a GPU, where every case chooses algorithms anew and time is short, a few of them, whose first failure is told as it is.
fn cases(n: u32) -> ProptestConfig {
    match on_gpu() {
        true => ProptestConfig { cases: n.min(6), max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() },
        false => ProptestConfig::with_cases(n),
    }
}

fn remote(unet: &UNet, numbers: Numbers) -> Engine {
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

    /// What the network reads: the images' numbers at their places, in blocks or not, and 0 in the channels that only fill a pack, whatever
    /// lay there before. Of a training step, of a walk's start and of its steps.
    #[test]
    fn images_stand_in_their_frames(seed: u64, block in 1usize..3, channels in prop_oneof![Just(1usize), Just(3usize)], bf16: bool) {
        if !is_here() {
            return Ok(());
        }
        let kind = if bf16 { Type::Bf16 } else { Type::F32 };
        let (images, frame) = (3, Frame { h: 4, w: 8, c: channels, block });
        let (len, map_len) = (frame.len(), frame.map_len(1));
        let d = diffusion(Prediction::Eps, ReverseVariance::FixedLarge, Objective::Simple {});
        let mut arena = Arena::default();
        let [x, eps, predicted] = [(); 3].map(|_| arena.take(4 * images * len));
        let [map, out] = [(); 2].map(|_| arena.take(kind.size() * images * map_len));
        let (t, terms_at, step) = (arena.take(4 * images), arena.take(8 * TERMS * 21), arena.take(16));
        let (bytes, order, rows) = (arena.take(5 * len), arena.take(8 * 5), arena.take(ROW));
        let shard = Shard { kind, seed, batch: 4, first: 1, images, timesteps: 20, step, terms: terms_at, x0: x, eps, t, xt: map };
        let walk = Steps {
            kind, seed, images, frame, outputs: 1, first: step, place: step, x, predicted, state: map,
        };
        let mut device = device();
        device.reserve(arena.bytes()).unwrap();
        let make = device.load(vec![shard.make(Images { bytes, order, count: 5, frame }, true)]).unwrap();
        let start = device.load(vec![walk.start()]).unwrap();
        let go = device.load(vec![walk.step(out, rows, true)]).unwrap();
        let rows_of_terms = (1..=20).flat_map(|t| terms(&d, t).numbers());
        device.upload(terms_at, &[0.0; TERMS].into_iter().chain(rows_of_terms).flat_map(f64::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        device.upload(order, &(0..10u32).flat_map(|i| (i % 5).to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        device.upload(bytes, &(0..5 * len).map(|i| Random::new(seed, Stream::Bootstrap).word(0, i as u64) as u8).collect::<Vec<u8>>()).unwrap();
        let row = Row { x0_xt: 0.5, x0_output: 0.25, xt: 0.5, x0: 0.25, output: 0.0, sigma: 0.1, learned: None };
        device.upload(rows, &row.bytes()).unwrap();
        device.upload(out, &vec![0; out.bytes]).unwrap();
        for (program, noisy) in [(make, true), (start, false), (go, false)] {
            device.upload(map, &vec![0x7f; map.bytes]).unwrap();
            device.run(program).unwrap();
            let read = |device: &mut dyn Programs, span: Span, kind| -> Vec<f32> {
                let mut bytes = vec![0u8; span.bytes];
                device.download(span, &mut bytes).unwrap();
                match kind {
                    Type::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
                    Type::Bf16 => bytes.chunks_exact(2).map(|b| f32::from_bits((u16::from_le_bytes(b.try_into().unwrap()) as u32) << 16)).collect(),
                }
            };
            let (x, eps, mut map) = (read(&mut *device, x, Type::F32), read(&mut *device, eps, Type::F32), read(&mut *device, map, kind));
            let mut steps = vec![0u8; t.bytes];
            device.download(t, &mut steps).unwrap();
            for (i, at) in (0..images * len).map(|i| (i, i % len)) {
                let (image, c, column, line) = (i / len, at % channels, at / channels % 8, at / channels / 8);
                let expected = if noisy {
                    let t = u32::from_le_bytes(steps[4 * image..4 * image + 4].try_into().unwrap());
                    let (a, s) = d.process.q_sample_coefficients(t as usize);
                    x[i] as f64 * a + eps[i] as f64 * s
                } else {
                    x[i] as f64
                };
                let place = image * map_len
                    + ((line / block) * (8 / block) + column / block) * frame.channels(1)
                    + ((line % block) * block + column % block) * channels
                    + c;
                let digits = if bf16 { 1.0 / 250.0 } else { 1e-6 };
                prop_assert!((map[place] as f64 - expected).abs() <= digits * expected.abs() + 1e-7, "{} {expected}", map[place]);
                map[place] = 0.0;
            }
            prop_assert!(map.iter().all(|v| *v == 0.0));
        }
    }

    /// Every objective, at t = 1, where the decoder is, and above it: the losses and the gradient against tensors in f64.
    #[test]
    fn objectives_follow_the_tensors(
        prediction in predictions(), choice in choices(), seed: u64, block in 1usize..3, channels in prop_oneof![Just(1usize), Just(3usize)],
        t in prop::collection::vec(prop_oneof![1 => Just(1usize), 2 => 2usize..=20], 1..4), bf16: bool,
    ) {
        if !is_here() {
            return Ok(());
        }
        let (variance, objective) = choice;
        let d = diffusion(prediction, variance, objective);
        let (images, outputs, kind) = (t.len(), d.out_channels(1), if bf16 { Type::Bf16 } else { Type::F32 });
        let frame = Frame { h: 4, w: 8, c: channels, block };
        let (len, map_len) = (frame.len(), frame.map_len(outputs));
        // Pixels as 8-bit images have them, the outermost levels among them.
        let level = |i: usize| Random::new(seed, Stream::Bootstrap).word(0, i as u64) % 6;
        let x0: Vec<f32> = (0..images * len).map(|i| [0, 255, 17, 128, 200, 254][level(i) as usize] as f32 / 127.5 - 1.0).collect();
        let eps: Vec<f32> = numbers(&normal(seed, 1, &[images * len], DType::F32)).into_iter().map(|v| v as f32).collect();
        let (mut out, mut place) = (vec![0f32; images * map_len], Vec::new());
        let noise = numbers(&normal(seed, 2, &[images * len * outputs], DType::F32));
        // Where outputs stand, written out: image, pixel, output, and the channel of a block.
        for (i, row, column) in (0..images).flat_map(|i| (0..4).flat_map(move |r| (0..8).map(move |c| (i, r, c)))) {
            for (output, c) in (0..outputs).flat_map(|o| (0..channels).map(move |c| (o, c))) {
                let pixel = (row / block) * (8 / block) + column / block;
                let inner = ((row % block) * block + column % block) * outputs * channels + output * channels + c;
                let at = i * map_len + pixel * frame.channels(outputs) + inner;
                let near = if output == 0 { 1.0 } else { 0.5 };
                let v = (noise[place.len()] * near) as f32;
                out[at] = if bf16 { f32::from_bits(v.to_bits() & 0xffff_0000) } else { v };
                place.push(at);
            }
        }
        let dims = (images, 4, 8, channels);
        let f64s = |v: &[f32]| Tensor::from_vec(v.iter().map(|v| *v as f64).collect::<Vec<f64>>(), dims, &Device::Cpu).unwrap();
        let batch = d.batch(f64s(&x0), f64s(&eps), t.clone()).unwrap();
        let outs: Vec<f64> = place.iter().map(|at| out[*at] as f64).collect();
        let output = Var::from_tensor(&Tensor::from_vec(outs, (images, 4, 8, outputs * channels), &Device::Cpu).unwrap()).unwrap();
        let loss = d.loss(&output, &batch).unwrap();
        let gradient = numbers(loss.mean.backward().unwrap().get(&output).unwrap());
        // The same on the device.
        let mut arena = Arena::default();
        let [x0_at, eps_at] = [(); 2].map(|_| arena.take(4 * images * len));
        let [out_at, dout_at] = [(); 2].map(|_| arena.take(kind.size() * images * map_len));
        let (t_at, terms_at, losses_at) = (arena.take(4 * images), arena.take(8 * TERMS * 21), arena.take(8 * images));
        let shard = Shard {
            kind, seed, batch: images, first: 0, images, timesteps: 20, step: t_at, terms: terms_at, x0: x0_at, eps: eps_at, t: t_at, xt: out_at,
        };
        let mut device = device();
        device.reserve(arena.bytes()).unwrap();
        let program = device.load(vec![shard.objective(frame, outputs, weights(&d), out_at, losses_at, dout_at)]).unwrap();
        let bytes = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let short = |v: &[f32]| v.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect::<Vec<u8>>();
        device.upload(x0_at, &bytes(&x0)).unwrap();
        device.upload(eps_at, &bytes(&eps)).unwrap();
        device.upload(out_at, &if bf16 { short(&out) } else { bytes(&out) }).unwrap();
        device.upload(dout_at, &vec![0x7f; dout_at.bytes]).unwrap();
        device.upload(t_at, &t.iter().flat_map(|t| (*t as u32).to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        let rows = (1..=20).flat_map(|t| terms(&d, t).numbers());
        device.upload(terms_at, &[0.0; TERMS].into_iter().chain(rows).flat_map(f64::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        device.run(program).unwrap();
        let (mut losses, mut dout) = (vec![0u8; losses_at.bytes], vec![0u8; dout_at.bytes]);
        device.download(losses_at, &mut losses).unwrap();
        device.download(dout_at, &mut dout).unwrap();
        // A probability of the decoder is the difference of two numbers near 0 or 1, whose last bits are the mathematical library's: this much of
        // it is not known. Of each output's number, 0 where there is no decoder.
        let unknown = |at: usize| {
            let (image, within) = (at / (len * outputs), at % (len * outputs));
            let (pixel, c) = (within / (outputs * channels), within % channels);
            if t[image] > 1 || matches!(objective, Objective::Simple {}) {
                return 0.0;
            }
            let i = image * len + pixel * channels + c;
            let (first, second) = (at - within % (outputs * channels) + c, at - within % (outputs * channels) + (outputs - 1) * channels + c);
            let (a, s) = d.process.q_sample_coefficients(1);
            let (xt, y) = (a * x0[i] as f64 + s * eps[i] as f64, out[place[first]] as f64);
            let mean = d.setup.prediction.convert(Prediction::Mu, &d.process, 1).apply(&xt, &y).unwrap();
            let log_sigma2 = d.setup.variance.log_sigma2(&d.process, 1).at(out[place[second]] as f64);
            5e-16 / decoder_log_likelihood(x0[i] as f64, mean, 0.5 * log_sigma2, DecoderCdf::Tanh).exp()
        };
        for (image, found) in losses.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).enumerate() {
            let expected = numbers(&loss.per_image)[image];
            let slack: f64 = (image * len * outputs..(image + 1) * len * outputs).map(unknown).sum::<f64>() / len as f64;
            prop_assert!((found - expected).abs() < 1e-9 * (1.0 + expected.abs()) + 30.0 * slack, "{found} {expected}");
        }
        let mut found: Vec<f64> = match kind {
            Type::F32 => dout.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
            Type::Bf16 => dout.chunks_exact(2).map(|b| f32::from_bits((u16::from_le_bytes(b.try_into().unwrap()) as u32) << 16) as f64).collect(),
        };
        let digits = if bf16 { 1.0 / 256.0 } else { 1e-6 };
        for (i, (at, expected)) in place.iter().zip(&gradient).enumerate() {
            let digits = digits + 10.0 * unknown(i);
            prop_assert!((found[*at] - expected).abs() <= digits * expected.abs() + 1e-12, "{} {expected}", found[*at]);
            found[*at] = 0.0;
        }
        // Channels that are no image's.
        prop_assert!(found.iter().all(|v| *v == 0.0));
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
        let unet = UNet::new(&network, IMAGE, d.out_channels(3)).unwrap();
        let optimiser: Optimiser = serde_json::from_value(serde_json::json!({
            "learning_rate": 0.002, "warmup_steps": if corrected { 0 } else { 2 }, "ema_decay": 0.9, "clip_norm": 0.5, "clip_shards": shards, "epsilon": 1e-3,
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
        let course = Course { images: &images, seed, batch, flip, rates: &rates };
        let mut there = Trainer::new(device(), F32, &unet, &d, &start(), course).unwrap();
        let mut told = there.run(1).unwrap();
        // The first update copies the average.
        let [first, _, _, average] = there.rows().unwrap();
        prop_assert!(first == average);
        told.extend(there.run(steps - 1).unwrap());
        for ((loss, norm), (found_loss, found_norm)) in losses.iter().zip(&told) {
            prop_assert!((loss - found_loss).abs() < 1e-4 * (loss + 1.0) && (norm - found_norm).abs() < 1e-3 * (norm + 0.1), "{losses:?} {told:?}");
        }
        for (ours, theirs) in there.rows().unwrap().iter().zip(here.rows()) {
            let size = theirs.iter().map(|v| (*v as f64).powi(2)).sum::<f64>().sqrt();
            let off = ours.iter().zip(theirs).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum::<f64>().sqrt();
            prop_assert!(off < 2e-3 * size + 1e-12, "{off} of {size}");
        }
    }

    #[test]
    fn walks_follow_the_host(network in networks(), seed: u64, learned: bool, which in 0usize..4, first in 0usize..5) {
        if !is_here() {
            return Ok(());
        }
        let variance = if learned { ReverseVariance::LearnedRange } else { ReverseVariance::FixedLarge };
        let d = diffusion(Prediction::Eps, variance, Objective::Vlb {});
        let unet = UNet::new(&network, IMAGE, d.out_channels(3)).unwrap();
        let weights = spread(unet.parameters(), seed, DType::F32).numbers().unwrap();
        let sampler = [
            Sampler::ancestral(),
            Sampler::Ancestral { clip: true, steps: Some(7) },
            Sampler::Ddim { eta: 0.5, clip: true, steps: Some(5) },
            Sampler::Ddim { eta: 0.0, clip: true, steps: None },
        ][which];
        let mut engine = Engine::with_weights(&unet, Precision::F32, weights.clone()).unwrap();
        let mut walk = Walk::new(&mut engine, &d, &sampler).unwrap();
        let here = walk.run(seed, first, 2, &[1]).unwrap();
        let mut engine = remote(&unet, F32).load(weights);
        let mut walk = Walk::new(&mut engine, &d, &sampler).unwrap();
        // A larger batch first: the smaller one is made by the same programs.
        walk.run(seed, 0, 3, &[]).unwrap();
        let there = walk.run(seed, first, 2, &[1]).unwrap();
        prop_assert!(distance(&there.x0, &here.x0) < 1e-3);
        prop_assert!(there.predictions.len() == 1 && there.predictions[0].0 == 1);
        prop_assert!(distance(&there.predictions[0].1, &here.predictions[0].1) < 1e-3);
        // Other programs take the arena, and the walk takes it back.
        engine.forward(&here.x0, &[3, 4]).unwrap();
        let again = Walk::new(&mut engine, &d, &sampler).unwrap().run(seed, first, 2, &[]).unwrap();
        prop_assert_eq!(numbers(&again.x0), numbers(&there.x0));
    }
}

/// Objectives with a variance that they can have.
fn choices() -> impl Strategy<Value = (ReverseVariance, Objective)> {
    let bounds = prop_oneof![Just(Objective::Vlb {}), Just(Objective::VlbRescaled {})];
    let learned = prop_oneof![Just(ReverseVariance::Learned), Just(ReverseVariance::LearnedRange)];
    let fixed = prop_oneof![Just(ReverseVariance::FixedSmall), Just(ReverseVariance::FixedLarge)];
    prop_oneof![
        fixed.prop_map(|variance| (variance, Objective::Simple {})),
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
            let course = Course { images: &images, seed: 1, batch: 4, flip: true, rates: &[1e-3; 5] };
            let mut trainer = Trainer::new(device(), numbers, &unet, &d, &training, course).unwrap();
            (trainer.run(5).unwrap(), trainer.rows().unwrap())
        };
        let (first, second) = (run(), run());
        assert!(first == second, "{numbers:?}");
    }
}

/// As in the engine's own test: bf16 keeps 8 bits, here of feature maps and gradients too.
#[test]
fn bf16_follows_the_oracle_to_its_digits() {
    if !is_here() {
        return;
    }
    for seed in 0..4 {
        let network = Network { channels: 32, groups: 8, blocks: 2, attention: vec![4], block_size: 1, ..tiny() };
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
