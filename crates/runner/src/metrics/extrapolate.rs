//! FID without the bias of a finite number of samples (Chong & Forsyth 2020): the distance is nearly linear in 1/n, and its line is
//! followed to 1/n = 0.

/// Value and slope of the least-squares line at x = 0 through (x, y), and the standard error of the value. At least three points.
pub fn intercept(points: &[(f64, f64)]) -> (f64, f64, f64) {
    let n = points.len() as f64;
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / n;
    let (mx, my) = (mean(&|p| p.0), mean(&|p| p.1));
    let sxx = points.iter().map(|p| (p.0 - mx).powi(2)).sum::<f64>();
    let slope = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>() / sxx;
    let value = my - slope * mx;
    let residual = points.iter().map(|p| (p.1 - value - slope * p.0).powi(2)).sum::<f64>() / (n - 2.0);
    (value, slope, (residual * (1.0 / n + mx * mx / sxx)).sqrt())
}

/// The 15 sample sizes to which the line is fitted, from a tenth of `n` (but at least twice the feature dimension `dim`) to `n`. None if
/// that range is too small.
pub fn sizes(n: usize, dim: usize) -> Option<Vec<usize>> {
    const POINTS: usize = 15;
    let least = (n / 10).max(2 * dim);
    (n >= 2 * least && n - least >= POINTS).then(|| (0..POINTS).map(|i| least + (n - least) * i / (POINTS - 1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_line_is_found_again(value in -3.0f64..3.0, slope in -50.0f64..50.0, n in 100usize..60_000) {
            let points: Vec<(f64, f64)> = sizes(n, 10).unwrap().into_iter().map(|n| 1.0 / n as f64).map(|x| (x, value + slope * x)).collect();
            let (found, rise, error) = intercept(&points);
            prop_assert!((found - value).abs() < 1e-9 && (rise - slope).abs() < 1e-6 * (1.0 + slope.abs()) && error < 1e-6);
        }
    }

    #[test]
    fn the_error_is_the_textbooks() {
        // y = 1, 2, 4 at x = 1, 2, 3: slope 1.5, value -2/3, residuals 1/6, -1/3, 1/6; s^2 = 1/6, error sqrt(1/6 (1/3 + 4/2)).
        let (value, slope, error) = intercept(&[(1.0, 1.0), (2.0, 2.0), (3.0, 4.0)]);
        assert!((value + 2.0 / 3.0).abs() < 1e-12 && (slope - 1.5).abs() < 1e-12);
        assert!((error - (7.0f64 / 18.0).sqrt()).abs() < 1e-12);
        assert_eq!(sizes(50_000, 2048).unwrap()[0], 5000);
        assert_eq!(sizes(500, 2048), None);
    }
}
