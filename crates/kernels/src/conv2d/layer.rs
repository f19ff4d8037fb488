//! A convolution made ready for a format: its passes as products, and the operands that they read.

use super::algorithm::Algorithm;
use super::geometry::{Frame, PassGeometry, Phase, Planes, Shape, WeightGradPlan};
use super::winograd::Winograd;
use crate::gemm::lines::{element, interleave, rounded};
use crate::gemm::moves::BLOCK;
use crate::gemm::pack::{Kernels, OperandSplit, moved, phases, pixels};
use crate::gemm::{Format, Products, RowOffsets, Segment, Storage, multiply, width};
use crate::scratch;
use crate::simd::{bodies, compiled};
use rayon::prelude::*;

/// One pass: its phases' segments over all copies of the factors.
#[derive(Clone, Debug)]
pub struct PreparedPass {
    /// Geometry of the pass.
    pub pass: PassGeometry,
    /// How many elements represent each number of the operands.
    pub split: OperandSplit,
    /// Columns of the result.
    pub columns: usize,
    /// For each phase: all segments, and words in a column of its panels.
    phases: Vec<(Vec<Segment>, usize)>,
}

/// A convolution in format `F`.
#[derive(Clone, Debug)]
pub struct Layer<F: Format> {
    /// Sizes of the convolution.
    pub shape: Shape,
    /// How many elements represent each number of the operands.
    pub split: OperandSplit,
    /// The forward pass: C_out columns.
    pub forward: PreparedPass,
    /// The input gradient: C_in columns.
    pub input_gradient: PreparedPass,
    /// The plan of the weight gradient.
    pub weighing: WeightGradPlan,
    /// The passes that are computed in tiles instead.
    pub winograd: Winograd,
    format: std::marker::PhantomData<F>,
}

impl PreparedPass {
    /// Prepares `pass` in format `F` for a result with `columns` columns.
    pub fn new<F: Format>(pass: PassGeometry, columns: usize, split: OperandSplit) -> PreparedPass {
        let words = pass.frame.c / F::PER_WORD;
        let ready = |phase: &Phase| {
            let rows = phase.taps.len() * words;
            (split.segments(&phase.segments, pass.frame.numbers(), rows), split.copies() * rows)
        };
        PreparedPass { phases: pass.phases.iter().map(ready).collect(), pass, split, columns }
    }

    /// Elements of one image's operand.
    pub fn operand_len(&self) -> usize {
        self.split.copies() * self.pass.frame.numbers()
    }

    fn panel_len<F: Format>(&self, phase: usize) -> usize {
        self.phases[phase].1 * width::<F>(self.columns) * F::PER_WORD
    }

    /// Elements of all phases' packed weights.
    pub fn packed_len<F: Format>(&self) -> usize {
        let panels = self.columns.div_ceil(width::<F>(self.columns));
        (0..self.phases.len()).map(|phase| panels * self.panel_len::<F>(phase)).sum()
    }

    /// The weights as a forward pass reads them: [`PreparedPass::packed_len`] elements.
    pub fn pack_forward<F: Format>(&self, kernels: Kernels<F::Number>, out: &mut [F::Element]) {
        let split = self.split;
        self.pack::<F>(out, |phase, panel, out| kernels.forward_panel::<F>(&phase.taps, panel, split, out));
    }

    /// Packs weights with `panel`, phase by phase and panel by panel.
    fn pack<F: Format>(&self, out: &mut [F::Element], panel: impl Fn(&Phase, usize, &mut [F::Element]) + Sync) {
        let panels = self.columns.div_ceil(width::<F>(self.columns));
        let mut rest = out;
        for (i, phase) in self.pass.phases.iter().enumerate() {
            let len = self.panel_len::<F>(i);
            let (now, later) = rest.split_at_mut(panels * len);
            now.par_chunks_mut(len).enumerate().for_each(|(at, out)| panel(phase, at, out));
            rest = later;
        }
    }

    /// Whether an image can serve as the operand as is, without padding or conversion.
    pub fn is_plain<F: Format>(&self) -> bool {
        F::PER_WORD == 1 && self.split == OperandSplit::One && self.pass.phases.len() == 1 && self.pass.phases[0].taps.len() == 1
    }

    /// The padded copies of an image of `frame`. Every element of `out` is written.
    pub fn operand<F: Format>(&self, image: &[F::Number], frame: Frame, out: &mut [F::Element]) {
        let (to, margin, zero) = (self.pass.frame, self.pass.margin, F::Element::default());
        assert_eq!((image.len(), out.len()), (frame.numbers(), self.operand_len()));
        for (copy, out) in out.chunks_exact_mut(to.numbers()).enumerate() {
            for (y, row) in out.chunks_exact_mut(to.w * to.c).enumerate() {
                if y < margin.0 || y >= margin.0 + frame.h {
                    row.fill(zero);
                    continue;
                }
                if to.c > frame.c {
                    row.fill(zero);
                } else {
                    row[..margin.1 * to.c].fill(zero);
                    row[(margin.1 + frame.w) * to.c..].fill(zero);
                }
                let from = &image[(y - margin.0) * frame.w * frame.c..][..frame.w * frame.c];
                pixels::<F>(from, frame.c, copy, to.c, margin.1 * to.c, row);
            }
        }
    }

    /// The product for images whose operands stand one after the other. `bias` has one row, or one for each image.
    pub fn multiply<F: Format>(
        &self,
        operands: &[F::Element],
        packed: &[F::Element],
        bias: Option<&[F::Number]>,
        accumulate: bool,
        out: &mut [F::Number],
    ) {
        let images = operands.len() / self.operand_len();
        let (out_len, rows) = (out.len() / images, bias.map_or(1, |b| b.len() / self.columns));
        assert!(rows == 1 || rows == images, "{rows} rows of bias for {images} images");
        let mut at = 0;
        for (i, (phase, (segments, words))) in self.pass.phases.iter().zip(&self.phases).enumerate() {
            let len = self.panel_len::<F>(i) * self.columns.div_ceil(width::<F>(self.columns));
            scratch::with(images * phase.places.len(), |places: &mut [RowOffsets]| {
                for (image, places) in places.chunks_mut(phase.places.len()).enumerate() {
                    let bias = if rows == 1 { 0 } else { image * self.columns };
                    for (place, (from, to)) in places.iter_mut().zip(&phase.places) {
                        *place = RowOffsets { from: image * self.operand_len() + from, to: image * out_len + to * self.columns, bias };
                    }
                }
                let (a, b) = (operands, &packed[at..at + len]);
                multiply(Products::<F> {
                    a,
                    places,
                    segments,
                    step: F::PER_WORD,
                    b,
                    rows: *words,
                    columns: self.columns,
                    bias,
                    accumulate,
                    out: &mut *out,
                });
            });
            at += len;
        }
    }
}

impl<F: Format> Layer<F> {
    /// Prepares all passes of a convolution of `shape`, by the active algorithm where it is the faster one.
    pub fn new(shape: Shape, split: OperandSplit) -> Layer<F> {
        Layer::by(Algorithm::active::<F>().of::<F>(shape, split), shape, split)
    }

    /// The same with some passes in tiles. Panics where they are not among those that are possible for it.
    pub fn by(winograd: Winograd, shape: Shape, split: OperandSplit) -> Layer<F> {
        let Winograd { forward, input_gradient, weight_gradient } = Winograd::possible::<F>(shape, split);
        assert!(winograd.forward.is_none_or(|tiling| Some(tiling) == forward), "{shape:?} has no such forward pass");
        assert!(winograd.input_gradient.is_none_or(|tiling| Some(tiling) == input_gradient), "{shape:?} has no such input gradient");
        assert!(winograd.weight_gradient.is_none_or(|tiling| Some(tiling) == weight_gradient), "{shape:?} has no such weight gradient");
        let forward = PreparedPass::new::<F>(shape.forward::<F>(), shape.c_out, split);
        let input_gradient = PreparedPass::new::<F>(shape.input_gradient::<F>(), shape.input.c, split);
        Layer { shape, split, forward, input_gradient, weighing: shape.weighing::<F>(), winograd, format: std::marker::PhantomData }
    }

    /// Multiplications in the products of one image: of the forward pass, the input gradient and the weight gradient.
    pub fn multiplications(&self) -> [u64; 3] {
        let pairs = self.shape.input.c * self.shape.c_out;
        let windows = |pass: &PassGeometry| pass.phases.iter().map(|phase| phase.places.len() * phase.taps.len()).sum::<usize>();
        let pixels = self.shape.output().pixels() / self.weighing.phases;
        let sums = [windows(&self.forward.pass), windows(&self.input_gradient.pass), self.weighing.products.len() * pixels];
        let Winograd { forward, input_gradient, weight_gradient } = self.winograd;
        let tilings = [forward, input_gradient, weight_gradient.map(|gradient| gradient.x)];
        std::array::from_fn(|pass| tilings[pass].map_or((sums[pass] * pairs) as u64, |tiling| tiling.multiplications()))
    }

    /// Elements of the weights as the forward pass reads them.
    pub fn forward_len(&self) -> usize {
        self.winograd.forward.map_or_else(|| self.forward.packed_len::<F>(), |tiling| tiling.packed_len::<F>())
    }

    /// Elements of the weights as the input gradient reads them.
    pub fn input_gradient_len(&self) -> usize {
        self.winograd.input_gradient.map_or_else(|| self.input_gradient.packed_len::<F>(), |tiling| tiling.packed_len::<F>())
    }

    /// The weights as the forward pass reads them: [`Layer::forward_len`] elements.
    pub fn pack_forward(&self, kernels: Kernels<F::Number>, out: &mut [F::Element]) {
        match self.winograd.forward {
            Some(tiling) => tiling.pack_forward::<F>(kernels, out),
            None => self.forward.pack_forward::<F>(kernels, out),
        }
    }

    /// The weights as the input gradient reads them: [`Layer::input_gradient_len`] elements.
    pub fn pack_input_gradient(&self, kernels: Kernels<F::Number>, out: &mut [F::Element]) {
        let split = self.split;
        match self.winograd.input_gradient {
            Some(tiling) => tiling.pack_input_gradient::<F>(kernels, out),
            None => self.input_gradient.pack::<F>(out, |phase, panel, out| kernels.transposed_panel::<F>(&phase.taps, panel, split, out)),
        }
    }

    /// Elements of one image's channels as the weight gradient reads them.
    pub fn channels_len(&self) -> usize {
        match self.weighing.planes {
            Some(_) => self.split.copies() * self.shape.input.c * self.weighing.channel,
            None => self.forward.operand_len(),
        }
    }

    /// An image's channels as the weight gradient reads them. Every element of `out` is written.
    pub fn channels(&self, image: &[F::Number], out: &mut [F::Element]) {
        let frame = self.shape.input;
        assert_eq!((image.len(), out.len()), (frame.numbers(), self.channels_len()));
        let Some(planes) = self.weighing.planes else {
            return self.forward.operand::<F>(image, frame, out);
        };
        let channel = self.weighing.channel;
        for (copy, out) in out.chunks_exact_mut(frame.c * channel).enumerate() {
            match planes {
                Planes::Moved { moves, plane } => moved::<F>(image, (frame.c, frame.w), copy, (moves, plane), out),
                Planes::Phases { h, w } => {
                    out.fill(F::Element::default());
                    for (y, row) in image.chunks_exact(frame.w * frame.c).enumerate() {
                        phases::<F>(row, frame.c, copy, channel, (y % 2 * 2 * h + y / 2) * w, h * w, out);
                    }
                }
            }
        }
    }

    /// Elements of one panel of `images` output gradients.
    pub fn gradient_panel_len(&self, images: usize) -> usize {
        self.split.copies() * images * self.weighing.words * width::<F>(self.shape.c_out) * F::PER_WORD
    }

    /// One panel of output gradients: `phase`'s pixels row by row, image after image.
    pub fn gradient_panel(&self, dy: &[F::Number], phase: usize, panel: usize, out: &mut [F::Element]) {
        compiled::<_, GradientPanel<F>>((self, dy, phase, panel, out));
    }

    /// Part of one product of the weight gradient, written or accumulated: rows of `columns` numbers, for the input channels starting at
    /// `first`, from the channels of `images` images and the panels of these columns.
    pub fn weigh(
        &self,
        product: usize,
        first: usize,
        (channels, panels, images): (&[F::Element], &[F::Element], usize),
        columns: usize,
        accumulate: bool,
        out: &mut [F::Number],
    ) {
        let (weighing, c) = (&self.weighing, self.shape.input.c);
        let shift = weighing.products[product].0;
        let (a_len, words) = (c * weighing.channel, images * weighing.words);
        let mut segments = Vec::with_capacity(images * weighing.segments.len());
        for image in 0..images {
            let (from, row) = (image * self.channels_len() + shift, image * weighing.words);
            segments.extend(weighing.segments.iter().map(|s| Segment { from: s.from + from, row: s.row + row, ..*s }));
        }
        let segments = self.split.segments(&segments, a_len, words);
        scratch::with(out.len() / columns, |places: &mut [RowOffsets]| {
            for (i, place) in places.iter_mut().enumerate() {
                *place = RowOffsets { from: (first + i) * weighing.channel, to: i * columns, bias: 0 };
            }
            let (rows, step) = (self.split.copies() * words, weighing.step);
            let (a, segments, bias) = (channels, &segments[..], None);
            multiply(Products::<F> { a, places, segments, step, b: panels, rows, columns, bias, accumulate, out });
        });
    }
}

type PanelOf<'a, F> = (&'a Layer<F>, &'a [<F as Storage>::Number], usize, usize, &'a mut [<F as Storage>::Element]);

#[inline(always)]
fn gradient_panel<F: Format>((layer, dy, phase, panel, out): PanelOf<F>) {
    let (frame, weighing, width) = (layer.shape.output(), &layer.weighing, width::<F>(layer.shape.c_out));
    let images = dy.len() / frame.numbers();
    let step = if weighing.phases == 4 { 2 } else { 1 };
    let first = panel * width;
    let n = width.min(frame.c - first);
    let (words, mut pixels) = (images * weighing.words, (frame.h / step, frame.w / step));
    // Columns past the last and pixels past a row's end stay 0.
    if n < width || weighing.words * F::PER_WORD > pixels.0 * pixels.1 {
        out.fill(F::Element::default());
    }
    // Rows without gaps between them are one.
    if step == 1 && weighing.row == pixels.1 {
        pixels = (1, pixels.0 * pixels.1);
    }
    let [dy_at, dx_at] = [phase / 2 % 2, phase % 2];
    // Words of two pixels that never come from two rows.
    let whole = pixels.0 == 1 || pixels.1.is_multiple_of(F::PER_WORD) && weighing.row.is_multiple_of(F::PER_WORD);
    for (copy, out) in out.chunks_exact_mut(words * width * F::PER_WORD).enumerate() {
        for (dy, out) in dy.chunks_exact(frame.numbers()).zip(out.chunks_exact_mut(weighing.words * width * F::PER_WORD)) {
            let line = |y: usize, x: usize| &dy[((y * step + dy_at) * frame.w + x * step + dx_at) * frame.c + first..][..n];
            for y in 0..pixels.0 {
                let row = &mut out[y * weighing.row / F::PER_WORD * width * F::PER_WORD..];
                if whole {
                    for x in (0..pixels.1).step_by(F::PER_WORD) {
                        let a = rounded::<F>(copy, line(y, x));
                        let b = match F::PER_WORD > 1 && x + 1 < pixels.1 {
                            true => rounded::<F>(copy, line(y, x + 1)),
                            false => [F::Element::default(); BLOCK],
                        };
                        interleave::<F>(&a, &b, &mut row[x * width..][..width * F::PER_WORD]);
                    }
                    continue;
                }
                for x in 0..pixels.1 {
                    let p = y * weighing.row + x;
                    let to = &mut out[p / F::PER_WORD * width * F::PER_WORD..][..width * F::PER_WORD];
                    for (word, v) in to.chunks_exact_mut(F::PER_WORD).zip(line(y, x)) {
                        word[p % F::PER_WORD] = element::<F>(copy, *v);
                    }
                }
            }
        }
    }
}

bodies! {
    F: Format;
    GradientPanel = gradient_panel(PanelOf);
}
