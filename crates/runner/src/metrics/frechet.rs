//! The Fréchet distance of two Gaussians (Heusel et al. 2017, eq. 6).

use super::moments::Moments;
use anyhow::{Result, anyhow, ensure};
use faer::{Mat, Side};

/// A Gaussian with the square root of its covariance, to which many distances can be measured.
pub struct Gaussian {
    mean: Vec<f64>,
    /// S^(1/2).
    root: Mat<f64>,
    trace: f64,
    n: usize,
}

fn matrix(m: &Moments) -> Mat<f64> {
    let dim = m.mean().len();
    Mat::from_fn(dim, dim, |i, j| m.covariance(i, j))
}

impl Gaussian {
    /// With the moments of at least two rows. Singular covariances need no special care: the square root is taken by eigenvalues, of
    /// which negative ones (rounding) count as 0.
    pub fn of(moments: &Moments) -> Result<Gaussian> {
        ensure!(moments.n() > 1, "Fréchet distance: expected at least 2 rows on each side, got {}", moments.n());
        let s = matrix(moments);
        let eigen = s.self_adjoint_eigen(Side::Lower).map_err(failed)?;
        let (dim, u, values) = (s.nrows(), eigen.U(), eigen.S().column_vector());
        let scaled = Mat::from_fn(dim, dim, |i, j| u[(i, j)] * values[j].max(0.0).sqrt());
        let trace = (0..dim).map(|i| s[(i, i)]).sum();
        Ok(Gaussian { mean: moments.mean().to_vec(), root: &scaled * u.transpose(), trace, n: moments.n() })
    }

    /// Rows behind its moments.
    pub fn n(&self) -> usize {
        self.n
    }

    /// |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).
    pub fn distance(&self, other: &Moments) -> Result<f64> {
        let dim = self.mean.len();
        ensure!(other.mean().len() == dim, "Fréchet distance: features of {} and {dim} numbers", other.mean().len());
        ensure!(other.n() > 1, "Fréchet distance: expected at least 2 rows on each side, got {}", other.n());
        let s = matrix(other);
        // tr (S1 S2)^(1/2) = sum of the square roots of the eigenvalues of R S2 R, with R = S1^(1/2).
        let product = &self.root * &s * &self.root;
        let symmetric = Mat::from_fn(dim, dim, |i, j| 0.5 * (product[(i, j)] + product[(j, i)]));
        let eigenvalues = symmetric.self_adjoint_eigenvalues(Side::Lower).map_err(failed)?;
        // Eigenvalues no larger than the rounding error of the largest are noise: with fewer rows than dimensions most of them are, and the
        // square root would amplify them.
        let least = eigenvalues.iter().fold(0f64, |a, b| a.max(*b)) * dim as f64 * f64::EPSILON;
        let cross: f64 = eigenvalues.iter().filter(|v| **v > least).map(|v| v.sqrt()).sum();
        let means: f64 = self.mean.iter().zip(other.mean()).map(|(x, y)| (x - y).powi(2)).sum();
        let trace: f64 = (0..dim).map(|i| s[(i, i)]).sum();
        let squared = means + self.trace + trace - 2.0 * cross;
        // A distance is not negative: what is a little below 0 is rounding, and what is further was no covariance.
        let size = means + self.trace.abs() + trace.abs();
        ensure!(squared >= -1e-6 * size, "Fréchet distance: a covariance has negative variances: the distance would be {squared}");
        Ok(if squared < 0.0 { 0.0 } else { squared })
    }
}

fn failed(e: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("Fréchet distance: the covariance has no eigenvalues ({e:?}): a feature is not finite")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frechet_distance(a: &Moments, b: &Moments) -> Result<f64> {
        Gaussian::of(b)?.distance(a)
    }

    fn moments(rows: &[[f32; 4]]) -> Moments {
        Moments::of(4, rows.iter().map(|r| &r[..]))
    }

    fn rows() -> impl Strategy<Value = Vec<[f32; 4]>> {
        prop::collection::vec(prop::array::uniform4(-2.0f32..2.0), 2..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn it_is_a_distance(a in rows(), b in rows()) {
            let (a, b) = (moments(&a), moments(&b));
            let d = frechet_distance(&a, &b).unwrap();
            prop_assert!(frechet_distance(&a, &a).unwrap().abs() < 1e-6);
            prop_assert!(d > -1e-6 && (d - frechet_distance(&b, &a).unwrap()).abs() < 1e-6 * (1.0 + d));
        }

        #[test]
        fn a_shift_costs_its_square(a in rows(), shift in prop::array::uniform4(-3.0f32..3.0)) {
            let moved: Vec<[f32; 4]> = a.iter().map(|r| std::array::from_fn(|i| r[i] + shift[i])).collect();
            let expected: f64 = shift.iter().map(|s| (*s as f64).powi(2)).sum();
            let d = frechet_distance(&moments(&a), &moments(&moved)).unwrap();
            prop_assert!((d - expected).abs() < 1e-4 * (1.0 + expected), "{d} {expected}");
        }

        #[test]
        fn independent_features_add_up(scale in prop::array::uniform4(0.1f32..3.0), seed in prop::collection::vec(prop::array::uniform4(-1.0f32..1.0), 3..40)) {
            // Each feature scaled by itself: covariances commute, so the distance is |S1^(1/2) - S2^(1/2)|^2 on a common basis.
            let uncorrelated: Vec<[f32; 4]> = (0..8 * seed.len()).map(|k| {
                let r = seed[k / 8];
                std::array::from_fn(|i| if i < 3 { r[i] * if (k >> i) & 1 == 1 { 1.0 } else { -1.0 } } else { 0.0 })
            }).collect();
            let scaled: Vec<[f32; 4]> = uncorrelated.iter().map(|r| std::array::from_fn(|i| r[i] * scale[i])).collect();
            let (a, b) = (moments(&uncorrelated), moments(&scaled));
            let expected: f64 = (0..4).map(|i| (a.covariance(i, i).sqrt() - b.covariance(i, i).sqrt()).powi(2)).sum();
            let d = frechet_distance(&a, &b).unwrap();
            prop_assert!((d - expected).abs() < 1e-5 * (1.0 + expected), "{d} {expected}");
        }
    }

    /// Fewer rows than numbers: both covariances are singular, and still a set is at no distance from itself.
    #[test]
    fn singular_covariances_keep_their_digits() {
        let rows: Vec<f32> = (0..20 * 200).map(|i| ((i * 7919) % 1009) as f32 / 50.0).collect();
        let a = Moments::of(200, rows.chunks(200));
        let trace: f64 = (0..200).map(|i| a.covariance(i, i)).sum();
        assert!(frechet_distance(&a, &a).unwrap().abs() < 1e-9 * trace);
    }

    #[test]
    fn too_few_rows_are_an_error() {
        assert!(frechet_distance(&moments(&[[0.0; 4]]), &moments(&[[0.0; 4], [1.0; 4]])).is_err());
    }
}
