//! The kernel inception distance (Bińkowski et al. 2018): an unbiased estimate of the squared maximum mean discrepancy.

use super::features::Features;
use ddpm_kernels::random::{Random, Stream};
use faer::MatRef;
use rayon::prelude::*;

/// Subsets that are drawn, and images in each, where there are as many: torch-fidelity's.
const SUBSETS: u64 = 100;
const SUBSET: usize = 1000;

/// The unbiased estimate for two sets of equally many rows of `dim` numbers, with the kernel (x y / dim + 1)^3.
pub fn discrepancy(dim: usize, a: &[f64], b: &[f64]) -> f64 {
    let m = a.len() / dim;
    let kernel = |v: f64| (v / dim as f64 + 1.0).powi(3);
    let gram = |x: &[f64], y: &[f64], diagonal: bool| -> f64 {
        let product = MatRef::from_row_major_slice(x, m, dim) * MatRef::from_row_major_slice(y, m, dim).transpose();
        let all = (0..m).flat_map(|j| (0..m).map(move |i| (i, j))).filter(|(i, j)| diagonal || i != j);
        all.map(|at| kernel(product[at])).sum()
    };
    let pairs = (m * (m - 1)) as f64;
    (gram(a, a, false) + gram(b, b, false)) / pairs - 2.0 * gram(a, b, true) / (m * m) as f64
}

/// Mean and standard deviation over random subsets, and the size of each.
pub fn over_subsets(samples: &Features, reference: &Features, seed: u64) -> (f64, f64, usize) {
    let (dim, m) = (samples.dim, SUBSET.min(samples.n()).min(reference.n()));
    let random = Random::new(seed, Stream::Subset);
    let once = |k: u64| {
        let pick = |of: &Features, step: u64| -> Vec<f64> {
            let order = random.permutation(step, of.n());
            order[..m].iter().flat_map(|row| of.row(*row).iter().map(|v| *v as f64)).collect()
        };
        discrepancy(dim, &pick(samples, 2 * k), &pick(reference, 2 * k + 1))
    };
    let values: Vec<f64> = (0..SUBSETS).into_par_iter().map(once).collect();
    let mean = values.iter().sum::<f64>() / SUBSETS as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / SUBSETS as f64;
    (mean, variance.sqrt(), m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// From the definition: averages of the kernel over pairs of different rows.
        #[test]
        fn it_is_the_average_over_pairs(rows in prop::collection::vec((prop::array::uniform3(-2.0f64..2.0), prop::array::uniform3(-2.0f64..2.0)), 2..12)) {
            let (a, b): (Vec<[f64; 3]>, Vec<[f64; 3]>) = rows.into_iter().unzip();
            let kernel = |x: &[f64; 3], y: &[f64; 3]| (x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / 3.0 + 1.0).powi(3);
            let m = a.len();
            let (mut within, mut across) = (0.0, 0.0);
            for i in 0..m {
                for j in 0..m {
                    across += kernel(&a[i], &b[j]) / (m * m) as f64;
                    if i != j {
                        within += (kernel(&a[i], &a[j]) + kernel(&b[i], &b[j])) / (m * (m - 1)) as f64;
                    }
                }
            }
            let found = discrepancy(3, a.as_flattened(), b.as_flattened());
            prop_assert!((found - (within - 2.0 * across)).abs() < 1e-9 * (1.0 + within.abs()));
        }
    }

    /// torch-fidelity's 100 subsets of 1,000, where there are as many.
    #[test]
    fn subsets_are_of_a_thousand() {
        let some = |n: usize| Features { dim: 1, classes: 1, rows: (0..n).map(|i| (i % 7) as f32).collect(), probabilities: vec![1.0; n] };
        assert_eq!(over_subsets(&some(1200), &some(1100), 0).2, 1000);
        assert_eq!(over_subsets(&some(40), &some(30), 0).2, 30);
    }
}
