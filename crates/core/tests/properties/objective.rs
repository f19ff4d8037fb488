use crate::common::*;
use ddpm_core::likelihood::{bits, gaussian_kl};
use ddpm_core::{Objective, Prediction, ReverseVariance, Space, Weight};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn equation_12_is_the_kl_of_equation_5(at in later_at(), x0 in -1.0f64..1.0, eps in -3.0f64..3.0, error in 0.01f64..1.0) {
        prop_assume!(at.has_signal());
        let (p, t) = (&at.process, at.t);
        let (a, s) = p.q_sample_coefficients(t);
        let xt = a * x0 + s * eps;
        let posterior = p.q_posterior(x0, xt, t);
        let mean = Prediction::Eps.convert(Prediction::Mu, p, t).apply(&xt, &(eps + error)).unwrap();
        for variance in [ReverseVariance::FixedSmall, ReverseVariance::FixedLarge] {
            let log_sigma2 = variance.log_sigma2(p, t).at(0.0);
            let kl = |mean| gaussian_kl(posterior.mean, posterior.variance.ln(), mean, log_sigma2);
            let weighted = Objective::Vlb {}.eps_weight(Prediction::Eps, p, t, log_sigma2) * error * error;
            prop_assert!(near(bits(kl(mean) - kl(posterior.mean)), weighted, 1e-5), "{variance:?}");
            // Eq. 12's factor as printed.
            let printed = p.beta(t).powi(2) / (2.0 * log_sigma2.exp() * p.alpha(t) * (1.0 - p.alpha_bar(t)));
            prop_assert!(close(weighted, bits(printed) * error * error, 1e-9));
        }
    }

    #[test]
    fn weights_of_the_other_objectives(at in any_at(), log_sigma2 in -10.0f64..0.0, lambda in 1e-4f64..1.0) {
        prop_assume!(at.has_signal());
        let (p, t) = (&at.process, at.t);
        let (vlb, rescaled, simple) = (Objective::Vlb {}, Objective::VlbRescaled {}, Objective::Simple {});
        for prediction in Prediction::ALL {
            let weight = |o: Objective| o.eps_weight(prediction, p, t, log_sigma2);
            prop_assert!(close(weight(rescaled), p.timesteps() as f64 * weight(vlb), 1e-12));
            let gain = prediction.gain_of_eps(p, t);
            prop_assert!(close(weight(simple), gain * gain, 1e-12));
            prop_assert_eq!(weight(Objective::Hybrid { lambda }), weight(simple));
        }
        prop_assert_eq!(simple.eps_weight(Prediction::Eps, p, t, log_sigma2), 1.0);
    }
}

#[test]
fn squared_errors_ignore_the_variance() {
    assert!(!Objective::Simple {}.sees_variance());
    assert!(!Objective::Weighted { space: Space::X0, weight: Weight::Snr {} }.sees_variance());
    assert!(Objective::Vlb {}.sees_variance() && Objective::VlbRescaled {}.sees_variance() && Objective::hybrid().sees_variance());
    assert_eq!(Objective::hybrid(), Objective::Hybrid { lambda: 0.001 });
}
