//! From noise to images on the device: a step's coefficients stand in a table, so that one recorded step serves the whole walk.

use super::launch::{Argument, ElementType, Launch, reads, u32, updates, writes};
use super::space_to_depth::SpaceToDepth;
use super::{Op, Span, Type};
use crate::random::{Random, Stream};

/// A step's coefficients: x_0 from (x_t, output), x' from (x_t, x_0, the x_0 of the step before, output), and the noise's scale.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCoefficients {
    pub x0_xt: f32,
    pub x0_output: f32,
    pub xt: f32,
    pub x0: f32,
    pub x0_before: f32,
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
    pub kind: Type,
    pub seed: u64,
    pub images: usize,
    pub layout: SpaceToDepth,
    /// Numbers of the network's output for each of an image's.
    pub outputs: usize,
    /// The first sample's number, and the place in the walk (u64 each).
    pub first: Span,
    pub place: Span,
    /// x in f32; the last predicted x_0, which the next step may read; the network's next input.
    pub x: Span,
    pub predicted: Span,
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

    /// The step of the walk's place, by its row of `rows`, from the network's output.
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
