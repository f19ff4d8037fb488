//! Compiles a graph to a device program: the backward pass.

use super::compile::Compiler;
use super::layout::filled;
use crate::engine::graph::{ConvNode, Node};
use crate::layers::{Conv, Dense};
use ddpm_kernels::conv2d::Resample;
use ddpm_kernels::device::maps::{self, Map};
use ddpm_kernels::device::{MatrixSpan, Pass, Span, Type};
use ddpm_kernels::pool::BlockPool;

/// A gradient that is still being added up: its place, and whether it holds anything yet.
type Open = Option<Span>;

impl Compiler<'_> {
    /// A parameter's gradient.
    fn gradient(&self, parameter: usize) -> Span {
        let (at, len) = self.shared.layout.of(parameter);
        self.shared.gradient.expect("a network that is trained has a gradient").part(4 * at, 4 * len)
    }

    /// Overwrites the gradients of all parameters, given `dy`, the gradient of the output, which is consumed. Frees all kept buffers.
    pub fn backward(&mut self, dy: Span) {
        let graph = self.graph;
        let mut open: Vec<Open> = vec![None; graph.maps.len()];
        open[graph.maps.len() - 1] = Some(dy);
        let mut dshifts: Vec<Span> = graph.denses.iter().map(|dense| self.arena.take(4 * self.batch * dense.out)).collect();
        for at in (0..graph.nodes.len()).rev() {
            match &graph.nodes[at] {
                Node::Conv(node) => self.conv_backward(at, node, &mut open, &dshifts),
                Node::Attend { qkv, out } => self.attend_backward(at, *qkv, *out, &mut open),
                Node::Pool { kind, from, out } => self.pool_backward(*kind, *from, *out, &mut open),
            }
        }
        self.time_backward(&mut dshifts);
    }

    /// The buffer for a part's gradient, existing or new, and whether to accumulate into it.
    fn begin(&mut self, open: &mut [Open], value: usize) -> (Span, bool) {
        let begun = open[value].take();
        (begun.unwrap_or_else(|| self.arena.take(self.map(value).bytes())), begun.is_some())
    }

    fn conv_backward(&mut self, at: usize, node: &ConvNode, open: &mut [Open], dshifts: &[Span]) {
        let (out, operand) = (self.map(node.out), self.operand(node));
        let dy = open[node.out].take().expect("every reader of a feature map has left a gradient");
        if let Some(span) = self.values[node.out].take() {
            self.arena.put(span);
        }
        for (i, conv) in node.convs.iter().enumerate() {
            self.bias_gradient(conv, out, dy, i * filled(conv.out), node.shift.map(|shift| dshifts[shift]));
        }
        let parts = self.parts(&node.parts);
        // The images need no gradient.
        let to: Vec<(Span, bool)> =
            if node.parts == [0] { vec![] } else { node.parts.iter().map(|value| self.begin(open, *value)).collect() };
        let normal = self.normal(at, node, true);
        if node.convs[0].k == 1 {
            self.pointwise_backward(node, &normal.map_or(parts.clone(), |normal| vec![(normal, operand.c)]), dy);
        } else {
            let conv = &node.convs[0];
            let x = normal.unwrap_or(parts[0].0);
            let resized = self.resized(conv, operand, x);
            self.weight_gradient(conv, resized.unwrap_or(x), dy);
            resized.into_iter().for_each(|span| self.arena.put(span));
        }
        match normal {
            // The operand's place becomes that of its gradient.
            Some(dz) => {
                self.input_gradient(node, dy, &[(dz, operand.c, false)]);
                let partial = self.arena.take(8 * self.batch * operand.c);
                let norm = self.norm(at, node, &parts).expect("a node with an operand of its own normalises");
                self.ops.push(norm.backward(dz, &to, partial));
                let (layer, _) = node.norm.as_ref().expect("as before");
                // Gamma and beta stand one after the other, as the two rows of sums.
                let (gamma, beta) = (self.gradient(layer.gamma), self.gradient(layer.beta));
                assert_eq!(gamma.at + gamma.bytes, beta.at, "beta follows gamma");
                let both = Span { at: gamma.at, bytes: gamma.bytes + beta.bytes };
                self.ops.push(maps::row_sums(partial, self.batch, 2 * operand.c, both));
                self.arena.put(partial);
                self.arena.put(dz);
                self.arena.put(self.statistics[at].take().expect("kept"));
            }
            None if to.is_empty() => {}
            None => {
                let targets: Vec<_> = to.iter().zip(&parts).map(|(to, part)| (to.0, part.1, to.1)).collect();
                self.input_gradient(node, dy, &targets);
            }
        }
        for (value, (span, _)) in node.parts.iter().zip(&to) {
            open[*value] = Some(*span);
        }
        self.pass_on(node, out, dy, open);
    }

    fn bias_gradient(&mut self, conv: &Conv, out: Map, dy: Span, from: usize, dshift: Option<Span>) {
        let c = filled(conv.out);
        let sums = dshift.unwrap_or_else(|| self.arena.take(4 * self.batch * c));
        self.ops.push(maps::pixel_sums(out, dy, (from, c), sums));
        self.ops.push(maps::row_sums(sums, self.batch, c, self.gradient(conv.bias)));
        if dshift.is_none() {
            self.arena.put(sums);
        }
    }

    /// Of a kxk convolution. The library gives it in the type of the feature maps.
    fn weight_gradient(&mut self, conv: &Conv, x: Span, dy: Span) {
        let to = self.gradient(conv.weight);
        match self.numbers.kind {
            Type::F32 => self.convolution(Pass::WeightGradient, conv, [x, to, dy], false),
            Type::Bf16 => {
                let n = to.bytes / 4;
                let narrow = self.arena.take(2 * n);
                self.convolution(Pass::WeightGradient, conv, [x, narrow, dy], false);
                self.ops.push(maps::widen(narrow, n, to));
                self.arena.put(narrow);
            }
        }
    }

    /// Of 1x1 convolutions: products that give f32.
    fn pointwise_backward(&mut self, node: &ConvNode, parts: &[(Span, usize)], dy: Span) {
        let out = self.map(node.out);
        for (i, conv) in node.convs.iter().enumerate() {
            let (mut from, to) = (0, self.gradient(conv.weight));
            for (x, c) in parts {
                let target = to.part(4 * from * conv.out, 4 * c * conv.out);
                let dw = MatrixSpan { at: target, kind: Type::F32, stride: conv.out, transposed: false, each: 0 };
                let dy = self.rows(self.channels(dy, i * conv.out), out.c, false);
                self.product((*c, out.pixels(), conv.out), 1.0, [self.rows(*x, *c, true), dy, dw], 1, false);
                from += c;
            }
        }
    }

    /// The gradient of the operand, to parts of it (place, channels, whether it is added to).
    fn input_gradient(&mut self, node: &ConvNode, dy: Span, to: &[(Span, usize, bool)]) {
        let (out, operand) = (self.map(node.out), self.operand(node));
        let size = out.kind.size();
        if node.convs[0].k == 1 {
            for (i, conv) in node.convs.iter().enumerate() {
                let (mut from, weight) = (0, self.weight(conv.weight));
                for (dx, c, add) in to {
                    let w = self.rows(weight.part(from * conv.out * size, c * conv.out * size), conv.out, true);
                    let dy = self.rows(self.channels(dy, i * conv.out), out.c, false);
                    self.product((out.pixels(), conv.out, *c), 1.0, [dy, w, self.rows(*dx, *c, false)], 1, *add || i > 0);
                    from += c;
                }
            }
            return;
        }
        let [(dx, _, add)] = *to else { panic!("a {0}x{0} convolution reads one operand", node.convs[0].k) };
        let conv = &node.convs[0];
        let weight = self.weight(conv.weight);
        if matches!(conv.resample, Resample::Same | Resample::Transposed) {
            return self.convolution(Pass::InputGradient, conv, [dx, weight, dy], add);
        }
        let sizes = self.sizes(conv);
        let large = self.arena.take(self.batch * sizes.h * sizes.w * sizes.c_in * size);
        self.convolution(Pass::InputGradient, conv, [large, weight, dy], false);
        self.ops.push(if conv.resample == Resample::Halve {
            maps::crop(operand, large, dx, add)
        } else {
            maps::upsample_backward(operand, large, dx, add)
        });
        self.arena.put(large);
    }

    /// Passes `dy` on to the feature maps in `residual`: as is where it is the first contribution, otherwise accumulated.
    fn pass_on(&mut self, node: &ConvNode, out: Map, dy: Span, open: &mut [Open]) {
        if let [one] = node.residual[..]
            && open[one].is_none()
        {
            open[one] = Some(dy);
            return;
        }
        let mut from = 0;
        for value in &node.residual {
            let (to, add) = self.begin(open, *value);
            let c = self.map(*value).c;
            self.ops.push(maps::take_channels(out, dy, (from, c), to, add));
            open[*value] = Some(to);
            from += c;
        }
        self.arena.put(dy);
    }

    fn pool_backward(&mut self, kind: BlockPool, from: usize, out: usize, open: &mut [Open]) {
        let dy = open[out].take().expect("every reader of a feature map has left a gradient");
        let (dx, add) = self.begin(open, from);
        // What was averaged may be gone, and is not read.
        let x = if kind == BlockPool::Max { self.value(from) } else { dx };
        self.ops.push(maps::pool_backward(kind, self.map(from), x, dy, dx, add));
        open[from] = Some(dx);
        self.arena.put(dy);
        if let Some(span) = self.values[out].take() {
            self.arena.put(span);
        }
    }

    fn attend_backward(&mut self, at: usize, qkv: usize, out: usize, open: &mut [Open]) {
        let (map, source, batch) = (self.map(out), self.value(qkv), self.batch);
        let (pixels, c, kind) = (map.h * map.w, map.c, map.kind);
        let dy = open[out].take().expect("every reader of a feature map has left a gradient");
        let p = self.probabilities[at].take().expect("kept");
        let dp = self.arena.take(p.bytes);
        let dqkv = self.arena.take(3 * map.bytes());
        let square = |at, transposed| MatrixSpan { at, kind, stride: pixels, transposed, each: pixels * pixels };
        let rows = MatrixSpan { each: pixels * c, ..self.rows(dy, c, false) };
        let third = |this: &Self, at, which, transposed| this.third(at, which, c, pixels, transposed);
        let matrices = [rows, third(self, source, 2, true), square(dp, false)];
        self.product((pixels, c, pixels), 1.0, matrices, batch, false);
        let matrices = [square(p, true), rows, third(self, dqkv, 2, false)];
        self.product((pixels, pixels, c), 1.0, matrices, batch, false);
        self.ops.push(maps::softmax_backward(kind, p, dp, batch * pixels, pixels, 1.0 / (c as f32).sqrt()));
        let matrices = [square(dp, false), third(self, source, 1, false), third(self, dqkv, 0, false)];
        self.product((pixels, pixels, c), 1.0, matrices, batch, false);
        let matrices = [square(dp, true), third(self, source, 0, false), third(self, dqkv, 1, false)];
        self.product((pixels, pixels, c), 1.0, matrices, batch, false);
        for span in [dy, p, dp] {
            self.arena.put(span);
        }
        if let Some(span) = self.values[out].take() {
            self.arena.put(span);
        }
        open[qkv] = Some(dqkv);
    }

    /// A dense layer's gradients from `dy`: of its parameters, and of x to `dx`, written or added.
    fn dense_backward(&mut self, dense: &Dense, x: Span, dy: Span, dx: Option<(Span, bool)>) {
        let batch = self.batch;
        let matrix = |at, stride, transposed| MatrixSpan { at, kind: Type::F32, stride, transposed, each: 0 };
        let (dw, w) = (self.gradient(dense.weight), self.parameter(dense.weight));
        let rows = matrix(dy, dense.out, false);
        self.product((dense.from, batch, dense.out), 1.0, [matrix(x, dense.from, true), rows, matrix(dw, dense.out, false)], 1, false);
        self.ops.push(maps::row_sums(dy, batch, dense.out, self.gradient(dense.bias)));
        if let Some((dx, add)) = dx {
            let matrices = [rows, matrix(w, dense.out, true), matrix(dx, dense.from, false)];
            self.product((batch, dense.out, dense.from), 1.0, matrices, 1, add);
        }
    }

    fn time_backward(&mut self, dshifts: &mut Vec<Span>) {
        let graph = self.graph;
        let (Some([first, second]), Some(time)) = (&graph.time, self.time.take()) else { return };
        let dembedding = self.arena.take(time.embedding.bytes);
        for (i, (dense, dshift)) in graph.denses.iter().zip(&*dshifts).enumerate() {
            self.dense_backward(dense, time.embedding, *dshift, Some((dembedding, i > 0)));
        }
        self.ops.push(maps::silu_backward(time.before[1], time.before[1].bytes / 4, dembedding));
        let dhidden = self.arena.take(time.inputs[1].bytes);
        self.dense_backward(second, time.inputs[1], dembedding, Some((dhidden, false)));
        self.ops.push(maps::silu_backward(time.before[0], time.before[0].bytes / 4, dhidden));
        self.dense_backward(first, time.inputs[0], dhidden, None);
        let spans = time.inputs.into_iter().chain(time.before).chain(time.shifts).chain(dshifts.drain(..));
        for span in spans.chain([time.embedding, dembedding, dhidden]) {
            self.arena.put(span);
        }
    }
}
