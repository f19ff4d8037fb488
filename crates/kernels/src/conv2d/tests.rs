//! The fused convolution against the reference, forward and backward, in both number types and every instruction set.

use super::*;
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
    (1usize..6, 1usize..10, 1usize..10, 1usize..40, 1usize..70, kinds, any::<bool>(), any::<u64>()).prop_map(
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
