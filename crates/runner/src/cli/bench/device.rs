//! What `ddpm bench` measures on a device: steps that never leave it.

use super::subject::{self, StepKind, optimiser};
use anyhow::{Context, Result};
use ddpm_core::Sampler;
use ddpm_kernels::device::arena::Arena;
use ddpm_kernels::device::{Device, MatrixSpan, Op, Product, Type};
use ddpm_kernels::gemm::{Bf16, Storage};
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::engine::device::{Held, NumberFormat, TrainInputs, Trainer};
use ddpm_model::optimiser::Training;
use ddpm_model::sampling::Walk;
use ddpm_model::{Diffusion, Engine, UNet};
use std::time::Instant;

/// The network that is measured.
pub struct Subject<'a> {
    unet: &'a UNet,
    diffusion: &'a Diffusion,
    batch: usize,
    numbers: NumberFormat,
}

impl<'a> Subject<'a> {
    pub fn new(subject: &subject::Subject, unet: &'a UNet, diffusion: &'a Diffusion) -> Subject<'a> {
        Subject { unet, diffusion, batch: subject.batch, numbers: subject.precision.numbers() }
    }
}

/// Steps between two looks at the clock: the host waits for the device once in so many.
const TOGETHER: u64 = 16;

/// Images that are trained on: enough that no batch has one twice.
const SETS: usize = 4;

/// Numbers on a side of the matrices whose product is the peak.
const SIDE: usize = 8192;

/// A kind of step on a device.
pub enum MeasuredStep<'a> {
    Train(Box<Trainer>),
    Forward { engine: Box<Engine>, diffusion: &'a Diffusion, batch: usize },
}

/// The walk whose steps are measured.
const WALK: Sampler = Sampler::Ddim { eta: 1.0, clip: true, steps: Some(TOGETHER as usize) };

/// Training steps that have a rate: more than any measurement makes.
const RATES: usize = 1 << 20;

impl<'a> MeasuredStep<'a> {
    /// On a device, ready to run.
    pub fn new(device: Box<dyn Device>, work: StepKind, s: &Subject<'a>) -> Result<MeasuredStep<'a>> {
        let start = Training::new(s.unet.parameters(), optimiser(), 0, Stream::Init);
        if work == StepKind::Forward {
            let engine = Box::new(Engine::remote(s.unet, device, s.numbers)?.load(start.weights().to_vec()));
            return Ok(MeasuredStep::Forward { engine, diffusion: s.diffusion, batch: s.batch });
        }
        let random = Random::new(0, Stream::Evaluation);
        let images: Vec<u8> = (0..SETS * s.batch * s.unet.image().len()).map(|i| random.word(0, i as u64) as u8).collect();
        let rates = vec![2e-4; RATES];
        let inputs = TrainInputs { held: Held::All(SETS * s.batch), seed: 0, batch: s.batch, flip: true, rates: &rates };
        let mut trainer = Trainer::new(device, s.numbers, s.unet, s.diffusion, &start, inputs)?;
        trainer.bring(0, &images)?;
        // As it is, which brings the images' order too.
        trainer.run(1)?;
        Ok(MeasuredStep::Train(Box::new(trainer)))
    }

    /// Calls `measure` with a sampling walk of the network and the batch size.
    fn walk<R>(&mut self, measure: impl FnOnce(&mut Walk, usize) -> Result<R>) -> Result<R> {
        match self {
            MeasuredStep::Train(_) => unreachable!("a training step has no walk"),
            MeasuredStep::Forward { engine, diffusion, batch } => measure(&mut Walk::new(engine, diffusion, &WALK)?, *batch),
        }
    }

    /// Shows `look` the device and a step's program there.
    pub fn look<R>(&mut self, look: impl FnOnce(&mut dyn Device, usize) -> Result<R>) -> Result<R> {
        if let MeasuredStep::Train(trainer) = self {
            let (device, program) = trainer.program();
            return look(device, program);
        }
        self.walk(|walk, batch| {
            let (device, program) = walk.program(batch)?.context("a network on a device whose walk is there too")?;
            look(device, program)
        })
    }

    /// Seconds of each step, noise and update included: means over some that are made together.
    pub fn run(&mut self, groups: u32) -> Result<Vec<f64>> {
        let each = |start: Instant| start.elapsed().as_secs_f64() / TOGETHER as f64;
        let mut times = Vec::new();
        if let MeasuredStep::Train(trainer) = self {
            // Recorded.
            trainer.run(1)?;
            for _ in 0..groups {
                let start = Instant::now();
                trainer.run(TOGETHER)?;
                times.push(each(start));
            }
            return Ok(times);
        }
        self.walk(|walk, batch| {
            walk.run(0, 0, batch, &[])?;
            for i in 0..groups as usize {
                let start = Instant::now();
                walk.run(0, i * batch, batch, &[])?;
                times.push(each(start));
            }
            Ok(times)
        })
    }

    /// Bytes in use on the device.
    pub fn bytes(&self) -> usize {
        match self {
            MeasuredStep::Train(trainer) => trainer.bytes(),
            MeasuredStep::Forward { engine, .. } => engine.device_bytes().unwrap_or(0),
        }
    }
}

/// FLOP/s of one large product of random numbers: zeros would be multiplied with less power, and faster.
pub fn peak(mut device: Box<dyn Device>, numbers: NumberFormat) -> Result<f64> {
    let mut arena = Arena::default();
    let mut matrix =
        || MatrixSpan { at: arena.take(SIDE * SIDE * numbers.kind.size()), kind: numbers.kind, stride: SIDE, transposed: false, each: 0 };
    let [a, b, c] = [matrix(), matrix(), matrix()];
    device.reserve(arena.bytes())?;
    // Some rows of them, again and again.
    let some = Random::new(0, Stream::Evaluation).normals(0, 0, 1, 61 * SIDE);
    let bytes: Vec<u8> = match numbers.kind {
        Type::F32 => some.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Type::Bf16 => some.iter().flat_map(|v| Bf16::round(*v).to_le_bytes()).collect(),
    };
    for factor in [a, b] {
        for from in (0..factor.at.bytes).step_by(bytes.len()) {
            let some = &bytes[..bytes.len().min(factor.at.bytes - from)];
            device.upload(factor.at.part(from, some.len()), some)?;
        }
    }
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
