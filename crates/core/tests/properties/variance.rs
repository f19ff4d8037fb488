use crate::common::*;
use ddpm_core::ReverseVariance;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn each_variance_is_what_its_name_says(at in any_at(), r in -3.0f64..3.0) {
        let (p, t) = (&at.process, at.t);
        let of = |v: ReverseVariance, r| v.log_sigma2(p, t).at(r);
        prop_assert_eq!(of(ReverseVariance::FixedSmall, r), p.log_sigma2_small(t));
        prop_assert_eq!(of(ReverseVariance::FixedLarge, r), p.log_sigma2_large(t));
        prop_assert_eq!(of(ReverseVariance::Learned, r), r);
        // Between beta_tilde at -1 and beta at 1, linear in the logarithm.
        let (small, large) = (p.log_sigma2_small(t), p.beta(t).ln());
        prop_assert!(near(of(ReverseVariance::LearnedRange, -1.0), small, 1e-12));
        prop_assert!(near(of(ReverseVariance::LearnedRange, 1.0), large, 1e-12));
        prop_assert!(near(of(ReverseVariance::LearnedRange, r), 0.5 * ((r + 1.0) * large + (1.0 - r) * small), 1e-12));
    }
}

#[test]
fn two_of_them_are_learned() {
    let learned: Vec<_> = ReverseVariance::ALL.into_iter().filter(|v| v.is_learned()).collect();
    assert_eq!(learned, [ReverseVariance::Learned, ReverseVariance::LearnedRange]);
}
