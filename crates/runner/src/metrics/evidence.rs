//! What measurements say of a difference between two cells. Cells share data order, t and noise, so their scores are compared in pairs, seed
//! by seed: what a seed does to both cancels.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal, StudentsT};

/// Share of wrong answers that is accepted.
pub const LEVEL: f64 = 0.05;

/// Most seeds that anyone is told to run.
pub const MOST_SEEDS: usize = 10_000;

/// What is known of a number that two cells' scores make: a difference, or the room that one leaves to a margin.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// Its value for each seed that both cells have: infinite where one of them diverged. Where both did, there is none, or no difference
    /// where others are infinite.
    Seeds(Vec<f64>),
    /// Of one training of each cell: its value, and the standard error of measuring it.
    Trainings {
        /// The value.
        value: f64,
        /// Its standard error, which knows nothing of other seeds.
        std_err: f64,
    },
}

impl Evidence {
    /// One-sided p-value of "it is above zero": the chance of evidence as strong as this, or stronger, if it were zero.
    ///
    /// Of seeds by Student's t. By the sign test where a cell diverged in some of them, since there is no mean, and where all values are one,
    /// which happens to scores that are counted. A cell that diverged in all of them, and the other in none, is the worse one without a
    /// test. Fewer than two seeds say nothing.
    pub fn p_above(&self) -> f64 {
        match self {
            Evidence::Trainings { value, std_err } => ratio(*value, *std_err).map_or(1.0, |z| Normal::standard().sf(z)),
            Evidence::Seeds(values) if values.len() < 2 => 1.0,
            Evidence::Seeds(values) if values.iter().all(|v| v.is_infinite() && *v == values[0]) => f64::from(values[0] < 0.0),
            Evidence::Seeds(values) if values.iter().any(|v| v.is_infinite()) || are_one(values) => sign_test(values),
            Evidence::Seeds(values) => {
                let Spread { n, mean, std_dev } = Spread::of(values);
                ratio(mean, std_dev / (n as f64).sqrt()).map_or(1.0, |t| student(n - 1).sf(t))
            }
        }
    }

    /// The same for "it is below zero".
    pub fn p_below(&self) -> f64 {
        match self {
            Evidence::Trainings { value, std_err } => Evidence::Trainings { value: -value, std_err: *std_err }.p_above(),
            Evidence::Seeds(values) => Evidence::Seeds(values.iter().map(|v| -v).collect()).p_above(),
        }
    }

    /// Its mean: infinite where a cell diverged, none where nothing is known.
    pub fn mean(&self) -> Option<f64> {
        match self {
            Evidence::Trainings { value, .. } => Some(*value),
            Evidence::Seeds(values) if values.is_empty() => None,
            // Infinities of both signs have none.
            Evidence::Seeds(values) => Some(Spread::of(values).mean).filter(|mean| !mean.is_nan()),
        }
    }

    /// Half of the 95% interval of its mean; none where there is no spread to tell it from.
    pub fn half_width(&self) -> Option<f64> {
        let quantile = 1.0 - LEVEL / 2.0;
        match self {
            Evidence::Trainings { value, std_err } => value.is_finite().then(|| Normal::standard().inverse_cdf(quantile) * std_err),
            Evidence::Seeds(values) if values.len() < 2 || values.iter().any(|v| v.is_infinite()) => None,
            Evidence::Seeds(values) => {
                let Spread { n, std_dev, .. } = Spread::of(values);
                Some(student(n - 1).inverse_cdf(quantile) * std_dev / (n as f64).sqrt())
            }
        }
    }

    /// Number of seeds, those that are there included, with which the smaller one-sided p-value is at most `level` if mean and spread are
    /// then what they are now; none where that is more than [`MOST_SEEDS`], or cannot be told.
    pub fn seeds_for(&self, level: f64) -> Option<usize> {
        let Evidence::Seeds(values) = self else { return None };
        if values.len() < 2 || values.iter().any(|v| v.is_infinite()) {
            return None;
        }
        let Spread { mean, std_dev, .. } = Spread::of(values);
        let enough = |n: usize| match are_one(values) {
            true => mean != 0.0 && sign_test(&vec![mean.abs(); n]) <= level,
            false => student(n - 1).sf(mean.abs() / (std_dev / (n as f64).sqrt())) <= level,
        };
        if !enough(MOST_SEEDS) {
            return None;
        }
        // More seeds never say less.
        let (mut too_few, mut some) = (1, MOST_SEEDS);
        while some - too_few > 1 {
            let middle = too_few.midpoint(some);
            if enough(middle) { some = middle } else { too_few = middle }
        }
        Some(some)
    }
}

/// Numbers as their mean and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, with n - 1 in the denominator: of one number not a number.
    pub std_dev: f64,
}

impl Spread {
    /// Of at least one number.
    pub fn of(values: &[f64]) -> Spread {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0);
        Spread { n, mean, std_dev: variance.sqrt() }
    }

    /// The standard error of the mean; none of one number.
    pub fn std_err(&self) -> Option<f64> {
        (self.n > 1).then(|| self.std_dev / (self.n as f64).sqrt())
    }
}

/// Their quotient; infinite where there is a value and no error, none where there is neither.
fn ratio(value: f64, error: f64) -> Option<f64> {
    Some(value / error).filter(|quotient| !quotient.is_nan())
}

fn student(freedom: usize) -> StudentsT {
    StudentsT::new(0.0, 1.0, freedom as f64).expect("at least one degree of freedom")
}

/// Whether all values are one, up to rounding.
fn are_one(values: &[f64]) -> bool {
    let largest = values.iter().fold(0f64, |largest, v| largest.max(v.abs()));
    values.iter().all(|v| (v - values[0]).abs() <= 1e-9 * largest)
}

/// The chance that at least as many of them would be above zero if each were so, or below, with equal chance. Zeros say nothing.
fn sign_test(values: &[f64]) -> f64 {
    let n = values.iter().filter(|v| **v != 0.0).count() as u64;
    let above = values.iter().filter(|v| **v > 0.0).count() as u64;
    match above {
        0 => 1.0,
        _ => Binomial::new(0.5, n).expect("a probability").sf(above - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ddpm_kernels::random::{Random, Stream};
    use proptest::prelude::*;

    fn seeds(values: &[f64]) -> Evidence {
        Evidence::Seeds(values.to_vec())
    }

    #[test]
    fn an_interval_is_the_textbooks() {
        // 1, 2, 3: mean 2, standard error 1/sqrt(3), t of 2 degrees 4.3027.
        let e = seeds(&[1.0, 2.0, 3.0]);
        assert_eq!(e.mean(), Some(2.0));
        assert!((e.half_width().unwrap() - 4.302653 / 3f64.sqrt()).abs() < 1e-6);
        // t = 2 sqrt(3), and sf(t) of 2 degrees is 1/2 - t / (2 sqrt(2 + t^2)).
        let t = 2.0 * 3f64.sqrt();
        assert!((e.p_above() - (0.5 - t / (2.0 * (2.0 + t * t).sqrt()))).abs() < 1e-10);
        assert_eq!((seeds(&[1.0]).half_width(), seeds(&[1.0]).p_above(), seeds(&[]).mean()), (None, 1.0, None));
        let one = Evidence::Trainings { value: 0.5, std_err: 0.25 };
        assert!((one.half_width().unwrap() - 0.25 * 1.959964).abs() < 1e-6 && (one.p_above() - 0.02275013).abs() < 1e-7);
    }

    /// Equal values are so many signs: 1/4 for two, and 1/128 for seven is the first below 0.01.
    #[test]
    fn no_spread_is_a_matter_of_signs_and_no_difference_says_nothing() {
        let equal = seeds(&[0.5, 0.5]);
        assert!((equal.p_above() - 0.25).abs() < 1e-12 && equal.p_below() == 1.0 && equal.seeds_for(0.01) == Some(7));
        for equal in [[0.1; 3], [0.5 - 0.4, 0.4 - 0.3, 0.1]] {
            assert!((seeds(&equal).p_above() - 0.125).abs() < 1e-12 && seeds(&equal).seeds_for(0.01) == Some(7), "{equal:?}");
        }
        assert_eq!((seeds(&[0.0, 0.0]).p_above(), seeds(&[0.0, 0.0]).p_below(), seeds(&[0.0, 0.0]).seeds_for(0.5)), (1.0, 1.0, None));
    }

    #[test]
    fn what_diverged_is_worst() {
        const INF: f64 = f64::INFINITY;
        // In all seeds.
        assert_eq!((seeds(&[INF, INF]).p_above(), seeds(&[INF, INF]).p_below(), seeds(&[-INF, -INF]).p_below()), (0.0, 1.0, 0.0));
        // In some: 4 of 5 signs are 6 of 32 or fewer; a zero is no sign.
        assert!((seeds(&[INF, 1.0, 2.0, -3.0, INF, 0.0]).p_above() - 6.0 / 32.0).abs() < 1e-12);
        assert!((seeds(&[INF, 1.0, 2.0, -3.0, INF, 0.0]).p_below() - 31.0 / 32.0).abs() < 1e-12);
        assert_eq!((seeds(&[INF, 1.0]).half_width(), seeds(&[INF, 1.0]).seeds_for(0.05), seeds(&[INF]).p_above()), (None, None, 1.0));
        assert_eq!((seeds(&[INF, 1.0]).mean(), seeds(&[INF, -INF]).mean()), (Some(INF), None));
        // In both at one seed: a tie beside two signs.
        assert!((seeds(&[INF, INF, 0.0]).p_above() - 0.25).abs() < 1e-12);
        let one = Evidence::Trainings { value: INF, std_err: 0.1 };
        assert_eq!((one.p_above(), one.p_below(), one.half_width()), (0.0, 1.0, None));
    }

    /// `scipy.stats.t.ppf(0.975, n)`, n = 1 to 30, 60, 120, 1000, by intervals of n + 1 values whose standard deviation is known.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        let scipy = [
            12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139, 2.200985, 2.178813,
            2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963, 2.079614, 2.073873, 2.068658, 2.063899,
            2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
        ];
        let more = [(60, 2.000298), (120, 1.979930), (1000, 1.962339)];
        for (freedom, quantile) in scipy.into_iter().enumerate().map(|(i, q)| (i + 1, q)).chain(more) {
            let n = freedom as f64 + 1.0;
            // Two at -1 and 1, the others at 0: variance 2 / (n - 1).
            let values: Vec<f64> = (0..=freedom).map(|i| [-1.0, 1.0].get(i).copied().unwrap_or(0.0)).collect();
            let expected = quantile * (2.0 / (n - 1.0) / n).sqrt();
            assert!((seeds(&values).half_width().unwrap() / expected - 1.0).abs() < 1e-6, "{freedom}");
        }
    }

    /// A seed of its own for each run of the tests.
    fn normals(seed: u64, draw: u64, n: usize) -> Vec<f64> {
        Random::new(seed, Stream::Sample).normals(draw, 0, 1, n).into_iter().map(f64::from).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// p-value and interval are one statement; scale and sign do to both what they should.
        #[test]
        fn an_interval_excludes_zero_where_p_says_so(values in prop::collection::vec(-3.0f64..5.0, 2..9), scale in 1e-6f64..1e6) {
            let e = seeds(&values);
            let (p, half, mean) = (2.0 * e.p_above().min(e.p_below()), e.half_width().unwrap(), e.mean().unwrap());
            prop_assume!((p - LEVEL).abs() > 1e-6);
            prop_assert_eq!(p < LEVEL, mean.abs() > half);
            prop_assert!((e.p_above() + e.p_below() - 1.0).abs() < 1e-9);
            let scaled = seeds(&values.iter().map(|v| v * scale).collect::<Vec<_>>());
            prop_assert!((scaled.p_above() - e.p_above()).abs() < 1e-9);
            prop_assert!((scaled.half_width().unwrap() / scale - half).abs() < 1e-6 * (1.0 + half));
            let order: Vec<f64> = values.iter().rev().copied().collect();
            prop_assert!((seeds(&order).p_above() - e.p_above()).abs() < 1e-9);
        }

        /// With as many seeds as are said to be enough, of the same mean and spread, it is enough, and with one fewer it is not.
        #[test]
        fn as_many_seeds_as_are_said_are_enough(mean in 0.2f64..3.0, level in 0.001f64..0.05, below in any::<bool>()) {
            let sign = if below { -1.0 } else { 1.0 };
            // n values with mean `mean` and standard deviation 1.
            let of = |n: usize| {
                let ends = ((n as f64 - 1.0) / 2.0).sqrt();
                let values = (0..n).map(|i| sign * (mean + [-ends, ends].get(i).copied().unwrap_or(0.0))).collect::<Vec<_>>();
                let e = seeds(&values);
                e.p_above().min(e.p_below())
            };
            let two = seeds(&[sign * (mean - 0.5f64.sqrt()), sign * (mean + 0.5f64.sqrt())]);
            match two.seeds_for(level) {
                Some(2) => prop_assert!(of(2) <= level * (1.0 + 1e-9)),
                Some(n) => prop_assert!(of(n) <= level * (1.0 + 1e-9) && of(n - 1) > level * (1.0 - 1e-9)),
                None => prop_assert!(of(MOST_SEEDS) > level),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]

        /// Of 95% intervals 95 in 100 hold the true mean, with two seeds as with nine, and p-values are uniform.
        #[test]
        fn coverage_is_what_it_says(seed in any::<u64>(), n in 2usize..10, truth in -2.0f64..2.0, spread in 0.1f64..10.0) {
            let draws = 20_000;
            let all = normals(seed, 0, n * draws);
            let (mut covered, mut low) = (0, 0);
            for values in all.chunks(n) {
                let e = seeds(&values.iter().map(|z| truth + spread * z).collect::<Vec<_>>());
                covered += usize::from((e.mean().unwrap() - truth).abs() <= e.half_width().unwrap());
                let centred = seeds(&values.iter().map(|z| spread * z).collect::<Vec<_>>());
                low += usize::from(centred.p_above() <= 0.1);
            }
            // Five standard deviations of the share.
            let share = |count: usize| count as f64 / draws as f64;
            let within = |found: f64, expected: f64| (found - expected).abs() < 5.0 * (expected * (1.0 - expected) / draws as f64).sqrt();
            prop_assert!(within(share(covered), 0.95), "{} of {draws} with {n} seeds", covered);
            prop_assert!(within(share(low), 0.1), "{} of {draws} with {n} seeds", low);
        }
    }
}
