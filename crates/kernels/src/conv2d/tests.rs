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

/// Each instruction set, forced in turn, on the inner products that all passes share.
#[test]
fn every_instruction_set_agrees() {
    use super::cpu::Shape;
    use super::gather::{Frame, Padded, pad_forward};
    use super::gemm::{Forward, Packed, WeightGradient, tile_width};
    use crate::simd::{Isa, run_with};
    for (c_in, c_out) in [(3, 5), (32, 32), (33, 70)] {
        let shape = Shape { batch: 1, input: Frame { h: 7, w: 6, c: c_in }, c_out, k: 3, resize: Resize::Same };
        let numbers = |step, n: usize| random(9, step, &[n], DType::F32).to_vec1::<f32>().unwrap();
        let (x, w, dy) = (numbers(0, shape.input.len()), numbers(1, shape.weight_len()), numbers(2, shape.output().len()));
        let windows = Padded::forward(shape.input, 3, Resize::Same);
        let mut padded = vec![0f32; windows.frame.len()];
        pad_forward(&x, shape.input, 3, Resize::Same, &mut padded);
        let packed = Packed::new(9 * c_in, c_out, |r, c| w[r * c_out + c]);
        let width = c_out.next_multiple_of(tile_width::<f32>(1));
        let mut filled = vec![0f32; 42 * width];
        filled.chunks_mut(width).zip(dy.chunks(c_out)).for_each(|(to, from)| to[..c_out].copy_from_slice(from));
        let results: Vec<(Vec<f32>, Vec<f32>)> = Isa::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .map(|isa| {
                // Poisoned: whatever is not written shows.
                let mut out = vec![f32::NAN; 42 * c_out];
                run_with(isa, Forward { windows, padded: &padded, weight: &packed, bias: None, out: &mut out });
                let mut dw = vec![0f32; 9 * c_in * width];
                run_with(isa, WeightGradient { windows, padded: &padded, gradient: &filled, width, out: &mut dw });
                (out, dw)
            })
            .collect();
        for (out, dw) in &results {
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-3 * (1.0 + b.abs()));
            assert!(near(out, &results[0].0) && near(dw, &results[0].1));
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
