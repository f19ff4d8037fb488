use crate::common::*;
use ddpm_core::rate_distortion::rate_distortion;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_rate_at_t_is_the_prior_and_all_later_terms(rows in prop::collection::vec((0.0f64..1.0, 0.0f64..1.0), 2..100), prior in 0.0f64..0.1) {
        let (terms, mse): (Vec<f64>, Vec<f64>) = rows.into_iter().unzip();
        let curve = rate_distortion(&terms, prior, &mse);
        prop_assert_eq!(curve.len(), terms.len());
        for (i, point) in curve.iter().enumerate() {
            prop_assert_eq!(point.t, terms.len() - i);
            prop_assert!(near(point.rate, prior + terms[point.t..].iter().sum::<f64>(), 1e-12));
            prop_assert!(near(point.rmse, 127.5 * mse[point.t - 1].sqrt(), 1e-14));
        }
        // At t = 1 all but the decoder's term has been paid.
        prop_assert!(near(curve[curve.len() - 1].rate + terms[0], prior + terms.iter().sum::<f64>(), 1e-12));
    }
}

#[test]
#[should_panic(expected = "one term and one error for each step")]
fn lists_of_different_length_are_a_bug() {
    rate_distortion(&[0.0], 0.0, &[0.0, 0.0]);
}
