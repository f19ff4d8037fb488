//! Programs: operations on places, as data.

use super::launch::{self, Access, ElementType, Launch};
use super::place::{Span, Type};

/// Row-major matrices of a product, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatrixSpan {
    /// Where the first one begins; the span reaches to the last one's end at least.
    pub at: Span,
    /// Its numbers.
    pub kind: Type,
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Whether the product reads it transposed.
    pub transposed: bool,
    /// Numbers from one matrix to the next.
    pub each: usize,
}

/// c = alpha a b, or added to c, for `batch` matrices: a \[m, k\], b \[k, n\], c \[m, n\]. Sums are f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Rows of a and c.
    pub m: usize,
    /// Columns of b and c.
    pub n: usize,
    /// Columns of a and rows of b: the number of terms of each sum.
    pub k: usize,
    /// Number of matrix products.
    pub batch: usize,
    /// Factor applied to each product.
    pub alpha: f32,
    /// Left factors, \[m, k\] each.
    pub a: MatrixSpan,
    /// Right factors, \[k, n\] each.
    pub b: MatrixSpan,
    /// Never transposed.
    pub c: MatrixSpan,
    /// Whether the products are added to c rather than overwriting it.
    pub add: bool,
    /// Whether f32 factors may be rounded to TF32.
    pub tf32: bool,
}

/// Which of the three a convolution computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// y from x and w.
    Forward,
    /// The gradient of x from w and that of y.
    InputGradient,
    /// The gradient of w from x and that of y.
    WeightGradient,
}

impl Pass {
    /// All of them.
    pub const ALL: [Pass; 3] = [Pass::Forward, Pass::InputGradient, Pass::WeightGradient];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::InputGradient => "input_gradient",
            Pass::WeightGradient => "weight_gradient",
        }
    }
}

/// The sizes of a convolution of `[B, H, W, Ci]` with weights `[Co, k, k, Ci]` and as much zero padding on all sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// Number of images, B.
    pub batch: usize,
    /// Height of the input in pixels.
    pub h: usize,
    /// Width of the input in pixels.
    pub w: usize,
    /// Number of input channels, Ci.
    pub c_in: usize,
    /// Number of output channels, Co.
    pub c_out: usize,
    /// Side of the square window in pixels.
    pub k: usize,
    /// Step of the window in pixels, in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the input.
    pub pad: usize,
}

impl Sizes {
    /// Height and width of the result.
    pub fn output(self) -> (usize, usize) {
        let side = |n: usize| (n + 2 * self.pad - self.k) / self.stride + 1;
        (side(self.h), side(self.w))
    }

    /// Numbers of x, w and y.
    pub fn numbers(self) -> [usize; 3] {
        let (h, w) = self.output();
        [self.batch * self.h * self.w * self.c_in, self.c_out * self.k * self.k * self.c_in, self.batch * h * w * self.c_out]
    }
}

/// One pass of a convolution; the span that it computes is overwritten, or added to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvOp {
    /// Which of output, input gradient and weight gradient is computed.
    pub pass: Pass,
    /// Sizes of the convolution.
    pub sizes: Sizes,
    /// Type of the numbers of x, w and y.
    pub kind: Type,
    /// The input or its gradient, \[B, H, W, Ci\].
    pub x: Span,
    /// The weights or their gradient, \[Co, k, k, Ci\].
    pub w: Span,
    /// The output or its gradient, \[B, H', W', Co\].
    pub y: Span,
    /// Whether the result is added to its span rather than overwriting it.
    pub add: bool,
    /// Whether f32 factors may be rounded to TF32.
    pub tf32: bool,
}

/// What an operation asks of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OpCost {
    /// Bytes moved to and from memory.
    pub bytes: f64,
    /// Floating-point operations: multiplications and additions.
    pub flops: f64,
}

/// One operation. All are done in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// One of this crate's kernels.
    Launch(Launch),
    /// Matrix products.
    Product(Product),
    /// A convolution.
    Convolution(ConvOp),
}

impl Op {
    /// What is done: a kernel's name, or what a library is asked for.
    pub fn name(&self) -> String {
        match self {
            Op::Launch(launch) => launch.name.clone(),
            Op::Product(p) => format!("product_{}", p.a.kind.suffix()),
            Op::Convolution(c) => format!("convolution_{}_{}", c.pass.name(), c.kind.suffix()),
        }
    }

    /// Its size: that of a product or a convolution, or the most numbers that a kernel touches in one span.
    pub fn size(&self) -> String {
        match self {
            Op::Launch(launch) => format!("{} numbers", launch.places().map(|place| place.touched).max().unwrap_or(0)),
            Op::Product(p) => format!("{} x {} by {} x {}, {} times", p.m, p.k, p.k, p.n, p.batch),
            Op::Convolution(c) => {
                let s = c.sizes;
                format!("{} x {} x {} x {} to {}, {}x{} / {}", s.batch, s.h, s.w, s.c_in, s.c_out, s.k, s.k, s.stride)
            }
        }
    }

    /// A lower bound on its cost: every number that it reads or writes is moved once, and the multiplications and additions of products and
    /// convolutions.
    pub fn cost(&self) -> OpCost {
        match self {
            Op::Launch(launch) => {
                let bytes =
                    |place: launch::MemoryArg| place.touched * place.element.size() * if place.access == Access::Updates { 2 } else { 1 };
                OpCost { bytes: launch.places().map(bytes).sum::<usize>() as f64, flops: 0.0 }
            }
            Op::Product(p) => {
                let numbers = |m: &MatrixSpan, rows: usize, columns: usize| {
                    let times = if m.each == 0 { 1 } else { p.batch };
                    (times * rows * columns * m.kind.size()) as f64
                };
                let c = numbers(&p.c, p.m, p.n) * if p.add { 2.0 } else { 1.0 };
                let flops = 2.0 * p.batch as f64 * p.m as f64 * p.n as f64 * p.k as f64;
                OpCost { bytes: numbers(&p.a, p.m, p.k) + numbers(&p.b, p.k, p.n) + c, flops }
            }
            Op::Convolution(c) => {
                let [x, w, y] = c.sizes.numbers();
                let target = match c.pass {
                    Pass::Forward => y,
                    Pass::InputGradient => x,
                    Pass::WeightGradient => w,
                };
                let numbers = x + w + y + if c.add { target } else { 0 };
                let flops = 2.0 * y as f64 * (c.sizes.k * c.sizes.k * c.sizes.c_in) as f64;
                OpCost { bytes: (numbers * c.kind.size()) as f64, flops }
            }
        }
    }

    /// The places that it writes, and what their numbers are.
    pub fn targets(&self) -> Vec<(Span, ElementType)> {
        match self {
            Op::Launch(launch) => {
                launch.places().filter(|place| place.access != Access::Reads).map(|place| (place.span, place.element)).collect()
            }
            Op::Product(p) => vec![(p.c.at, p.c.kind.into())],
            Op::Convolution(c) => {
                let target = match c.pass {
                    Pass::Forward => c.y,
                    Pass::InputGradient => c.x,
                    Pass::WeightGradient => c.w,
                };
                vec![(target, c.kind.into())]
            }
        }
    }

    /// The places that it reads or writes. Panics where one is too short for what is done with it: nothing beyond a place is touched.
    pub fn places(&self) -> Vec<Span> {
        match self {
            Op::Launch(launch) => launch.places().map(|place| place.span).collect(),
            Op::Product(p) => {
                let reach = |m: &MatrixSpan, rows: usize, columns: usize| {
                    let (rows, columns) = if m.transposed { (columns, rows) } else { (rows, columns) };
                    let numbers = (p.batch - 1) * m.each + (rows - 1) * m.stride + columns;
                    assert!(columns <= m.stride && m.at.bytes >= numbers * m.kind.size(), "{m:?} for {rows}x{columns} in {p:?}");
                    m.at
                };
                assert!(!p.c.transposed, "a product's result is not transposed");
                vec![reach(&p.a, p.m, p.k), reach(&p.b, p.k, p.n), reach(&p.c, p.m, p.n)]
            }
            Op::Convolution(c) => {
                let spans = [c.x, c.w, c.y];
                for (span, numbers) in spans.iter().zip(c.sizes.numbers()) {
                    assert!(span.bytes >= numbers * c.kind.size(), "{span:?} for {numbers} numbers in {c:?}");
                }
                spans.to_vec()
            }
        }
    }
}

/// Checks that all places of a program lie in an arena of `bytes`; panics where not.
pub fn check(program: &[Op], bytes: usize) {
    for op in program {
        for span in op.places() {
            assert!(span.at + span.bytes <= bytes, "{span:?} in an arena of {bytes} bytes: {op:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::maps;

    /// By hand: what is read counts once, what is added to twice, and of wider maps only the channels that are touched.
    #[test]
    fn costs_are_those_counted_by_hand() {
        let at = |bytes| Span { at: 0, bytes };
        let map = maps::Map { kind: Type::Bf16, batch: 2, h: 3, w: 5, c: 8 };
        // 4 channels of 30 pixels, of 2 bytes: read and written, or added to.
        let take = |add| maps::take_channels(map, at(480), (4, 4), at(240), add).cost();
        assert_eq!((take(false).bytes, take(true).bytes), (240.0 + 240.0, 240.0 + 480.0));
        // The map's 8 channels twice, a bias of 8 f32, and a shift of 8 f32 for each image.
        assert_eq!(maps::finish(map, at(480), (0, 8), at(32), Some(at(64)), &[]).cost(), OpCost { bytes: 960.0 + 32.0 + 64.0, flops: 0.0 });
        let matrix = |kind, stride, each| MatrixSpan { at: at(4096), kind, stride, transposed: false, each };
        // [3, 4] by [4, 5], 2 of them; the second factor is one and the same.
        let [a, b, c] = [matrix(Type::Bf16, 4, 12), matrix(Type::Bf16, 5, 0), matrix(Type::F32, 5, 15)];
        let product = |add| Op::Product(Product { m: 3, n: 5, k: 4, batch: 2, alpha: 1.0, a, b, c, add, tf32: false }).cost();
        assert_eq!(product(false), OpCost { bytes: 48.0 + 40.0 + 120.0, flops: 240.0 });
        assert_eq!(product(true).bytes, 48.0 + 40.0 + 240.0);
        // x of 400 numbers, w of 72, y of 200: each of its numbers is a sum of 36 products.
        let sizes = Sizes { batch: 1, h: 10, w: 10, c_in: 4, c_out: 2, k: 3, stride: 1, pad: 1 };
        let convolution = |pass, add| {
            let [x, w, y] = [at(1600), at(288), at(800)];
            Op::Convolution(ConvOp { pass, sizes, kind: Type::F32, x, w, y, add, tf32: false }).cost()
        };
        assert_eq!(convolution(Pass::Forward, false), OpCost { bytes: 4.0 * (400.0 + 72.0 + 200.0), flops: 2.0 * 200.0 * 36.0 });
        assert_eq!(convolution(Pass::InputGradient, true).bytes, 4.0 * (800.0 + 72.0 + 200.0));
        assert_eq!(convolution(Pass::WeightGradient, true).bytes, 4.0 * (400.0 + 144.0 + 200.0));
    }
}
