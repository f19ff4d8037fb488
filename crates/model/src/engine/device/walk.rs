//! Sampling entirely on a device, up to the final images: one program per step, whose index in the walk is kept on the device.

use super::compile::{self, Compiler};
use super::{DeviceBackend, le_bytes, space_to_depth};
use crate::diffusion::Diffusion;
use crate::error::Result;
use crate::unet::UNet;
use ddpm_core::sampler::{Noise, Step};
use ddpm_kernels::device::arena::Arena;
use ddpm_kernels::device::sample::{ROW, SampleBatch, StepCoefficients};
use ddpm_kernels::device::train::advance;
use ddpm_kernels::device::{Device, Span};

/// A walk on a device, for batches up to a size.
pub struct Walker {
    /// The arena that its places are in, see [`DeviceBackend::claim`].
    claim: u64,
    seed: u64,
    images: usize,
    len: usize,
    first: Span,
    place: Span,
    x: Span,
    predicted: Span,
    start: usize,
    step: usize,
    steps: Vec<Step>,
}

/// A step's coefficients as the device's table has them.
fn row(step: &Step, diffusion: &Diffusion) -> StepCoefficients {
    let to_x0 = diffusion.setup.prediction.to_x0(&diffusion.process, step.t);
    let (sigma, learned) = match step.noise {
        Noise::Fixed(sigma) => (sigma, None),
        Noise::Learned(log_sigma2) => (0.0, Some((log_sigma2.scale as f32, log_sigma2.offset as f32))),
    };
    StepCoefficients {
        x0_xt: to_x0.xt as f32,
        x0_output: to_x0.output as f32,
        xt: step.xt as f32,
        x0: step.x0 as f32,
        x0_before: step.x0_before as f32,
        output: step.output as f32,
        sigma: sigma as f32,
        learned,
    }
}

impl Walker {
    /// Whether a whole walk can run on a device: random numbers are drawn four at a time.
    pub fn can(unet: &UNet) -> bool {
        unet.image().len().is_multiple_of(4)
    }

    /// For up to `images` samples of `seed` at a time. Takes the device's arena over.
    pub fn new(
        remote: &mut DeviceBackend,
        weights: &[f32],
        diffusion: &Diffusion,
        (steps, clips): (&[Step], bool),
        (seed, images): (u64, usize),
    ) -> Result<Walker> {
        let claim = remote.claim();
        let DeviceBackend { device, unet, graph, numbers, .. } = remote;
        let (mut arena, image, numbers) = (Arena::default(), unet.image(), *numbers);
        let timesteps = diffusion.process.timesteps();
        let shared = compile::share(unet.parameters(), timesteps, unet.time_channels(), 1, numbers, &mut arena);
        let [first, place] = [(); 2].map(|_| arena.take(16));
        let [x, predicted] = [(); 2].map(|_| arena.take(4 * images * image.len()));
        let (rows, list) = (arena.take(ROW * steps.len()), arena.take(4 * steps.len()));
        let mut compiler = Compiler::new(graph, &shared, numbers, images, &mut arena);
        let walk = SampleBatch {
            kind: numbers.kind,
            seed,
            images,
            layout: space_to_depth(unet),
            outputs: diffusion.out_channels(1),
            first,
            place,
            x,
            predicted,
            state: compiler.x,
        };
        compiler.ops.push(walk.steps(list, compiler.t));
        let out = compiler.forward(false)?;
        let mut ops = compiler.ops;
        ops.extend([walk.step(out, rows, clips), advance(place)]);
        device.reserve(arena.bytes())?;
        let narrow = super::narrow(&shared, numbers).map(|op| device.load(vec![op])).transpose()?;
        let start = device.load(vec![walk.start()])?;
        let step = device.load(ops)?;
        device.upload(shared.rows, bytemuck::cast_slice(&shared.layout.to_device(weights)))?;
        if let Some(narrow) = narrow {
            device.run(narrow)?;
        }
        super::upload_embeddings(&mut **device, unet, timesteps, shared.table)?;
        device.upload(list, &le_bytes(steps.iter().map(|step| step.t as u32)))?;
        device.upload(rows, &steps.iter().flat_map(|step| row(step, diffusion).bytes()).collect::<Vec<u8>>())?;
        Ok(Walker { claim, seed, images, len: image.len(), first, place, x, predicted, start, step, steps: steps.to_vec() })
    }

    /// Whether it can make `images` samples of `seed` now.
    pub fn fits(&self, remote: &DeviceBackend, seed: u64, images: usize) -> bool {
        (self.claim, self.seed) == (remote.claimed, seed) && images <= self.images
    }

    fn begin(&mut self, remote: &mut DeviceBackend, first: usize) -> Result<()> {
        let device = &mut remote.device;
        device.upload(self.first, bytemuck::cast_slice(&[first as u64]))?;
        device.upload(self.place, bytemuck::cast_slice(&[0u64]))?;
        Ok(device.run(self.start)?)
    }

    /// The device and a step's program there, at the beginning of a walk, to be measured.
    pub fn program<'a>(&mut self, remote: &'a mut DeviceBackend) -> Result<(&'a mut dyn Device, usize)> {
        self.begin(remote, 0)?;
        Ok((&mut *remote.device, self.step))
    }

    /// `images` samples from `first` on. `see` gets the step and the x_0 that it predicts, for steps in `keep`.
    pub fn run(
        &mut self,
        remote: &mut DeviceBackend,
        (first, images): (usize, usize),
        keep: &[usize],
        see: &mut dyn FnMut(usize, Vec<f32>) -> Result<()>,
    ) -> Result<Vec<f32>> {
        self.begin(remote, first)?;
        let device = &mut remote.device;
        let read = |device: &mut dyn Device, span| -> Result<Vec<f32>> {
            let mut numbers = vec![0f32; images * self.len];
            device.download(span, bytemuck::cast_slice_mut(&mut numbers))?;
            Ok(numbers)
        };
        for step in &self.steps {
            device.run(self.step)?;
            if keep.contains(&step.t) {
                see(step.t, read(&mut **device, self.predicted)?)?;
            }
        }
        read(&mut **device, self.x)
    }
}
