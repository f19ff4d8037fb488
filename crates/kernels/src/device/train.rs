//! A training step beside the network, on the device: its images and noise, the loss's gradient, clipping, Adam and the average.

use super::launch::{Argument, Launch, place, u32};
use super::{Op, Span, Type};
use crate::adam::Epsilon;
use crate::random::{Random, Stream};

/// Blocks that take a sum of squares together.
const SQUARES: usize = 512;

/// Steps whose losses are kept until they are read.
pub const RING: usize = 64;

/// Images and their order on the device.
#[derive(Clone, Copy, Debug)]
pub struct Images {
    /// \[count, h, w, c\] bytes.
    pub bytes: Span,
    /// The order of two epochs, even and odd, \[2, count\] u32.
    pub order: Span,
    pub count: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
}

impl Images {
    /// Numbers of an image.
    pub fn len(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Never: an image has pixels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One shard of every step's batch.
#[derive(Clone, Copy, Debug)]
pub struct Shard {
    pub kind: Type,
    pub seed: u64,
    /// Images in a step's batch; the shard's first one and how many it has.
    pub batch: usize,
    pub first: usize,
    pub images: usize,
    /// T.
    pub timesteps: usize,
    /// The step's number (u64).
    pub step: Span,
    /// What the shard's images become: x_0 and eps in f32, t (u32), and x_t.
    pub x0: Span,
    pub eps: Span,
    pub t: Span,
    pub xt: Span,
}

impl Shard {
    /// Gathers the images, mirrors some of them, and makes them noisy. `signal_and_noise`: \[T + 1, 2\] f32, by t. The numbers of an image
    /// are a multiple of 4.
    pub fn make(&self, from: Images, flip: bool, signal_and_noise: Span) -> Op {
        let (len, n) = (from.len(), self.images * from.len());
        assert!(len.is_multiple_of(4) && self.first + self.images <= self.batch, "{self:?} of images of {len} numbers");
        let stream = |stream| Argument::U32(Random::new(self.seed, stream).words().1);
        let [key0, key1] = Random::new(self.seed, Stream::Flip).words().0.map(Argument::U32);
        let arguments = vec![
            place(from.bytes, from.count * len),
            place(from.order, 8 * from.count),
            u32(from.count),
            u32(from.h),
            u32(from.w),
            u32(from.c),
            u32(flip as usize),
            key0,
            key1,
            stream(Stream::Flip),
            stream(Stream::Timestep),
            stream(Stream::TrainNoise),
            place(signal_and_noise, 8 * (self.timesteps + 1)),
            u32(self.timesteps),
            place(self.step, 8),
            u32(self.batch),
            u32(self.first),
            u32(self.images),
            place(self.x0, 4 * n),
            place(self.eps, 4 * n),
            place(self.t, 4 * self.images),
            place(self.xt, n * self.kind.size()),
        ];
        Op::Launch(Launch::each(format!("batch_{}", self.kind.suffix()), n / 4, arguments))
    }

    /// The mean squared error of the network's output for a x_0 + b eps, (a, b) by t in `target` \[T + 1, 2\] f32: each image's to `losses`
    /// (f64), the gradient of the shard's mean to `dout`.
    pub fn squared_error(&self, len: usize, out: Span, target: Span, losses: Span, dout: Span) -> Op {
        let (n, threads) = (self.images * len, 256);
        let arguments = vec![
            place(out, n * self.kind.size()),
            place(self.x0, 4 * n),
            place(self.eps, 4 * n),
            place(self.t, 4 * self.images),
            place(target, 8 * (self.timesteps + 1)),
            u32(len),
            u32(self.images),
            place(losses, 8 * self.images),
            place(dout, n * self.kind.size()),
        ];
        let name = format!("squared_error_{}", self.kind.suffix());
        Op::Launch(Launch { name, grid: (self.images as u32, 1), threads, shared: 8 * threads, arguments })
    }
}

/// What all shards' gradients go through.
#[derive(Clone, Copy, Debug)]
pub struct Clip {
    pub n: usize,
    /// Largest norm; none where absent.
    pub limit: Option<f64>,
    pub shards: usize,
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
        let (partial, told) = Clip::room(self.shards);
        let n = Argument::U64(self.n as u64);
        let mut squares = Launch::among("squares", self.n, vec![place(gradient, 4 * self.n), n, place(self.partial, partial)]);
        squares.grid = (SQUARES as u32, 1);
        squares.shared = 8 * squares.threads;
        let arguments = vec![
            place(self.partial, partial),
            u32(SQUARES),
            place(losses, 8 * images),
            u32(images),
            Argument::F64(self.limit.unwrap_or(0.0)),
            u32(shard),
            u32(self.shards),
            place(self.step, 8),
            u32(RING),
            place(self.told, told),
            place(self.factor, 4),
        ];
        let clip = Launch { name: "clip".into(), grid: (1, 1), threads: 128, shared: 8 * 128, arguments };
        let add = u32((shard > 0) as usize);
        let arguments = vec![place(gradient, 4 * self.n), n, place(self.factor, 4), add, place(sum, 4 * self.n)];
        [Op::Launch(squares), Op::Launch(clip), Op::Launch(Launch::among("add_scaled", self.n, arguments))]
    }
}

/// The optimiser's numbers that are the same in every step.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub epsilon_mode: Epsilon,
    pub ema_decay: f64,
    /// The rate of every step, from 0 on (f64).
    pub rates: Span,
    pub step: Span,
}

impl Adam {
    /// One update of `rows` \[4, n\] (weights, moments, average) by `gradient`; the weights also as bf16 where asked. The first update
    /// copies the average.
    pub fn update(&self, rows: Span, gradient: Span, n: usize, narrowed: Option<Span>) -> Op {
        let arguments = vec![
            place(rows, 16 * n),
            place(gradient, 4 * n),
            Argument::U64(n as u64),
            Argument::Place(self.rates),
            place(self.step, 8),
            Argument::F64(self.beta1),
            Argument::F64(self.beta2),
            Argument::F64(self.epsilon),
            u32((self.epsilon_mode == Epsilon::Corrected) as usize),
            Argument::F64(self.ema_decay),
            narrowed.map_or(Argument::Nothing, |span| place(span, 2 * n)),
        ];
        let mut launch = Launch::among("adam", n, arguments);
        launch.shared = 16;
        Op::Launch(launch)
    }
}

/// The number at `step` becomes the next one.
pub fn advance(step: Span) -> Op {
    Op::Launch(Launch { name: "advance".into(), grid: (1, 1), threads: 1, shared: 0, arguments: vec![place(step, 8)] })
}
