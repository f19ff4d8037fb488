//! The fused convolution against the reference, forward and backward, in both number types and every instruction set.

use super::cpu::{self, Source};
use super::geometry::{Frame, Shape};
use super::layer::Layer;
use super::winograd::Winograd;
use super::*;
use crate::gemm::pack::OperandSplit;
use crate::gemm::{Bf16, F32, F64, Format};
use crate::scratch::Scratch;
use candle_core::{DType, Device, Var};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    h: usize,
    w: usize,
    c_in: usize,
    c_out: usize,
    k: usize,
    resample: Resample,
    bias_per_image: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let kinds = prop_oneof![
        Just((3, Resample::Same)),
        Just((1, Resample::Same)),
        Just((3, Resample::Halve)),
        Just((3, Resample::Double)),
        Just((4, Resample::Transposed))
    ];
    // 32 pixels are a whole row of tiles, which is summed row by row.
    let widths = prop_oneof![6 => 1usize..10, 1 => Just(32usize)];
    // Of one pixel, one tap is left.
    let sizes = prop_oneof![7 => (1usize..10, widths), 1 => Just((1, 1))];
    // Weights are packed 256 outputs at a time.
    let outputs = prop_oneof![12 => 1usize..70, 1 => 250usize..300];
    (1usize..6, sizes, 1usize..40, outputs, kinds, any::<bool>(), any::<u64>()).prop_map(
        |(batch, (h, w), c_in, c_out, (k, resample), bias_per_image, seed)| {
            let double = if resample == Resample::Halve { 2 } else { 1 };
            Case { batch, h: h * double, w: w * double, c_in, c_out, k, resample, bias_per_image, seed }
        },
    )
}

fn random(seed: u64, step: u64, dims: &[usize], dtype: DType) -> Tensor {
    let mut numbers = vec![0f32; dims.iter().product()];
    crate::random::Random::new(seed, crate::random::Stream::Evaluation).normal_fill(step, 0, &mut numbers);
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// A result in f64 and its expected norm: the root of the sum of the squares of all terms. The terms have random signs and may happen to
/// cancel in the result, but its rounding errors do not, so errors are measured against this norm.
struct Exact {
    values: Tensor,
    size: f64,
}

impl Exact {
    /// (y, dx, dw, db) of the reference.
    fn all(case: &Case) -> [Exact; 4] {
        let squares = linear(case, DType::F64, Kernel::Reference, |t| t.sqr().unwrap());
        let mut sizes = squares.iter().map(|s| s.sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt());
        all(case, DType::F64, Kernel::Reference).map(|values| Exact { values, size: sizes.next().unwrap() })
    }

    /// ||found - values|| / size.
    fn distance(&self, found: &Tensor) -> f64 {
        assert_eq!(found.dims(), self.values.dims());
        let error = (found.to_dtype(DType::F64).unwrap() - &self.values).unwrap();
        error.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt() / self.size
    }
}

const NAMES: [&str; 4] = ["y", "dx", "dw", "db"];

/// (y, dx, dw, db) under a random linear loss.
fn all(case: &Case, dtype: DType, kernel: Kernel) -> [Tensor; 4] {
    linear(case, dtype, kernel, Clone::clone)
}

/// The same with every random tensor changed beforehand.
fn linear(case: &Case, dtype: DType, kernel: Kernel, change: impl Fn(&Tensor) -> Tensor) -> [Tensor; 4] {
    let random = |step, dims: &[usize]| change(&random(case.seed, step, dims, dtype));
    let x = Var::from_tensor(&random(0, &[case.batch, case.h, case.w, case.c_in])).unwrap();
    let w = Var::from_tensor(&random(1, &[case.k, case.k, case.c_in, case.c_out])).unwrap();
    let rows = if case.bias_per_image { case.batch } else { 1 };
    let b = Var::from_tensor(&random(2, &[rows, case.c_out])).unwrap();
    let y = conv2d(&x, &w, &b, case.resample, kernel).unwrap();
    let loss = (&y * random(3, y.dims())).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let grad = |v: &Var| grads.get(v).unwrap().clone();
    [y.detach(), grad(&x), grad(&w), grad(&b)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn fused_equals_reference_in_f64(case in cases()) {
        for ((name, exact), fused) in NAMES.iter().zip(Exact::all(&case)).zip(all(&case, DType::F64, Kernel::Fused)) {
            prop_assert!(exact.distance(&fused) < 1e-14, "{name}: {}", exact.distance(&fused));
        }
    }

    #[test]
    fn fused_in_f32_is_near_the_reference_in_f64(case in cases()) {
        let shape = Shape { input: Frame { h: case.h, w: case.w, c: case.c_in }, c_out: case.c_out, k: case.k, resample: case.resample };
        let tiles = Layer::<F32>::new(shape, OperandSplit::One).winograd;
        let bound = if tiles != Winograd::default() { 3e-6 } else { 1e-6 };
        for ((name, exact), fused) in NAMES.iter().zip(Exact::all(&case)).zip(all(&case, DType::F32, Kernel::Fused)) {
            prop_assert!(exact.distance(&fused) < bound, "{name}: {}", exact.distance(&fused));
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let t = |dims: &[usize]| random(0, 0, dims, DType::F32);
    let x = t(&[1, 3, 3, 2]);
    assert!(conv2d(&x, &t(&[3, 3, 4, 2]), &t(&[1, 2]), Resample::Same, Kernel::Fused).is_err());
    assert!(conv2d(&x, &t(&[3, 3, 2, 2]), &t(&[2, 2]), Resample::Same, Kernel::Fused).is_err());
    assert!(conv2d(&x, &t(&[3, 3, 2, 2]), &t(&[1, 2]), Resample::Halve, Kernel::Fused).is_err());
    assert!(conv2d(&x, &t(&[1, 1, 2, 2]), &t(&[1, 2]), Resample::Double, Kernel::Fused).is_err());
    let transposed = |k| conv2d(&x, &t(&[k, k, 2, 2]), &t(&[1, 2]), Resample::Transposed, Kernel::Fused);
    assert!(transposed(4).is_ok() && conv2d(&x, &t(&[4, 4, 2, 2]), &t(&[1, 2]), Resample::Same, Kernel::Fused).is_err());
    let told = transposed(3).unwrap_err().to_string();
    assert!(told.contains("expected a weight of 4x4 with Transposed, got 3x3"), "{told}");
}

/// y, dx and dw of the slice kernels in a format.
fn in_format<F: Format<Number = f32, Element: Scratch>>(case: &Case, split: OperandSplit) -> [Vec<f32>; 3] {
    let numbers = |step, dims: &[usize]| random(case.seed, step, dims, DType::F32).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let shape = Shape { input: Frame { h: case.h, w: case.w, c: case.c_in }, c_out: case.c_out, k: case.k, resample: case.resample };
    let (out, layer) = (shape.output(), Layer::<F>::new(shape, split));
    let x = numbers(0, &[case.batch, case.h, case.w, case.c_in]);
    let (w, dy) = (numbers(1, &[case.k, case.k, case.c_in, case.c_out]), numbers(3, &[case.batch, out.h, out.w, out.c]));
    // Poisoned: what is not written shows.
    let (mut y, mut dx, mut dw) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
    let mut packed = vec![F::Element::default(); layer.forward_len()];
    layer.pack_forward(cpu::kernels(&[&w], case.c_in, case.c_out), &mut packed);
    cpu::forward(&layer, &packed, Source::Plain(&x), &numbers(2, &[1, case.c_out]), false, &mut y);
    let mut packed = vec![F::Element::default(); layer.input_gradient_len()];
    layer.pack_input_gradient(cpu::kernels(&[&w], case.c_in, case.c_out), &mut packed);
    let mut sinks: Vec<&mut [f32]> = dx.chunks_mut(shape.input.numbers()).collect();
    cpu::input_gradient(&layer, &packed, &dy, &mut sinks, |_, to, from| to.copy_from_slice(from));
    cpu::weight_gradient(&layer, Source::Plain(&x), &dy, &mut [&mut dw]);
    [y, dx, dw]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn bf16_and_its_split_follow_the_reference(case in cases()) {
        follows(Case { bias_per_image: false, ..case });
    }
}

/// bf16 is off by up to 2^-9 in each factor; split in two parts by about 2^-17, and each product by the part that is left out.
fn follows(case: Case) {
    let exact = Exact::all(&case);
    for (split, bound) in [(OperandSplit::One, 2f64.powi(-7)), (OperandSplit::Two, 2f64.powi(-16))] {
        for ((name, exact), found) in NAMES.iter().zip(&exact).zip(in_format::<Bf16>(&case, split)) {
            let found = Tensor::from_vec(found, exact.values.dims(), &Device::Cpu).unwrap();
            assert!(exact.distance(&found) < bound, "{name} {split:?}: {}", exact.distance(&found));
        }
    }
}

/// Four results whose terms nearly cancel: relative to the results themselves, the error would exceed bf16's precision.
#[test]
fn sums_that_cancel_are_as_exact_as_their_terms() {
    let (batch, h, w, c_in, c_out, k) = (2, 1, 2, 35, 1, 3);
    follows(Case { batch, h, w, c_in, c_out, k, resample: Resample::Same, bias_per_image: false, seed: 5666047256873704607 });
}

/// A batch too large for one group of the weight gradient: later groups add the contributions of their own images, to one weight and to
/// three side by side, with both ways of accumulating.
#[test]
fn groups_of_images_add_up() {
    for (k, resample, c_out, (batch, h, w)) in [
        (3, Resample::Same, 300, (25, 10, 32)),
        (3, Resample::Same, 300, (8000, 1, 1)),
        (3, Resample::Halve, 150, (25, 10, 32)),
        (3, Resample::Double, 60, (25, 10, 32)),
        (4, Resample::Transposed, 60, (25, 10, 32)),
    ] {
        let case = Case { batch, h, w, c_in: 39, c_out, k, resample, bias_per_image: false, seed: 8 };
        let exact = &Exact::all(&case)[2];
        let numbers = |step, dims: &[usize]| random(case.seed, step, dims, DType::F64).flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let shape = Shape { input: Frame { h: case.h, w: case.w, c: case.c_in }, c_out, k, resample };
        let (out, layer) = (shape.output(), Layer::<F64>::new(shape, OperandSplit::One));
        let (x, dy) = (numbers(0, &[case.batch, case.h, case.w, case.c_in]), numbers(3, &[case.batch, out.h, out.w, out.c]));
        for parts in [1, 3] {
            let mut dw = vec![vec![f64::NAN; k * k * case.c_in * c_out / parts]; parts];
            let mut places: Vec<&mut [f64]> = dw.iter_mut().map(Vec::as_mut_slice).collect();
            cpu::weight_gradient(&layer, Source::Plain(&x), &dy, &mut places);
            let whole: Vec<f64> = (0..k * k * case.c_in)
                .flat_map(|row| dw.iter().flat_map(move |part| &part[row * c_out / parts..(row + 1) * c_out / parts]))
                .copied()
                .collect();
            let found = Tensor::from_vec(whole, exact.values.dims(), &Device::Cpu).unwrap();
            assert!(exact.distance(&found) < 1e-14, "{resample:?}, {parts} parts: {}", exact.distance(&found));
        }
    }
}

/// A 3x3 convolution after nearest upsampling is a transposed convolution whose 4x4 taps are sums of its nine; and a transposed convolution
/// with any taps is what its definition says, at corners, edges and within.
#[test]
fn a_transposed_convolution_is_what_it_is_called() {
    let f64s = |step, dims: &[usize]| random(11, step, dims, DType::F64);
    let (h, w, c_in, c_out) = (3, 5, 4, 6);
    let (x, bias) = (f64s(0, &[2, h, w, c_in]), f64s(2, &[1, c_out]));
    let at = |t: &Tensor, place: [usize; 4]| t.get(place[0]).unwrap().get(place[1]).unwrap().get(place[2]).unwrap().get(place[3]).unwrap();
    let number = |t: &Tensor, place| at(t, place).to_scalar::<f64>().unwrap();
    let nine = f64s(1, &[3, 3, c_in, c_out]);
    let sums: [&[u32]; 4] = [&[2], &[1, 2], &[0, 1], &[0]];
    let add = |t: &Tensor, dim: usize, taps: &[u32]| {
        t.index_select(&Tensor::new(taps, &Device::Cpu).unwrap(), dim).unwrap().sum_keepdim(dim).unwrap()
    };
    let over = |t: &Tensor, dim: usize| Tensor::cat(&sums.map(|taps| add(t, dim, taps)), dim).unwrap();
    let sixteen = over(&over(&nine, 0), 1);
    for kernel in [Kernel::Reference, Kernel::Fused] {
        let doubled = conv2d(&x, &nine, &bias, Resample::Double, kernel).unwrap();
        let transposed = conv2d(&x, &sixteen, &bias, Resample::Transposed, kernel).unwrap();
        let off = (doubled - transposed).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(off < 1e-13, "{off}");
    }
    let free = f64s(3, &[4, 4, c_in, c_out]);
    let both = [Kernel::Reference, Kernel::Fused].map(|kernel| conv2d(&x, &free, &bias, Resample::Transposed, kernel).unwrap());
    assert_eq!(both[0].dims(), [2, 2 * h, 2 * w, c_out]);
    let (top, left) = ([[0, 0, 0, 0], [0, 0, 4, 1], [0, 0, 2 * w - 1, 4]], [[1, 3, 0, 2], [1, 2 * h - 1, 0, 3]]);
    let (bottom, within) = ([[0, 2 * h - 1, 6, 3], [1, 2 * h - 1, 2 * w - 1, 5]], [[0, 3, 4, 2], [1, 2, 7, 1], [0, 3, 2 * w - 1, 0]]);
    for place in top.into_iter().chain(left).chain(bottom).chain(within) {
        let [b, row, column, o] = place;
        let mut expected = number(&bias.reshape((1, 1, 1, c_out)).unwrap(), [0, 0, 0, o]);
        for (i, j) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
            // out = 2 in + tap - 1.
            let (r, s) = ((row + 1).wrapping_sub(2 * i), (column + 1).wrapping_sub(2 * j));
            if r < 4 && s < 4 {
                expected += (0..c_in).map(|c| number(&x, [b, i, j, c]) * number(&free, [r, s, c, o])).sum::<f64>();
            }
        }
        assert!(both.iter().all(|y| (number(y, place) - expected).abs() < 1e-13), "{place:?}");
    }
}
