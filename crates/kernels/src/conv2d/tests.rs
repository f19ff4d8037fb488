//! The fused convolution against the reference, forward and backward, in both number types and every instruction set.

use super::cpu::{self, Source};
use super::geometry::{Frame, Shape};
use super::layer::Layer;
use super::*;
use crate::gemm::pack::Grade;
use crate::gemm::{Bf16, Format};
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
    resize: Resize,
    bias_per_image: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let kinds = prop_oneof![Just((3, Resize::Same)), Just((1, Resize::Same)), Just((3, Resize::Halve)), Just((3, Resize::Double))];
    // 32 pixels are a whole row of tiles, which is summed row by row.
    let widths = prop_oneof![6 => 1usize..10, 1 => Just(32usize)];
    (1usize..6, 1usize..10, widths, 1usize..40, 1usize..70, kinds, any::<bool>(), any::<u64>()).prop_map(
        |(batch, h, w, c_in, c_out, (k, resize), bias_per_image, seed)| {
            let double = if resize == Resize::Halve { 2 } else { 1 };
            Case { batch, h: h * double, w: w * double, c_in, c_out, k, resize, bias_per_image, seed }
        },
    )
}

fn random(seed: u64, step: u64, dims: &[usize], dtype: DType) -> Tensor {
    let mut numbers = vec![0f32; dims.iter().product()];
    crate::random::Random::new(seed, crate::random::Stream::Evaluation).normal_fill(step, 0, &mut numbers);
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// ||a - b|| / ||b||.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let norm = |t: &Tensor| t.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    assert_eq!(a.dims(), b.dims());
    norm(&(a.to_dtype(DType::F64).unwrap() - b.to_dtype(DType::F64).unwrap()).unwrap()) / norm(b).max(1e-30)
}

/// (y, dx, dw, db) under a random linear loss.
fn all(case: &Case, dtype: DType, kernel: Kernel) -> [Tensor; 4] {
    let x = Var::from_tensor(&random(case.seed, 0, &[case.batch, case.h, case.w, case.c_in], dtype)).unwrap();
    let w = Var::from_tensor(&random(case.seed, 1, &[case.k, case.k, case.c_in, case.c_out], dtype)).unwrap();
    let rows = if case.bias_per_image { case.batch } else { 1 };
    let b = Var::from_tensor(&random(case.seed, 2, &[rows, case.c_out], dtype)).unwrap();
    let y = conv2d(&x, &w, &b, case.resize, kernel).unwrap();
    let loss = (&y * random(case.seed, 3, y.dims(), dtype)).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let grad = |v: &Var| grads.get(v).unwrap().clone();
    [y.detach(), grad(&x), grad(&w), grad(&b)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn fused_equals_reference_in_f64(case in cases()) {
        for (name, (fused, reference)) in ["y", "dx", "dw", "db"].iter().zip(all(&case, DType::F64, Kernel::Fused).iter().zip(&all(&case, DType::F64, Kernel::Reference))) {
            prop_assert!(distance(fused, reference) < 1e-12, "{name}: {}", distance(fused, reference));
        }
    }

    #[test]
    fn fused_in_f32_is_near_the_reference_in_f64(case in cases()) {
        for (name, (fused, reference)) in ["y", "dx", "dw", "db"].iter().zip(all(&case, DType::F32, Kernel::Fused).iter().zip(&all(&case, DType::F64, Kernel::Reference))) {
            prop_assert!(distance(fused, reference) < 1e-5, "{name}: {}", distance(fused, reference));
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let t = |dims: &[usize]| random(0, 0, dims, DType::F32);
    let x = t(&[1, 3, 3, 2]);
    assert!(conv2d(&x, &t(&[3, 3, 4, 2]), &t(&[1, 2]), Resize::Same, Kernel::Fused).is_err());
    assert!(conv2d(&x, &t(&[3, 3, 2, 2]), &t(&[2, 2]), Resize::Same, Kernel::Fused).is_err());
    assert!(conv2d(&x, &t(&[3, 3, 2, 2]), &t(&[1, 2]), Resize::Halve, Kernel::Fused).is_err());
    assert!(conv2d(&x, &t(&[1, 1, 2, 2]), &t(&[1, 2]), Resize::Double, Kernel::Fused).is_err());
}

/// y, dx and dw of the slice kernels in a format.
fn in_format<F: Format<Number = f32, Element: Scratch>>(case: &Case, grade: Grade) -> [Vec<f32>; 3] {
    let numbers = |step, dims: &[usize]| random(case.seed, step, dims, DType::F32).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let shape = Shape { input: Frame { h: case.h, w: case.w, c: case.c_in }, c_out: case.c_out, k: case.k, resize: case.resize };
    let (out, layer) = (shape.output(), Layer::<F>::new(shape, grade));
    let x = numbers(0, &[case.batch, case.h, case.w, case.c_in]);
    let (w, dy) = (numbers(1, &[case.k, case.k, case.c_in, case.c_out]), numbers(3, &[case.batch, out.h, out.w, out.c]));
    // Poisoned: what is not written shows.
    let (mut y, mut dx, mut dw) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
    let mut packed = vec![F::Element::default(); layer.forward.packed_len::<F>()];
    layer.pack_forward(cpu::kernels(&[&w], case.c_in, case.c_out), &mut packed);
    cpu::forward(&layer, &packed, Source::Plain(&x), &vec![0.0; case.c_out], false, &mut y);
    let mut packed = vec![F::Element::default(); layer.input_gradient.packed_len::<F>()];
    layer.pack_input_gradient(cpu::kernels(&[&w], case.c_in, case.c_out), &mut packed);
    let mut sinks: Vec<&mut [f32]> = dx.chunks_mut(shape.input.numbers()).collect();
    cpu::input_gradient(&layer, &packed, &dy, &mut sinks, |_, to, from| to.copy_from_slice(from));
    cpu::weight_gradient(&layer, Source::Plain(&x), &dy, &mut [&mut dw]);
    [y, dx, dw]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// bf16 is off by up to 2^-9 in each factor; split in two parts by about 2^-17, and less than 2^-14 of the result's norm.
    #[test]
    fn bf16_and_its_split_follow_the_reference(case in cases()) {
        let case = Case { bias_per_image: false, ..case };
        let reference = {
            let [x, w] = [(0, vec![case.batch, case.h, case.w, case.c_in]), (1, vec![case.k, case.k, case.c_in, case.c_out])]
                .map(|(step, dims)| Var::from_tensor(&random(case.seed, step, &dims, DType::F32).to_dtype(DType::F64).unwrap()).unwrap());
            let zeros = Tensor::zeros((1, case.c_out), DType::F64, &Device::Cpu).unwrap();
            let y = conv2d(&x, &w, &zeros, case.resize, Kernel::Reference).unwrap();
            let dy = random(case.seed, 3, y.dims(), DType::F32).to_dtype(DType::F64).unwrap();
            let grads = (&y * dy).unwrap().sum_all().unwrap().backward().unwrap();
            [y.detach(), grads.get(&x).unwrap().clone(), grads.get(&w).unwrap().clone()]
        };
        for (grade, bound) in [(Grade::Single, 2f64.powi(-7)), (Grade::Split, 2f64.powi(-14))] {
            for (name, (found, exact)) in ["y", "dx", "dw"].iter().zip(in_format::<Bf16>(&case, grade).into_iter().zip(&reference)) {
                let found = Tensor::from_vec(found, exact.dims(), &Device::Cpu).unwrap();
                prop_assert!(distance(&found, exact) < bound, "{name} {grade:?}: {}", distance(&found, exact));
            }
        }
    }
}
