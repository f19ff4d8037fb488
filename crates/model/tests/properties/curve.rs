//! Training with the engine and with eager evaluation follows the same loss curve.

use crate::common::*;
use candle_core::{DType, Tensor};
use ddpm_core::{Objective, Prediction, ReverseVariance};
use ddpm_kernels::Kernel;
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::random::Stream;
use ddpm_model::network::ImageShape;
use ddpm_model::optimiser::{Optimiser, Training};
use ddpm_model::{Arithmetic, Engine, Network, PassOptions, UNet};

const STEPS: u64 = 60;
/// Steps whose mean loss is compared where roundings differ too much to compare every step.
const BLOCK: usize = 10;

/// Losses of a training on flat images, by the engine or, without an arithmetic, by the reference kernels under candle's autograd.
fn losses(arithmetic: Option<Arithmetic>) -> Vec<f64> {
    let d = diffusion(Prediction::Eps, ReverseVariance::FixedLarge, Objective::Simple {});
    let network = Network { channels: 16, groups: 4, blocks: 1, attention: vec![4], block_size: 1, dropout: 0.1, ..tiny() };
    let unet = UNet::new(&network, ImageShape { height: 8, width: 8, channels: 1 }, 1).unwrap();
    let mut training = Training::new(unet.parameters(), Optimiser { learning_rate: 2e-3, ..optimiser() }, 5, Stream::Init);
    let mut engine = arithmetic.map(|a| Engine::with_arithmetic(&unet, a).unwrap());
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let x0 = normal(step, 1, &[8, 1, 1, 1], DType::F32).broadcast_as((8, 8, 8, 1)).unwrap().contiguous().unwrap();
        let t: Vec<usize> = (0..8).map(|i| 1 + (i * 7 + step as usize) % 20).collect();
        let batch = d.batch(x0, normal(step, 2, &[8, 8, 8, 1], DType::F32), t).unwrap();
        let dropout = Some((Dropout::new(5, 0), step));
        let mut value = 0.0;
        let mut loss = |y: &Tensor| {
            let loss = d.loss(y, &batch)?.mean;
            value = loss.to_scalar::<f32>()? as f64;
            Ok(loss)
        };
        match &mut engine {
            Some(engine) => training.update(|w, _, gradient| engine.gradient(w, &batch.xt, &batch.t, dropout, &mut loss, gradient)),
            None => training
                .update_traced(|w, _| loss(&unet.forward(w, &batch.xt, &batch.t, PassOptions { kernel: Kernel::Reference, dropout })?)),
        }
        .unwrap();
        losses.push(value);
    }
    losses
}

#[test]
fn both_paths_train_alike() {
    let (reference, f32s, bf16s) = (losses(None), losses(Some(Arithmetic::F32)), losses(Some(Arithmetic::Bf16)));
    assert!(reference[STEPS as usize - 1] < 0.7 * reference[0], "it does not train: {reference:?}");
    for (i, r) in reference.iter().enumerate() {
        assert!((f32s[i] - r).abs() < 2e-3 * r, "step {i}: {} {r}", f32s[i]);
    }
    let mean = |block: &[f64]| block.iter().sum::<f64>() / BLOCK as f64;
    for (i, (a, b)) in bf16s.chunks(BLOCK).zip(reference.chunks(BLOCK)).enumerate() {
        assert!((mean(a) / mean(b) - 1.0).abs() < 0.05, "bf16, block {i}: {} {}", mean(a), mean(b));
    }
}
