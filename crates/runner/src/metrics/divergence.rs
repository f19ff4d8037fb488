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
    /// their shares. On average the shares of n points are further off than where the points come from, by (cells - 1) / 2n in nats, which is
    /// taken off (Miller 1955), so that the number of points of the law itself is about 0 and may be below it.
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
        let bits = |nats: f64| nats / std::f64::consts::LN_2 / 2.0;
        Measured {
            value: bits(plain - (there.len() - 1) as f64 / (2 * n) as f64),
            std_err: Some(bits((squares / n as f64).sqrt())),
            n,
            protocol: format!(
                "{what} in {CELLS} x {CELLS} cells against the law's exact shares, bits per coordinate, bias of Miller (1955) taken off"
            ),
        }
    }
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
        // Without what is taken off they would be.
        assert!(mean + 60.0 / 20_000.0 > 0.002);
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
        let mut logs = vec![f64::NEG_INFINITY; CELLS * CELLS];
        (logs[3 * CELLS + 1], logs[CELLS - 1]) = (0.5f64.ln(), 0.25f64.ln());
        let found = Cells { logs }.divergence(&[8, 24, 15, 31, 255, 7], "3 samples");
        let plain = 2.0 / 3.0 * (4.0f64 / 3.0).ln() + 1.0 / 3.0 * (4.0f64 / 3.0).ln();
        assert!((found.value - (plain - 1.0 / 6.0) / 2f64.ln() / 2.0).abs() < 1e-12 && found.std_err.unwrap() < 1e-8, "{found:?}");
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
