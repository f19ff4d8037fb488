use crate::common::*;
use ddpm_core::process::Gaussian;
use ddpm_core::{Error, Process};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_chain_of_single_steps_is_the_closed_form(at in any_at(), x0 in -1.0f64..1.0) {
        let mut law = Gaussian { mean: x0, variance: 0.0 };
        for t in 1..=at.t {
            // q_step is affine in x_{t-1}: the slope is the mean at 1 less the mean at 0.
            let slope = at.process.q_step(1.0, t).mean - at.process.q_step(0.0, t).mean;
            law = Gaussian { mean: at.process.q_step(law.mean, t).mean, variance: slope * slope * law.variance + at.process.q_step(0.0, t).variance };
        }
        let closed = at.process.q_marginal(x0, at.t);
        prop_assert!(near(law.mean, closed.mean, 1e-11) && near(law.variance, closed.variance, 1e-11), "{law:?} {closed:?}");
    }

    #[test]
    fn the_posterior_is_bayes_rule(at in later_at(), x0 in -1.0f64..1.0, z in -3.0f64..3.0, w in -3.0f64..3.0) {
        prop_assume!(at.has_signal());
        let (p, t) = (&at.process, at.t);
        let marginal = p.q_marginal(x0, t);
        let xt = marginal.mean + z * marginal.variance.sqrt();
        let posterior = p.q_posterior(x0, xt, t);
        let x = posterior.mean + w * posterior.variance.sqrt();
        let (before, step) = (p.q_marginal(x0, t - 1), p.q_step(x, t));
        let bayes = log_normal(xt, step.mean, step.variance) + log_normal(x, before.mean, before.variance) - log_normal(xt, marginal.mean, marginal.variance);
        prop_assert!(near(log_normal(x, posterior.mean, posterior.variance), bayes, 1e-6));
    }

    #[test]
    fn signal_and_noise_shares_sum_to_one(at in any_at()) {
        let (a, s) = at.process.q_sample_coefficients(at.t);
        prop_assert!(close(a * a + s * s, 1.0, 1e-14));
        prop_assert!(close(at.process.snr(at.t), (a / s).powi(2), 1e-12));
        prop_assert_eq!(at.process.alpha(at.t) + at.process.beta(at.t), 1.0);
        let marginal = at.process.q_marginal(1.0, at.t);
        prop_assert!(close(marginal.mean, a, 1e-14) && close(marginal.variance, s * s, 1e-14));
    }

    #[test]
    fn the_posterior_variance_is_below_beta_and_the_first_step_knows_x0(at in any_at()) {
        let p = &at.process;
        prop_assert!(p.posterior_variance(at.t) >= 0.0 && p.posterior_variance(at.t) <= p.beta(at.t) * (1.0 + 1e-12));
        // 1/beta_tilde = alpha/beta + 1/(1 - alpha_bar_prev): precisions add.
        if at.t > 1 {
            let precision = p.alpha(at.t) / p.beta(at.t) + 1.0 / (1.0 - p.alpha_bar(at.t - 1));
            prop_assert!(close(p.posterior_variance(at.t), 1.0 / precision, 1e-9));
        }
        prop_assert_eq!(p.posterior_variance(1), 0.0);
        prop_assert!(close(p.posterior_mean_coef_x0(1), 1.0, 1e-9));
        prop_assert_eq!(p.posterior_mean_coef_xt(1), 0.0);
        // x_0 noised without noise is on the posterior's line: a_t coef_xt + coef_x0 = a_{t-1}.
        let on_line = p.posterior_mean_coef_x0(at.t) + p.posterior_mean_coef_xt(at.t) * p.alpha_bar(at.t).sqrt();
        prop_assert!(near(on_line, p.alpha_bar(at.t - 1).sqrt(), 1e-9));
    }

    #[test]
    fn clipped_log_variances_borrow_the_second_step(at in any_at()) {
        let p = &at.process;
        let expected_small = if at.t == 1 { p.posterior_variance(2) } else { p.posterior_variance(at.t) };
        let expected_large = if at.t == 1 { p.posterior_variance(2) } else { p.beta(at.t) };
        prop_assert!(near(p.log_sigma2_small(at.t), expected_small.ln(), 1e-14));
        prop_assert!(near(p.log_sigma2_large(at.t), expected_large.ln(), 1e-14));
    }

    #[test]
    fn respacing_keeps_the_signal_of_the_visited_steps(process in any_process(), keep in prop::collection::vec(any::<bool>(), 300)) {
        let steps: Vec<usize> = (1..=process.timesteps()).filter(|t| keep[t - 1]).collect();
        prop_assume!(steps.len() >= 2);
        let short = process.respaced(&steps).unwrap();
        prop_assert_eq!(short.timesteps(), steps.len());
        for (i, &t) in steps.iter().enumerate() {
            prop_assert!(near(short.alpha_bar(i + 1), process.alpha_bar(t), 1e-12));
        }
        let all: Vec<usize> = (1..=process.timesteps()).collect();
        let same = process.respaced(&all).unwrap();
        prop_assert!((1..=process.timesteps()).all(|t| (same.beta(t) - process.beta(t)).abs() < 1e-12));
    }
}

#[test]
fn betas_that_make_no_chain_are_errors() {
    assert_eq!(Process::new(vec![]), Err(Error::TooFewTimesteps { got: 0 }));
    assert_eq!(Process::new(vec![0.5]), Err(Error::TooFewTimesteps { got: 1 }));
    assert_eq!(Process::new(vec![0.5, 0.0]), Err(Error::Beta { t: 2, got: 0.0 }));
    assert_eq!(Process::new(vec![1.5, 0.5]), Err(Error::Beta { t: 1, got: 1.5 }));
    assert!(matches!(Process::new(vec![f64::NAN, 0.5]), Err(Error::Beta { t: 1, .. })));
    assert_eq!(Process::new(vec![0.1, 1.0, 0.2]), Err(Error::EarlyCollapse { t: 2, timesteps: 3 }));
    // 0.1^324 is less than any f64.
    assert_eq!(Process::new(vec![0.9; 400]), Err(Error::EarlyCollapse { t: 324, timesteps: 400 }));
    assert_eq!(Process::new(vec![0.1, 1.0]).unwrap().signal_vanishes_at(), Some(2));
    assert_eq!(Process::new(vec![0.1, 0.9]).unwrap().signal_vanishes_at(), None);
}

#[test]
fn subsequences_that_make_no_chain_are_errors() {
    let process = Process::new(vec![0.1; 5]).unwrap();
    for steps in [&[][..], &[3], &[2, 2], &[3, 2], &[0, 2], &[2, 6]] {
        assert!(matches!(process.check_steps(steps), Err(Error::Subsequence { .. })), "{steps:?}");
        assert!(process.respaced(steps).is_err());
    }
    assert_eq!(process.check_steps(&[1, 5]), Ok(()));
}
