//! How far points of the plane are from the law that they should have: the Kullback-Leibler divergence of their shares of square cells from
//! the law's exact ones.

use super::Measured;
use crate::base::data::Mixture2d;

/// Levels of a cell's side: 32 x 32 cells.
const SIDE: u8 = 8;
const CELLS: usize = 256 / SIDE as usize;

/// The exact shares of a law in cells.
pub struct Cells {
    /// ln of each, row after row.
    logs: Vec<f64>,
}

impl Cells {
    /// Those of a mixture's points.
    pub fn of(mixture: &Mixture2d) -> Cells {
        let levels = |cell: usize| {
            let first = cell as u8 * SIDE;
            first..=first + (SIDE - 1)
        };
        let share = |i: usize| mixture.share([levels(i % CELLS), levels(i / CELLS)]);
        // Dozens of standard deviations from every mode a share is below what f64 holds.
        Cells { logs: (0..CELLS * CELLS).map(|i| libm::log(share(i).max(f64::MIN_POSITIVE))).collect() }
    }

    /// KL(points || law) in bits per coordinate, with its standard error: sum of q ln(q / p) over the cells in which there are points, q being
    /// their shares. The shares of n points are off by chance too: what n points of the law itself have on average is taken off, so that theirs
    /// is 0 on average, and may be below it.
    pub fn divergence(&self, points: &[u8], what: &str) -> Measured {
        let mut counts = vec![0usize; CELLS * CELLS];
        points.chunks_exact(2).for_each(|point| counts[(point[1] / SIDE) as usize * CELLS + (point[0] / SIDE) as usize] += 1);
        let n = points.len() / 2;
        let there: Vec<(f64, f64)> = counts
            .iter()
            .zip(&self.logs)
            .filter(|(count, _)| **count > 0)
            .map(|(count, log)| {
                let share = *count as f64 / n as f64;
                (share, libm::log(share) - log)
            })
            .collect();
        let plain: f64 = there.iter().map(|(share, ratio)| share * ratio).sum();
        let squares: f64 = there.iter().map(|(share, ratio)| share * (ratio - plain) * (ratio - plain)).sum();
        // Of points of the law itself half of this variance is the ratios' own; less than that half it is never.
        let half = (there.len() - 1) as f64 / (2.0 * n as f64 * n as f64);
        let variance = (squares / n as f64 - half).max(half);
        let bits = |nats: f64| nats / std::f64::consts::LN_2 / 2.0;
        Measured {
            value: bits(plain - self.by_chance(n)),
            std_err: Some(bits(variance.sqrt())),
            n,
            protocol: format!(
                "{what} in {CELLS} x {CELLS} cells against the law's exact shares, bits per coordinate, less what as many points of the law have \
                 on average"
            ),
        }
    }

    /// What the sum over cells of q ln(q / p) is on average for the shares q of `n` points of the law, in nats: each cell's number of points is
    /// binomial, E[N ln N] / n - p ln(n p).
    fn by_chance(&self, n: usize) -> f64 {
        self.logs.iter().map(|log| entropy_of_count(n as f64, *log)).sum()
    }
}

/// E[N / n ln(N / (n p))] for N of the binomial distribution of `n` and p = exp(`log`).
fn entropy_of_count(n: f64, log: f64) -> f64 {
    let p = libm::exp(log);
    let (mean, deviation) = (n * p, (n * p * (1.0 - p)).sqrt());
    // All but 1e-30 of the mass, of a small mean too.
    let (low, high) = ((mean - 12.0 * deviation).max(1.0).floor(), (mean + 12.0 * deviation + 30.0).min(n).ceil());
    let others = if p < 1.0 { libm::log1p(-p) } else { f64::NEG_INFINITY };
    let term = |k: f64| {
        let rest = if k == n { 0.0 } else { (n - k) * others };
        let mass = libm::exp(libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0) + k * log + rest);
        mass * k * (libm::log(k / n) - log)
    };
    (low as u64..=high as u64).map(|k| term(k as f64)).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::data::Mode2d;

    fn mixture(weights: [f64; 2], seed: u64, train: usize) -> Mixture2d {
        let mode = |weight, x| Mode2d { weight, mean: [x, 0.1], std: 0.06 };
        Mixture2d { modes: vec![mode(weights[0], -0.5), mode(weights[1], 0.5)], train, held_out: 1, seed }
    }

    /// Points of the law itself are 0 away, within what is said of the error; of ten seeds the mean within six of its own.
    #[test]
    fn points_of_the_law_are_not_away_from_it() {
        let law = mixture([1.0, 3.0], 0, 1);
        let cells = Cells::of(&law);
        let found: Vec<Measured> = (0..10u64)
            .map(|seed| {
                let points = Mixture2d { seed, train: 5_000, ..law.clone() }.load().unwrap().train.all().unwrap().to_vec();
                cells.divergence(&points, "5000 samples")
            })
            .collect();
        let mean = found.iter().map(|m| m.value).sum::<f64>() / 10.0;
        let spread = (found.iter().map(|m| (m.value - mean).powi(2)).sum::<f64>() / 9.0).sqrt();
        assert!(mean.abs() < 6.0 * spread / 10f64.sqrt() && spread < 0.002, "{mean} {spread}");
        let said = found.iter().map(|m| m.std_err.unwrap()).sum::<f64>() / 10.0;
        assert!((0.6..1.7).contains(&(said / spread)), "{said} {spread}");
        // Without what is taken off they would be.
        assert!(cells.by_chance(5_000) / std::f64::consts::LN_2 / 2.0 > 20.0 * spread / 10f64.sqrt());
    }

    /// By hand for two points: none, one or both in a cell. And (cells - 1) / 2n where there are many points in each (Miller 1955).
    #[test]
    fn chance_is_an_average_over_counts() {
        for p in [0.3f64, 0.01, 1e-12] {
            let by_hand = 2.0 * p * (1.0 - p) * 0.5 * (0.5 / p).ln() + p * p * (1.0 / p).ln();
            assert!((entropy_of_count(2.0, p.ln()) - by_hand).abs() < 1e-12 * (1.0 + by_hand), "{p}");
        }
        assert!(entropy_of_count(7.0, 0.0).abs() < 1e-12 && entropy_of_count(7.0, f64::MIN_POSITIVE.ln()) < 1e-300);
        let even = Cells { logs: vec![(1.0f64 / 64.0).ln(); 64] };
        assert!((even.by_chance(1_000_000) * 2e6 / 63.0 - 1.0).abs() < 1e-3);
    }

    /// Two modes that are far apart with other weights: sum of q ln(q / p) over the modes, whatever the cells.
    #[test]
    fn wrong_weights_cost_what_they_cost() {
        let cells = Cells::of(&mixture([1.0, 3.0], 0, 1));
        let points = mixture([1.0, 1.0], 5, 100_000).load().unwrap().train.all().unwrap().to_vec();
        let found = cells.divergence(&points, "100000 samples");
        let expected = (0.5 * (0.5f64 / 0.25).ln() + 0.5 * (0.5f64 / 0.75).ln()) / 2f64.ln() / 2.0;
        assert!((found.value - expected).abs() < 6.0 * found.std_err.unwrap(), "{found:?} {expected}");
        assert!((found.std_err.unwrap() - 0.00125).abs() < 3e-4 && found.n == 100_000, "{found:?}");
    }

    /// By hand: three points of two cells, whose exact shares are known.
    #[test]
    fn a_sum_by_hand() {
        let mut logs = vec![f64::MIN_POSITIVE.ln(); CELLS * CELLS];
        (logs[3 * CELLS + 1], logs[CELLS - 1]) = (0.5f64.ln(), 0.25f64.ln());
        let found = Cells { logs }.divergence(&[8, 24, 15, 31, 255, 7], "3 samples");
        let plain = 2.0 / 3.0 * (4.0f64 / 3.0).ln() + 1.0 / 3.0 * (4.0f64 / 3.0).ln();
        let chance = entropy_of_count(3.0, 0.5f64.ln()) + entropy_of_count(3.0, 0.25f64.ln());
        assert!((found.value - (plain - chance) / 2f64.ln() / 2.0).abs() < 1e-12, "{found:?}");
        // All ratios are one here.
        assert!((found.std_err.unwrap() - (1.0f64 / 18.0).sqrt() / 2f64.ln() / 2.0).abs() < 1e-8, "{found:?}");
    }

    /// Where the law has all but nothing, a point is far away and not infinitely so.
    #[test]
    fn what_is_beyond_numbers_is_far() {
        let mode = Mode2d { weight: 1.0, mean: [-0.9, -0.9], std: 0.01 };
        let cells = Cells::of(&Mixture2d { modes: vec![mode], ..Mixture2d::default() });
        let found = cells.divergence(&[255, 255], "1 sample").value;
        assert!(found.is_finite() && found > 400.0, "{found}");
    }
}
