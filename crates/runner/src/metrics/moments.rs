//! Mean and covariance in f64, a block of rows at a time.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Rows that are centred and multiplied together.
const ROWS: usize = 512;
/// Columns of the covariance that one task adds to. Each is summed by one task in one order, so threads change no bit.
const COLUMNS: usize = 128;

/// Streaming moments: blocks are merged by Chan's rule (Chan, Golub, LeVeque 1979), so that no digits are lost to a large mean.
#[derive(Clone, Debug)]
pub struct Moments {
    n: usize,
    mean: Vec<f64>,
    /// Sum of outer products of deviations: columns, filled from the diagonal down.
    scatter: Vec<f64>,
}

impl Moments {
    /// Of no rows of `dim` numbers.
    pub fn new(dim: usize) -> Moments {
        Moments { n: 0, mean: vec![0.0; dim], scatter: vec![0.0; dim * dim] }
    }

    /// Of all `rows`, each of `dim` numbers.
    pub fn of<'a>(dim: usize, rows: impl Iterator<Item = &'a [f32]>) -> Moments {
        let mut stream = Stream::new(dim);
        rows.for_each(|row| stream.add(row));
        stream.end()
    }

    /// As others measured them: a mean, and a covariance of `n` rows in rows or columns (it is symmetric).
    pub fn from_parts(n: usize, mean: Vec<f64>, mut covariance: Vec<f64>) -> Moments {
        assert_eq!(covariance.len(), mean.len() * mean.len(), "a square covariance");
        covariance.iter_mut().for_each(|v| *v *= n as f64 - 1.0);
        Moments { n, mean, scatter: covariance }
    }

    /// More rows, one after the other.
    pub fn add(&mut self, rows: &[f32]) {
        let dim = self.mean.len();
        assert!(rows.len().is_multiple_of(dim), "{} numbers in rows of {dim}", rows.len());
        rows.chunks(ROWS * dim).for_each(|block| self.merge(block));
    }

    fn merge(&mut self, rows: &[f32]) {
        let (dim, m) = (self.mean.len(), rows.len() / self.mean.len());
        if m == 0 {
            return;
        }
        let mut mean = vec![0.0; dim];
        rows.chunks_exact(dim).for_each(|row| mean.iter_mut().zip(row).for_each(|(to, v)| *to += *v as f64));
        mean.iter_mut().for_each(|v| *v /= m as f64);
        // The block's deviations, and one row more for the distance of its mean from the mean so far.
        let (n, all) = (self.n as f64, (self.n + m) as f64);
        let mut centred = Vec::with_capacity((m + 1) * dim);
        rows.chunks_exact(dim).for_each(|row| centred.extend(row.iter().zip(&mean).map(|(v, mean)| *v as f64 - mean)));
        let weight = (n * m as f64 / all).sqrt();
        centred.extend(mean.iter().zip(&self.mean).map(|(new, old)| weight * (new - old)));
        let centred = MatRef::from_row_major_slice(&centred, m + 1, dim);
        self.scatter.par_chunks_mut(COLUMNS * dim).enumerate().for_each(|(at, columns)| {
            let (first, width) = (at * COLUMNS, columns.len() / dim);
            let to = MatMut::from_column_major_slice_mut(columns, dim, width).subrows_mut(first, dim - first);
            let left = centred.subcols(first, dim - first).transpose();
            matmul(to, Accum::Add, left, centred.subcols(first, width), 1.0, Par::Seq);
        });
        self.mean.iter_mut().zip(&mean).for_each(|(old, new)| *old += (new - *old) * m as f64 / all);
        self.n += m;
    }

    /// With these numbers, as [`Moments::mean`] and [`Moments::scatter`] gave them.
    pub fn from_scatter(n: usize, mean: Vec<f64>, scatter: Vec<f64>) -> Moments {
        assert_eq!(scatter.len(), mean.len() * mean.len(), "a square matrix");
        Moments { n, mean, scatter }
    }

    /// The sum of outer products of deviations, to be kept: `[dim, dim]`, of which one half is meant.
    pub fn scatter(&self) -> &[f64] {
        &self.scatter
    }

    /// Whether every number is finite.
    pub fn are_finite(&self) -> bool {
        self.mean.iter().chain(&self.scatter).all(|v| v.is_finite())
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

/// Moments of rows that come in parts of any size: the same bits as of all rows at once.
#[derive(Clone, Debug)]
pub struct Stream {
    moments: Moments,
    /// Rows that do not fill a block yet.
    rest: Vec<f32>,
}

impl Stream {
    /// Of no rows of `dim` numbers.
    pub fn new(dim: usize) -> Stream {
        Stream { moments: Moments::new(dim), rest: Vec::with_capacity(ROWS * dim) }
    }

    /// More rows, one after the other.
    pub fn add(&mut self, mut rows: &[f32]) {
        let block = ROWS * self.moments.mean.len();
        while !rows.is_empty() {
            let (now, later) = rows.split_at(rows.len().min(block - self.rest.len()));
            self.rest.extend_from_slice(now);
            if self.rest.len() == block {
                self.moments.add(&self.rest);
                self.rest.clear();
            }
            rows = later;
        }
    }

    /// Of all rows.
    pub fn end(mut self) -> Moments {
        self.moments.add(&self.rest);
        self.moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn streaming_is_two_passes(rows in prop::collection::vec(prop::array::uniform3(-5.0f32..5.0), 2..50), offset in -100.0f32..100.0, parts in prop::collection::vec(1usize..7, 0..10)) {
            let rows: Vec<[f32; 3]> = rows.iter().map(|r| r.map(|v| v + offset)).collect();
            let mut moments = Moments::new(3);
            // In blocks of any size, the rest at the end.
            let mut rest: &[f32] = rows.as_flattened();
            for part in parts {
                let (now, later) = rest.split_at(rest.len().min(3 * part));
                moments.add(now);
                rest = later;
            }
            moments.add(rest);
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        /// However the rows come, to the last bit; and what is kept of them is the same again.
        #[test]
        fn parts_change_no_bit(n in 1usize..3 * ROWS, parts in prop::collection::vec(1usize..700, 1..10), offset in -100.0f32..100.0) {
            let rows: Vec<f32> = (0..n * 3).map(|i| ((i * 7919) % 1013) as f32 / 100.0 + offset).collect();
            let whole = Moments::of(3, rows.chunks(3));
            let (mut stream, mut rest, mut parts) = (Stream::new(3), &rows[..], parts.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(3 * parts.next().unwrap()));
                stream.add(now);
                rest = later;
            }
            let kept = stream.end();
            let again = Moments::from_scatter(kept.n(), kept.mean().to_vec(), kept.scatter().to_vec());
            for moments in [&kept, &again] {
                prop_assert_eq!((moments.n(), moments.mean()), (n, whole.mean()));
                for (i, j) in [(0, 0), (0, 2), (1, 2), (2, 1)] {
                    prop_assert_eq!(moments.covariance(i, j).to_bits(), whole.covariance(i, j).to_bits());
                }
            }
        }
    }

    /// More columns than one task has, more rows than one block.
    #[test]
    fn blocks_meet_without_a_seam() {
        let (dim, n) = (COLUMNS + 37, ROWS + 99);
        let rows: Vec<f32> = (0..n * dim).map(|i| ((i * 7919) % 1013) as f32 / 100.0).collect();
        let moments = Moments::of(dim, rows.chunks(dim));
        for (i, j) in [(0, 0), (3, COLUMNS + 5), (COLUMNS - 1, COLUMNS), (COLUMNS + 36, COLUMNS + 1)] {
            let mean = |k: usize| rows.chunks(dim).map(|r| r[k] as f64).sum::<f64>() / n as f64;
            let (a, b) = (mean(i), mean(j));
            let c = rows.chunks(dim).map(|r| (r[i] as f64 - a) * (r[j] as f64 - b)).sum::<f64>() / (n as f64 - 1.0);
            assert!((moments.covariance(i, j) - c).abs() < 1e-9 * (1.0 + c.abs()), "{i} {j}");
        }
    }
}
