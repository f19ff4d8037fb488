//! From noise to images on the device: a step's coefficients stand in a table, so that one recorded step serves the whole walk.

use super::launch::{Argument, ElementType, Launch, reads, u32, updates, writes};
use super::space_to_depth::SpaceToDepth;
use super::{Op, Span, Type};
use crate::random::{Random, Stream};

/// A step's coefficients: x_0 from (x_t, output), x' from (x_t, x_0, the x_0 of the step before, output), and the noise's scale.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCoefficients {
    /// Coefficient of x_t in x_0.
    pub x0_xt: f32,
    /// Coefficient of the network's output in x_0.
    pub x0_output: f32,
    /// Coefficient of x_t in x'.
    pub xt: f32,
    /// Coefficient of x_0 in x'.
    pub x0: f32,
    /// Coefficient of the previous step's x_0 in x'; 0 leaves it out.
    pub x0_before: f32,
    /// Coefficient of the network's output in x'; 0 leaves it out.
    pub output: f32,
    /// The noise's scale where it is fixed; 0 adds none.
    pub sigma: f32,
    /// (scale, offset) of ln sigma2 in the second output, where it is learned.
    pub learned: Option<(f32, f32)>,
}

/// Bytes of a row.
pub const ROW: usize = 44;

impl StepCoefficients {
    /// As the kernel reads it.
    pub fn bytes(&self) -> [u8; ROW] {
        let (scale, offset) = self.learned.unwrap_or_default();
        let floats = [self.x0_xt, self.x0_output, self.xt, self.x0, self.x0_before, self.output, self.sigma, scale, offset];
        let flags = [self.learned.is_some() as u32, (self.learned.is_some() || self.sigma != 0.0) as u32];
        let mut bytes = [0; ROW];
        let words = floats.map(f32::to_bits).into_iter().chain(flags);
        bytes.chunks_exact_mut(4).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
        bytes
    }
}

/// Samples that are made together.
#[derive(Clone, Copy, Debug)]
pub struct SampleBatch {
    /// Type of the numbers in the network's feature maps.
    pub kind: Type,
    /// Seed of the noise.
    pub seed: u64,
    /// Number of samples, B.
    pub images: usize,
    /// Size of the samples and their layout in the network's feature maps.
    pub layout: SpaceToDepth,
    /// Numbers of the network's output for each of an image's.
    pub outputs: usize,
    /// The first sample's number, and the place in the walk (u64 each).
    pub first: Span,
    /// Index of the current step in the walk, from 0 (u64).
    pub place: Span,
    /// x in f32; the last predicted x_0, which the next step may read; the network's next input.
    pub x: Span,
    /// The x_0 that the last step predicted, \[B, H, W, C\] f32.
    pub predicted: Span,
    /// x in the layout and type that the network reads.
    pub state: Span,
}

impl SampleBatch {
    fn random(&self) -> [Argument; 3] {
        let ([key0, key1], stream) = Random::new(self.seed, Stream::Sample).key_and_stream();
        [key0, key1, stream].map(Argument::U32)
    }

    /// x_T.
    pub fn start(&self) -> Op {
        let n = self.images * self.layout.len();
        let [key0, key1, stream] = self.random();
        let mut arguments = self.layout.arguments().to_vec();
        arguments.extend([
            Argument::U64(n as u64),
            key0,
            key1,
            stream,
            reads(self.first, 1, ElementType::U64),
            writes(self.x, n, ElementType::F32),
            writes(self.state, self.images * self.layout.map_len(1), self.kind),
        ]);
        Op::Launch(Launch::each(format!("start_{}", self.kind.suffix()), n / 4, arguments))
    }

    /// The step at the current position of the trajectory, from the network's output, with its row of `rows` as coefficients.
    pub fn step(&self, out: Span, rows: Span, clip: bool) -> Op {
        let n = self.images * self.layout.len();
        let [key0, key1, stream] = self.random();
        let mut arguments = vec![reads(out, self.images * self.layout.map_len(self.outputs), self.kind), u32(self.outputs)];
        arguments.extend(self.layout.arguments());
        arguments.extend([
            Argument::U64(n as u64),
            reads(rows, rows.bytes / 4, ElementType::U32).touching(ROW / 4),
            reads(self.place, 1, ElementType::U64),
            u32(clip as usize),
            key0,
            key1,
            stream,
            reads(self.first, 1, ElementType::U64),
            updates(self.x, n, ElementType::F32),
            updates(self.predicted, n, ElementType::F32),
            writes(self.state, self.images * self.layout.map_len(1), self.kind),
        ]);
        Op::Launch(Launch::each(format!("walk_{}", self.kind.suffix()), n / 4, arguments))
    }

    /// The steps t \[images\] of the walk's place, from the list `steps` (u32) of the whole walk.
    pub fn steps(&self, steps: Span, t: Span) -> Op {
        let steps = reads(steps, steps.bytes / 4, ElementType::U32).touching(1);
        let (place, t) = (reads(self.place, 1, ElementType::U64), writes(t, self.images, ElementType::U32));
        Op::Launch(Launch::each("fill_from", self.images, vec![steps, u32(1), place, u32(self.images), t]))
    }
}
