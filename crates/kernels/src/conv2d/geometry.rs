//! How each pass of a convolution maps to a matrix product: the offsets and segments of windows, their taps, and where results go.
//!
//! A transposed convolution of 4x4 to twice the size equals four 2x2 convolutions, one per position in a 2x2 block: no zeros are inserted
//! between pixels. Its input gradient is one 4x4 convolution with stride 2. Nearest-neighbour upsampling followed by a 3x3 convolution is
//! the same, where each of the sixteen taps is a sum of some of the nine: no upsampled image is materialised, and only 16 of 36 products
//! remain. The input gradient of stride 2 is four convolutions of 1, 2, 2 and 4 taps: no multiplication by inserted zeros.

use crate::gemm::{Format, Segment};

/// What a convolution does to the size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resample {
    /// Stride 1, one pixel of zeros around the image: same size.
    Same,
    /// Stride 2 on even sizes with zeros at the bottom and the right only: TensorFlow's 'SAME', half the size.
    Halve,
    /// Each pixel repeated 2x2, then as `Same`: twice the size.
    Double,
    /// Each pixel adds a window of 4x4 to the result. Windows are two pixels apart and reach one pixel over the border, where they are cut:
    /// twice the size. PyTorch's ConvTranspose2d with a kernel of 4, a stride of 2 and a padding of 1.
    Transposed,
}

impl Resample {
    /// (height, width) after the convolution.
    pub fn output(self, h: usize, w: usize) -> (usize, usize) {
        match self {
            Resample::Same => (h, w),
            Resample::Halve => (h / 2, w / 2),
            Resample::Double | Resample::Transposed => (2 * h, 2 * w),
        }
    }

    /// Whether the result is twice the size.
    pub fn doubles(self) -> bool {
        matches!(self, Resample::Double | Resample::Transposed)
    }
}

/// One image's size and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// Number of channels.
    pub c: usize,
}

impl Frame {
    /// Numbers of one image.
    pub fn numbers(self) -> usize {
        self.h * self.w * self.c
    }

    /// Number of pixels: height times width.
    pub fn pixels(self) -> usize {
        self.h * self.w
    }
}

/// One convolution's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Size and channels of the input image.
    pub input: Frame,
    /// Number of output channels.
    pub c_out: usize,
    /// Width of the square window: 4 for [`Resample::Transposed`], else 3 or 1.
    pub k: usize,
    /// How the convolution changes the size of the image.
    pub resample: Resample,
}

/// Taps that are added up before they meet a factor.
pub type Taps = Vec<usize>;

/// One phase of the output: the pixels that use the same taps. Each pixel's window has an offset in the operand, and its result one in the
/// output.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// (elements into the operand, pixels into the output).
    pub places: Vec<(usize, usize)>,
    /// Stretches of a window; rows count words of the packed weights.
    pub segments: Vec<Segment>,
    /// The weights' rows: taps for each pixel of the window.
    pub taps: Vec<Taps>,
}

/// One pass as phases over an operand: a padded copy of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct PassGeometry {
    /// Size of the padded copy; channels filled up to whole words.
    pub frame: Frame,
    /// Rows and columns of zeros before the image.
    pub margin: (usize, usize),
    /// The phases that make up the output: 1, or 4 where the positions in a 2x2 block use different taps.
    pub phases: Vec<Phase>,
}

/// For each tap of 4 the taps of 3 whose sum it is, where nearest upsampling and a 3x3 convolution are written as a transposed convolution.
const TIED: [&[usize]; 4] = [&[2], &[1, 2], &[0, 1], &[0]];

/// Which tap of 4 meets pixel r of a window of 2 in phase a.
fn met(a: usize, r: usize) -> usize {
    3 - a - 2 * r
}

impl Shape {
    /// Size and channels of the output image.
    pub fn output(self) -> Frame {
        let (h, w) = self.resample.output(self.input.h, self.input.w);
        Frame { h, w, c: self.c_out }
    }

    /// Number of weights, \[k, k, C_in, C_out\].
    pub fn weight_len(self) -> usize {
        self.k * self.k * self.input.c * self.c_out
    }

    /// Multiplications of one image, tap by tap.
    pub fn multiplications(self) -> u64 {
        let windows = if self.resample == Resample::Transposed { self.input } else { self.output() };
        (windows.pixels() * self.weight_len()) as u64
    }

    /// Whether a pixel of the result is of one pixel of the image: of a map of a single pixel, all taps but the middle one meet zeros.
    fn is_pointwise(self) -> bool {
        self.k == 1 || self.resample == Resample::Same && self.input.pixels() == 1
    }

    /// The tap in the middle of the window.
    fn middle(self) -> usize {
        self.k * self.k / 2
    }

    /// What tap (r, s) of 4x4 of a convolution to twice the size is.
    fn doubling(self, r: usize, s: usize) -> Taps {
        if self.resample == Resample::Transposed {
            return vec![4 * r + s];
        }
        TIED[r].iter().flat_map(|dy| TIED[s].iter().map(move |dx| dy * 3 + dx)).collect()
    }

    /// y from x.
    pub fn forward<F: Format>(self) -> PassGeometry {
        let (c, out) = (self.input.c.next_multiple_of(F::PER_WORD), self.output());
        let grid = |frame: Frame, stride: usize| Grid { frame, stride, words: c / F::PER_WORD, per_word: F::PER_WORD };
        let padded = |more: usize| Frame { h: self.input.h + more, w: self.input.w + more, c };
        match (self.k, self.resample) {
            _ if self.is_pointwise() => PassGeometry {
                frame: padded(0),
                margin: (0, 0),
                phases: vec![grid(padded(0), 1).phase(out, (0, 0), (1, 1), |_, _| vec![self.middle()])],
            },
            (_, Resample::Same) => {
                let phase = grid(padded(2), 1).phase(out, (0, 0), (3, 3), |r, s| vec![r * 3 + s]);
                PassGeometry { frame: padded(2), margin: (1, 1), phases: vec![phase] }
            }
            (_, Resample::Halve) => {
                let phase = grid(padded(1), 2).phase(out, (0, 0), (3, 3), |r, s| vec![r * 3 + s]);
                PassGeometry { frame: padded(1), margin: (0, 0), phases: vec![phase] }
            }
            (_, Resample::Double | Resample::Transposed) => {
                let phase = |(a, b): (usize, usize)| {
                    let phase = grid(padded(2), 1).phase(self.input, (a, b), (2, 2), |r, s| self.doubling(met(a, r), met(b, s)));
                    self.input.spread(phase, (a, b))
                };
                PassGeometry { frame: padded(2), margin: (1, 1), phases: PHASES.into_iter().map(phase).collect() }
            }
        }
    }

    /// dx from dy: taps are indexed as in the weights, so a flipped window lists them in reverse order.
    pub fn input_gradient<F: Format>(self) -> PassGeometry {
        let (out, input) = (self.output(), self.input);
        let c = out.c.next_multiple_of(F::PER_WORD);
        let grid = |frame: Frame, stride: usize| Grid { frame, stride, words: c / F::PER_WORD, per_word: F::PER_WORD };
        let padded = |more: usize| Frame { h: out.h + more, w: out.w + more, c };
        match (self.k, self.resample) {
            _ if self.is_pointwise() => PassGeometry {
                frame: padded(0),
                margin: (0, 0),
                phases: vec![grid(padded(0), 1).phase(input, (0, 0), (1, 1), |_, _| vec![self.middle()])],
            },
            (_, Resample::Same) => {
                let phase = grid(padded(2), 1).phase(input, (0, 0), (3, 3), |r, s| vec![(2 - r) * 3 + 2 - s]);
                PassGeometry { frame: padded(2), margin: (1, 1), phases: vec![phase] }
            }
            (_, Resample::Halve) => {
                // Input 2 y is read by outputs y - 1 (tap 2) and y (tap 0), input 2 y + 1 by output y (tap 1).
                let taps = |odd: usize, r: usize| if odd == 1 { 1 } else { 2 - 2 * r };
                let phase = |(a, b): (usize, usize)| {
                    let phase = grid(padded(1), 1).phase(out, (a, b), (2 - a, 2 - b), |r, s| vec![taps(a, r) * 3 + taps(b, s)]);
                    out.spread(phase, (a, b))
                };
                PassGeometry { frame: padded(1), margin: (1, 1), phases: PHASES.into_iter().map(phase).collect() }
            }
            (_, Resample::Double | Resample::Transposed) => {
                let phase = grid(padded(2), 2).phase(input, (0, 0), (4, 4), |r, s| self.doubling(r, s));
                PassGeometry { frame: padded(2), margin: (1, 1), phases: vec![phase] }
            }
        }
    }
}

/// The forward pass of a window of any `size` (rows, columns), moved by `stride`, over an image with `pad` (rows, columns) of zeros on
/// each side; results as wide and high as windows fit.
pub fn windows<F: Format>(input: Frame, out: Frame, size: (usize, usize), stride: usize, pad: (usize, usize)) -> PassGeometry {
    let c = input.c.next_multiple_of(F::PER_WORD);
    let frame = Frame { h: input.h + 2 * pad.0, w: input.w + 2 * pad.1, c };
    let grid = Grid { frame, stride, words: c / F::PER_WORD, per_word: F::PER_WORD };
    PassGeometry { frame, margin: pad, phases: vec![grid.phase(out, (0, 0), size, |r, s| vec![r * size.1 + s])] }
}

/// The places of a block of 2x2.
pub const PHASES: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

impl Frame {
    /// The results at `phase` of each block of 2x2 of an image twice as large.
    fn spread(self, mut phase: Phase, (a, b): (usize, usize)) -> Phase {
        for (_, to) in &mut phase.places {
            let (y, x) = (*to / self.w, *to % self.w);
            *to = (2 * y + a) * 2 * self.w + 2 * x + b;
        }
        phase
    }
}

/// Windows over a padded copy.
struct Grid {
    frame: Frame,
    stride: usize,
    words: usize,
    per_word: usize,
}

impl Grid {
    /// Windows of `size` for all pixels of `out`, shifted by `shift`.
    fn phase(&self, out: Frame, shift: (usize, usize), size: (usize, usize), taps: impl Fn(usize, usize) -> Taps) -> Phase {
        let (row, pixel) = (self.frame.w * self.frame.c, self.frame.c);
        debug_assert_eq!(pixel, self.words * self.per_word);
        let place = |p: usize| {
            let (y, x) = (p / out.w, p % out.w);
            ((y * self.stride + shift.0) * row + (x * self.stride + shift.1) * pixel, p)
        };
        let segment = |r: usize| Segment { from: r * row, row: r * size.1 * self.words, words: size.1 * self.words };
        Phase {
            places: (0..out.pixels()).map(place).collect(),
            segments: (0..size.0).map(segment).collect(),
            taps: (0..size.0).flat_map(|r| (0..size.1).map(move |s| (r, s))).map(|(r, s)| taps(r, s)).collect(),
        }
    }
}

/// The weight gradient: for each product, x shifted against one phase of dy, summed over pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightGradPlan {
    /// Planes of x's channels, where words are made of several pixels; else x is read from the forward pass's operand.
    pub planes: Option<Planes>,
    /// Elements from a channel to the next, and from a word of a channel to the next.
    pub channel: usize,
    /// Elements from a word of a channel to the next.
    pub step: usize,
    /// One image's sum.
    pub segments: Vec<Segment>,
    /// Phases of dy: 1, or 4 where the image was doubled.
    pub phases: usize,
    /// Pixels of a row in the panels of dy: its own, or as many as a plane's row has.
    pub row: usize,
    /// Words of a phase of an image.
    pub words: usize,
    /// (elements into a channel, phase of dy, taps that the product belongs to).
    pub products: Vec<(usize, usize, Taps)>,
}

/// Channels as planes, with zeros where windows leave the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planes {
    /// One for each column of the window, the image moved by so many pixels, with rows of zeros above and below it. Pixels of all rows lie
    /// in one piece, so that sums run over them without gaps, and rows of 32 pixels begin at whole cache lines.
    Moved {
        /// Columns, and rows, of the window: 1 or 3.
        moves: usize,
        /// Elements from a plane to the next.
        plane: usize,
    },
    /// The image's four phases of 2x2, with zeros at the bottom and the right: stride 2.
    Phases {
        /// Height of a plane in pixels, zeros included.
        h: usize,
        /// Width of a plane in pixels, zeros included.
        w: usize,
    },
}

impl Shape {
    /// (row, column) in the padded x, phase of dy, and taps of each product.
    fn products(self) -> Vec<(usize, usize, usize, Taps)> {
        match (self.k, self.resample) {
            _ if self.is_pointwise() => vec![(0, 0, 0, vec![self.middle()])],
            (_, Resample::Same | Resample::Halve) => (0..9).map(|tap| (tap / 3, tap % 3, 0, vec![tap])).collect(),
            (_, Resample::Double | Resample::Transposed) => (0..16)
                .map(|i| {
                    let ((a, b), (r, s)) = (PHASES[i / 4], PHASES[i % 4]);
                    (a + r, b + s, i / 4, self.doubling(met(a, r), met(b, s)))
                })
                .collect(),
        }
    }

    /// The plan of the weight gradient in format `F`.
    pub fn weighing<F: Format>(self) -> WeightGradPlan {
        let phases = if self.resample.doubles() { 4 } else { 1 };
        let halves = self.resample == Resample::Halve;
        // The grid that sums run over.
        let (h, w) = if phases == 4 { (self.input.h, self.input.w) } else { (self.output().h, self.output().w) };
        let rows = |step: usize, words: usize| (0..h).map(|y| Segment { from: y * step, row: y * words, words }).collect();
        if F::PER_WORD == 1 {
            let forward = self.forward::<F>();
            let (c, stride) = (forward.frame.c, if halves { 2 } else { 1 });
            let at = |(y, x, phase, taps): (usize, usize, usize, Taps)| ((y * forward.frame.w + x) * c, phase, taps);
            return WeightGradPlan {
                planes: None,
                channel: 1,
                step: stride * c,
                segments: rows(stride * forward.frame.w * c, w),
                phases,
                row: w,
                words: h * w,
                products: self.products().into_iter().map(at).collect(),
            };
        }
        // Sums are filled up to whole tiles of the matrix unit: what is read past the end meets zeros of dy.
        let whole = |pixels: usize| pixels.next_multiple_of(32);
        let (planes, row) = match self.resample {
            Resample::Halve => (Planes::Phases { h: h + 1, w: w + 1 }, w + 1),
            _ => {
                let moves = if self.is_pointwise() { 1 } else { 3 };
                (Planes::Moved { moves, plane: whole((moves - 1) * w + whole(h * w)) }, w)
            }
        };
        let at = |(y, x, phase, taps): (usize, usize, usize, Taps)| match planes {
            Planes::Moved { plane, .. } => (x * plane + y * w, phase, taps),
            Planes::Phases { h, w } => (((y % 2) * 2 + x % 2) * h * w + y / 2 * w + x / 2, phase, taps),
        };
        let products: Vec<_> = self.products().into_iter().map(at).collect();
        // Across the margins, where dy is zero.
        let words = whole(h * row) / F::PER_WORD;
        let channel = match planes {
            Planes::Moved { moves, plane } => moves * plane,
            Planes::Phases { h, w } => {
                let reach = products.iter().map(|p| p.0).max().unwrap_or(0) + words * F::PER_WORD;
                reach.max(PHASES.len() * h * w)
            }
        };
        let segments = vec![Segment { from: 0, row: 0, words }];
        WeightGradPlan { planes: Some(planes), channel, step: F::PER_WORD, segments, phases, row, words, products }
    }
}
