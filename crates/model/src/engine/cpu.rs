//! A graph run on the CPU in one number format: the forward pass, and the backward pass from the same feature maps.
//!
//! A convolution's operand (normalised, with dropout, padded, rounded) lives in a core's cache while it is multiplied, and is recomputed
//! for the weight gradient: only feature maps are kept, each until the backward pass is past the node that produced it.

use super::buffers::Buffers;
use super::clock::{Clock, Part};
use super::graph::{ConvNode, Graph, Node};
use super::operand::{Drops, OperandSource, beside, split};
use super::time::{ParameterSlices, SavedTime};
use crate::parameters::Parameter;
use ddpm_kernels::attention::cpu as attention;
use ddpm_kernels::conv2d::Shape;
use ddpm_kernels::conv2d::algorithm::Algorithm;
use ddpm_kernels::conv2d::cpu::{self as conv, kernels};
use ddpm_kernels::conv2d::layer::Layer;
use ddpm_kernels::gemm::Format;
use ddpm_kernels::gemm::pack::OperandSplit;
use ddpm_kernels::group_norm::cpu as norm;
use ddpm_kernels::scratch::{self, Buffer, Scratch};
use rayon::prelude::*;
use std::sync::Mutex;

/// A plan's layers in format `F`, and the feature maps of the batch at hand.
pub struct CpuBackend<F: Format> {
    graph: Graph,
    offsets: Vec<usize>,
    /// For each step that is a convolution.
    layers: Vec<Option<Layer<F>>>,
    split: OperandSplit,
    /// Weights as the forward pass reads them, where they are used many times.
    packed: Vec<Buffer<F::Element>>,
    batch: usize,
    values: Vec<Vec<f32>>,
    /// For each step that normalises, the statistics of each image.
    statistics: Vec<Vec<Mutex<Vec<f32>>>>,
    time: SavedTime,
    buffers: Buffers,
    pub clock: Clock,
}

/// A gradient that is still being added up: its buffer, and whether it holds anything yet.
type Open = (Vec<f32>, bool);

impl<F: Format<Number = f32, Element: Scratch>> CpuBackend<F> {
    pub fn new(graph: Graph, parameters: &[Parameter], split: OperandSplit, algorithm: Algorithm) -> CpuBackend<F> {
        let mut offsets = vec![0];
        parameters.iter().for_each(|p| offsets.push(offsets[offsets.len() - 1] + p.len()));
        let layer = |node: &Node| match node {
            Node::Conv(node) => {
                let first = &node.convs[0];
                let input = first.from;
                let c_out = graph.maps[node.out].c;
                let shape = Shape { input, c_out, k: first.k, resample: first.resample };
                Some(Layer::by(algorithm.of::<F>(shape, split), shape, split))
            }
            Node::Attend { .. } | Node::Pool { .. } => None,
        };
        let layers: Vec<_> = graph.nodes.iter().map(layer).collect();
        let values = vec![Vec::new(); graph.maps.len()];
        let statistics = graph.nodes.iter().map(|_| Vec::new()).collect();
        CpuBackend {
            graph,
            offsets,
            layers,
            split,
            packed: Vec::new(),
            batch: 0,
            values,
            statistics,
            time: SavedTime::default(),
            buffers: Buffers::default(),
            clock: Clock::default(),
        }
    }

    /// Multiplications of one image that the convolutions leave out, of those that a convolution tap by tap takes: of the forward pass,
    /// and of both gradients.
    pub fn saved(&self) -> [u64; 2] {
        let mut saved = [0; 2];
        for layer in self.layers.iter().flatten() {
            let (all, [forward, input_gradient, weight_gradient]) = (layer.shape.multiplications(), layer.multiplications());
            saved[0] += all - forward;
            saved[1] += 2 * all - input_gradient - weight_gradient;
        }
        saved
    }

    /// Packs weights that will be used many times.
    pub fn pack(&mut self, weights: &[f32]) {
        let numbers = ParameterSlices { all: weights, offsets: &self.offsets };
        let pack = |(node, layer): (&Node, &Option<Layer<F>>)| match (node, layer) {
            (Node::Conv(node), Some(layer)) => {
                let mut packed = Buffer::new(layer.forward_len());
                pack_forward(layer, node, &numbers, &mut packed);
                packed
            }
            _ => Buffer::new(0),
        };
        self.packed = self.graph.nodes.iter().zip(&self.layers).map(pack).collect();
    }

    /// The network's output for `batch` images `x`, whose steps have `embedding`. With `keep`, everything that the backward pass needs is
    /// kept; without it, weights packed in advance are used.
    pub fn forward(
        &mut self,
        weights: &[f32],
        x: Vec<f32>,
        embedding: Vec<f32>,
        batch: usize,
        keep: bool,
        drops: Option<Drops>,
    ) -> Vec<f32> {
        let numbers = ParameterSlices { all: weights, offsets: &self.offsets };
        self.batch = batch;
        self.values[0] = x;
        self.clock.time(Part::Time, || self.time.forward(&self.graph, &numbers, embedding, batch));
        for at in 0..self.graph.nodes.len() {
            match &self.graph.nodes[at] {
                Node::Conv(node) => {
                    let layer = self.layers[at].as_ref().expect("a convolution has a layer");
                    let mut y = match &node.residual[..] {
                        [residual] if node.residual_is_free => std::mem::take(&mut self.values[*residual]),
                        [] => self.buffers.take(batch * self.graph.len(node.out)),
                        residual => {
                            let mut y = self.buffers.take(batch * self.graph.len(node.out));
                            beside(&self.graph.side_by_side(&self.values, residual), &mut y);
                            y
                        }
                    };
                    self.statistics[at].resize_with(if node.norm.is_some() { batch } else { 0 }, Default::default);
                    let operand = OperandSource {
                        node,
                        parts: self.graph.side_by_side(&self.values, &node.parts),
                        batch,
                        statistics: &self.statistics[at],
                        numbers: &numbers,
                        drops,
                        clock: &self.clock,
                    };
                    let clock = &self.clock;
                    let make = |image: usize, out: &mut [f32]| clock.time(Part::ForwardOperands, || operand.make(image, true, out));
                    let bias = bias(node, &numbers, &self.time.shifts);
                    let accumulate = !node.residual.is_empty();
                    if let (false, Some(packed)) = (keep, self.packed.get(at)) {
                        clock.time(Part::Forward, || conv::forward(layer, packed, operand.source(&make), &bias, accumulate, &mut y));
                    } else {
                        scratch::with(layer.forward_len(), |packed: &mut [F::Element]| {
                            clock.time(Part::Pack, || pack_forward(layer, node, &numbers, packed));
                            clock.time(Part::Forward, || conv::forward(layer, packed, operand.source(&make), &bias, accumulate, &mut y));
                        });
                    }
                    self.values[node.out] = y;
                }
                Node::Attend { qkv, out } => {
                    let c = self.graph.maps[*out].c;
                    let mut y = self.buffers.take(batch * self.graph.len(*out));
                    let (each, split) = (self.graph.len(*out), self.split);
                    let images = y.par_chunks_mut(each).zip(self.values[*qkv].par_chunks(3 * each));
                    self.clock.time(Part::Attention, || images.for_each(|(y, qkv)| attention::forward::<F>(split, c, qkv, y)));
                    self.values[*out] = y;
                }
                Node::Pool { kind, from, out } => {
                    let (frame, each, part) = (self.graph.maps[*from], self.graph.len(*from), self.graph.len(*out));
                    let mut y = self.buffers.take(batch * part);
                    let images = y.par_chunks_mut(part).zip(self.values[*from].par_chunks(each));
                    self.clock.time(Part::Pool, || images.for_each(|(y, x)| kind.forward(frame, x, y)));
                    self.values[*out] = y;
                }
            }
            for value in 0..self.values.len() {
                if self.graph.last_use[value] == Some(at) && !(keep && self.graph.kept[value]) {
                    self.buffers.put(std::mem::take(&mut self.values[value]));
                }
            }
        }
        std::mem::take(self.values.last_mut().expect("a network has a result"))
    }

    /// Overwrites `gradient` with that of all parameters, given `dy`, the gradient of the output. Consumes the kept feature maps.
    pub fn backward(&mut self, weights: &[f32], dy: Vec<f32>, drops: Option<Drops>, gradient: &mut [f32]) {
        let numbers = ParameterSlices { all: weights, offsets: &self.offsets };
        let batch = self.batch;
        let mut open: Vec<Open> = self.graph.maps.iter().map(|_| (Vec::new(), false)).collect();
        *open.last_mut().expect("a network has a result") = (dy, true);
        let mut dshifts: Vec<Vec<f32>> = self.graph.denses.iter().map(|_| Vec::new()).collect();
        for at in (0..self.graph.nodes.len()).rev() {
            match &self.graph.nodes[at] {
                Node::Conv(node) => {
                    let layer = self.layers[at].as_ref().expect("a convolution has a layer");
                    let dy = std::mem::take(&mut open[node.out]).0;
                    self.buffers.put(std::mem::take(&mut self.values[node.out]));
                    // Gradients of the parts: the first reader writes, the others add. The images need none.
                    let begin = |value: &usize| {
                        let (buffer, begun) = std::mem::take(&mut open[*value]);
                        (if begun { buffer } else { self.buffers.take(batch * self.graph.len(*value)) }, begun)
                    };
                    let mut dparts: Vec<Open> = if node.parts == [0] { vec![] } else { node.parts.iter().map(begin).collect() };
                    let operand = OperandSource {
                        node,
                        parts: self.graph.side_by_side(&self.values, &node.parts),
                        batch,
                        statistics: &self.statistics[at],
                        numbers: &numbers,
                        drops,
                        clock: &self.clock,
                    };
                    if let Some(shift) = node.shift {
                        dshifts[shift] = vec![0f32; batch * layer.shape.c_out];
                    }
                    let dshift = node.shift.map(|shift| &mut dshifts[shift]);
                    backward_conv(layer, &operand, &dy, dshift, &mut dparts, gradient, &self.offsets);
                    for (value, (buffer, _)) in node.parts.iter().zip(dparts) {
                        open[*value] = (buffer, true);
                    }
                    self.clock.time(Part::PassOn, || pass_on(&self.graph, batch, &mut self.buffers, node, dy, &mut open));
                }
                Node::Attend { qkv, out } => {
                    let (c, each, split) = (self.graph.maps[*out].c, self.graph.len(*out), self.split);
                    let dy = std::mem::take(&mut open[*out]).0;
                    let mut dqkv = self.buffers.take(batch * 3 * each);
                    let images = dqkv.par_chunks_mut(3 * each).zip(self.values[*qkv].par_chunks(3 * each)).zip(dy.par_chunks(each));
                    self.clock.time(Part::AttentionGradient, || {
                        images.for_each(|((dqkv, qkv), dy)| attention::backward::<F>(split, c, qkv, dy, dqkv));
                    });
                    open[*qkv] = (dqkv, true);
                    self.buffers.put(dy);
                    self.buffers.put(std::mem::take(&mut self.values[*out]));
                }
                Node::Pool { kind, from, out } => {
                    let (frame, each, part) = (self.graph.maps[*from], self.graph.len(*from), self.graph.len(*out));
                    let dy = std::mem::take(&mut open[*out]).0;
                    let (buffer, add) = std::mem::take(&mut open[*from]);
                    let mut dx = if add { buffer } else { self.buffers.take(batch * each) };
                    // What was averaged may be gone.
                    let x = |image: usize| self.values[*from].get(image * each..(image + 1) * each).unwrap_or_default();
                    let images = dx.par_chunks_mut(each).zip(dy.par_chunks(part)).enumerate();
                    self.clock.time(Part::PoolGradient, || images.for_each(|(i, (dx, dy))| kind.backward(frame, x(i), dy, add, dx)));
                    open[*from] = (dx, true);
                    self.buffers.put(dy);
                    self.buffers.put(std::mem::take(&mut self.values[*out]));
                }
            }
        }
        self.clock.time(Part::Time, || {
            self.time.backward(&self.graph, &numbers, &dshifts, |parameter, numbers| {
                gradient[self.offsets[parameter]..self.offsets[parameter + 1]].copy_from_slice(numbers);
            });
        });
        let images = std::mem::take(&mut self.values[0]);
        self.buffers.put(images);
    }
}

/// Passes `dy` on to the feature maps in `residual`: as is where it is the first contribution, otherwise accumulated.
fn pass_on(graph: &Graph, batch: usize, buffers: &mut Buffers, node: &ConvNode, dy: Vec<f32>, open: &mut [Open]) {
    if let ([one], false) = (&node.residual[..], node.residual.iter().any(|v| open[*v].1)) {
        open[*one] = (dy, true);
        return;
    }
    let (total, mut from) = (graph.maps[node.out].c, 0);
    for value in &node.residual {
        let (c, each) = (graph.maps[*value].c, graph.len(*value));
        if !open[*value].1 {
            open[*value].0 = buffers.take(batch * each);
        }
        let add = open[*value].1;
        let images = open[*value].0.par_chunks_mut(each).zip(dy.par_chunks(graph.len(node.out)));
        images.for_each(|(to, dy)| split(dy, total, from, c, add, to));
        open[*value].1 = true;
        from += c;
    }
    buffers.put(dy);
}

fn pack_forward<F: Format<Number = f32>>(layer: &Layer<F>, node: &ConvNode, numbers: &ParameterSlices, out: &mut [F::Element]) {
    let parts: Vec<&[f32]> = node.convs.iter().map(|c| numbers.of(c.weight)).collect();
    layer.pack_forward(kernels(&parts, layer.shape.input.c, node.convs[0].out), out);
}

/// Disjoint parts of `all`, which lie in it in rising order.
fn pieces(mut all: &mut [f32], ranges: impl Iterator<Item = (usize, usize)>) -> Vec<&mut [f32]> {
    let (mut at, mut found) = (0, Vec::new());
    for (from, to) in ranges {
        let (piece, rest) = all.split_at_mut(from - at).1.split_at_mut(to - from);
        found.push(piece);
        (all, at) = (rest, to);
    }
    found
}

/// The convolutions' biases, one row for all images, or with the shift one for each.
fn bias(node: &ConvNode, numbers: &ParameterSlices, shifts: &[Vec<f32>]) -> Vec<f32> {
    let bias: Vec<f32> = node.convs.iter().flat_map(|c| numbers.of(c.bias)).copied().collect();
    match node.shift {
        None => bias,
        Some(shift) => shifts[shift].chunks(bias.len()).flat_map(|row| row.iter().zip(&bias).map(|(a, b)| a + b)).collect(),
    }
}

/// Gradients of a convolution's parameters, of its shift, and of its parts.
fn backward_conv<F: Format<Number = f32, Element: Scratch>>(
    layer: &Layer<F>,
    operand: &OperandSource,
    dy: &[f32],
    dshift: Option<&mut Vec<f32>>,
    dparts: &mut [Open],
    gradient: &mut [f32],
    offsets: &[usize],
) {
    parameter_gradients(layer, operand, dy, dshift, gradient, offsets);
    if !dparts.is_empty() {
        input_gradients(layer, operand, dy, dparts, gradient, offsets);
    }
}

/// Of weights, biases and shift.
fn parameter_gradients<F: Format<Number = f32, Element: Scratch>>(
    layer: &Layer<F>,
    operand: &OperandSource,
    dy: &[f32],
    dshift: Option<&mut Vec<f32>>,
    gradient: &mut [f32],
    offsets: &[usize],
) {
    let (node, batch, clock, out) = (operand.node, operand.batch, operand.clock, layer.shape.output());
    clock.time(Part::WeightGradient, || {
        scratch::with(batch * out.c, |db: &mut [f32]| {
            conv::bias_gradient(out, dy, db);
            let sum = conv::sum_rows(db, out.c);
            for (conv, sum) in node.convs.iter().zip(sum.chunks(node.convs[0].out)) {
                gradient[offsets[conv.bias]..offsets[conv.bias + 1]].copy_from_slice(sum);
            }
            if let Some(dshift) = dshift {
                dshift.copy_from_slice(db);
            }
        })
    });
    let recompute = |image: usize, out: &mut [f32]| operand.make(image, false, out);
    let ranges = node.convs.iter().map(|c| (offsets[c.weight], offsets[c.weight + 1]));
    clock.time(Part::WeightGradient, || conv::weight_gradient(layer, operand.source(&recompute), dy, &mut pieces(gradient, ranges)));
}

/// Of the feature maps that are read, through the normalisation, and of the normalisation's parameters.
fn input_gradients<F: Format<Number = f32, Element: Scratch>>(
    layer: &Layer<F>,
    operand: &OperandSource,
    dy: &[f32],
    dparts: &mut [Open],
    gradient: &mut [f32],
    offsets: &[usize],
) {
    let (node, batch, clock, c) = (operand.node, operand.batch, operand.clock, layer.shape.input.c);
    scratch::with(batch * 2 * c, |partial: &mut [f32]| {
        let begun: Vec<bool> = dparts.iter().map(|d| d.1).collect();
        // One sink an image: its part of every part's gradient, and of the normalisation's.
        let mut sinks: Vec<(Vec<&mut [f32]>, &mut [f32])> = partial.chunks_mut(2 * c).map(|p| (Vec::new(), p)).collect();
        for (buffer, _) in dparts.iter_mut() {
            let each = buffer.len() / batch;
            sinks.iter_mut().zip(buffer.chunks_mut(each)).for_each(|(sink, part)| sink.0.push(part));
        }
        scratch::with(layer.input_gradient_len(), |packed: &mut [F::Element]| {
            let weights: Vec<&[f32]> = node.convs.iter().map(|c| operand.numbers.of(c.weight)).collect();
            clock.time(Part::Pack, || layer.pack_input_gradient(kernels(&weights, c, node.convs[0].out), packed));
            let sink = |image: usize, (parts, partial): &mut (Vec<&mut [f32]>, &mut [f32]), dz: &mut [f32]| {
                clock.time(Part::InputGradientNorms, || {
                    if let (Some(drops), Some(layer)) = (operand.drops, node.dropout) {
                        drops.dropout.drop_image(image, (drops.step)(layer), drops.p, dz);
                    }
                    if let Some((layer, silu)) = &node.norm {
                        let (gamma, beta) = (operand.numbers.of(layer.gamma), operand.numbers.of(layer.beta));
                        let statistics = operand.statistics[image].lock().expect("no image panics while it is made");
                        norm::backward(layer.spec(*silu), &operand.image(image), gamma, beta, &statistics, dz, partial);
                    }
                    let mut from = 0;
                    for ((to, add), (_, n)) in parts.iter_mut().zip(&begun).zip(&operand.parts) {
                        split(dz, c, from, *n, *add, to);
                        from += n;
                    }
                })
            };
            clock.time(Part::InputGradient, || conv::input_gradient(layer, packed, dy, &mut sinks, sink));
        });
        if let Some((layer, _)) = &node.norm {
            let sums = conv::sum_rows(partial, 2 * c);
            gradient[offsets[layer.gamma]..offsets[layer.gamma + 1]].copy_from_slice(&sums[..c]);
            gradient[offsets[layer.beta]..offsets[layer.beta + 1]].copy_from_slice(&sums[c..]);
        }
    });
}
