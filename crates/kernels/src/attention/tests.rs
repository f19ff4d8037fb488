//! The kernel against the reference, forward and backward, and where exponentials would overflow.

use super::*;
use crate::gemm::Bf16;
use crate::gemm::pack::OperandSplit;
use crate::random::{Random, Stream};
use candle_core::{DType, Device, Var};
use proptest::prelude::*;

fn random(seed: u64, step: u64, dims: &[usize], dtype: DType) -> Tensor {
    let numbers = Random::new(seed, Stream::Evaluation).normals(step, 0, 1, dims.iter().product());
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn both(seed: u64, dims: [usize; 3], size: f64, dtype: DType, kernel: Kernel) -> [Vec<f64>; 2] {
    let qkv = Var::from_tensor(&(random(seed, 0, &dims, dtype) * size).unwrap()).unwrap();
    let out = attention(&qkv, kernel).unwrap();
    let gradients = (&out * random(seed, 1, out.dims(), dtype)).unwrap().sum_all().unwrap().backward().unwrap();
    let numbers = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    [numbers(&out), numbers(gradients.get(&qkv).unwrap())]
}

/// Relative error ||a - b|| / max(||b||, `least`), with `least` a bound on the expected ||b||: sums may cancel, rounding errors do not.
fn distance(a: &[f64], b: &[f64], least: f64) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied()).max(least)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn fused_equals_reference(b in 1usize..4, pixels in 1usize..40, c in 1usize..40, size in 0.1f64..20.0, seed: u64) {
        let reference = both(seed, [b, pixels, 3 * c], size, DType::F64, Kernel::Reference);
        let f64s = both(seed, [b, pixels, 3 * c], size, DType::F64, Kernel::Fused);
        let f32s = both(seed, [b, pixels, 3 * c], size, DType::F32, Kernel::Fused);
        // Each row of weights sums to 1, so its squares sum to at least 1 / pixels, which bounds the expected norms of the output and of
        // the gradient of v from below.
        let least = [size * ((b * c) as f64).sqrt(), ((b * c) as f64).sqrt()];
        for i in 0..2 {
            let [f64s, f32s] = [&f64s, &f32s].map(|found| distance(&found[i], &reference[i], least[i]));
            prop_assert!(f64s < 1e-11, "{i}: {f64s}");
            // Scores of hundreds carry their rounding into exponents.
            prop_assert!(f32s < 2e-6 * (1.0 + size * size) * (c as f64).sqrt(), "{i}: {f32s}");
        }
    }
}

/// More queries than fit into one block, with a partial last block.
#[test]
fn blocks_of_queries_join() {
    let reference = both(3, [1, 300, 12], 1.0, DType::F64, Kernel::Reference);
    let fused = both(3, [1, 300, 12], 1.0, DType::F64, Kernel::Fused);
    assert!((0..2).all(|i| distance(&fused[i], &reference[i], 1e-30) < 1e-12));
}

#[test]
fn large_scores_do_not_overflow() {
    let fused = both(1, [1, 9, 12], 1e4, DType::F32, Kernel::Fused);
    assert!(fused.iter().flatten().all(|v| v.is_finite()));
}

/// In bf16 and in its split, at sizes that are no multiple of a block: f32-grade in two parts, three digits in one.
#[test]
fn bf16_and_its_split_follow_the_reference() {
    for (pixels, c) in [(49, 12), (70, 33), (31, 5)] {
        let [exact, exact_gradient] = both(5, [1, pixels, 3 * c], 1.0, DType::F64, Kernel::Reference);
        let numbers = |step, dims: &[usize]| random(5, step, dims, DType::F32).flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (qkv, dout) = (numbers(0, &[1, pixels, 3 * c]), numbers(1, &[1, pixels, c]));
        for (split, bound) in [(OperandSplit::One, 2e-2), (OperandSplit::Two, 1e-4)] {
            let (mut out, mut dqkv) = (vec![f32::NAN; pixels * c], vec![f32::NAN; pixels * 3 * c]);
            cpu::forward::<Bf16>(split, c, &qkv, &mut out);
            cpu::backward::<Bf16>(split, c, &qkv, &dout, &mut dqkv);
            let wide = |v: &[f32]| v.iter().map(|v| *v as f64).collect::<Vec<f64>>();
            let off = distance(&wide(&out), &exact, 1e-30);
            assert!(off < bound, "{pixels} pixels, {split:?}: {off}");
            // The gradients of q, k and v each by itself.
            for part in 0..3 {
                let of = |all: &[f64]| all.chunks(c).skip(part).step_by(3).flatten().copied().collect::<Vec<f64>>();
                let off = distance(&of(&wide(&dqkv)), &of(&exact_gradient), 1e-30);
                assert!(off < bound, "{pixels} pixels, {split:?}, part {part}: {off}");
            }
        }
    }
}
