//! What is before and after the network in a step on a device: images into their frames, the objective and its gradient.

use super::{cases, choices, device, is_here, predictions};
use crate::common::*;
use candle_core::{DType, Device, Tensor, Var};
use ddpm_core::likelihood::{DecoderCdf, decoder_log_likelihood};
use ddpm_core::{Objective, Prediction, ReverseVariance};
use ddpm_kernels::device::arena::Arena;
use ddpm_kernels::device::sample::{ROW, SampleBatch, StepCoefficients};
use ddpm_kernels::device::space_to_depth::SpaceToDepth;
use ddpm_kernels::device::train::{Shard, TERMS, TrainImages};
use ddpm_kernels::device::{Device as Programs, Span, Type};
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::engine::device::{bound_weight, terms};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(24))]

    /// The network's input: every number of the images at its position, with and without space to depth, and 0 in the padding channels,
    /// whatever was there before. For a training step, the start of a walk and its steps.
    #[test]
    fn images_stand_in_their_frames(seed: u64, block in 1usize..3, channels in prop_oneof![Just(1usize), Just(3usize)], bf16: bool) {
        if !is_here() {
            return Ok(());
        }
        let kind = if bf16 { Type::Bf16 } else { Type::F32 };
        let (images, layout) = (3, SpaceToDepth { h: 4, w: 8, c: channels, block });
        let (len, map_len) = (layout.len(), layout.map_len(1));
        let d = diffusion(Prediction::Eps, ReverseVariance::FixedLarge, Objective::Simple {});
        let mut arena = Arena::default();
        let [x, eps, predicted] = [(); 3].map(|_| arena.take(4 * images * len));
        let [map, out] = [(); 2].map(|_| arena.take(kind.size() * images * map_len));
        let (t, terms_at, step) = (arena.take(4 * images), arena.take(8 * TERMS * 21), arena.take(16));
        let (bytes, order, rows) = (arena.take(5 * len), arena.take(8 * 5), arena.take(ROW));
        let shard = Shard { kind, seed, batch: 4, first: 1, images, timesteps: 20, step, terms: terms_at, x0: x, eps, t, xt: map };
        let walk = SampleBatch {
            kind, seed, images, layout, outputs: 1, first: step, place: step, x, predicted, state: map,
        };
        let mut device = device();
        device.reserve(arena.bytes()).unwrap();
        let make = device.load(vec![shard.make(TrainImages { bytes, held: 5, order, count: 5, layout }, true)]).unwrap();
        let start = device.load(vec![walk.start()]).unwrap();
        let go = device.load(vec![walk.step(out, rows, true)]).unwrap();
        let rows_of_terms = (1..=20).flat_map(|t| terms(&d, t).numbers());
        device.upload(terms_at, &[0.0; TERMS].into_iter().chain(rows_of_terms).flat_map(f64::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        device.upload(order, &(0..10u32).flat_map(|i| (i % 5).to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        device.upload(bytes, &(0..5 * len).map(|i| Random::new(seed, Stream::Bootstrap).word(0, i as u64) as u8).collect::<Vec<u8>>()).unwrap();
        let row = StepCoefficients { x0_xt: 0.5, x0_output: 0.25, xt: 0.5, x0: 0.25, x0_before: 0.0, output: 0.0, sigma: 0.1, learned: None };
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
                    + ((line / block) * (8 / block) + column / block) * layout.channels(1)
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
        let layout = SpaceToDepth { h: 4, w: 8, c: channels, block };
        let (len, map_len) = (layout.len(), layout.map_len(outputs));
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
                let at = i * map_len + pixel * layout.channels(outputs) + inner;
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
        let program = device.load(vec![shard.objective(layout, outputs, bound_weight(&d), out_at, losses_at, dout_at)]).unwrap();
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
        // A decoder probability is the difference of two numbers near 0 or 1, whose last bits depend on the maths library.
        // This is its relative uncertainty, for each output number; 0 where there is no decoder.
        let unknown = |at: usize| {
            let (image, within) = (at / (len * outputs), at % (len * outputs));
            let (pixel, c) = (within / (outputs * channels), within % channels);
            if t[image] > 1 || matches!(objective, Objective::Simple {} | Objective::Weighted { .. }) {
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
            let expected = loss.per_image[image];
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
