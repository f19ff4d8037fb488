//! What `ddpm bench` measures on a device: steps that never leave it.

use anyhow::Result;
use ddpm_core::Sampler;
use ddpm_kernels::device::arena::Arena;
use ddpm_kernels::device::{Device, Matrix, Op, Product};
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::engine::device::{Course, Numbers, Trainer};
use ddpm_model::optimiser::{Optimiser, Training};
use ddpm_model::sampling::Walk;
use ddpm_model::{Diffusion, Engine, UNet};
use std::time::Instant;

/// The network that is measured.
pub struct Subject<'a> {
    pub unet: &'a UNet,
    pub diffusion: &'a Diffusion,
    pub batch: usize,
    pub numbers: Numbers,
}

/// Steps between two looks at the clock: the host waits for the device once in so many.
const TOGETHER: u64 = 16;

/// Images that are trained on: enough that no batch has one twice.
const SETS: usize = 4;

/// Numbers on a side of the matrices whose product is the peak.
const SIDE: usize = 8192;

/// Seconds of each training step, means over some together; and bytes in use on the device.
pub fn train_step(device: Box<dyn Device>, s: &Subject, optimiser: Optimiser, steps: u32) -> Result<(Vec<f64>, usize)> {
    let random = Random::new(0, Stream::Evaluation);
    let words = (0..SETS * s.batch * s.unet.image().len()).map(|i| random.word(0, i as u64) as u8);
    let images: Vec<u8> = words.collect();
    let groups = steps as u64 + 2;
    let rates = vec![2e-4; (groups * TOGETHER) as usize];
    let training = Training::new(s.unet.parameters(), optimiser, 0, Stream::Init);
    let course = Course { images: &images, seed: 0, batch: s.batch, flip: true, rates: &rates };
    let mut trainer = Trainer::new(device, s.numbers, s.unet, s.diffusion, &training, course)?;
    // As it is, and recorded.
    trainer.run(2)?;
    let mut times = Vec::new();
    for _ in 0..steps {
        let start = Instant::now();
        trainer.run(TOGETHER)?;
        times.push(start.elapsed().as_secs_f64() / TOGETHER as f64);
    }
    Ok((times, trainer.bytes()))
}

/// Seconds of each step of a walk, noise and update included, means over a walk.
pub fn forward(device: Box<dyn Device>, s: &Subject, optimiser: Optimiser, walks: u32) -> Result<(Vec<f64>, usize)> {
    let weights = Training::new(s.unet.parameters(), optimiser, 0, Stream::Init).into_average();
    let mut engine = Engine::remote(s.unet, device, s.numbers)?.load(weights);
    let sampler = Sampler::Ddim { eta: 1.0, clip: true, steps: Some(TOGETHER as usize) };
    let mut walk = Walk::new(&mut engine, s.diffusion, &sampler)?;
    walk.run(0, 0, s.batch, &[])?;
    let mut times = Vec::new();
    for i in 0..walks as usize {
        let start = Instant::now();
        walk.run(0, i * s.batch, s.batch, &[])?;
        times.push(start.elapsed().as_secs_f64() / TOGETHER as f64);
    }
    Ok((times, engine.device_bytes().unwrap_or(0)))
}

/// FLOP/s of one large product.
pub fn peak(mut device: Box<dyn Device>, numbers: Numbers) -> Result<f64> {
    let mut arena = Arena::default();
    let mut matrix =
        || Matrix { at: arena.take(SIDE * SIDE * numbers.kind.size()), kind: numbers.kind, stride: SIDE, turned: false, each: 0 };
    let [a, b, c] = [matrix(), matrix(), matrix()];
    device.reserve(arena.bytes())?;
    let product = Op::Product(Product { m: SIDE, n: SIDE, k: SIDE, batch: 1, alpha: 1.0, a, b, c, add: false, tf32: numbers.tf32 });
    let program = device.load(vec![product; 8])?;
    let mut wait = [0];
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        device.download(c.at, &mut wait)?;
        let start = Instant::now();
        device.run(program)?;
        device.download(c.at, &mut wait)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(8.0 * 2.0 * (SIDE as f64).powi(3) / best)
}
