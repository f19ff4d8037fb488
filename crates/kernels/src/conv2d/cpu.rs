//! Convolution and its three gradients over a batch. Work is split by images, or by parts of the result; no sum is split, so the
//! result is bit-identical for any number of threads.

use super::geometry::Frame;
use super::layer::Layer;
use super::winograd::{Onto, Tiling};
use crate::gemm::pack::Kernels;
use crate::gemm::{Format, width};
use crate::scratch::{self, Scratch};
use crate::simd::Real;
use rayon::prelude::*;

/// Bytes of channels and panels that are made before they are multiplied; few in tests, so that small batches have several groups.
const GROUP_BYTES: usize = if cfg!(test) { 64 << 10 } else { 32 << 20 };

/// Bytes of them that are multiplied by all taps before the next are: they stay in a core's cache.
const PART_BYTES: usize = if cfg!(test) { 16 << 10 } else { 3 << 20 };

/// Input channels of a tap whose weight gradient is one task.
const ROWS: usize = 64;

/// Output pixels that one call of the product should have, so that a panel is read for many rows.
const PIXELS: usize = 256;

/// Where a pass's images come from.
#[derive(Clone, Copy)]
pub enum Source<'a, T> {
    /// In memory, \[B, H, W, C\].
    Plain(&'a [T]),
    /// Generated: the function writes image i to a buffer.
    Made(&'a (dyn Fn(usize, &mut [T]) + Sync)),
}

/// Images per task: enough pixels, but few enough that every thread gets work.
fn block(tiling: Option<Tiling>, batch: usize, pixels: usize) -> usize {
    let images = tiling.map_or(PIXELS.div_ceil(pixels), |tiling| tiling.images());
    images.min(batch.div_ceil(rayon::current_num_threads())).max(1)
}

impl<T: Real + Scratch> Source<'_, T> {
    /// Calls `f` with image `image`.
    fn with<R>(&self, image: usize, len: usize, f: impl FnOnce(&[T]) -> R) -> R {
        match self {
            Source::Plain(all) => f(&all[image * len..][..len]),
            Source::Made(make) => scratch::with(len, |buffer: &mut [T]| {
                make(image, buffer);
                f(buffer)
            }),
        }
    }
}

/// y (+)= x w + bias. `packed` is from [`Layer::pack_forward`]; `bias` has one row, or one for each image.
pub fn forward<F: Format<Number: Scratch, Element: Scratch>>(
    layer: &Layer<F>,
    packed: &[F::Element],
    source: Source<F::Number>,
    bias: &[F::Number],
    accumulate: bool,
    y: &mut [F::Number],
) {
    let (input, out, ready) = (layer.shape.input, layer.shape.output(), &layer.forward);
    let batch = y.len() / out.numbers();
    let block = block(layer.winograd.forward, batch, out.pixels());
    let per_image = bias.len() > out.c;
    y.par_chunks_mut(block * out.numbers()).enumerate().for_each(|(at, y)| {
        let (first, n) = (at * block, y.len() / out.numbers());
        let bias = if per_image { &bias[first * out.c..(first + n) * out.c] } else { bias };
        if let Some(tiling) = &layer.winograd.forward {
            let read = |i: usize, f: &mut dyn FnMut(&[F::Number])| source.with(first + i, input.numbers(), f);
            return tiling.run::<F>(packed, read, Onto { bias: Some(bias), accumulate }, y);
        }
        if let (Source::Plain(all), true) = (source, ready.is_plain::<F>()) {
            let operands = &all[first * input.numbers()..(first + n) * input.numbers()];
            return ready.multiply::<F>(
                F::as_elements(operands).expect("an image that is its own operand"),
                packed,
                Some(bias),
                accumulate,
                y,
            );
        }
        scratch::with(n * ready.operand_len(), |operands: &mut [F::Element]| {
            for (i, operand) in operands.chunks_exact_mut(ready.operand_len()).enumerate() {
                source.with(first + i, input.numbers(), |image| ready.operand::<F>(image, input, operand));
            }
            ready.multiply::<F>(operands, packed, Some(bias), accumulate, y);
        });
    });
}

/// dL/dx from dL/dy, given to `sink` image by image with that image's place in `sinks`. `packed` is from
/// [`Layer::pack_input_gradient`].
pub fn input_gradient<F: Format<Number: Scratch, Element: Scratch>, S: Send>(
    layer: &Layer<F>,
    packed: &[F::Element],
    dy: &[F::Number],
    sinks: &mut [S],
    sink: impl Fn(usize, &mut S, &mut [F::Number]) + Sync,
) {
    let (input, out, ready) = (layer.shape.input, layer.shape.output(), &layer.input_gradient);
    let batch = dy.len() / out.numbers();
    assert_eq!(sinks.len(), batch, "one sink for each image");
    let block = block(layer.winograd.input_gradient, batch, input.pixels());
    dy.par_chunks(block * out.numbers()).zip(sinks.par_chunks_mut(block)).enumerate().for_each(|(at, (dy, sinks))| {
        let n = dy.len() / out.numbers();
        scratch::with(n * input.numbers(), |dx: &mut [F::Number]| {
            if let Some(tiling) = &layer.winograd.input_gradient {
                let read = |i: usize, f: &mut dyn FnMut(&[F::Number])| f(&dy[i * out.numbers()..][..out.numbers()]);
                tiling.run::<F>(packed, read, Onto { bias: None, accumulate: false }, dx);
            } else {
                scratch::with(n * ready.operand_len(), |operands: &mut [F::Element]| {
                    for (dy, operand) in dy.chunks_exact(out.numbers()).zip(operands.chunks_exact_mut(ready.operand_len())) {
                        ready.operand::<F>(dy, out, operand);
                    }
                    ready.multiply::<F>(operands, packed, None, false, dx);
                });
            }
            for (i, (dx, to)) in dx.chunks_exact_mut(input.numbers()).zip(sinks).enumerate() {
                sink(at * block + i, to, dx);
            }
        });
    });
}

/// dL/dw: for each part of the weights, \[taps, c_in, c_out of the part\], overwritten. Several parts are always weighed tap by tap.
pub fn weight_gradient<F: Format<Number: Scratch, Element: Scratch>>(
    layer: &Layer<F>,
    source: Source<F::Number>,
    dy: &[F::Number],
    parts: &mut [&mut [F::Number]],
) {
    let (input, out, weighing) = (layer.shape.input, layer.shape.output(), &layer.weighing);
    if let (Some(gradient), [dw]) = (&layer.winograd.weight_gradient, &mut *parts) {
        let read = |i: usize, f: &mut dyn FnMut(&[F::Number])| source.with(i, input.numbers(), f);
        return gradient.run::<F::Numbers>(read, dy, dw);
    }
    let (batch, width) = (dy.len() / out.numbers(), width::<F>(out.c));
    let panels = out.c.div_ceil(width);
    let bytes = size_of::<F::Element>() * (layer.channels_len() + weighing.phases * panels * layer.gradient_panel_len(1));
    let (group, part) = ((GROUP_BYTES / bytes).clamp(1, batch), (PART_BYTES / bytes).clamp(1, batch));
    // If each tap is one product of a single part, results are written directly; otherwise they are summed from panels.
    let direct = parts.len() == 1 && weighing.phases == 1 && weighing.products.len() == layer.shape.k * layer.shape.k;
    let each = input.c * width;
    let sums_len = if direct { 0 } else { weighing.products.len() * panels * each };
    scratch::with(sums_len, |sums: &mut [F::Number]| {
        scratch::with(group * layer.channels_len(), |channels: &mut [F::Element]| {
            scratch::with(weighing.phases * panels * layer.gradient_panel_len(group), |packed: &mut [F::Element]| {
                for (g, dy) in dy.chunks(group * out.numbers()).enumerate() {
                    let n = dy.len() / out.numbers();
                    let channels = &mut channels[..n * layer.channels_len()];
                    channels.par_chunks_mut(layer.channels_len()).enumerate().for_each(|(i, channels)| {
                        source.with(g * group + i, input.numbers(), |image| layer.channels(image, channels));
                    });
                    // [part][phase][panel]
                    let (whole, of) = (part * out.numbers(), |images: usize| weighing.phases * panels * layer.gradient_panel_len(images));
                    let packed = &mut packed[..of(n)];
                    let panel = |at: usize, dy: &[F::Number], packed: &mut [F::Element]| {
                        layer.gradient_panel(dy, at / panels, at % panels, packed);
                    };
                    packed.par_chunks_mut(of(part)).zip(dy.par_chunks(whole)).for_each(|(packed, dy)| {
                        let len = layer.gradient_panel_len(dy.len() / out.numbers());
                        packed.par_chunks_mut(len).enumerate().for_each(|(at, packed)| panel(at, dy, packed));
                    });
                    for (p, (channels, packed)) in channels.chunks(part * layer.channels_len()).zip(packed.chunks(of(part))).enumerate() {
                        let (n, later) = (channels.len() / layer.channels_len(), g > 0 || p > 0);
                        if direct {
                            let taps = parts[0].chunks_mut(input.c * out.c).enumerate();
                            let tasks =
                                taps.flat_map(|(tap, dw)| dw.chunks_mut(ROWS * out.c).enumerate().map(move |(block, dw)| (tap, block, dw)));
                            let tasks: Vec<(usize, usize, &mut [F::Number])> = tasks.collect();
                            tasks.into_par_iter().for_each(|(tap, block, dw)| {
                                layer.weigh(tap, block * ROWS, (channels, packed, n), out.c, later, dw);
                            });
                            continue;
                        }
                        let len = layer.gradient_panel_len(n);
                        sums.par_chunks_mut(each).enumerate().for_each(|(i, sums)| {
                            let (product, panel) = (i / panels, i % panels);
                            let packed = &packed[(weighing.products[product].1 * panels + panel) * len..][..len];
                            layer.weigh(product, 0, (channels, packed, n), width, later, sums);
                        });
                    }
                }
            });
        });
        let c_out = out.c / parts.len();
        for (part, dw) in parts.iter_mut().enumerate().filter(|_| !direct) {
            assert_eq!(dw.len(), layer.shape.k * layer.shape.k * input.c * c_out);
            dw.par_chunks_mut(input.c * c_out).enumerate().for_each(|(tap, dw)| {
                dw.fill(F::Number::default());
                for (product, _) in weighing.products.iter().enumerate().filter(|(_, p)| p.2.contains(&tap)) {
                    let sums = &sums[product * panels * each..][..panels * each];
                    add_columns(sums, width, input.c, part * c_out, c_out, dw);
                }
            });
        }
    });
}

/// Adds columns `from..from + n` of panels \[panel\]\[row\]\[width\] to rows of `n` numbers.
fn add_columns<T: Real>(panels: &[T], width: usize, rows: usize, from: usize, n: usize, out: &mut [T]) {
    let mut at = 0;
    while at < n {
        let (panel, column) = ((from + at) / width, (from + at) % width);
        let some = (width - column).min(n - at);
        for (row, out) in out.chunks_exact_mut(n).enumerate().take(rows) {
            let sums = &panels[(panel * rows + row) * width + column..][..some];
            out[at..at + some].iter_mut().zip(sums).for_each(|(to, v)| *to += *v);
        }
        at += some;
    }
}

/// dL/dbias for each image, \[B, c\], of gradients of `frame`. Sixteen pixels at a time, so that f32 sums keep their digits.
pub fn bias_gradient<T: Real>(frame: Frame, dy: &[T], db: &mut [T]) {
    db.par_chunks_mut(frame.c).zip(dy.par_chunks(frame.numbers())).for_each(|(db, dy)| {
        db.fill(T::default());
        let mut part = vec![T::default(); frame.c];
        for pixels in dy.chunks(16 * frame.c) {
            part.fill(T::default());
            for pixel in pixels.chunks_exact(frame.c) {
                part.iter_mut().zip(pixel).for_each(|(to, v)| *to += *v);
            }
            db.iter_mut().zip(&part).for_each(|(to, v)| *to += *v);
        }
    });
}

/// Sum of rows of `n` numbers, in their order.
pub fn sum_rows<T: Real>(rows: &[T], n: usize) -> Vec<T> {
    let mut sum = vec![T::default(); n];
    for row in rows.chunks_exact(n) {
        sum.iter_mut().zip(row).for_each(|(to, v)| *to += *v);
    }
    sum
}

/// The weights of one convolution as kernels.
pub fn kernels<'a, T>(parts: &'a [&'a [T]], c_in: usize, c_out: usize) -> Kernels<'a, T> {
    Kernels { parts, c_in, c_out }
}
