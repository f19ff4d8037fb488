use crate::common::*;
use ddpm_core::{Linear, Prediction};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn conversions_are_inverses(at in any_at(), x0 in -1.0f64..1.0, eps in -3.0f64..3.0) {
        prop_assume!(at.has_signal());
        let (p, t) = (&at.process, at.t);
        let (a, s) = p.q_sample_coefficients(t);
        let xt = a * x0 + s * eps;
        // mu says nothing of x_0 beyond x_t where its gain is lost in rounding; the smallest gain here is 1e-5.
        for from in Prediction::ALL {
            for to in Prediction::ALL {
                let there = from.from_x0(p, t).apply(&xt, &x0).unwrap();
                let and_back = to.convert(from, p, t).apply(&xt, &from.convert(to, p, t).apply(&xt, &there).unwrap()).unwrap();
                let scale = from.from_x0(p, t).output.abs() / to.from_x0(p, t).output.abs().max(1e-300);
                prop_assert!((and_back - there).abs() <= 1e-9 * (1.0 + scale + there.abs()), "{from:?} {to:?}: {there} {and_back}");
            }
        }
    }

    #[test]
    fn every_reading_of_the_truth_is_the_training_target(at in any_at(), x0 in -1.0f64..1.0, eps in -3.0f64..3.0) {
        let (p, t) = (&at.process, at.t);
        let (a, s) = p.q_sample_coefficients(t);
        let xt = a * x0 + s * eps;
        for prediction in Prediction::ALL {
            let (c_x0, c_eps) = prediction.target(p, t);
            let target = c_x0 * x0 + c_eps * eps;
            let reading = prediction.from_x0(p, t).apply(&xt, &x0).unwrap();
            prop_assert!(near(target, reading, 1e-7), "{prediction:?}: {target} {reading}");
        }
        // Written out: what each of them is (eqs. 7 and 9; Salimans & Ho 2022).
        let of = |prediction: Prediction| { let (c_x0, c_eps) = prediction.target(p, t); c_x0 * x0 + c_eps * eps };
        prop_assert_eq!(of(Prediction::X0), x0);
        prop_assert_eq!(of(Prediction::Eps), eps);
        prop_assert!(near(of(Prediction::V), a * eps - s * x0, 1e-14));
        prop_assert!(near(of(Prediction::Mu), p.q_posterior(x0, xt, t).mean, 1e-12));
    }

    #[test]
    fn mu_of_eps_is_equation_11(at in any_at(), xt in -3.0f64..3.0, eps in -3.0f64..3.0) {
        prop_assume!(at.has_signal());
        let (p, t) = (&at.process, at.t);
        let mu = Prediction::Eps.convert(Prediction::Mu, p, t).apply(&xt, &eps).unwrap();
        let expected = (xt - p.beta(t) / (1.0 - p.alpha_bar(t)).sqrt() * eps) / p.alpha(t).sqrt();
        prop_assert!(near(mu, expected, 1e-7), "{mu} {expected}");
    }

    #[test]
    fn the_gain_is_the_slope_against_eps(at in any_at(), xt in -3.0f64..3.0, eps in -3.0f64..3.0, error in 0.1f64..1.0) {
        prop_assume!(at.has_signal());
        let (p, t) = (&at.process, at.t);
        for prediction in Prediction::ALL {
            let map = Prediction::Eps.convert(prediction, p, t);
            let moved = map.apply(&xt, &(eps + error)).unwrap() - map.apply(&xt, &eps).unwrap();
            let scale = map.xt.abs() + map.output.abs();
            prop_assert!((moved.abs() - prediction.gain_of_eps(p, t) * error).abs() < 1e-9 * (1.0 + scale));
        }
        let (a, s) = p.q_sample_coefficients(t);
        prop_assert!(close(Prediction::X0.gain_of_eps(p, t), s / a, 1e-12));
        prop_assert_eq!(Prediction::Eps.gain_of_eps(p, t), 1.0);
    }

    #[test]
    fn a_combination_is_the_sum_of_its_terms(a in -2.0f64..2.0, b in -2.0f64..2.0, x in -2.0f64..2.0, y in -2.0f64..2.0) {
        prop_assert_eq!(f64::combine(&[(a, &x), (b, &y)]).unwrap(), a * x + b * y);
    }
}
