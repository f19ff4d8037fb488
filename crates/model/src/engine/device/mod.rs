//! The network on a device: a plan compiled to programs over one arena.

mod backward;
mod compile;
mod layout;
mod train;
mod walk;

pub use compile::NumberFormat;
pub use train::{Held, TrainInputs, Trainer, bound_weight, terms};
pub(crate) use walk::Walker;

use super::graph::Graph;
use crate::error::Result;
use crate::unet::UNet;
use compile::{Compiler, Dropping, Shared};
use ddpm_kernels::device::arena::Arena;
use ddpm_kernels::device::space_to_depth::SpaceToDepth;
use ddpm_kernels::device::{Device, Op, Span, Type, maps};
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::gemm::{Bf16, Storage};
use layout::{filled, with_channels};

/// Runs a network one batch at a time, with tensors copied from and to the host.
pub struct DeviceBackend {
    device: Box<dyn Device>,
    unet: UNet,
    graph: Graph,
    numbers: NumberFormat,
    ready: Option<LoadedPrograms>,
    /// How often the arena was taken over.
    claimed: u64,
}

/// What the programs on the device are for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Purpose {
    batch: usize,
    trains: bool,
    /// Seed of the masks, where there are any.
    masks: Option<u64>,
}

/// Programs and the places that the host writes and reads.
struct LoadedPrograms {
    purpose: Purpose,
    shared: Shared,
    /// Whether the weights there are those of [`DeviceBackend::forward`].
    loaded: bool,
    x: Span,
    y: Span,
    dy: Option<Span>,
    /// The training step and the first image's place in its batch.
    step: Span,
    narrow: Option<usize>,
    forward: usize,
    backward: Option<usize>,
}

impl DeviceBackend {
    /// Of a network; the error says what the device's kernels need of it.
    pub fn new(device: Box<dyn Device>, unet: &UNet, numbers: NumberFormat) -> Result<DeviceBackend> {
        let graph = Graph::new(unet)?;
        compile::check(unet, &graph)?;
        Ok(DeviceBackend { device, unet: unet.clone(), graph, numbers, ready: None, claimed: 0 })
    }

    /// The device.
    pub fn device(&self) -> &dyn Device {
        &*self.device
    }

    /// Takes the arena over for other programs: those before are gone.
    fn claim(&mut self) -> u64 {
        self.ready = None;
        self.claimed += 1;
        self.claimed
    }

    /// Marks the weights as changed: the next forward pass uploads them again.
    pub fn forget(&mut self) {
        if let Some(ready) = &mut self.ready {
            ready.loaded = false;
        }
    }

    fn prepare(&mut self, purpose: Purpose) -> Result<LoadedPrograms> {
        if let Some(ready) = self.ready.take_if(|ready| ready.purpose == purpose) {
            return Ok(ready);
        }
        self.claim();
        let (unet, mut arena, batch) = (&self.unet, Arena::default(), purpose.batch);
        let rows = if purpose.trains { 2 } else { 1 };
        let shared = compile::share(unet.parameters(), batch, unet.time_channels(), rows, self.numbers, &mut arena);
        let step = arena.take(16);
        let mut compiler = Compiler::new(&self.graph, &shared, self.numbers, batch, &mut arena);
        compiler.dropout = purpose.masks.map(|seed| dropping(unet, seed, 0, step));
        let (x, t) = (compiler.x, compiler.t);
        let y = compiler.forward(purpose.trains)?;
        let forward = std::mem::take(&mut compiler.ops);
        let (mut dy, mut backward) = (None, None);
        if purpose.trains {
            dy = Some(compiler.arena.take(y.bytes));
            compiler.backward(dy.expect("just taken"));
            backward = Some(std::mem::take(&mut compiler.ops));
        }
        self.device.reserve(arena.bytes())?;
        let narrow = narrow(&shared, self.numbers).map(|op| self.device.load(vec![op])).transpose()?;
        let forward = self.device.load(forward)?;
        let backward = backward.map(|ops| self.device.load(ops)).transpose()?;
        // Steps are rows of the table, which holds those of the batch at hand.
        self.device.upload(t, &le_bytes(1..=batch as u32))?;
        Ok(LoadedPrograms { purpose, shared, loaded: false, x, y, dy, step, narrow, forward, backward })
    }

    fn weigh(&mut self, ready: &mut LoadedPrograms, weights: &[f32]) -> Result<()> {
        self.device.upload(ready.shared.rows, bytemuck::cast_slice(&ready.shared.layout.to_device(weights)))?;
        if let Some(narrow) = ready.narrow {
            self.device.run(narrow)?;
        }
        ready.loaded = true;
        Ok(())
    }

    fn begin(&mut self, ready: &LoadedPrograms, x: &[f32], embedding: &[f32]) -> Result<()> {
        let channels = self.unet.ends().0.c;
        self.device.upload(ready.x, &elements(self.numbers.kind, &with_channels(x, channels, filled(channels))))?;
        self.device.upload(ready.shared.table, bytemuck::cast_slice(embedding))?;
        self.device.run(ready.forward)?;
        Ok(())
    }

    fn result(&mut self, ready: &LoadedPrograms) -> Result<Vec<f32>> {
        let mut bytes = vec![0; ready.y.bytes];
        self.device.download(ready.y, &mut bytes)?;
        let channels = self.unet.ends().1.c;
        Ok(with_channels(&floats(self.numbers.kind, &bytes), filled(channels), channels))
    }

    /// The network's result for images `x` whose steps have `embedding`. `weights` are written once, until [`DeviceBackend::forget`].
    pub fn forward(&mut self, weights: &[f32], x: &[f32], embedding: &[f32], batch: usize) -> Result<Vec<f32>> {
        let mut ready = self.prepare(Purpose { batch, trains: false, masks: None })?;
        if !ready.loaded {
            self.weigh(&mut ready, weights)?;
        }
        self.begin(&ready, x, embedding)?;
        let y = self.result(&ready);
        self.ready = Some(ready);
        y
    }

    /// The gradient of all parameters; `loss` maps the output to the output's gradient. `dropout`: the masks and the step.
    pub fn gradient(
        &mut self,
        weights: &[f32],
        (x, embedding, batch): (&[f32], &[f32], usize),
        dropout: Option<(Dropout, u64)>,
        loss: impl FnOnce(Vec<f32>) -> Result<Vec<f32>>,
        gradient: &mut [f32],
    ) -> Result<()> {
        let mut ready = self.prepare(Purpose { batch, trains: true, masks: dropout.map(|d| d.0.seed) })?;
        self.weigh(&mut ready, weights)?;
        if let Some((dropout, step)) = dropout {
            self.device.upload(ready.step, bytemuck::cast_slice(&[step, dropout.first as u64]))?;
        }
        self.begin(&ready, x, embedding)?;
        let channels = self.unet.ends().1.c;
        let dy = with_channels(&loss(self.result(&ready)?)?, channels, filled(channels));
        self.device.upload(ready.dy.expect("a program that trains"), &elements(self.numbers.kind, &dy))?;
        self.device.run(ready.backward.expect("a program that trains"))?;
        let mut found = vec![0f32; ready.shared.layout.len];
        self.device.download(ready.shared.gradient.expect("a program that trains"), bytemuck::cast_slice_mut(&mut found))?;
        ready.shared.layout.to_host(&found, gradient);
        self.ready = Some(ready);
        Ok(())
    }
}

/// The masks of `unet` in training, for images that are counted from `first`.
fn dropping(unet: &UNet, seed: u64, first: usize, step: Span) -> Dropping {
    Dropping { seed, p: unet.dropout(), layers: unet.dropout_step(1, 0), first, step }
}

/// How a network's images stand in its first and last feature maps.
fn space_to_depth(unet: &UNet) -> SpaceToDepth {
    let (image, map) = (unet.image(), unet.ends().0);
    SpaceToDepth { h: image.height, w: image.width, c: image.channels, block: image.height / map.h }
}

/// Writes the weights that products read, where they are not f32.
fn narrow(shared: &Shared, numbers: NumberFormat) -> Option<Op> {
    (numbers.kind == Type::Bf16).then(|| maps::narrow(shared.rows, shared.layout.len, shared.weights))
}

/// The embeddings of all steps, into `table`.
fn upload_embeddings(device: &mut dyn Device, unet: &UNet, timesteps: usize, table: Span) -> Result<()> {
    let t: Vec<usize> = (1..=timesteps).collect();
    let embedding: Vec<f32> = unet.embedding(&t)?.into_iter().map(|v| v as f32).collect();
    Ok(device.upload(table, bytemuck::cast_slice(&embedding))?)
}

fn le_bytes(words: impl Iterator<Item = u32>) -> Vec<u8> {
    words.flat_map(u32::to_le_bytes).collect()
}

/// Numbers as a device keeps them in feature maps.
fn elements(kind: Type, numbers: &[f32]) -> Vec<u8> {
    match kind {
        Type::F32 => bytemuck::cast_slice(numbers).to_vec(),
        Type::Bf16 => numbers.iter().flat_map(|v| Bf16::round(*v).to_le_bytes()).collect(),
    }
}

fn floats(kind: Type, bytes: &[u8]) -> Vec<f32> {
    match kind {
        Type::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Type::Bf16 => bytes.chunks_exact(2).map(|b| f32::from_bits((u16::from_le_bytes([b[0], b[1]]) as u32) << 16)).collect(),
    }
}
