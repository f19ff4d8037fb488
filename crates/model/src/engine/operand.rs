//! What a convolution reads, image by image: its parts concatenated, normalised, with dropout.

use super::clock::Clock;
use super::graph::ConvNode;
use super::time::ParameterSlices;
use ddpm_kernels::conv2d::cpu::Source;
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::group_norm::cpu as norm;
use std::sync::Mutex;

/// Masks of a training step: their stream, the step of each layer, and the probability.
#[derive(Clone, Copy)]
pub struct Drops<'a> {
    pub dropout: Dropout,
    pub step: &'a (dyn Fn(u64) -> u64 + Sync),
    pub p: f64,
}

/// How one operand is made.
pub struct OperandSource<'a> {
    pub node: &'a ConvNode,
    /// Buffers and channels of the parts.
    pub parts: Vec<(&'a [f32], usize)>,
    pub batch: usize,
    pub statistics: &'a [Mutex<Vec<f32>>],
    pub numbers: &'a ParameterSlices<'a>,
    pub drops: Option<Drops<'a>>,
    pub clock: &'a Clock,
}

impl<'a> OperandSource<'a> {
    /// The parts of one image.
    pub fn image(&self, image: usize) -> Vec<(&'a [f32], usize)> {
        let of = |(all, c): &(&'a [f32], usize)| (&all[all.len() / self.batch * image..][..all.len() / self.batch], *c);
        self.parts.iter().map(of).collect()
    }

    /// Writes image `image` of the operand; `first` where the statistics are not known yet.
    pub fn make(&self, image: usize, first: bool, out: &mut [f32]) {
        let parts = self.image(image);
        if let Some((layer, silu)) = &self.node.norm {
            let (gamma, beta) = (self.numbers.of(layer.gamma), self.numbers.of(layer.beta));
            let mut statistics = self.statistics[image].lock().expect("no image panics while it is made");
            statistics.resize(2 * gamma.len(), 0.0);
            if first {
                norm::forward(layer.spec(*silu), &parts, gamma, beta, &mut statistics, out);
            } else {
                norm::recompute(layer.spec(*silu), &parts, gamma, beta, &statistics, out);
            }
        } else {
            beside(&parts, out);
        }
        if let (Some(drops), Some(layer)) = (self.drops, self.node.dropout) {
            drops.dropout.drop_image(image, (drops.step)(layer), drops.p, out);
        }
    }

    /// The source for a product: a single part read in place, or images built on demand.
    pub fn source<'b>(&'b self, make: &'b (dyn Fn(usize, &mut [f32]) + Sync)) -> Source<'b, f32> {
        match (&self.node.norm, &self.parts[..]) {
            (None, [(one, _)]) => Source::Plain(one),
            _ => Source::Made(make),
        }
    }
}

/// Copies parts side by side.
pub fn beside(parts: &[(&[f32], usize)], out: &mut [f32]) {
    let (total, mut from) = (norm::channels(parts), 0);
    for (part, c) in parts {
        out.chunks_exact_mut(total).zip(part.chunks_exact(*c)).for_each(|(to, v)| to[from..from + c].copy_from_slice(v));
        from += c;
    }
}

/// Copies or adds channels `from..from + c` of `all`, whose pixels have `total` channels, to `out`.
pub fn split(all: &[f32], total: usize, from: usize, c: usize, add: bool, out: &mut [f32]) {
    for (to, v) in out.chunks_exact_mut(c).zip(all.chunks_exact(total)) {
        let v = &v[from..from + c];
        if add {
            to.iter_mut().zip(v).for_each(|(to, v)| *to += *v);
        } else {
            to.copy_from_slice(v);
        }
    }
}
