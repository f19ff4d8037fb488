//! The fused normalisation against the reference, forward and backward.

use super::*;
use crate::random::{Random, Stream};
use candle_core::{DType, Device, Var};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    dims: [usize; 4],
    spec: Spec,
    offset: f64,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    (1usize..5, 1usize..8, 1usize..8, 1usize..6, 1usize..20, any::<bool>(), -3.0f64..3.0, any::<u64>()).prop_map(
        |(b, h, w, groups, per_group, silu, offset, seed)| Case {
            dims: [b, h, w, groups * per_group],
            spec: Spec { groups, epsilon: 1e-6, silu },
            offset,
            seed,
        },
    )
}

fn random(seed: u64, step: u64, dims: &[usize], dtype: DType) -> Tensor {
    let mut numbers = vec![0f32; dims.iter().product()];
    Random::new(seed, Stream::Evaluation).normal_fill(step, 0, &mut numbers);
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn all(case: &Case, dtype: DType, kernel: Kernel) -> [Tensor; 4] {
    let c = case.dims[3];
    let var = |step, dims: &[usize], offset: f64| Var::from_tensor(&(random(case.seed, step, dims, dtype) + offset).unwrap()).unwrap();
    let (x, gamma, beta) = (var(0, &case.dims, case.offset), var(1, &[c], 1.0), var(2, &[c], 0.0));
    let y = group_norm(&x, &gamma, &beta, case.spec, kernel).unwrap();
    let grads = (&y * random(case.seed, 3, y.dims(), dtype)).unwrap().sum_all().unwrap().backward().unwrap();
    let grad = |v: &Var| grads.get(v).unwrap().clone();
    [y.detach(), grad(&x), grad(&gamma), grad(&beta)]
}

/// Largest difference over the reference's largest value (or 1).
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let numbers = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (a, b) = (numbers(a), numbers(b));
    let top = b.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    a.iter().zip(&b).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / top
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn fused_equals_reference_in_f64(case in cases()) {
        // One number to a group has variance 0, and the gradient is all rounding: not a case anyone runs.
        prop_assume!(case.dims[1] * case.dims[2] * case.dims[3] / case.spec.groups > 1);
        for (name, (fused, reference)) in ["y", "dx", "dgamma", "dbeta"].iter().zip(all(&case, DType::F64, Kernel::Fused).iter().zip(&all(&case, DType::F64, Kernel::Reference))) {
            prop_assert!(distance(fused, reference) < 1e-9, "{name}: {}", distance(fused, reference));
        }
    }

    #[test]
    fn fused_in_f32_is_near_the_reference_in_f64(case in cases()) {
        prop_assume!(case.dims[1] * case.dims[2] * case.dims[3] / case.spec.groups > 8);
        for (name, (fused, reference)) in ["y", "dx", "dgamma", "dbeta"].iter().zip(all(&case, DType::F32, Kernel::Fused).iter().zip(&all(&case, DType::F64, Kernel::Reference))) {
            prop_assert!(distance(fused, reference) < 1e-4, "{name}: {}", distance(fused, reference));
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let t = |dims: &[usize]| random(0, 0, dims, DType::F32);
    let spec = Spec { groups: 4, epsilon: 1e-6, silu: true };
    assert!(group_norm(&t(&[1, 2, 2, 6]), &t(&[6]), &t(&[6]), spec, Kernel::Fused).is_err());
    assert!(group_norm(&t(&[1, 2, 2, 8]), &t(&[6]), &t(&[8]), spec, Kernel::Fused).is_err());
}
