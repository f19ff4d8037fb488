//! A plan run in one format: forward, and backward from the same feature maps.
//!
//! A convolution's operand (normalised, dropped, padded, rounded) lives in a core's cache while it is multiplied and is made again for
//! the weight gradient: only feature maps are kept, each until the backward pass has passed its maker.

use super::buffers::Buffers;
use super::clock::{Clock, Part};
use super::operand::{Drops, Making, beside, split};
use super::plan::{ConvStep, Plan, Step};
use super::time::{Numbers, Time};
use crate::parameters::Parameter;
use ddpm_kernels::attention::cpu as attention;
use ddpm_kernels::conv2d::cpu::{self as conv, kernels};
use ddpm_kernels::conv2d::geometry::{Frame, Shape};
use ddpm_kernels::conv2d::layer::Layer;
use ddpm_kernels::gemm::Format;
use ddpm_kernels::gemm::pack::Grade;
use ddpm_kernels::group_norm::cpu as norm;
use ddpm_kernels::scratch::{self, Scratch};
use rayon::prelude::*;
use std::sync::Mutex;

/// A plan's layers in format `F`, and the feature maps of the batch at hand.
pub struct Machine<F: Format> {
    plan: Plan,
    offsets: Vec<usize>,
    /// For each step that is a convolution.
    layers: Vec<Option<Layer<F>>>,
    grade: Grade,
    /// Weights as the forward pass reads them, where they are used many times.
    packed: Vec<Vec<F::Element>>,
    batch: usize,
    values: Vec<Vec<f32>>,
    /// For each step that normalises, the statistics of each image.
    statistics: Vec<Vec<Mutex<Vec<f32>>>>,
    time: Time,
    buffers: Buffers,
    pub clock: Clock,
}

/// A gradient that is still being added up: its buffer, and whether it holds anything yet.
type Open = (Vec<f32>, bool);

impl<F: Format<Number = f32, Element: Scratch>> Machine<F> {
    pub fn new(plan: Plan, parameters: &[Parameter], grade: Grade) -> Machine<F> {
        let mut offsets = vec![0];
        parameters.iter().for_each(|p| offsets.push(offsets[offsets.len() - 1] + p.len()));
        let layer = |step: &Step| match step {
            Step::Conv(step) => {
                let first = &step.convs[0];
                let input = Frame { h: first.from.height, w: first.from.width, c: first.from.channels };
                let c_out = plan.maps[step.out].channels;
                Some(Layer::new(Shape { input, c_out, k: first.k, resize: first.resize }, grade))
            }
            Step::Attend { .. } => None,
        };
        let layers: Vec<_> = plan.steps.iter().map(layer).collect();
        let values = vec![Vec::new(); plan.maps.len()];
        let statistics = plan.steps.iter().map(|_| Vec::new()).collect();
        Machine {
            plan,
            offsets,
            layers,
            grade,
            packed: Vec::new(),
            batch: 0,
            values,
            statistics,
            time: Time::default(),
            buffers: Buffers::default(),
            clock: Clock::default(),
        }
    }

    /// Packs weights that will be used many times.
    pub fn pack(&mut self, weights: &[f32]) {
        let numbers = Numbers { all: weights, offsets: &self.offsets };
        let pack = |(step, layer): (&Step, &Option<Layer<F>>)| match (step, layer) {
            (Step::Conv(step), Some(layer)) => {
                let mut packed = vec![F::Element::default(); layer.forward.packed_len::<F>()];
                pack_forward(layer, step, &numbers, &mut packed);
                packed
            }
            _ => Vec::new(),
        };
        self.packed = self.plan.steps.iter().zip(&self.layers).map(pack).collect();
    }

    /// The network's result for `batch` images `x`, `embedding` being that of their steps. `keep` what the backward pass needs. Weights
    /// packed before are used where nothing is kept.
    pub fn forward(
        &mut self,
        weights: &[f32],
        x: Vec<f32>,
        embedding: Vec<f32>,
        batch: usize,
        keep: bool,
        drops: Option<Drops>,
    ) -> Vec<f32> {
        let numbers = Numbers { all: weights, offsets: &self.offsets };
        self.batch = batch;
        self.values[0] = x;
        self.clock.time(Part::Time, || self.time.forward(&self.plan, &numbers, embedding, batch));
        for at in 0..self.plan.steps.len() {
            match &self.plan.steps[at] {
                Step::Conv(step) => {
                    let layer = self.layers[at].as_ref().expect("a convolution has a layer");
                    let mut y = match &step.plus[..] {
                        [plus] if step.plus_is_free => std::mem::take(&mut self.values[*plus]),
                        [] => self.buffers.take(batch * self.plan.len(step.out)),
                        plus => {
                            let mut y = self.buffers.take(batch * self.plan.len(step.out));
                            beside(&self.plan.side_by_side(&self.values, plus), &mut y);
                            y
                        }
                    };
                    self.statistics[at].resize_with(if step.norm.is_some() { batch } else { 0 }, Default::default);
                    let making = Making {
                        step,
                        parts: self.plan.side_by_side(&self.values, &step.parts),
                        batch,
                        statistics: &self.statistics[at],
                        numbers: &numbers,
                        drops,
                        clock: &self.clock,
                    };
                    let clock = &self.clock;
                    let make = |image: usize, out: &mut [f32]| clock.time(Part::ForwardOperands, || making.make(image, true, out));
                    let mut bias: Vec<f32> = step.convs.iter().flat_map(|c| numbers.of(c.bias)).copied().collect();
                    if let Some(shift) = step.shift {
                        let rows = self.time.shifts[shift].chunks(bias.len());
                        bias = rows.flat_map(|row| row.iter().zip(&bias).map(|(a, b)| a + b)).collect();
                    }
                    let accumulate = !step.plus.is_empty();
                    if let (false, Some(packed)) = (keep, self.packed.get(at)) {
                        clock.time(Part::Forward, || conv::forward(layer, packed, making.source(&make), &bias, accumulate, &mut y));
                    } else {
                        scratch::with(layer.forward.packed_len::<F>(), |packed: &mut [F::Element]| {
                            clock.time(Part::Pack, || pack_forward(layer, step, &numbers, packed));
                            clock.time(Part::Forward, || conv::forward(layer, packed, making.source(&make), &bias, accumulate, &mut y));
                        });
                    }
                    self.values[step.out] = y;
                }
                Step::Attend { qkv, out } => {
                    let c = self.plan.maps[*out].channels;
                    let mut y = self.buffers.take(batch * self.plan.len(*out));
                    let (each, grade) = (self.plan.len(*out), self.grade);
                    let images = y.par_chunks_mut(each).zip(self.values[*qkv].par_chunks(3 * each));
                    self.clock.time(Part::Attention, || images.for_each(|(y, qkv)| attention::forward::<F>(grade, c, qkv, y)));
                    self.values[*out] = y;
                }
            }
            for value in 0..self.values.len() {
                if self.plan.last_use[value] == Some(at) && !(keep && self.plan.kept[value]) {
                    self.buffers.put(std::mem::take(&mut self.values[value]));
                }
            }
        }
        std::mem::take(self.values.last_mut().expect("a network has a result"))
    }

    /// The gradient of all parameters, overwritten, from `dy`, that of the last result. Uses up the kept feature maps.
    pub fn backward(&mut self, weights: &[f32], dy: Vec<f32>, drops: Option<Drops>, gradient: &mut [f32]) {
        let numbers = Numbers { all: weights, offsets: &self.offsets };
        let batch = self.batch;
        let mut open: Vec<Open> = self.plan.maps.iter().map(|_| (Vec::new(), false)).collect();
        *open.last_mut().expect("a network has a result") = (dy, true);
        let mut dshifts: Vec<Vec<f32>> = self.plan.denses.iter().map(|_| Vec::new()).collect();
        for at in (0..self.plan.steps.len()).rev() {
            match &self.plan.steps[at] {
                Step::Conv(step) => {
                    let layer = self.layers[at].as_ref().expect("a convolution has a layer");
                    let dy = std::mem::take(&mut open[step.out]).0;
                    self.buffers.put(std::mem::take(&mut self.values[step.out]));
                    // Gradients of the parts: begun by whoever comes first. The images need none.
                    let begin = |value: &usize| {
                        let (buffer, begun) = std::mem::take(&mut open[*value]);
                        (if begun { buffer } else { self.buffers.take(batch * self.plan.len(*value)) }, begun)
                    };
                    let mut dparts: Vec<Open> = if step.parts == [0] { vec![] } else { step.parts.iter().map(begin).collect() };
                    let making = Making {
                        step,
                        parts: self.plan.side_by_side(&self.values, &step.parts),
                        batch,
                        statistics: &self.statistics[at],
                        numbers: &numbers,
                        drops,
                        clock: &self.clock,
                    };
                    if let Some(shift) = step.shift {
                        dshifts[shift] = vec![0f32; batch * layer.shape.c_out];
                    }
                    let dshift = step.shift.map(|shift| &mut dshifts[shift]);
                    backward_conv(layer, &making, &dy, dshift, &mut dparts, gradient, &self.offsets);
                    for (value, (buffer, _)) in step.parts.iter().zip(dparts) {
                        open[*value] = (buffer, true);
                    }
                    self.clock.time(Part::PassOn, || pass_on(&self.plan, batch, &mut self.buffers, step, dy, &mut open));
                }
                Step::Attend { qkv, out } => {
                    let (c, each, grade) = (self.plan.maps[*out].channels, self.plan.len(*out), self.grade);
                    let dy = std::mem::take(&mut open[*out]).0;
                    let mut dqkv = self.buffers.take(batch * 3 * each);
                    let images = dqkv.par_chunks_mut(3 * each).zip(self.values[*qkv].par_chunks(3 * each)).zip(dy.par_chunks(each));
                    self.clock.time(Part::AttentionGradient, || {
                        images.for_each(|((dqkv, qkv), dy)| attention::backward::<F>(grade, c, qkv, dy, dqkv));
                    });
                    open[*qkv] = (dqkv, true);
                    self.buffers.put(dy);
                    self.buffers.put(std::mem::take(&mut self.values[*out]));
                }
            }
        }
        self.clock.time(Part::Time, || {
            self.time.backward(&self.plan, &numbers, &dshifts, |parameter, numbers| {
                gradient[self.offsets[parameter]..self.offsets[parameter + 1]].copy_from_slice(numbers);
            });
        });
        let images = std::mem::take(&mut self.values[0]);
        self.buffers.put(images);
    }
}

/// What was added passes its gradient on: as it is where nobody has begun, else added.
fn pass_on(plan: &Plan, batch: usize, buffers: &mut Buffers, step: &ConvStep, dy: Vec<f32>, open: &mut [Open]) {
    if let ([one], false) = (&step.plus[..], step.plus.iter().any(|v| open[*v].1)) {
        open[*one] = (dy, true);
        return;
    }
    let (total, mut from) = (plan.maps[step.out].channels, 0);
    for value in &step.plus {
        let (c, each) = (plan.maps[*value].channels, plan.len(*value));
        if !open[*value].1 {
            open[*value].0 = buffers.take(batch * each);
        }
        let add = open[*value].1;
        let images = open[*value].0.par_chunks_mut(each).zip(dy.par_chunks(plan.len(step.out)));
        images.for_each(|(to, dy)| split(dy, total, from, c, add, to));
        open[*value].1 = true;
        from += c;
    }
    buffers.put(dy);
}

fn pack_forward<F: Format<Number = f32>>(layer: &Layer<F>, step: &ConvStep, numbers: &Numbers, out: &mut [F::Element]) {
    let parts: Vec<&[f32]> = step.convs.iter().map(|c| numbers.of(c.weight)).collect();
    layer.pack_forward(kernels(&parts, layer.shape.input.c, step.convs[0].out), out);
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

/// Gradients of a convolution's parameters, of its shift, and of its parts.
fn backward_conv<F: Format<Number = f32, Element: Scratch>>(
    layer: &Layer<F>,
    making: &Making,
    dy: &[f32],
    dshift: Option<&mut Vec<f32>>,
    dparts: &mut [Open],
    gradient: &mut [f32],
    offsets: &[usize],
) {
    let (step, batch) = (making.step, making.batch);
    let (input, out) = (layer.shape.input, layer.shape.output());
    let clock = making.clock;
    clock.time(Part::WeightGradient, || {
        scratch::with(batch * out.c, |db: &mut [f32]| {
            conv::bias_gradient(out, dy, db);
            let sum = conv::sum_rows(db, out.c);
            for (conv, sum) in step.convs.iter().zip(sum.chunks(step.convs[0].out)) {
                gradient[offsets[conv.bias]..offsets[conv.bias + 1]].copy_from_slice(sum);
            }
            if let Some(dshift) = dshift {
                dshift.copy_from_slice(db);
            }
        })
    });
    let again = |image: usize, out: &mut [f32]| making.make(image, false, out);
    let ranges = step.convs.iter().map(|c| (offsets[c.weight], offsets[c.weight + 1]));
    clock.time(Part::WeightGradient, || conv::weight_gradient(layer, making.source(&again), dy, &mut pieces(gradient, ranges)));
    if dparts.is_empty() {
        return;
    }
    let c = input.c;
    scratch::with(batch * 2 * c, |partial: &mut [f32]| {
        let begun: Vec<bool> = dparts.iter().map(|d| d.1).collect();
        // One sink an image: its part of every part's gradient, and of the normalisation's.
        let mut sinks: Vec<(Vec<&mut [f32]>, &mut [f32])> = partial.chunks_mut(2 * c).map(|p| (Vec::new(), p)).collect();
        for (buffer, _) in dparts.iter_mut() {
            let each = buffer.len() / batch;
            sinks.iter_mut().zip(buffer.chunks_mut(each)).for_each(|(sink, part)| sink.0.push(part));
        }
        scratch::with(layer.input_gradient.packed_len::<F>(), |packed: &mut [F::Element]| {
            let weights: Vec<&[f32]> = step.convs.iter().map(|c| making.numbers.of(c.weight)).collect();
            clock.time(Part::Pack, || layer.pack_input_gradient(kernels(&weights, c, step.convs[0].out), packed));
            let sink = |image: usize, (parts, partial): &mut (Vec<&mut [f32]>, &mut [f32]), dz: &mut [f32]| {
                clock.time(Part::InputGradientNorms, || {
                    if let (Some(drops), Some(layer)) = (making.drops, step.dropout) {
                        drops.dropout.drop_image(image, (drops.step)(layer), drops.p, dz);
                    }
                    if let Some((layer, silu)) = &step.norm {
                        let (gamma, beta) = (making.numbers.of(layer.gamma), making.numbers.of(layer.beta));
                        let statistics = making.statistics[image].lock().expect("no image panics while it is made");
                        norm::backward(layer.spec(*silu), &making.image(image), gamma, beta, &statistics, dz, partial);
                    }
                    let mut from = 0;
                    for ((to, add), (_, n)) in parts.iter_mut().zip(&begun).zip(&making.parts) {
                        split(dz, c, from, *n, *add, to);
                        from += n;
                    }
                })
            };
            clock.time(Part::InputGradient, || conv::input_gradient(layer, packed, dy, &mut sinks, sink));
        });
        if let Some((layer, _)) = &step.norm {
            let sums = conv::sum_rows(partial, 2 * c);
            gradient[offsets[layer.gamma]..offsets[layer.gamma + 1]].copy_from_slice(&sums[..c]);
            gradient[offsets[layer.beta]..offsets[layer.beta + 1]].copy_from_slice(&sums[c..]);
        }
    });
}
