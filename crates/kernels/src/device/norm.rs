//! GroupNorm, SiLU and dropout as one kernel each way.

use super::launch::{Argument, ElementType, Launch, adds, reads, u32, writes};
use super::maps::{Map, PACK, Parts, parts};
use super::{Op, Span};
use crate::group_norm::Spec;
use crate::random::{Random, Stream};

/// Minimum number of channels per block, if there are that many: 128 contiguous bytes of bf16.
const SLAB: usize = 64;

/// Threads of a block, at most.
const THREADS: usize = 256;

/// Dropout after a normalisation: the masks of [`crate::dropout::Dropout`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormDropout {
    /// Seed of the masks.
    pub seed: u64,
    /// Probability that a number is set to 0, in \[0, 1).
    pub p: f64,
    /// Dropout layers of the network, and which one this is.
    pub layers: u64,
    /// Index of this layer among the dropout layers, from 0.
    pub layer: u64,
    /// Index of the first image in the batch, added to the offset that is stored after the step.
    pub first: usize,
    /// Where the training step's number is, and after it another offset of images (u64 each).
    pub step: Span,
}

/// A normalisation of feature maps side by side.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Number of groups, epsilon, and whether SiLU follows.
    pub spec: Spec,
    /// Of all parts together.
    pub map: Map,
    /// The input feature maps, each with its number of channels.
    pub parts: Parts<'a>,
    /// Scale of each channel, \[C\] f32.
    pub gamma: Span,
    /// Shift of each channel, \[C\] f32.
    pub beta: Span,
    /// \[B, groups, 2\] f32.
    pub statistics: Span,
    /// Dropout of the result; none if absent.
    pub drop: Option<NormDropout>,
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

impl Norm<'_> {
    /// Channels of a block: whole groups in whole packs.
    fn slab(&self) -> usize {
        let (c, unit) = (self.map.c, lcm(self.map.c / self.spec.groups, PACK));
        let wide = (1..=c / unit).map(|n| n * unit).filter(|n| c.is_multiple_of(*n) && *n >= SLAB.min(c));
        wide.min().expect("all channels are whole groups in whole packs")
    }

    /// `head` and `tail` stand before and after the sizes that both kernels have in the middle.
    fn launch(&self, kernel: &str, head: Vec<Argument>, tail: Vec<Argument>) -> Op {
        let (c, slab) = (self.map.c, self.slab());
        assert!(self.parts.iter().all(|p| p.1.is_multiple_of(PACK)), "channels in packs of {PACK}: {:?}", self.parts);
        let lanes = slab / PACK;
        let threads = lanes * (THREADS / lanes).max(1);
        assert!(threads <= THREADS, "groups of {} channels are too wide for a block", c / self.spec.groups);
        let group = c / self.spec.groups;
        let mut arguments = head;
        arguments.extend([u32(self.map.h * self.map.w), u32(group), u32(slab)]);
        arguments.extend(tail);
        arguments.extend(match &self.drop {
            Some(d) => {
                let random = Random::new(d.seed, Stream::Dropout);
                let ([key0, key1], stream) = random.key_and_stream();
                let (below, keep) = ((d.p * 4_294_967_296.0) as u32, (1.0 / (1.0 - d.p)) as f32);
                [Argument::U32(key0), Argument::U32(key1), Argument::U32(stream), Argument::U32(below), Argument::F32(keep)]
                    .into_iter()
                    .chain([reads(d.step, 2, ElementType::U64), u32(d.layers as usize), u32(d.layer as usize), u32(d.first)])
                    .collect::<Vec<_>>()
            }
            None => {
                let zero = Argument::U32(0);
                vec![zero, zero, zero, zero, Argument::F32(1.0), Argument::Nothing, zero, zero, zero]
            }
        });
        let grid = ((c / slab) as u32, self.map.batch as u32);
        let name = format!("{kernel}_{}", self.map.kind.suffix());
        Op::Launch(Launch { name, grid, threads: threads as u32, shared: (4 * PACK * threads) as u32, arguments })
    }

    fn gamma_beta(&self) -> [Argument; 2] {
        [self.gamma, self.beta].map(|span| reads(span, self.map.c, ElementType::F32))
    }

    fn statistics(&self, known: bool) -> Argument {
        let n = 2 * self.map.batch * self.spec.groups;
        if known { reads(self.statistics, n, ElementType::F32) } else { writes(self.statistics, n, ElementType::F32) }
    }

    /// The result to `y`; `recompute` where the statistics are there from before.
    pub fn forward(&self, y: Span, recompute: bool) -> Op {
        let [a, b, ca, cb] = parts(self.parts, self.map.pixels(), self.map.kind);
        let [gamma, beta] = self.gamma_beta();
        let head = vec![a, b, ca, cb, gamma, beta, self.statistics(recompute), writes(y, self.map.numbers(), self.map.kind)];
        let tail = vec![Argument::F32(self.spec.epsilon as f32), u32(self.spec.silu as usize), u32(recompute as usize)];
        self.launch("norm_forward", head, tail)
    }

    /// From `dz`, the gradient of the result: those of the parts to `to`, written or added, and each image's gradients of gamma and beta to
    /// `partial` \[B, 2, C\].
    pub fn backward(&self, dz: Span, to: &[(Span, bool)], partial: Span) -> Op {
        let c = self.map.c;
        assert_eq!(to.len(), self.parts.len(), "one gradient for each part");
        let [a, b, ca, cb] = parts(self.parts, self.map.pixels(), self.map.kind);
        let target = |i: usize| match (to.get(i), self.parts.get(i)) {
            (Some((span, add)), Some((_, c))) => adds(*add, *span, self.map.pixels() * c, self.map.kind),
            _ => Argument::Nothing,
        };
        let [gamma, beta] = self.gamma_beta();
        let bits: usize = to.iter().enumerate().map(|(i, to)| (to.1 as usize) << i).sum();
        let head = vec![
            a,
            b,
            ca,
            cb,
            gamma,
            beta,
            self.statistics(true),
            reads(dz, self.map.numbers(), self.map.kind),
            target(0),
            target(1),
            u32(bits),
            writes(partial, 2 * self.map.batch * c, ElementType::F32),
        ];
        self.launch("norm_backward", head, vec![u32(self.spec.silu as usize)])
    }
}
