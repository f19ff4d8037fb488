//! Precision and recall of samples (Kynkäänniemi et al. 2019): what share of each set lies among the other's nearest neighbours.

use super::features::Features;
use ddpm_kernels::gemm::F64;
use ddpm_kernels::gemm::matrix::product;
use ddpm_kernels::gemm::pack::{Matrix, OperandSplit};
use rayon::prelude::*;

/// Number of neighbours that defines a ball's radius, as in the paper.
const NEIGHBOURS: usize = 3;
/// Rows of one task, and rows of the other set that it looks at together.
const BLOCK: usize = 256;
const OTHERS: usize = 1024;

/// Rows with their squared lengths and, once asked, the squared radii of their balls.
pub struct Manifold<'a> {
    features: &'a Features,
    lengths: Vec<f64>,
    radii: Vec<f64>,
}

impl<'a> Manifold<'a> {
    /// Of at least four rows: each row's ball reaches to its third neighbour.
    pub fn of(features: &'a Features) -> Manifold<'a> {
        assert!(features.n() > NEIGHBOURS, "more rows than neighbours");
        let length = |row: &[f32]| row.iter().map(|v| (*v as f64).powi(2)).sum::<f64>();
        let mut manifold = Manifold { features, lengths: features.iter().map(length).collect(), radii: Vec::new() };
        // The nearest row is the row itself, at 0 (with rounding, less).
        let mut nearest = vec![[f64::INFINITY; NEIGHBOURS + 1]; features.n()];
        manifold.squared_distances(&manifold, &mut nearest, |nearest, _, distance| {
            if distance < nearest[NEIGHBOURS] {
                let at = nearest.partition_point(|d| *d <= distance);
                nearest[at..].rotate_right(1);
                nearest[at] = distance;
            }
        });
        manifold.radii = nearest.into_iter().map(|n| n[NEIGHBOURS]).collect();
        manifold
    }

    /// Share of `others` that lie in some ball of this set.
    pub fn covers(&self, others: &Manifold) -> f64 {
        let mut inside = vec![false; others.features.n()];
        others.squared_distances(self, &mut inside, |inside, at, distance| *inside |= distance <= self.radii[at]);
        inside.iter().filter(|inside| **inside).count() as f64 / inside.len() as f64
    }

    /// Calls `f` with each row's state, each row of `other` and their squared distance.
    fn squared_distances<S: Send>(&self, other: &Manifold, states: &mut [S], f: impl Fn(&mut S, usize, f64) + Sync) {
        let dim = self.features.dim;
        let wide = |rows: &[f32]| rows.iter().map(|v| *v as f64).collect::<Vec<f64>>();
        let rows = self.features.rows.par_chunks(BLOCK * dim).zip(self.lengths.par_chunks(BLOCK));
        rows.zip(states.par_chunks_mut(BLOCK)).for_each(|((rows, lengths), states)| {
            let (left, m) = (wide(rows), lengths.len());
            let mut products = vec![0.0; m * OTHERS];
            for (at, others) in other.features.rows.chunks(OTHERS * dim).enumerate() {
                let (right, n) = (wide(others), others.len() / dim);
                let (a, b) =
                    (Matrix { data: &left, stride: dim, transposed: false }, Matrix { data: &right, stride: dim, transposed: true });
                product::<F64>(OperandSplit::One, (m, dim, n), a, b, false, n, &mut products[..m * n]);
                for ((state, length), products) in states.iter_mut().zip(lengths).zip(products.chunks_exact(n)) {
                    for (j, product) in products.iter().enumerate() {
                        let place = at * OTHERS + j;
                        f(state, place, length + other.lengths[place] - 2.0 * product);
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn features(rows: &[[f32; 2]]) -> Features {
        Features { dim: 2, classes: 1, rows: rows.as_flattened().to_vec(), probabilities: vec![1.0; rows.len()] }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn shares_are_the_definitions(a in prop::collection::vec(prop::array::uniform2(-2.0f32..2.0), 4..20), b in prop::collection::vec(prop::array::uniform2(-1.0f32..3.0), 4..20)) {
            let distance = |x: &[f32; 2], y: &[f32; 2]| x.iter().zip(y).map(|(x, y)| (*x as f64 - *y as f64).powi(2)).sum::<f64>();
            let radius = |x: &[f32; 2], all: &[[f32; 2]]| {
                let mut d: Vec<f64> = all.iter().map(|y| distance(x, y)).collect();
                d.sort_by(f64::total_cmp);
                d[NEIGHBOURS]
            };
            let share = |balls: &[[f32; 2]], others: &[[f32; 2]]| {
                let inside = |x: &&[f32; 2]| balls.iter().any(|c| distance(x, c) <= radius(c, balls));
                others.iter().filter(inside).count() as f64 / others.len() as f64
            };
            let (fa, fb) = (features(&a), features(&b));
            let (ma, mb) = (Manifold::of(&fa), Manifold::of(&fb));
            // A tie at a ball's border can fall either way by rounding: one row at most in such draws.
            prop_assert!((ma.covers(&mb) - share(&a, &b)).abs() <= 1.0 / b.len() as f64);
            prop_assert!((mb.covers(&ma) - share(&b, &a)).abs() <= 1.0 / a.len() as f64);
            prop_assert_eq!(ma.covers(&ma), 1.0);
        }
    }

    /// Larger than a task's rows and than what is looked at together: every seam is crossed.
    #[test]
    fn blocks_meet_without_a_seam() {
        let points = |n: usize, shift: f32| {
            features(&(0..n).map(|i| [((i * 7919) % 10_007) as f32 / 1e3 + shift, ((i * 104_729) % 9973) as f32 / 1e3]).collect::<Vec<_>>())
        };
        let (real, made) = (points(OTHERS + 76, 0.0), points(OTHERS + BLOCK + 20, 4.0));
        let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| (*x as f64 - *y as f64).powi(2)).sum::<f64>();
        let radii: Vec<f64> = real
            .iter()
            .map(|x| {
                let mut all: Vec<f64> = real.iter().map(|y| distance(x, y)).collect();
                all.sort_by(f64::total_cmp);
                all[NEIGHBOURS]
            })
            .collect();
        let inside = made.iter().filter(|x| real.iter().zip(&radii).any(|(c, r)| distance(x, c) <= *r + 1e-9)).count();
        let found = Manifold::of(&real).covers(&Manifold::of(&made));
        assert!((found - inside as f64 / made.n() as f64).abs() <= 1.0 / made.n() as f64, "{found} {inside}");
        assert!(inside > 100 && inside < 1200, "{inside}");
    }
}
