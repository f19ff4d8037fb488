//! InceptionV3 with the weights of 2015-12-05, evaluated only: FID's features and the inception score's logits.

mod architecture;
mod resize;

pub use architecture::{FEATURES, LOGITS};
pub use resize::Resize;

use crate::error::{Error, Result};
use crate::interop::Tensors;
use architecture::{INPUT, InceptionOp, steps};
use ddpm_kernels::conv2d::Frame;
use ddpm_kernels::gemm::Format;
use ddpm_kernels::pool::Pool;
use ddpm_kernels::scratch::Scratch;
use ddpm_kernels::simd::Real;
use ddpm_kernels::window::{PackedConvolution, Window};
use rayon::prelude::*;

/// Epsilon of the batch normalisations.
const EPSILON: f64 = 1e-3;

enum Node<F: Format> {
    Conv(PackedConvolution<F>),
    Pool(Pool, Frame),
    Fork(Vec<Vec<Node<F>>>),
}

/// The network with its weights, batch normalisations folded into the convolutions.
pub struct Inception<F: Format> {
    nodes: Vec<Node<F>>,
    /// `[FEATURES, LOGITS]`; none in a file of the features' weights alone.
    classes: Option<Vec<f32>>,
}

/// What the network says of images.
pub struct InceptionOutput {
    /// `[n, FEATURES]`: means of the last feature map.
    pub features: Vec<f32>,
    /// `[n, LOGITS]`, without the classifier's bias, as the inception score's code has them; none without a classifier.
    pub logits: Option<Vec<f32>>,
}

impl<F: Format<Number: Scratch, Element: Scratch>> Inception<F> {
    /// From tensors under pytorch-fid's names; `fc.*`, the classifier, may be absent. Errors name what is missing, left over or of another
    /// shape.
    pub fn new(mut tensors: Tensors) -> Result<Inception<F>> {
        let nodes = steps().into_iter().map(|step| node(step, &mut tensors)).collect::<Result<Vec<_>>>()?;
        let mut classes = None;
        if tensors.has("fc.weight") || tensors.has("fc.bias") {
            let transposed = tensors.take("fc.weight", &[LOGITS, FEATURES])?;
            let rows = classes.insert(vec![0f32; FEATURES * LOGITS]);
            for (class, row) in transposed.chunks(FEATURES).enumerate() {
                row.iter().enumerate().for_each(|(feature, v)| rows[feature * LOGITS + class] = *v);
            }
            tensors.take("fc.bias", &[LOGITS])?;
        }
        tensors.finish()?;
        Ok(Inception { nodes, classes })
    }

    /// Multiply-accumulates for one image, without the classifier.
    pub fn macs() -> u64 {
        fn of(steps: &[InceptionOp]) -> u64 {
            let step = |step: &InceptionOp| match step {
                InceptionOp::Conv(_, window) => window.macs(),
                InceptionOp::Pool(..) => 0,
                InceptionOp::Fork(ways) => ways.iter().map(|way| of(way)).sum(),
            };
            steps.iter().map(step).sum()
        }
        of(&steps())
    }

    /// Features and logits of 8-bit images `[n, h, w, c]` with 3 channels, or 1 that stands for all three.
    pub fn see(&self, bytes: &[u8], (h, w, c): (usize, usize, usize), resize: Resize) -> Result<InceptionOutput> {
        check((h, w, c))?;
        let means = bytes.par_chunks_exact(h * w * c).map(|image| {
            let mut input = vec![F::Number::default(); INPUT.numbers()];
            resize.apply(image, (h, w, c), INPUT.h, &mut input);
            self.features(input)
        });
        let means: Vec<Vec<f64>> = means.collect();
        // The classifier runs in f64: it is cheap, and its rounding errors become negligible.
        let logits = |means: &Vec<f64>, classes: &[f32]| {
            let mut sums = vec![0f64; LOGITS];
            for (mean, row) in means.iter().zip(classes.chunks(LOGITS)) {
                sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += mean * *w as f64);
            }
            sums.into_iter().map(|v| v as f32).collect::<Vec<f32>>()
        };
        Ok(InceptionOutput {
            features: means.iter().flatten().map(|v| *v as f32).collect(),
            logits: self.classes.as_ref().map(|classes| means.par_iter().flat_map_iter(|means| logits(means, classes)).collect()),
        })
    }

    /// Means of the last feature map for one resized image.
    fn features(&self, input: Vec<F::Number>) -> Vec<f64> {
        let last = self.nodes.iter().fold(input, |map, node| run(node, &map));
        let mut means = vec![0f64; FEATURES];
        for pixel in last.chunks_exact(FEATURES) {
            means.iter_mut().zip(pixel).for_each(|(mean, v)| *mean += v.wide());
        }
        let pixels = (last.len() / FEATURES) as f64;
        means.iter_mut().for_each(|mean| *mean /= pixels);
        means
    }
}

/// Whether the network can read images of this height, width and number of channels.
fn check((h, w, c): (usize, usize, usize)) -> Result<()> {
    match h > 0 && w > 0 && (c == 1 || c == 3) {
        true => Ok(()),
        false => Err(Error::Shape { what: "images", expected: "pixels of 1 or 3 channels".into(), got: format!("{h}x{w} with {c}") }),
    }
}

/// One step's feature map from the one before.
fn run<F: Format<Number: Scratch, Element: Scratch>>(node: &Node<F>, map: &[F::Number]) -> Vec<F::Number> {
    match node {
        Node::Conv(conv) => {
            let mut out = vec![F::Number::default(); conv.window().output().numbers()];
            conv.apply(map, &mut out);
            let zero = F::Number::default();
            out.iter_mut().for_each(|v| *v = if *v > zero { *v } else { zero });
            out
        }
        Node::Pool(pool, input) => {
            let mut out = vec![F::Number::default(); pool.output(*input).numbers()];
            pool.apply(*input, map, &mut out);
            out
        }
        Node::Fork(ways) => {
            let parts: Vec<Vec<F::Number>> = ways.iter().map(|way| chain(way, map)).collect();
            let widths: Vec<usize> = ways.iter().map(|way| width(way)).collect();
            let total: usize = widths.iter().sum();
            let mut out = vec![F::Number::default(); parts[0].len() / widths[0] * total];
            let mut from = 0;
            for (part, width) in parts.iter().zip(widths) {
                for (to, pixel) in out.chunks_exact_mut(total).zip(part.chunks_exact(width)) {
                    to[from..from + width].copy_from_slice(pixel);
                }
                from += width;
            }
            out
        }
    }
}

/// A way's result; it has at least one step.
fn chain<F: Format<Number: Scratch, Element: Scratch>>(way: &[Node<F>], map: &[F::Number]) -> Vec<F::Number> {
    let (first, later) = way.split_first().expect("a way has a step");
    later.iter().fold(run(first, map), |map, node| run(node, &map))
}

/// Channels of a way's result.
fn width<F: Format<Number: Scratch, Element: Scratch>>(way: &[Node<F>]) -> usize {
    match way.last().expect("a way has a step") {
        Node::Conv(conv) => conv.window().c_out,
        Node::Pool(_, input) => input.c,
        Node::Fork(ways) => ways.iter().map(|way| width(way)).sum(),
    }
}

fn node<F: Format<Number: Scratch, Element: Scratch>>(step: InceptionOp, tensors: &mut Tensors) -> Result<Node<F>> {
    Ok(match step {
        InceptionOp::Conv(name, window) => Node::Conv(convolution(&name, window, tensors)?),
        InceptionOp::Pool(pool, input) => Node::Pool(pool, input),
        InceptionOp::Fork(ways) => {
            let way =
                |way: Vec<InceptionOp>, tensors: &mut Tensors| way.into_iter().map(|step| node(step, tensors)).collect::<Result<Vec<_>>>();
            Node::Fork(ways.into_iter().map(|steps| way(steps, tensors)).collect::<Result<_>>()?)
        }
    })
}

/// A convolution without bias and the normalisation after it as one: w' = w gamma / sqrt(variance + epsilon).
fn convolution<F: Format<Number: Scratch, Element: Scratch>>(
    name: &str,
    window: Window,
    tensors: &mut Tensors,
) -> Result<PackedConvolution<F>> {
    let ((rows, columns), c_in, c_out) = (window.size, window.input.c, window.c_out);
    let weight = tensors.take(&format!("{name}.conv.weight"), &[c_out, c_in, rows, columns])?;
    let mut of = |part: &str| tensors.take(&format!("{name}.bn.{part}"), &[c_out]);
    let (gamma, beta, mean, variance) = (of("weight")?, of("bias")?, of("running_mean")?, of("running_var")?);
    // PyTorch's count of batches says nothing about the function; files have it or not.
    tensors.drop(&format!("{name}.bn.num_batches_tracked"));
    let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| *g as f64 / (*v as f64 + EPSILON).sqrt()).collect();
    let mut transposed = vec![F::Number::default(); weight.len()];
    for (n, scale) in scale.iter().enumerate() {
        for c in 0..c_in {
            for tap in 0..rows * columns {
                let v = weight[(n * c_in + c) * rows * columns + tap] as f64 * scale;
                transposed[(tap * c_in + c) * c_out + n] = F::Number::of(v);
            }
        }
    }
    let bias = (0..c_out).map(|n| F::Number::of(beta[n] as f64 - mean[n] as f64 * scale[n])).collect();
    Ok(PackedConvolution::new(window, &transposed, bias))
}

/// Names and shapes of the tensors of the network, for programs that write such files.
pub fn tensor_shapes() -> Vec<(String, Vec<usize>)> {
    fn of(steps: &[InceptionOp], to: &mut Vec<(String, Vec<usize>)>) {
        for step in steps {
            match step {
                InceptionOp::Conv(name, w) => {
                    to.push((format!("{name}.conv.weight"), vec![w.c_out, w.input.c, w.size.0, w.size.1]));
                    to.extend(["weight", "bias", "running_mean", "running_var"].map(|part| (format!("{name}.bn.{part}"), vec![w.c_out])));
                }
                InceptionOp::Pool(..) => {}
                InceptionOp::Fork(ways) => ways.iter().for_each(|way| of(way, to)),
            }
        }
    }
    let mut shapes = Vec::new();
    of(&steps(), &mut shapes);
    shapes.extend([("fc.weight".to_string(), vec![LOGITS, FEATURES]), ("fc.bias".to_string(), vec![LOGITS])]);
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_pixels_or_of_other_channels_are_refused() {
        for shape in [(1, 1, 1), (32, 28, 3)] {
            assert!(check(shape).is_ok(), "{shape:?}");
        }
        for shape in [(0, 4, 3), (4, 0, 3), (0, 0, 1), (4, 4, 0), (4, 4, 2), (4, 4, 4)] {
            let error = check(shape).unwrap_err().to_string();
            assert!(error.contains(&format!("{}x{} with {}", shape.0, shape.1, shape.2)), "{error}");
        }
    }
}
