use crate::common::*;
use ddpm_core::likelihood::{gaussian_kl, normal_mass};
use ddpm_core::oracle::{Component, GaussianData, MixtureData};
use ddpm_core::sampler::{Noise, Step};
use ddpm_core::{BetaScale, Prediction, Process, ReverseVariance, Sampler, Schedule};
use proptest::prelude::*;

fn gaussian() -> impl Strategy<Value = GaussianData> {
    (-0.9f64..0.9, 0.05f64..1.5).prop_map(|(mean, std)| GaussianData { mean, std })
}

fn mixture() -> impl Strategy<Value = MixtureData<1>> {
    prop::collection::vec((0.1f64..1.0, -1.0f64..1.0, 0.1f64..0.6), 1..4).prop_map(|modes| MixtureData {
        components: modes.into_iter().map(|(weight, mean, std)| Component { weight, mean: [mean], std }).collect(),
    })
}

/// q(x_0) of a mixture, from its definition.
fn data_density(data: &MixtureData<1>, x: f64) -> f64 {
    let total: f64 = data.components.iter().map(|c| c.weight).sum();
    data.components.iter().map(|c| c.weight / total * log_normal(x, c.mean[0], c.std * c.std).exp()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_marginal_is_the_data_through_the_forward_process(at in any_at(), data in mixture(), xt in -2.0f64..2.0) {
        let (p, t) = (&at.process, at.t);
        prop_assume!(p.alpha_bar(t) < 0.99);
        let direct = integral(-6.0, 6.0, |x0| data_density(&data, x0) * log_normal(xt, p.q_marginal(x0, t).mean, p.q_marginal(x0, t).variance).exp());
        prop_assert!(near(data.density(p, t, [xt]), direct, 1e-7));
    }

    #[test]
    fn what_xt_says_of_x0_is_bayes_rule(at in any_at(), data in mixture(), xt in -1.5f64..1.5) {
        let (p, t) = (&at.process, at.t);
        prop_assume!(p.alpha_bar(t) < 0.99);
        let joint = |x0: f64| data_density(&data, x0) * log_normal(xt, p.q_marginal(x0, t).mean, p.q_marginal(x0, t).variance).exp();
        let mass = integral(-6.0, 6.0, joint);
        let mean = integral(-6.0, 6.0, |x0| x0 * joint(x0)) / mass;
        let variance = integral(-6.0, 6.0, |x0| (x0 - mean).powi(2) * joint(x0)) / mass;
        let got = data.x0_given_xt(p, t, [xt]);
        prop_assert!(near(got.mean[0], mean, 1e-6) && near(got.variance, variance, 1e-6), "{got:?} {mean} {variance}");
    }

    #[test]
    fn the_score_is_the_slope_of_the_log_density(at in any_at(), data in mixture(), xt in -2.0f64..2.0) {
        let (p, t) = (&at.process, at.t);
        let h = 1e-4;
        let slope = (data.density(p, t, [xt + h]).ln() - data.density(p, t, [xt - h]).ln()) / (2.0 * h);
        prop_assert!(near(data.score(p, t, [xt])[0], slope, 1e-4), "{:?} {slope}", data.score(p, t, [xt]));
        // Tweedie: the best noise prediction is the score, scaled.
        prop_assert!(near(data.best_eps(p, t, [xt])[0], -(1.0 - p.alpha_bar(t)).sqrt() * data.score(p, t, [xt])[0], 1e-6));
    }

    #[test]
    fn one_mode_is_the_gaussian_oracle(at in any_at(), data in gaussian(), weight in 0.1f64..2.0, xt in -2.0f64..2.0) {
        let (p, t) = (&at.process, at.t);
        let one = MixtureData { components: vec![Component { weight, mean: [data.mean], std: data.std }] };
        let (a, b) = (one.x0_given_xt(p, t, [xt]), data.x0_given_xt(p, t, xt));
        prop_assert!(near(a.mean[0], b.mean, 1e-9) && near(a.variance, b.variance, 1e-9));
        prop_assert!(near(one.score(p, t, [xt])[0], data.score(p, t, xt), 1e-9));
        prop_assert!(near(one.optimal_sigma2(p, t, [xt]), data.optimal_sigma2(p, t), 1e-9));
        let q = data.marginal(p, t);
        // Where the density itself has all its digits: it is 0, or about to be, further out.
        let log_density = log_normal(xt, q.mean, q.variance);
        prop_assert!(log_density < -700.0 || near(one.density(p, t, [xt]).ln(), log_density, 1e-9));
    }

    #[test]
    fn one_mode_has_the_gaussian_oracles_bound(at in any_at(), data in gaussian(), log_sigma2 in -6.0f64..0.0) {
        let (p, t) = (&at.process, at.t);
        let one = MixtureData { components: vec![Component { weight: 1.0, mean: [data.mean], std: data.std }] };
        prop_assert!(near(one.mean_spread(p, t), data.x0_given_xt(p, t, 0.3).variance, 1e-9));
        prop_assert!(near(one.expected_term(p, t, log_sigma2), data.expected_term(p, t, log_sigma2), 1e-7));
    }

    #[test]
    fn what_is_known_and_what_is_not_make_up_the_variance(at in any_at(), data in mixture()) {
        // Var(x_0) = E[Var(x_0 | x_t)] + Var(E[x_0 | x_t]), the latter by quadrature here.
        let (p, t) = (&at.process, at.t);
        prop_assume!(p.alpha_bar(t) < 0.99);
        let mean = integral(-8.0, 8.0, |x| x * data_density(&data, x));
        let variance = integral(-8.0, 8.0, |x| (x - mean).powi(2) * data_density(&data, x));
        let explained = integral(-8.0, 8.0, |xt| data.density(p, t, [xt]) * (data.x0_given_xt(p, t, [xt]).mean[0] - mean).powi(2));
        prop_assert!(near(data.mean_spread(p, t) + explained, variance, 1e-6));
    }

    #[test]
    fn the_best_network_reads_the_same_x0_in_every_parameterisation(at in any_at(), data in gaussian(), xt in -2.0f64..2.0) {
        prop_assume!(at.has_signal());
        let (p, t) = (&at.process, at.t);
        let x0 = data.x0_given_xt(p, t, xt).mean;
        for prediction in Prediction::ALL {
            let output = data.best(prediction, p, t).at(xt);
            let to_x0 = prediction.to_x0(p, t);
            let got = to_x0.apply(&xt, &output).unwrap();
            prop_assert!((got - x0).abs() < 1e-10 * (1.0 + to_x0.xt.abs() * 2.0 + to_x0.output.abs()), "{prediction:?}: {got} {x0}");
        }
    }

    #[test]
    fn denoising_score_matching_is_score_matching_up_to_a_constant(
        at in any_at(), data in mixture(), a1 in -1.0f64..1.0, b1 in -1.0f64..1.0, a2 in -1.0f64..1.0, b2 in -1.0f64..1.0,
    ) {
        let (p, t) = (&at.process, at.t);
        let (signal, noise) = p.q_sample_coefficients(t);
        // E (a x_t + b - eps)^2 over data and noise, in closed form: a (signal x_0) + b and (a noise - 1) eps are independent.
        let total: f64 = data.components.iter().map(|c| c.weight).sum();
        let denoising = |a: f64, b: f64| -> f64 {
            data.components.iter().map(|c| {
                let mean = a * signal * c.mean[0] + b;
                c.weight / total * (mean * mean + (a * signal * c.std).powi(2) + (a * noise - 1.0).powi(2))
            }).sum()
        };
        // E (a x_t + b - E[eps | x_t])^2 over x_t, by quadrature.
        let explicit = |a: f64, b: f64| integral(-9.0, 9.0, |x| data.density(p, t, [x]) * (a * x + b - data.best_eps(p, t, [x])[0]).powi(2));
        let (difference, expected) = (denoising(a1, b1) - denoising(a2, b2), explicit(a1, b1) - explicit(a2, b2));
        prop_assert!(near(difference, expected, 1e-6), "{difference} {expected}");
        // The constant is what no network can do better than.
        prop_assert!(denoising(a1, b1) >= explicit(a1, b1) - 1e-9);
    }

    #[test]
    fn a_term_of_the_bound_is_the_expected_kl(at in later_at(), data in gaussian(), log_sigma2 in -6.0f64..0.0, xt in -2.0f64..2.0) {
        let (p, t) = (&at.process, at.t);
        let x0 = data.x0_given_xt(p, t, xt);
        let best_mean = p.q_posterior(x0.mean, xt, t).mean;
        let reach = 10.0 * x0.variance.sqrt();
        let expected = integral(x0.mean - reach, x0.mean + reach, |x| {
            let posterior = p.q_posterior(x, xt, t);
            log_normal(x, x0.mean, x0.variance).exp() * gaussian_kl(posterior.mean, posterior.variance.ln(), best_mean, log_sigma2)
        });
        prop_assert!(near(data.expected_term(p, t, log_sigma2), expected, 1e-7));
    }

    #[test]
    fn no_reverse_variance_beats_the_optimal_one(at in any_at(), data in gaussian(), off in 0.05f64..2.0) {
        let (p, t) = (&at.process, at.t);
        let best = data.optimal_sigma2(p, t).ln();
        let term = |log_sigma2| data.expected_term(p, t, log_sigma2);
        prop_assert!(term(best + off) > term(best) && term(best - off) > term(best));
    }

    #[test]
    fn section_3_2_both_fixed_variances_are_optimal_for_their_data(at in later_at(), mean in -1.0f64..1.0) {
        let (p, t) = (&at.process, at.t);
        let normal = GaussianData { mean: 0.0, std: 1.0 };
        let large = ReverseVariance::FixedLarge.log_sigma2(p, t).at(0.0);
        prop_assert!(near(normal.optimal_sigma2(p, t).ln(), large, 1e-9));
        let point = GaussianData { mean, std: 0.0 };
        let small = ReverseVariance::FixedSmall.log_sigma2(p, t).at(0.0);
        prop_assert!(near(point.optimal_sigma2(p, t).ln(), small, 1e-12));
        // By the bound itself: the other choice costs more, and the right one costs nothing for the point.
        prop_assert!(normal.expected_term(p, t, large) <= normal.expected_term(p, t, small));
        prop_assert!(point.expected_term(p, t, small).abs() < 1e-12 && point.expected_term(p, t, large) >= 0.0);
    }

    #[test]
    fn no_bound_is_below_the_entropy(process in any_process(), data in gaussian(), off in -0.5f64..0.5) {
        let bound = |off: f64| data.expected_prior_term(&process)
            + (1..=process.timesteps()).map(|t| data.expected_term(&process, t, data.optimal_sigma2(&process, t).ln() + off)).sum::<f64>();
        // With the exact reverse variance the bound is loose only by KL(q(x_T) || N(0, 1)), and never below the entropy.
        let last = data.marginal(&process, process.timesteps());
        let gap = gaussian_kl(last.mean, last.variance.ln(), 0.0, 0.0);
        prop_assert!(near(bound(0.0), data.entropy() + gap, 1e-7), "{} {} {gap}", bound(0.0), data.entropy());
        prop_assert!(bound(off) >= data.entropy() - 1e-9);
    }

    #[test]
    fn the_prior_term_is_averaged_over_the_data(process in any_process(), data in gaussian()) {
        let t = process.timesteps();
        let expected = integral(data.mean - 10.0 * data.std, data.mean + 10.0 * data.std, |x0| {
            let q = process.q_marginal(x0, t);
            log_normal(x0, data.mean, data.std * data.std).exp() * gaussian_kl(q.mean, q.variance.ln(), 0.0, 0.0)
        });
        prop_assert!(near(data.expected_prior_term(&process), expected, 1e-9));
    }
}

#[test]
fn at_step_0_the_marginal_is_the_data() {
    let process = Process::new(vec![0.1, 0.2]).unwrap();
    let data = GaussianData { mean: 0.3, std: 0.5 };
    let q = data.marginal(&process, 0);
    assert!(close(q.mean, 0.3, 1e-15) && close(q.variance, 0.25, 1e-15));
    // The entropy of N(0, 1): ln sqrt(2 pi e).
    assert!(close(GaussianData { mean: 0.0, std: 1.0 }.entropy(), 1.4189385332046727, 1e-12));
}

fn edges() -> Vec<f64> {
    (0..=350).map(|i| -7.0 + i as f64 / 25.0).collect()
}

/// With the oracle as its network the sampler gives the data back: two modes come out as two modes, in their shares.
#[test]
fn the_sampler_reproduces_a_mixture() {
    let data = MixtureData {
        components: vec![Component { weight: 0.3, mean: [-0.9], std: 0.2 }, Component { weight: 0.7, mean: [0.6], std: 0.3 }],
    };
    let edges = edges();
    let expected: Vec<f64> = edges.windows(2).map(|e| integral(e[0], e[1], |x| data_density(&data, x))).collect();
    for sampler in [Sampler::ancestral(), Sampler::Ddim { eta: 1.0, clip: false, steps: None }] {
        // Total variation from the data, of chains of T steps.
        let off = |timesteps: usize| {
            let process = Process::from_schedule(&Schedule::named("linear").unwrap(), timesteps, BetaScale::Per1000Steps).unwrap();
            let steps = sampler.plan(&process, Prediction::Eps, ReverseVariance::FixedLarge).unwrap();
            // Without the last step, which takes the last noise away and moves mass by less than a cell.
            let law = data.sampler_law(&process, &steps[..steps.len() - 1], Prediction::Eps, &edges);
            assert!(close(law.iter().sum(), 1.0, 1e-5));
            let left: f64 = law.iter().zip(&edges).filter(|(_, edge)| **edge < -0.2).map(|(mass, _)| mass).sum();
            assert!((left - 0.3).abs() < 0.02, "{left}");
            law.iter().zip(&expected).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0
        };
        let (coarse, fine) = (off(30), off(120));
        assert!(fine < coarse / 2.0 && fine < 0.05, "{sampler:?}: {coarse} then {fine}");
    }
}

/// The law on cells is the Gaussian oracle's where there is one mode, whatever the network predicts.
#[test]
fn one_mode_has_the_gaussian_oracles_sampler_law() {
    let data = GaussianData { mean: 0.3, std: 0.5 };
    let one = MixtureData { components: vec![Component { weight: 2.0, mean: [0.3], std: 0.5 }] };
    let process = Process::from_schedule(&Schedule::named("linear").unwrap(), 50, BetaScale::Per1000Steps).unwrap();
    for prediction in Prediction::ALL {
        let mut steps = Sampler::Ancestral { clip: false, steps: None }.plan(&process, prediction, ReverseVariance::FixedSmall).unwrap();
        steps.pop();
        let law = data.sampler_law(&process, &steps, prediction);
        let masses = one.sampler_law(&process, &steps, prediction, &edges());
        let middles: Vec<f64> = edges().windows(2).map(|e| (e[0] + e[1]) / 2.0).collect();
        let mean: f64 = masses.iter().zip(&middles).map(|(m, x)| m * x).sum();
        let variance: f64 = masses.iter().zip(&middles).map(|(m, x)| m * (x - mean).powi(2)).sum();
        assert!(near(mean, law.mean, 1e-3) && near(variance, law.variance, 5e-3), "{prediction:?}: {mean} {variance} {law:?}");
    }
}

/// A step without noise moves each cell's mass to where its middle goes, and what leaves the edges is gone.
#[test]
fn a_deterministic_step_moves_cells() {
    let one = MixtureData { components: vec![Component { weight: 1.0, mean: [0.0], std: 1.0 }] };
    let process = Process::new(vec![0.1, 0.2]).unwrap();
    let edges: Vec<f64> = (0..=16).map(|i| -3.0 + 0.5 * i as f64).collect();
    let mirror = Step { t: 1, xt: -1.0, x0: 0.0, x0_before: 0.0, output: 0.0, noise: Noise::Fixed(0.0) };
    let law = one.sampler_law(&process, &[mirror], Prediction::Eps, &edges);
    for (cell, mass) in law.iter().enumerate() {
        let (low, high) = (edges[cell], edges[cell + 1]);
        // The start's cells reach from -3 to 5, mirrored from -5 to 3.
        let expected = if high <= 3.0 { normal_mass(-high, -low) } else { 0.0 };
        assert!((mass - expected).abs() < 1e-12, "{low}..{high}: {mass} {expected}");
    }
}
