//! The parts of a training step outside the network, on the device: images and noise, loss gradient, clipping, Adam, moving average.

use super::launch::{Argument, ElementType, Launch, adds, reads, u32, updates, writes};
use super::space_to_depth::SpaceToDepth;
use super::{Op, Span, Type};
use crate::adam::Epsilon;
use crate::random::{Random, Stream};

/// Blocks at most that take a sum of squares together.
const SQUARES: usize = 512;

/// Steps whose losses are kept until they are read.
pub const RING: usize = 64;

/// Images and their order on the device. Place p of a training is found by the order of epoch p / count; even and odd epochs take turns in
/// two slots.
#[derive(Clone, Copy, Debug)]
pub struct TrainImages {
    /// \[held, h, w, c\] bytes.
    pub bytes: Span,
    /// Number of images that are held.
    pub held: usize,
    /// The images at the places of two epochs, even and odd, \[2, count\] u32, below `held`.
    pub order: Span,
    /// Number of places of an epoch.
    pub count: usize,
    /// Size of the images and their layout in the network's feature maps.
    pub layout: SpaceToDepth,
}

/// What a step t adds to the objective, as its kernel reads it. The reverse step's mean is `mean` applied to (x_t, output), the posterior's is
/// `truth` applied to (x_t, x_0), ln sigma2 is `log_sigma2`, (scale, offset), applied to the second output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// x_t = a x_0 + b eps.
    pub noisy: (f64, f64),
    /// The output at the truth, by (x_0, eps).
    pub target: (f64, f64),
    /// Weight of the output's squared error.
    pub error_weight: f64,
    /// (coefficient of x_t, coefficient of the output) in the mean of the reverse step.
    pub mean: (f64, f64),
    /// (coefficient of x_t, coefficient of x_0) in the mean of the posterior.
    pub truth: (f64, f64),
    /// Natural logarithm of the posterior's variance; read for t > 1 only.
    pub log_posterior: f64,
    /// (scale, offset): ln sigma2 = scale r + offset of the second output r; the scale is 0 where the variance is fixed.
    pub log_sigma2: (f64, f64),
}

/// f64 numbers of [`Terms`].
pub const TERMS: usize = 12;

impl Terms {
    /// As the kernel reads them.
    pub fn numbers(&self) -> [f64; TERMS] {
        let Terms { noisy, target, error_weight, mean, truth, log_posterior, log_sigma2 } = *self;
        let (scale, offset) = log_sigma2;
        [noisy.0, noisy.1, target.0, target.1, error_weight, mean.0, mean.1, truth.0, truth.1, log_posterior, scale, offset]
    }
}

/// How the bound's term enters the loss, beside the squared error that [`Terms::error_weight`] weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundWeight {
    /// Weight of the term in bits/dim; 0 where the loss has none.
    pub weight: f64,
    /// Whether its gradient reaches the mean, or the variance alone.
    pub through_mean: bool,
}

/// One shard of every step's batch.
#[derive(Clone, Copy, Debug)]
pub struct Shard {
    /// Type of the numbers in the network's feature maps.
    pub kind: Type,
    /// Seed of flips, timesteps and noise.
    pub seed: u64,
    /// Images in a step's batch; the shard's first one and how many it has.
    pub batch: usize,
    /// Index of the shard's first image in the batch, from 0.
    pub first: usize,
    /// Number of images in the shard, B.
    pub images: usize,
    /// T.
    pub timesteps: usize,
    /// The step's number (u64).
    pub step: Span,
    /// [`Terms`] of every t, \[T + 1, TERMS\] f64; those of 0 are not read.
    pub terms: Span,
    /// What the shard's images become: x_0 and eps in f32, as images; t (u32); and x_t as the network reads it.
    pub x0: Span,
    /// The noise eps, \[B, H, W, C\] f32.
    pub eps: Span,
    /// The timesteps, \[B\] u32, in 1..=T.
    pub t: Span,
    /// x_t in the layout and type that the network reads.
    pub xt: Span,
}

impl Shard {
    fn terms(&self) -> Argument {
        reads(self.terms, TERMS * (self.timesteps + 1), ElementType::F64).touching(TERMS * self.images)
    }

    /// Gathers the images, mirrors some of them, and makes them noisy.
    pub fn make(&self, from: TrainImages, flip: bool) -> Op {
        let (layout, len) = (from.layout, from.layout.len());
        let n = self.images * len;
        assert!(self.first + self.images <= self.batch, "{self:?}");
        let stream = |stream| Argument::U32(Random::new(self.seed, stream).key_and_stream().1);
        let [key0, key1] = Random::new(self.seed, Stream::Flip).key_and_stream().0.map(Argument::U32);
        let mut arguments = vec![
            reads(from.bytes, from.held * len, ElementType::Byte).touching(n),
            reads(from.order, 2 * from.count, ElementType::U32).touching(self.images),
            u32(from.count),
        ];
        arguments.extend(layout.arguments());
        arguments.extend([
            u32(flip as usize),
            key0,
            key1,
            stream(Stream::Flip),
            stream(Stream::Timestep),
            stream(Stream::TrainNoise),
            self.terms(),
            u32(TERMS),
            u32(self.timesteps),
            reads(self.step, 1, ElementType::U64),
            u32(self.batch),
            u32(self.first),
            u32(self.images),
            writes(self.x0, n, ElementType::F32),
            writes(self.eps, n, ElementType::F32),
            writes(self.t, self.images, ElementType::U32),
            writes(self.xt, self.images * layout.map_len(1), self.kind),
        ]);
        Op::Launch(Launch::each(format!("batch_{}", self.kind.suffix()), n / 4, arguments))
    }

    /// The objective of the network's output, which has `outputs` numbers for each of the image's: each image's to `losses` (f64), the
    /// gradient of the shard's mean to `dout`.
    pub fn objective(&self, layout: SpaceToDepth, outputs: usize, bound: BoundWeight, out: Span, losses: Span, dout: Span) -> Op {
        let (n, numbers, threads) = (self.images * layout.len(), self.images * layout.map_len(outputs), 256);
        let mut arguments = vec![
            reads(out, numbers, self.kind),
            reads(self.x0, n, ElementType::F32),
            reads(self.eps, n, ElementType::F32),
            reads(self.t, self.images, ElementType::U32),
            self.terms(),
            u32(TERMS),
        ];
        arguments.extend(layout.arguments());
        arguments.extend([
            u32(outputs),
            u32(self.images),
            Argument::F64(bound.weight),
            u32(bound.through_mean as usize),
            writes(losses, self.images, ElementType::F64),
            writes(dout, numbers, self.kind),
        ]);
        let name = format!("objective_{}", self.kind.suffix());
        Op::Launch(Launch { name, grid: (self.images as u32, 1), threads, shared: 8 * threads, arguments })
    }
}

/// Clips and averages the gradients of all shards.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    /// Length of a gradient.
    pub n: usize,
    /// Largest norm; none where absent.
    pub limit: Option<f64>,
    /// Number of shards of a step's batch.
    pub shards: usize,
    /// The step's number, from 0 (u64).
    pub step: Span,
    /// What is told of each step, \[RING, shards, 2\] f64: squared norm, mean loss.
    pub told: Span,
    /// The factor of a shard's gradient (f32).
    pub factor: Span,
    /// Room for partial sums.
    pub partial: Span,
}

impl Clip {
    /// Bytes of [`Clip::partial`] and of [`Clip::told`].
    pub fn room(shards: usize) -> (usize, usize) {
        (8 * SQUARES, 16 * RING * shards)
    }

    /// The factor for shard `shard`, whose `images` losses are in `losses`; then the gradient times it to `sum`, written by the first shard
    /// and added to by the others.
    pub fn apply(&self, shard: usize, gradient: Span, (losses, images): (Span, usize), sum: Span) -> [Op; 3] {
        let n = Argument::U64(self.n as u64);
        let mut squares = Launch::among("squares", self.n, vec![reads(gradient, self.n, ElementType::F32), n]);
        let blocks = SQUARES.min(squares.grid.0 as usize);
        squares.grid = (blocks as u32, 1);
        squares.shared = 8 * squares.threads;
        squares.arguments.push(writes(self.partial, blocks, ElementType::F64));
        let arguments = vec![
            reads(self.partial, blocks, ElementType::F64),
            u32(blocks),
            reads(losses, images, ElementType::F64),
            u32(images),
            Argument::F64(self.limit.unwrap_or(0.0)),
            u32(shard),
            u32(self.shards),
            reads(self.step, 1, ElementType::U64),
            u32(RING),
            updates(self.told, 2 * RING * self.shards, ElementType::F64).touching(2),
            writes(self.factor, 1, ElementType::F32),
        ];
        let clip = Launch { name: "clip".into(), grid: (1, 1), threads: 128, shared: 8 * 128, arguments };
        let add = shard > 0;
        let (gradient, factor) = (reads(gradient, self.n, ElementType::F32), reads(self.factor, 1, ElementType::F32));
        let arguments = vec![gradient, n, factor, u32(add as usize), adds(add, sum, self.n, ElementType::F32)];
        [Op::Launch(squares), Op::Launch(clip), Op::Launch(Launch::among("add_scaled", self.n, arguments))]
    }
}

/// The optimiser's numbers that are the same in every step.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Decay of the first moment, in \[0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in \[0, 1).
    pub beta2: f64,
    /// Positive number added to the root of the second moment.
    pub epsilon: f64,
    /// How epsilon enters the update.
    pub epsilon_mode: Epsilon,
    /// Decays of the moving averages of the weights, each in \[0, 1), as f32.
    pub decays: Span,
    /// The rate of every step, from 0 on (f64).
    pub rates: Span,
    /// The step's number, from 0 (u64).
    pub step: Span,
}

impl Adam {
    /// One update of `rows` \[3 + averages, n\] (weights, moments, moving averages) by `gradient`, optionally with a bf16 copy of the
    /// weights. The first update sets the averages to the weights.
    pub fn update(&self, rows: Span, gradient: Span, n: usize, narrowed: Option<Span>) -> Op {
        let averages = self.decays.bytes / 4;
        let arguments = vec![
            updates(rows, (3 + averages) * n, ElementType::F32),
            reads(gradient, n, ElementType::F32),
            Argument::U64(n as u64),
            reads(self.rates, self.rates.bytes / 8, ElementType::F64).touching(1),
            reads(self.step, 1, ElementType::U64),
            Argument::F64(self.beta1),
            Argument::F64(self.beta2),
            Argument::F64(self.epsilon),
            u32((self.epsilon_mode == Epsilon::Corrected) as usize),
            reads(self.decays, averages, ElementType::F32),
            u32(averages),
            narrowed.map_or(Argument::Nothing, |span| writes(span, n, ElementType::Bf16)),
        ];
        let mut launch = Launch::among("adam", n, arguments);
        launch.shared = 16;
        Op::Launch(launch)
    }
}

/// Increments the number at `step`.
pub fn advance(step: Span) -> Op {
    Op::Launch(Launch { name: "advance".into(), grid: (1, 1), threads: 1, shared: 0, arguments: vec![updates(step, 1, ElementType::U64)] })
}
