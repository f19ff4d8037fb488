//! Mean and covariance, one row after the other, in f64.

/// Welford's recursion for vectors.
#[derive(Clone, Debug)]
pub struct Moments {
    n: usize,
    mean: Vec<f64>,
    /// Sum of outer products of deviations, row-major, upper triangle.
    scatter: Vec<f64>,
}

impl Moments {
    /// Of no rows of `dim` numbers.
    pub fn new(dim: usize) -> Moments {
        Moments { n: 0, mean: vec![0.0; dim], scatter: vec![0.0; dim * dim] }
    }

    /// Of all `rows`, each of `dim` numbers.
    pub fn of<'a>(dim: usize, rows: impl Iterator<Item = &'a [f32]>) -> Moments {
        let mut moments = Moments::new(dim);
        rows.for_each(|row| moments.add(row));
        moments
    }

    /// One more row.
    pub fn add(&mut self, row: &[f32]) {
        let dim = self.mean.len();
        assert_eq!(row.len(), dim, "a row of another length");
        self.n += 1;
        let n = self.n as f64;
        let deviation: Vec<f64> = row.iter().zip(&self.mean).map(|(x, m)| *x as f64 - m).collect();
        self.mean.iter_mut().zip(&deviation).for_each(|(m, d)| *m += d / n);
        let share = (n - 1.0) / n;
        for i in 0..dim {
            let factor = deviation[i] * share;
            let row = &mut self.scatter[i * dim + i..(i + 1) * dim];
            row.iter_mut().zip(&deviation[i..]).for_each(|(s, d)| *s += factor * d);
        }
    }

    /// Rows so far.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Mean of each number.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Covariance of numbers `i` and `j`, with the unbiased n - 1.
    pub fn covariance(&self, i: usize, j: usize) -> f64 {
        self.scatter[i.min(j) * self.mean.len() + i.max(j)] / (self.n as f64 - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn streaming_is_two_passes(rows in prop::collection::vec(prop::array::uniform3(-5.0f32..5.0), 2..50), offset in -100.0f32..100.0) {
            let rows: Vec<[f32; 3]> = rows.iter().map(|r| r.map(|v| v + offset)).collect();
            let moments = Moments::of(3, rows.iter().map(|r| &r[..]));
            let n = rows.len() as f64;
            let mean: Vec<f64> = (0..3).map(|i| rows.iter().map(|r| r[i] as f64).sum::<f64>() / n).collect();
            for i in 0..3 {
                prop_assert!((moments.mean()[i] - mean[i]).abs() < 1e-9);
                for j in 0..3 {
                    let c = rows.iter().map(|r| (r[i] as f64 - mean[i]) * (r[j] as f64 - mean[j])).sum::<f64>() / (n - 1.0);
                    prop_assert!((moments.covariance(i, j) - c).abs() < 1e-9 * (1.0 + c.abs()));
                }
            }
            prop_assert_eq!(moments.n(), rows.len());
        }
    }
}
