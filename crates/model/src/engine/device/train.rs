//! Training that never leaves the device: images, noise, network, optimiser and average, as one program for a step.

use super::compile::{self, Compiler, NumberFormat};
use super::{dropping, le_bytes, space_to_depth};
use crate::diffusion::Diffusion;
use crate::engine::graph::Graph;
use crate::error::Result;
use crate::optimiser::{EpsilonMode, Optimiser, Training};
use crate::train_state::{FIRST_AVERAGE, TrainState};
use crate::unet::UNet;
use ddpm_core::parameterisation::Affine;
use ddpm_core::{Objective, Prediction};
use ddpm_kernels::adam::Epsilon;
use ddpm_kernels::device::arena::Arena;
use ddpm_kernels::device::train::{Adam, BoundWeight, Clip, RING, Shard, TERMS, Terms, TrainImages, advance};
use ddpm_kernels::device::{Device, Op, Span};
use ddpm_kernels::random::{Order, Random, Stream};

/// Which images a device holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// All of them, so many: they are brought before the first step, by [`Trainer::bring`].
    All(usize),
    /// Those of two windows of so many steps, each in the order in which the steps see them: one is brought by [`Trainer::bring_window`] while
    /// the steps of the other one are made.
    Windows(u64),
}

/// What is trained on, and how.
#[derive(Clone, Copy, Debug)]
pub struct TrainInputs<'a> {
    /// The images that the device holds.
    pub held: Held,
    /// Seed of the order of the images, flips, timesteps, noise and dropout masks.
    pub seed: u64,
    /// Number of images in a step's batch.
    pub batch: usize,
    /// Whether each image is mirrored horizontally with probability 1/2.
    pub flip: bool,
    /// The learning rate of every step.
    pub rates: &'a [f64],
}

/// What step t adds to the objective.
pub fn terms(diffusion: &Diffusion, t: usize) -> Terms {
    let (process, setup) = (&diffusion.process, &diffusion.setup);
    let pair = |map: Affine| (map.xt, map.output);
    let log_sigma2 = setup.variance.log_sigma2(process, t);
    Terms {
        noisy: process.q_sample_coefficients(t),
        target: setup.prediction.target(process, t),
        error_weight: setup.objective.error_weight(setup.prediction, process, t),
        mean: pair(setup.prediction.convert(Prediction::Mu, process, t)),
        truth: pair(Prediction::X0.convert(Prediction::Mu, process, t)),
        log_posterior: process.log_sigma2_small(t),
        log_sigma2: (log_sigma2.scale, log_sigma2.offset),
    }
}

/// How the bound's term enters the objective.
pub fn bound_weight(diffusion: &Diffusion) -> BoundWeight {
    let rescaled = diffusion.process.timesteps() as f64;
    match diffusion.setup.objective {
        Objective::Simple {} | Objective::Weighted { .. } => BoundWeight { weight: 0.0, through_mean: true },
        Objective::Vlb {} => BoundWeight { weight: 1.0, through_mean: true },
        Objective::VlbRescaled {} => BoundWeight { weight: rescaled, through_mean: true },
        Objective::Hybrid { lambda } => BoundWeight { weight: lambda * rescaled, through_mean: false },
    }
}

/// A training whose state is on a device.
pub struct Trainer {
    device: Box<dyn Device>,
    layout: super::layout::Layout,
    held: Held,
    batch: usize,
    seed: u64,
    shards: usize,
    rows: Span,
    images: TrainImages,
    told: Span,
    /// Of the moving averages.
    decays: Vec<f64>,
    program: usize,
    step: u64,
    /// Steps that were begun and whose losses have not been read.
    open: u64,
    /// What is on the device, even and odd: the epochs by their orders, or the windows.
    there: [Option<u64>; 2],
}

/// Where a step's data are on the device, beside the network's.
#[derive(Clone, Copy)]
struct Places {
    images: TrainImages,
    /// The step's number; a term of the bound for each t; the rate of each step; the decay of each moving average.
    step: Span,
    terms: Span,
    rates: Span,
    decays: Span,
    /// Of a shard: its images, noise and losses.
    x0: Span,
    eps: Span,
    losses: Span,
    /// The shards' clipped gradients, added up.
    sum: Span,
    clip: Clip,
}

impl Places {
    /// For a network of `n` parameters.
    fn take(unet: &UNet, o: &Optimiser, inputs: &TrainInputs, timesteps: usize, n: usize, arena: &mut Arena) -> Places {
        let (len, shards, each) = (unet.image().len(), o.clip_shards, inputs.batch / o.clip_shards);
        let (held, count) = match inputs.held {
            Held::All(count) => (count, count),
            Held::Windows(steps) => (2 * steps as usize * inputs.batch, steps as usize * inputs.batch),
        };
        let images = TrainImages { bytes: arena.take(held * len), held, order: arena.take(8 * count), count, layout: space_to_depth(unet) };
        let (partial, told) = Clip::room(shards);
        let (step, terms, rates) = (arena.take(16), arena.take(8 * TERMS * (timesteps + 1)), arena.take(8 * inputs.rates.len().max(1)));
        let decays = arena.take(4 * o.kept().len());
        let clip =
            Clip { n, limit: o.clip_norm, shards, step, told: arena.take(told), factor: arena.take(4), partial: arena.take(partial) };
        let sum = arena.take(4 * n);
        let [x0, eps] = [(); 2].map(|_| arena.take(4 * each * len));
        Places { images, step, terms, rates, decays, x0, eps, losses: arena.take(8 * each), sum, clip }
    }

    /// The operations of one shard: its images and noise, the network and back, and its clipped gradient added to the sum.
    fn shard(&self, shard: usize, mut compiler: Compiler, (unet, diffusion): (&UNet, &Diffusion), inputs: &TrainInputs) -> Result<Vec<Op>> {
        let (xt, t, each) = (compiler.x, compiler.t, compiler.batch);
        compiler.dropout = (unet.dropout() > 0.0).then(|| dropping(unet, inputs.seed, shard * each, self.step));
        let made = Shard {
            kind: compiler.numbers.kind,
            seed: inputs.seed,
            batch: inputs.batch,
            first: shard * each,
            images: each,
            timesteps: diffusion.process.timesteps(),
            step: self.step,
            terms: self.terms,
            x0: self.x0,
            eps: self.eps,
            t,
            xt,
        };
        compiler.ops.push(made.make(self.images, inputs.flip));
        let out = compiler.forward(true)?;
        let dout = compiler.arena.take(out.bytes);
        let outputs = diffusion.out_channels(1);
        compiler.ops.push(made.objective(self.images.layout, outputs, bound_weight(diffusion), out, self.losses, dout));
        compiler.backward(dout);
        let gradient = compiler.shared.gradient.expect("a network that is trained has a gradient");
        let mut ops = compiler.ops;
        ops.extend(self.clip.apply(shard, gradient, (self.losses, each), self.sum));
        compiler.arena.put(xt);
        compiler.arena.put(t);
        Ok(ops)
    }
}

/// The optimiser as the device has it, reading its rates, its step and its averages' decays there.
fn adam(o: &Optimiser, [rates, step, decays]: [Span; 3]) -> Adam {
    Adam {
        beta1: o.beta1,
        beta2: o.beta2,
        epsilon: o.epsilon,
        epsilon_mode: if o.epsilon_mode == EpsilonMode::Hat { Epsilon::Hat } else { Epsilon::Corrected },
        decays,
        rates,
        step,
    }
}

impl Trainer {
    /// Whether a whole training step can run on a device: random numbers are drawn four at a time.
    pub fn can(unet: &UNet) -> bool {
        unet.image().len().is_multiple_of(4)
    }

    /// Continues from `training`. The network must satisfy [`Trainer::can`].
    pub fn new(
        mut device: Box<dyn Device>,
        numbers: NumberFormat,
        unet: &UNet,
        diffusion: &Diffusion,
        training: &Training,
        inputs: TrainInputs,
    ) -> Result<Trainer> {
        let (graph, mut arena, o) = (Graph::new(unet)?, Arena::default(), training.optimiser());
        compile::check(unet, &graph)?;
        let (timesteps, channels) = (diffusion.process.timesteps(), unet.time_channels());
        let shared = compile::share(unet.parameters(), timesteps, channels, FIRST_AVERAGE + o.kept().len(), numbers, &mut arena);
        let (n, places) = (shared.layout.len, Places::take(unet, o, &inputs, timesteps, shared.layout.len, &mut arena));
        let Places { images, clip, step, terms, rates, decays, sum, .. } = places;
        let mut ops = Vec::new();
        for shard in 0..o.clip_shards {
            let compiler = Compiler::new(&graph, &shared, numbers, inputs.batch / o.clip_shards, &mut arena);
            ops.append(&mut places.shard(shard, compiler, (unet, diffusion), &inputs)?);
        }
        ops.push(adam(o, [rates, step, decays]).update(
            shared.rows,
            sum,
            n,
            (shared.weights.at != shared.rows.at).then_some(shared.weights),
        ));
        ops.push(advance(step));
        device.reserve(arena.bytes())?;
        let narrow = super::narrow(&shared, numbers).map(|op| device.load(vec![op])).transpose()?;
        let program = device.load(ops)?;
        for (i, row) in training.state().rows().into_iter().enumerate() {
            let span = shared.rows.part(4 * i * n, 4 * n);
            device.upload(span, bytemuck::cast_slice(&shared.layout.to_device(row)))?;
        }
        if let Some(narrow) = narrow {
            device.run(narrow)?;
        }
        if let Held::Windows(_) = inputs.held {
            // Each window as it comes.
            device.upload(images.order, &le_bytes((0..images.held).map(|i| i as u32)))?;
        }
        device.upload(step, bytemuck::cast_slice(&[training.step(), 0]))?;
        device.upload(rates, bytemuck::cast_slice(inputs.rates))?;
        device.upload(decays, bytemuck::cast_slice(&o.kept().iter().map(|decay| *decay as f32).collect::<Vec<_>>()))?;
        super::upload_embeddings(&mut *device, unet, timesteps, shared.table)?;
        let rows = (0..=timesteps).flat_map(|t| if t == 0 { [0.0; TERMS] } else { self::terms(diffusion, t).numbers() });
        device.upload(terms, bytemuck::cast_slice(&rows.collect::<Vec<f64>>()))?;
        Ok(Trainer {
            device,
            layout: shared.layout.clone(),
            held: inputs.held,
            batch: inputs.batch,
            seed: inputs.seed,
            shards: o.clip_shards,
            rows: shared.rows,
            images,
            told: clip.told,
            decays: o.kept().to_vec(),
            program,
            step: training.step(),
            open: 0,
            there: [None; 2],
        })
    }

    /// Steps made so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// For benchmarking, the device and the program of one step: steps run through it are not counted, and leave the state unusable.
    pub fn program(&mut self) -> (&mut dyn Device, usize) {
        (&mut *self.device, self.program)
    }

    /// Bytes in use on the device.
    pub fn bytes(&self) -> usize {
        self.device.bytes()
    }

    /// Brings the images from number `first` on, `[n, H, W, C]` in bytes, where the device holds all of them.
    pub fn bring(&mut self, first: usize, pixels: &[u8]) -> Result<()> {
        let each = self.images.layout.len();
        assert!(matches!(self.held, Held::All(count) if first + pixels.len() / each <= count), "image {first} of {:?}", self.held);
        Ok(self.device.upload(self.images.bytes.part(first * each, pixels.len()), pixels)?)
    }

    /// Brings the images of window `window`: steps `window * n` to `(window + 1) * n`, n the steps of a window, as far as the training goes.
    /// Beside steps that were begun, which must be of the window before it.
    pub fn bring_window(&mut self, window: u64, pixels: &[u8]) -> Result<()> {
        let (slot, room) = ((window % 2) as usize, self.images.bytes.bytes / 2);
        let before = |steps: u64| [self.step - self.open, self.step - 1].iter().all(|step| step / steps + 1 == window);
        assert!(matches!(self.held, Held::Windows(steps) if self.open == 0 || before(steps)), "window {window}");
        self.device.upload_beside(self.images.bytes.part(slot * room, room), pixels)?;
        self.there[slot] = Some(window);
        Ok(())
    }

    /// Whether the images of a window are there.
    pub fn has_window(&self, window: u64) -> bool {
        self.there.contains(&Some(window))
    }

    /// Sees to it that the device finds the images of the next step: the orders of its epochs, or its window.
    fn find(&mut self) -> Result<()> {
        let count = match self.held {
            Held::All(count) => count,
            Held::Windows(steps) => {
                assert!(self.has_window(self.step / steps), "the images of step {} were not brought", self.step);
                return Ok(());
            }
        };
        let (n, first) = (count as u64, self.step * self.batch as u64);
        let (from, to) = (first / n, (first + self.batch as u64 - 1) / n);
        assert!(to - from < 2, "a batch of {} from {n} images", self.batch);
        for epoch in from..=to {
            let slot = (epoch % 2) as usize;
            if self.there[slot] != Some(epoch) {
                let order = Order::new(&Random::new(self.seed, Stream::Shuffle), epoch, count);
                let images = le_bytes((0..count).map(|i| order.at(i) as u32));
                self.device.upload(self.images.order.part(4 * slot * count, 4 * count), &images)?;
                self.there[slot] = Some(epoch);
            }
        }
        Ok(())
    }

    /// Runs `steps` steps and returns (mean loss, gradient norm) of each. The host synchronises once every [`RING`] steps.
    pub fn run(&mut self, steps: u64) -> Result<Vec<(f64, f64)>> {
        let mut all = Vec::with_capacity(steps as usize);
        while all.len() < steps as usize {
            self.begin((steps - all.len() as u64).min(RING as u64))?;
            all.extend(self.end()?);
        }
        Ok(all)
    }

    /// Begins `steps` steps, at most [`RING`], which [`Trainer::end`] waits for.
    pub fn begin(&mut self, steps: u64) -> Result<()> {
        assert!(self.open + steps <= RING as u64, "{} + {steps} steps at once", self.open);
        for _ in 0..steps {
            self.find()?;
            self.device.run(self.program)?;
            self.step += 1;
            self.open += 1;
        }
        Ok(())
    }

    /// Waits for the steps that were begun, and returns (mean loss, gradient norm) of each.
    pub fn end(&mut self) -> Result<Vec<(f64, f64)>> {
        let mut told = vec![0f64; 2 * RING * self.shards];
        self.device.download(self.told, bytemuck::cast_slice_mut(&mut told))?;
        let from = self.step - std::mem::take(&mut self.open);
        let of_step = |step: u64| {
            let row = &told[(step as usize % RING) * self.shards * 2..][..self.shards * 2];
            let mean = |which: usize| row.iter().skip(which).step_by(2).sum::<f64>() / self.shards as f64;
            (mean(1), mean(0).sqrt())
        };
        Ok((from..self.step).map(of_step).collect())
    }

    /// Weights, moments and moving averages, as the host keeps them.
    pub fn state(&mut self) -> Result<TrainState> {
        let n = self.layout.len;
        let len = self.layout.host_len();
        let mut state = TrainState::zeros(len, &self.decays);
        let mut device = vec![0f32; n];
        for (i, row) in state.rows_mut().into_iter().enumerate() {
            self.device.download(self.rows.part(4 * i * n, 4 * n), bytemuck::cast_slice_mut(&mut device))?;
            self.layout.to_host(&device, row);
        }
        Ok(state)
    }
}
