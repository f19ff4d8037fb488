//! Compiles a graph to a device program: the forward pass. Memory for all feature maps is assigned here, so that running allocates nothing.

use super::layout::{Layout, filled};
use crate::engine::graph::{ConvNode, Graph, Node};
use crate::error::{Error, Result};
use crate::layers::{Conv, Dense};
use crate::parameters::Parameter;
use crate::unet::UNet;
use ddpm_kernels::conv2d::Resample;
use ddpm_kernels::device::arena::Arena;
use ddpm_kernels::device::maps::{self, Map, PACK};
use ddpm_kernels::device::norm::{Norm, NormDropout};
use ddpm_kernels::device::{ConvOp, MatrixSpan, Op, Pass, Product, Sizes, Span, Type};

/// What the numbers of a network are kept and multiplied in on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    /// Of feature maps and weights in products.
    pub kind: Type,
    /// Whether f32 factors may be rounded to TF32.
    pub tf32: bool,
}

/// Memory that all programs of a network share.
#[derive(Clone, Debug)]
pub struct Shared {
    pub layout: Layout,
    /// f32: weights and, in training, moments and moving average, \[1 or 4, len\].
    pub rows: Span,
    /// The weights as products read them: a separate buffer only if they are not f32.
    pub weights: Span,
    /// f32, only if there are backward passes.
    pub gradient: Option<Span>,
    /// The time embedding of every step, \[T, channels\].
    pub table: Span,
}

/// One batch's programs in the making.
pub struct Compiler<'a> {
    pub graph: &'a Graph,
    pub shared: &'a Shared,
    pub numbers: NumberFormat,
    pub batch: usize,
    pub arena: &'a mut Arena,
    pub ops: Vec<Op>,
    pub dropout: Option<Dropping>,
    /// Where the images, their steps and the result are.
    pub x: Span,
    pub t: Span,
    pub values: Vec<Option<Span>>,
    pub statistics: Vec<Option<Span>>,
    /// Softmax's results, by the step of the plan.
    pub probabilities: Vec<Option<Span>>,
    pub time: Option<TimeSpans>,
}

/// The masks of a training step.
#[derive(Clone, Copy, Debug)]
pub struct Dropping {
    pub seed: u64,
    pub p: f64,
    pub layers: u64,
    pub first: usize,
    pub step: Span,
}

/// What the dense layers read and give.
#[derive(Clone, Debug)]
pub struct TimeSpans {
    pub inputs: [Span; 2],
    pub before: [Span; 2],
    pub embedding: Span,
    pub shifts: Vec<Span>,
}

/// Whether a device's kernels can run a network; the error says what they need.
pub fn check(unet: &UNet, graph: &Graph) -> Result<()> {
    let maps = &graph.maps[1..graph.maps.len() - 1];
    if let Some(map) = maps.iter().find(|map| !map.c.is_multiple_of(PACK)) {
        let expected = format!("channels of all feature maps in multiples of {PACK} on a GPU");
        return Err(Error::InvalidKey { key: "channels", expected, got: map.c.to_string() });
    }
    debug_assert!(unet.parameter_count() > 0);
    Ok(())
}

impl<'a> Compiler<'a> {
    /// For `batch` images, whose places are taken in `arena`.
    pub fn new(graph: &'a Graph, shared: &'a Shared, numbers: NumberFormat, batch: usize, arena: &'a mut Arena) -> Compiler<'a> {
        let images = graph.maps[0];
        let x = arena.take(batch * images.h * images.w * filled(images.c) * numbers.kind.size());
        let t = arena.take(4 * batch);
        let none = |n: usize| vec![None; n];
        Compiler {
            values: none(graph.maps.len()),
            statistics: none(graph.nodes.len()),
            probabilities: none(graph.nodes.len()),
            graph,
            shared,
            numbers,
            batch,
            arena,
            ops: Vec::new(),
            dropout: None,
            x,
            t,
            time: None,
        }
    }

    /// A feature map as stored: channels are padded in the first and last one, which hold images.
    pub fn map(&self, value: usize) -> Map {
        let map = self.graph.maps[value];
        Map { kind: self.numbers.kind, batch: self.batch, h: map.h, w: map.w, c: filled(map.c) }
    }

    /// A parameter's f32 numbers.
    pub fn parameter(&self, parameter: usize) -> Span {
        let (at, len) = self.shared.layout.of(parameter);
        self.shared.rows.part(4 * at, 4 * len)
    }

    /// A parameter as products read it.
    pub fn weight(&self, parameter: usize) -> Span {
        let ((at, len), size) = (self.shared.layout.of(parameter), self.numbers.kind.size());
        self.shared.weights.part(size * at, size * len)
    }

    pub fn value(&self, value: usize) -> Span {
        self.values[value].expect("a feature map that is read has been made")
    }

    /// The feature maps side by side that a step reads.
    pub fn parts(&self, which: &[usize]) -> Vec<(Span, usize)> {
        which.iter().map(|v| (self.value(*v), self.map(*v).c)).collect()
    }

    /// The map of all parts of a step side by side.
    pub fn operand(&self, node: &ConvNode) -> Map {
        Map { c: filled(node.convs[0].from.c), ..self.map(node.parts[0]) }
    }

    /// The step's normalisation.
    pub fn norm<'b>(&self, at: usize, node: &ConvNode, parts: &'b [(Span, usize)]) -> Option<Norm<'b>> {
        let (layer, silu) = node.norm.as_ref()?;
        let drop = self.dropout.as_ref().zip(node.dropout).map(|(d, layer)| NormDropout {
            seed: d.seed,
            p: d.p,
            layers: d.layers,
            layer,
            first: d.first,
            step: d.step,
        });
        Some(Norm {
            spec: layer.spec(*silu),
            map: self.operand(node),
            parts,
            gamma: self.parameter(layer.gamma),
            beta: self.parameter(layer.beta),
            statistics: self.statistics[at].expect("taken for nodes that normalise"),
            drop,
        })
    }

    /// The convolution's sizes as the library sees them: reading an image that was padded or enlarged before. Of a transposed one they are
    /// those of the ordinary one, from Co to Ci channels, whose input gradient it is.
    pub fn sizes(&self, conv: &Conv) -> Sizes {
        let (h, w) = (conv.from.h, conv.from.w);
        let (c_in, c_out) = (filled(conv.from.c), filled(conv.out));
        let of = |h, w, stride, pad| Sizes { batch: self.batch, h, w, c_in, c_out, k: conv.k, stride, pad };
        match conv.resample {
            Resample::Same => of(h, w, 1, conv.k / 2),
            Resample::Halve => of(h + 1, w + 1, 2, 0),
            Resample::Double => of(2 * h, 2 * w, 1, 1),
            Resample::Transposed => Sizes { c_in: c_out, c_out: c_in, ..of(2 * h, 2 * w, 2, 1) },
        }
    }

    /// One pass of a convolution. The forward pass of a transposed one is the input gradient of the ordinary one that `sizes` gives, and its
    /// input gradient is that one's forward pass: x and y change places.
    pub fn convolution(&mut self, pass: Pass, conv: &Conv, [x, w, y]: [Span; 3], add: bool) {
        let NumberFormat { kind, tf32 } = self.numbers;
        let (pass, x, y) = match (conv.resample, pass) {
            (Resample::Transposed, Pass::Forward) => (Pass::InputGradient, y, x),
            (Resample::Transposed, Pass::InputGradient) => (Pass::Forward, y, x),
            (Resample::Transposed, Pass::WeightGradient) => (pass, y, x),
            _ => (pass, x, y),
        };
        self.ops.push(Op::Convolution(ConvOp { pass, sizes: self.sizes(conv), kind, x, w, y, add, tf32 }));
    }

    /// A convolution's operand, if it cannot be read in place: padded or upsampled.
    pub fn resized(&mut self, conv: &Conv, map: Map, x: Span) -> Option<Span> {
        let sizes = self.sizes(conv);
        let bytes = self.batch * sizes.h * sizes.w * sizes.c_in * map.kind.size();
        match conv.resample {
            Resample::Same | Resample::Transposed => None,
            Resample::Halve => {
                let y = self.arena.take(bytes);
                self.ops.push(maps::pad(map, x, y));
                Some(y)
            }
            Resample::Double => {
                let y = self.arena.take(bytes);
                self.ops.push(maps::upsample(map, x, y));
                Some(y)
            }
        }
    }

    /// A matrix at `at` with a row stride of `stride` numbers.
    pub fn rows(&self, at: Span, stride: usize, transposed: bool) -> MatrixSpan {
        MatrixSpan { at, kind: self.numbers.kind, stride, transposed, each: 0 }
    }

    pub fn product(&mut self, (m, k, n): (usize, usize, usize), alpha: f32, [a, b, c]: [MatrixSpan; 3], batch: usize, add: bool) {
        self.ops.push(Op::Product(Product { m, n, k, batch, alpha, a, b, c, add, tf32: self.numbers.tf32 }));
    }

    /// The buffer `at`, offset to channel `from`.
    pub fn channels(&self, at: Span, from: usize) -> Span {
        let skipped = from * self.numbers.kind.size();
        at.part(skipped, at.bytes - skipped)
    }

    /// The forward pass. `keep` what the backward pass needs.
    pub fn forward(&mut self, keep: bool) -> Result<Span> {
        self.values[0] = Some(self.x);
        self.time_forward();
        for at in 0..self.graph.nodes.len() {
            let graph = self.graph;
            match &graph.nodes[at] {
                Node::Conv(node) => self.conv_forward(at, node, keep),
                Node::Attend { qkv, out } => self.attend_forward(at, *qkv, *out, keep),
                Node::Pool { kind, from, out } => {
                    let y = self.arena.take(self.map(*out).bytes());
                    self.ops.push(maps::pool(*kind, self.map(*from), self.value(*from), y));
                    self.values[*out] = Some(y);
                }
            }
            for value in 1..self.values.len() {
                if self.graph.last_use[value] == Some(at) && !(keep && self.graph.kept[value]) {
                    let span = self.values[value].take().expect("read at this node");
                    self.arena.put(span);
                }
            }
        }
        Ok(self.value(self.graph.maps.len() - 1))
    }

    fn conv_forward(&mut self, at: usize, node: &ConvNode, keep: bool) {
        let (out, parts, operand) = (self.map(node.out), self.parts(&node.parts), self.operand(node));
        let y = self.arena.take(out.bytes());
        if let Some((layer, _)) = &node.norm {
            self.statistics[at] = Some(self.arena.take(8 * self.batch * layer.groups));
        }
        let normal = self.normal(at, node, false);
        if node.convs[0].k == 1 {
            let parts = normal.map_or(parts, |normal| vec![(normal, operand.c)]);
            self.pointwise_forward(node, &parts, y);
        } else {
            assert!(node.convs.len() == 1 && (normal.is_some() || parts.len() == 1), "one convolution of one operand");
            let conv = &node.convs[0];
            let x = normal.unwrap_or(parts[0].0);
            let resized = self.resized(conv, operand, x);
            let weight = self.weight(conv.weight);
            self.convolution(Pass::Forward, conv, [resized.unwrap_or(x), weight, y], false);
            resized.into_iter().for_each(|span| self.arena.put(span));
        }
        normal.into_iter().for_each(|span| self.arena.put(span));
        if let (Some(span), false) = (self.statistics[at], keep) {
            self.arena.put(span);
        }
        assert!(node.residual.is_empty() || node.convs.len() == 1, "feature maps are added to one convolution's result");
        let residual = self.parts(&node.residual);
        let shift = node.shift.map(|shift| self.time.as_ref().expect("shifts come from the time").shifts[shift]);
        for (i, conv) in node.convs.iter().enumerate() {
            let c = filled(conv.out);
            self.ops.push(maps::finish(out, y, (i * c, c), self.parameter(conv.bias), shift, &residual));
        }
        self.values[node.out] = Some(y);
    }

    /// A node's normalised operand in a buffer of its own, if the node normalises.
    pub fn normal(&mut self, at: usize, node: &ConvNode, recompute: bool) -> Option<Span> {
        let parts = self.parts(&node.parts);
        node.norm.as_ref()?;
        let y = self.arena.take(self.operand(node).bytes());
        let op = self.norm(at, node, &parts).map(|norm| norm.forward(y, recompute));
        self.ops.extend(op);
        Some(y)
    }

    /// 1x1 convolutions as products, one for each part of the operand.
    fn pointwise_forward(&mut self, node: &ConvNode, parts: &[(Span, usize)], y: Span) {
        let out = self.map(node.out);
        for (i, conv) in node.convs.iter().enumerate() {
            let (mut from, weight) = (0, self.weight(conv.weight));
            for (j, (x, c)) in parts.iter().enumerate() {
                let w = weight.part(from * conv.out * out.kind.size(), c * conv.out * out.kind.size());
                let c_at = self.channels(y, i * conv.out);
                let matrices = [self.rows(*x, *c, false), self.rows(w, conv.out, false), self.rows(c_at, out.c, false)];
                self.product((out.pixels(), *c, conv.out), 1.0, matrices, 1, j > 0);
                from += c;
            }
        }
    }

    /// q, k or v (0, 1, 2) of all images, as matrices of a row for each pixel.
    pub fn third(&self, qkv: Span, which: usize, c: usize, pixels: usize, transposed: bool) -> MatrixSpan {
        MatrixSpan { each: pixels * 3 * c, ..self.rows(self.channels(qkv, which * c), 3 * c, transposed) }
    }

    fn attend_forward(&mut self, at: usize, qkv: usize, out: usize, keep: bool) {
        let (map, source, batch) = (self.map(out), self.value(qkv), self.batch);
        let (pixels, c, kind) = (map.h * map.w, map.c, map.kind);
        let y = self.arena.take(map.bytes());
        let p = self.arena.take(batch * pixels * pixels * kind.size());
        let square = MatrixSpan { at: p, kind, stride: pixels, transposed: false, each: pixels * pixels };
        let [q, k, v] = [(0, false), (1, true), (2, false)].map(|(which, transposed)| self.third(source, which, c, pixels, transposed));
        self.product((pixels, c, pixels), 1.0, [q, k, square], batch, false);
        self.ops.push(maps::softmax(kind, p, batch * pixels, pixels, 1.0 / (c as f32).sqrt()));
        let result = MatrixSpan { each: pixels * c, ..self.rows(y, c, false) };
        self.product((pixels, pixels, c), 1.0, [square, v, result], batch, false);
        if keep {
            self.probabilities[at] = Some(p);
        } else {
            self.arena.put(p);
        }
        self.values[out] = Some(y);
    }

    /// A dense layer, in f32.
    fn dense(&mut self, dense: &Dense, x: Span) -> Span {
        let y = self.arena.take(4 * self.batch * dense.out);
        let [x, w, to] = [(x, dense.from), (self.parameter(dense.weight), dense.out), (y, dense.out)].map(|(at, stride)| MatrixSpan {
            at,
            kind: Type::F32,
            stride,
            transposed: false,
            each: 0,
        });
        self.product((self.batch, dense.from, dense.out), 1.0, [x, w, to], 1, false);
        let rows = Map { kind: Type::F32, batch: 1, h: self.batch, w: 1, c: dense.out };
        self.ops.push(maps::finish(rows, y, (0, dense.out), self.parameter(dense.bias), None, &[]));
        y
    }

    fn time_forward(&mut self) {
        let graph = self.graph;
        let Some([first, second]) = &graph.time else { return };
        let embedded = self.arena.take(4 * self.batch * first.from);
        self.ops.push(maps::embed(self.shared.table, self.t, first.from, self.batch, embedded));
        let after = |this: &mut Self, before: Span| {
            let y = this.arena.take(before.bytes);
            this.ops.push(maps::silu(before, before.bytes / 4, y));
            y
        };
        let before_first = self.dense(first, embedded);
        let hidden = after(self, before_first);
        let before_second = self.dense(second, hidden);
        let embedding = after(self, before_second);
        let shifts = graph.denses.iter().map(|dense| self.dense(dense, embedding)).collect();
        self.time = Some(TimeSpans { inputs: [embedded, hidden], before: [before_first, before_second], embedding, shifts });
    }
}

/// Places for a network's parameters in an arena: rows of them, their copy for products, and the gradient.
pub fn share(parameters: &[Parameter], timesteps: usize, channels: usize, rows: usize, numbers: NumberFormat, arena: &mut Arena) -> Shared {
    let layout = Layout::new(parameters);
    let all = arena.take(4 * rows * layout.len);
    let weights = match numbers.kind {
        Type::F32 => all.part(0, 4 * layout.len),
        Type::Bf16 => arena.take(2 * layout.len),
    };
    let gradient = (rows > 1).then(|| arena.take(4 * layout.len));
    let table = arena.take(4 * timesteps * channels);
    Shared { layout, rows: all, weights, gradient, table }
}
