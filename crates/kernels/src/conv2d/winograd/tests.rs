//! Convolutions in tiles against direct ones in f64, which stand against plain tensor code in the tests of `conv2d`.

use crate::conv2d::algorithm::Algorithm;
use crate::conv2d::cpu::{self, Source, kernels};
use crate::conv2d::layer::Layer;
use crate::conv2d::winograd::Winograd;
use crate::conv2d::{Frame, Resample, Shape};
use crate::gemm::pack::OperandSplit;
use crate::gemm::{Bf16, F32, F64, Format};
use crate::random::{Random, Stream};
use crate::scratch::{self, Scratch};
use crate::simd::Real;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    h: usize,
    w: usize,
    c_in: usize,
    c_out: usize,
    /// Weights that stand side by side.
    parts: usize,
    resample: Resample,
    bias_per_image: bool,
    accumulate: bool,
    seed: u64,
}

/// Channels in sixteens and maps that need not be whole tiles; large ones have few channels, so that a case takes no second.
fn cases() -> impl Strategy<Value = Case> {
    let sizes = prop_oneof![
        12 => (1usize..6, 1usize..14, 1usize..14, 1usize..7, 1usize..7),
        2 => (1usize..3, 15usize..66, 15usize..66, 1usize..4, 1usize..4),
        1 => (1usize..4, 7usize..10, 7usize..10, 6usize..33, 6usize..33),
    ];
    let resample = prop_oneof![2 => Just(Resample::Same), 1 => Just(Resample::Double)];
    let parts = prop_oneof![3 => Just(1usize), 1 => 2usize..4];
    (sizes, parts, resample, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |((batch, h, w, c_in, c_out), parts, resample, bias_per_image, accumulate, seed)| {
            // Parts may have eight outputs; all of them together come in sixteens.
            let c_out = 16 * if parts == 3 { c_out.next_multiple_of(3) } else { c_out };
            Case { batch, h, w, c_in: 16 * c_in, c_out, parts, resample, bias_per_image, accumulate, seed }
        },
    )
}

impl Case {
    fn shape(&self) -> Shape {
        Shape { input: Frame { h: self.h, w: self.w, c: self.c_in }, c_out: self.c_out, k: 3, resample: self.resample }
    }
}

/// Whether all passes that can be are computed in tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Taps,
    Tiles,
}

fn layer<F: Format>(by: By, shape: Shape) -> Layer<F> {
    let split = OperandSplit::One;
    Layer::by(if by == By::Tiles { Winograd::possible::<F>(shape, split) } else { Winograd::default() }, shape, split)
}

fn numbers<T: Real>(seed: u64, step: u64, n: usize) -> Vec<T> {
    let mut numbers = vec![0f32; n];
    Random::new(seed, Stream::Evaluation).normal_fill(step, 0, &mut numbers);
    numbers.into_iter().map(|v| T::of(v as f64)).collect()
}

/// Buffers that come next hold what no one should read: those of the pool's threads and of the caller's, as many as are used at a time.
fn poison<T: Real + Scratch>() {
    fn fill<T: Real + Scratch>(depth: usize) {
        if depth > 0 {
            scratch::with(1 << 19, |buffer: &mut [T]| {
                buffer.fill(T::of(f64::NAN));
                fill::<T>(depth - 1);
            });
        }
    }
    rayon::broadcast(|_| fill::<T>(4));
    fill::<T>(4);
}

/// The same of elements.
fn poison_elements<F: Format<Element: Scratch>>() {
    scratch::with(1 << 19, |buffer: &mut [F::Element]| buffer.fill(F::round(F::Number::of(f64::NAN))));
}

/// y, dx and dw.
fn all<F: Format<Number: Scratch, Element: Scratch>>(by: By, case: &Case) -> [Vec<f64>; 3] {
    all_of::<F>(by, case, &|step, n| numbers::<F::Number>(case.seed, step, n))
}

/// The same of given numbers: x, w, dy, the bias and what y begins with.
fn all_of<F: Format<Number: Scratch, Element: Scratch>>(
    by: By,
    case: &Case,
    numbers: &dyn Fn(u64, usize) -> Vec<F::Number>,
) -> [Vec<f64>; 3] {
    let shape = case.shape();
    let (layer, out) = (layer::<F>(by, shape), shape.output());
    let (x, w) = (numbers(0, case.batch * shape.input.numbers()), numbers(1, shape.weight_len()));
    let (dy, bias) = (numbers(2, case.batch * out.numbers()), numbers(3, if case.bias_per_image { case.batch * out.c } else { out.c }));
    let parts: Vec<&[F::Number]> = w.chunks(w.len() / case.parts).collect();
    let kernels = kernels(&parts, case.c_in, case.c_out / case.parts);
    poison::<F::Number>();
    rayon::broadcast(|_| poison_elements::<F>());
    poison_elements::<F>();
    let nan = F::Number::of(f64::NAN);
    let mut y = if case.accumulate { numbers(4, dy.len()) } else { vec![nan; dy.len()] };
    let mut packed = vec![F::round(nan); layer.forward_len()];
    layer.pack_forward(kernels, &mut packed);
    let make = |image: usize, to: &mut [F::Number]| to.copy_from_slice(&x[image * to.len()..][..to.len()]);
    // Images made one by one, as a network's normalised ones are, or all there.
    let source = if case.seed.is_multiple_of(2) { Source::Plain(&x[..]) } else { Source::Made(&make) };
    cpu::forward(&layer, &packed, source, &bias, case.accumulate, &mut y);
    let mut packed = vec![F::round(nan); layer.input_gradient_len()];
    layer.pack_input_gradient(kernels, &mut packed);
    let mut dx = vec![nan; x.len()];
    let mut sinks: Vec<&mut [F::Number]> = dx.chunks_mut(shape.input.numbers()).collect();
    cpu::input_gradient(&layer, &packed, &dy, &mut sinks, |_, to, from| to.copy_from_slice(from));
    let mut dw = vec![nan; w.len()];
    let mut parts: Vec<&mut [F::Number]> = dw.chunks_mut(w.len() / case.parts).collect();
    cpu::weight_gradient(&layer, source, &dy, &mut parts);
    [y, dx, dw].map(|numbers| numbers.into_iter().map(Real::wide).collect())
}

const NAMES: [&str; 3] = ["y", "dx", "dw"];

/// Relative L2 distance.
fn distance(found: &[f64], exact: &[f64]) -> f64 {
    assert_eq!(found.len(), exact.len());
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(exact).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn tiles_equal_the_direct_convolution(case in cases()) {
        let exact = all::<F64>(By::Taps, &case);
        for ((name, exact), found) in NAMES.iter().zip(&exact).zip(all::<F64>(By::Tiles, &case)) {
            prop_assert!(distance(&found, exact) < 1e-14, "{name} in f64: {}", distance(&found, exact));
        }
        for ((name, exact), found) in NAMES.iter().zip(&exact).zip(all::<F32>(By::Tiles, &case)) {
            prop_assert!(distance(&found, exact) < 3e-6, "{name} in f32: {}", distance(&found, exact));
        }
    }

    /// Eight bits of each factor, after the transform: y and dx are off by 3.5e-3 on average, by more where few results are by chance small;
    /// dw is computed in f32.
    #[test]
    fn tiles_of_bf16_keep_its_digits(case in cases()) {
        let exact = all::<F64>(By::Taps, &case);
        let found = all::<Bf16>(By::Tiles, &case);
        for ((name, exact), (found, rounded)) in NAMES.iter().zip(&exact).zip(found.iter().zip([true, true, case.parts > 1])) {
            // Parts are weighed tap by tap.
            let bound = if rounded { 5e-3 * (1.0 + 4.0 / (exact.len() as f64).sqrt()) } else { 3e-6 };
            prop_assert!(distance(found, exact) < bound, "{name}: {}", distance(found, exact));
        }
    }

    /// Factors that bf16 holds as they are, transformed or not: nothing is rounded, so nothing may differ. Filters in fours, as their
    /// transform divides by four; sums of less than 2^24.
    #[test]
    fn tiles_of_bf16_are_exact_where_nothing_is_rounded(case in cases()) {
        let case = Case { resample: Resample::Same, ..case };
        let small = |step: u64, n| -> Vec<f32> {
            let scale = if step == 1 { 4.0 } else { 1.0 };
            numbers::<f32>(case.seed, step, n).into_iter().map(|v| scale * v.round().clamp(-3.0, 3.0)).collect()
        };
        let exact = all_of::<F64>(By::Taps, &case, &|step, n| small(step, n).into_iter().map(f64::from).collect());
        let found = all_of::<Bf16>(By::Tiles, &case, &small);
        prop_assert_eq!(&found[0], &exact[0], "y");
        prop_assert_eq!(&found[1], &exact[1], "dx");
    }
}

/// Counted by hand: 8x8 pixels, 9 taps each, against 4 tiles of 36 products or 16 tiles of 16; doubled, 4 taps of 16x16 pixels against 16
/// tiles.
#[test]
fn products_are_counted() {
    let shape = |resample| Shape { input: Frame { h: 8, w: 8, c: 32 }, c_out: 64, k: 3, resample };
    let count = |by, resample| layer::<F32>(by, shape(resample)).multiplications();
    let pairs = 32 * 64;
    assert_eq!(count(By::Taps, Resample::Same), [9 * 64 * pairs; 3]);
    assert_eq!(count(By::Tiles, Resample::Same), [36 * 4 * pairs; 3]);
    assert_eq!(count(By::Taps, Resample::Double), [4 * 256 * pairs, 16 * 64 * pairs, 16 * 64 * pairs]);
    assert_eq!(count(By::Tiles, Resample::Double), [36 * 16 * pairs; 3]);
    assert_eq!(count(By::Taps, Resample::Halve), [9 * 16 * pairs; 3]);
    let count = |resample| layer::<Bf16>(By::Tiles, shape(resample)).multiplications();
    assert_eq!(count(Resample::Same), [16 * 16 * pairs, 16 * 16 * pairs, 36 * 4 * pairs]);
    assert_eq!(count(Resample::Double), [4 * 256 * pairs, 16 * 64 * pairs, 36 * 16 * pairs]);
}

/// Shapes that have it and shapes that do not: the stem, few channels on maps that are no whole tiles, steps of two, other formats.
#[test]
fn tiles_are_used_where_they_are_faster() {
    let of = |side, c, c_out, k, resample| Shape { input: Frame { h: side, w: side, c }, c_out, k, resample };
    fn passes<F: Format>(algorithm: Algorithm, shape: Shape, split: OperandSplit) -> [bool; 3] {
        let Winograd { forward, input_gradient, weight_gradient } = algorithm.of::<F>(shape, split);
        [forward.is_some(), input_gradient.is_some(), weight_gradient.is_some()]
    }
    let (one, all, none) = (OperandSplit::One, [true; 3], [false; 3]);
    for shape in [of(32, 128, 128, 3, Resample::Same), of(14, 32, 32, 3, Resample::Same), of(16, 256, 256, 3, Resample::Double)] {
        assert_eq!(passes::<F32>(Algorithm::Winograd, shape, one), all, "{shape:?}");
        assert_eq!(passes::<F32>(Algorithm::Direct, shape, one), none);
        assert_eq!(passes::<F64>(Algorithm::Winograd, shape, one), none);
        // Tiles of 2x2 take as many products as four taps, and their transforms too long for 32 channels.
        let few = if shape.input.c == 128 { all } else { [false, false, true] };
        assert_eq!(passes::<Bf16>(Algorithm::Winograd, shape, one), few, "{shape:?}");
        assert_eq!(passes::<Bf16>(Algorithm::Winograd, shape, OperandSplit::Two), none);
    }
    let direct = [
        of(32, 3, 128, 3, Resample::Same),
        of(32, 128, 6, 3, Resample::Same),
        of(32, 128, 128, 3, Resample::Halve),
        of(32, 128, 128, 1, Resample::Same),
        of(5, 32, 32, 3, Resample::Same),
        of(7, 32, 32, 3, Resample::Double),
    ];
    for shape in direct {
        assert_eq!(passes::<F32>(Algorithm::Winograd, shape, one), none, "{shape:?}");
        // In bf16 weight gradients are where 5x5 pixels take 225 products in taps and 144 in tiles, or 14x14 doubled ones 784 and 576.
        let weights = shape.input.h < 8;
        assert_eq!(passes::<Bf16>(Algorithm::Winograd, shape, one), [false, false, weights], "{shape:?}");
    }
    // A pixel takes nine products, a tile 36.
    assert_eq!(passes::<Bf16>(Algorithm::Winograd, of(1, 64, 64, 3, Resample::Same), one), none);
}

/// More images than a group of planes holds, and a last block that is not full.
#[test]
fn groups_of_images_add_up() {
    let (same, double) = (Resample::Same, Resample::Double);
    // Blocks of one image, of one that is summed over in pieces, and of sixteen, the last of which has four.
    let sizes = [(37, 32, 32, 64, 48, same), (37, 13, 32, 32, 112, double), (3, 64, 65, 32, 16, same), (100, 7, 7, 256, 256, same)];
    for (batch, h, w, c_in, c_out, resample) in sizes {
        let case = Case { batch, h, w, c_in, c_out, parts: 1, resample, bias_per_image: true, accumulate: true, seed: 3 };
        for (found, exact) in all::<F64>(By::Tiles, &case).iter().zip(all::<F64>(By::Taps, &case)) {
            assert!(distance(found, &exact) < 1e-14, "{}", distance(found, &exact));
        }
    }
}

/// However the work is split, the same sums are taken in the same order.
#[test]
fn bits_are_the_same_for_any_number_of_threads() {
    let (same, double) = (Resample::Same, Resample::Double);
    let sizes = [(13, 7, 7, 64, 32, same), (13, 16, 16, 32, 80, same), (13, 8, 9, 32, 32, double), (110, 7, 7, 256, 256, same)];
    for (batch, h, w, c_in, c_out, resample) in sizes {
        let case = Case { batch, h, w, c_in, c_out, parts: 1, resample, bias_per_image: false, accumulate: false, seed: 5 };
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| [all::<F32>(By::Tiles, &case), all::<Bf16>(By::Tiles, &case)])
        };
        let one = on(1);
        for threads in [2, 3, 16] {
            assert!(on(threads) == one, "{threads} threads, {case:?}");
        }
    }
}
