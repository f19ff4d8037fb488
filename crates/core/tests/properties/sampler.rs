use crate::common::*;
use ddpm_core::oracle::GaussianData;
use ddpm_core::sampler::{Noise, Step, even_steps};
use ddpm_core::{Error, Prediction, Process, ReverseVariance, Sampler};
use proptest::prelude::*;

/// Kinds of data for the oracle network.
fn data() -> impl Strategy<Value = GaussianData> {
    (-0.8f64..0.8, 0.05f64..1.0).prop_map(|(mean, std)| GaussianData { mean, std })
}

fn ddim(eta: f64, steps: Option<usize>) -> Sampler {
    Sampler::Ddim { eta, clip: false, steps }
}

/// Where a step leads from `xt` with the optimal network of `prediction`.
fn mean(step: &Step, data: &GaussianData, prediction: Prediction, process: &Process, xt: f64) -> f64 {
    let output = data.best(prediction, process, step.t).at(xt);
    let x0 = prediction.to_x0(process, step.t).apply(&xt, &output).unwrap();
    step.mean(&xt, &x0, None, &output).unwrap()
}

/// Where a walk leads from `x` with the optimal network of `prediction`, without its noise.
fn walk(steps: &[Step], data: &GaussianData, prediction: Prediction, process: &Process, mut x: f64) -> f64 {
    let mut before = None;
    for step in steps {
        let output = data.best(prediction, process, step.t).at(x);
        let x0 = prediction.to_x0(process, step.t).apply(&x, &output).unwrap();
        x = step.mean(&x, &x0, before.as_ref(), &output).unwrap();
        before = Some(x0);
    }
    x
}

/// A continuous signal curve without singularities, cut into `n` steps.
fn smooth_chain(n: usize) -> Process {
    let alpha_bar = |u: f64| (1.3 * u).cos().powi(2);
    Process::new((0..n).map(|i| 1.0 - alpha_bar((i + 1) as f64 / n as f64) / alpha_bar(i as f64 / n as f64)).collect()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn all_readings_take_the_same_ancestral_step(process in any_process(), data in data(), xt in -2.0f64..2.0, pick: prop::sample::Index) {
        prop_assume!(process.signal_vanishes_at().is_none());
        let i = pick.index(process.timesteps());
        let steps: Vec<(Prediction, Step)> = Prediction::ALL
            .into_iter()
            .map(|p| (p, Sampler::ancestral().plan(&process, p, ReverseVariance::FixedLarge).unwrap()[i]))
            .collect();
        let t = steps[0].1.t;
        prop_assert_eq!(t, process.timesteps() - i);
        // Algorithm 2, line 4, written out.
        let eps = data.best(Prediction::Eps, &process, t).at(xt);
        let expected = (xt - process.beta(t) / (1.0 - process.alpha_bar(t)).sqrt() * eps) / process.alpha(t).sqrt();
        for (prediction, step) in &steps {
            let got = mean(step, &data, *prediction, &process, xt);
            prop_assert!(near(got, expected, 1e-7), "{prediction:?} t = {t}: {got} {expected}");
            let sigma = if t == 1 { 0.0 } else { process.beta(t).sqrt() };
            prop_assert!(near(step.noise.sigma(0.0), sigma, 1e-12));
        }
    }

    #[test]
    fn ddim_with_all_of_the_noise_is_ancestral_with_the_posterior_variance(process in any_process(), data in data(), xt in -2.0f64..2.0, share in 0.0f64..1.0) {
        prop_assume!(process.signal_vanishes_at().is_none() && process.timesteps() > 3);
        let some = 2 + (share * (process.timesteps() - 2) as f64) as usize;
        for n in [None, Some(some)] {
            let ancestral = Sampler::Ancestral { clip: false, steps: n }.plan(&process, Prediction::Eps, ReverseVariance::FixedSmall).unwrap();
            let all = ddim(1.0, n).plan(&process, Prediction::Eps, ReverseVariance::FixedSmall).unwrap();
            prop_assert_eq!(ancestral.len(), all.len());
            for (a, d) in ancestral.iter().zip(&all) {
                prop_assert_eq!(a.t, d.t);
                let (a_mean, d_mean) = (mean(a, &data, Prediction::Eps, &process, xt), mean(d, &data, Prediction::Eps, &process, xt));
                prop_assert!(near(a_mean, d_mean, 1e-6), "t = {}: {a_mean} {d_mean}", a.t);
                prop_assert!(near(a.noise.sigma(0.0), d.noise.sigma(0.0), 1e-7), "t = {}: {:?} {:?}", a.t, a.noise, d.noise);
            }
        }
    }

    #[test]
    fn ddim_is_its_equation_12(process in any_process(), eta in 0.0f64..1.0, xt in -2.0f64..2.0, x0 in -1.0f64..1.0, n in 2usize..20) {
        prop_assume!(process.timesteps() >= n);
        let steps = ddim(eta, Some(n)).plan(&process, Prediction::Eps, ReverseVariance::FixedSmall).unwrap();
        let visited = even_steps(process.timesteps(), n).unwrap();
        for (i, step) in steps.iter().enumerate() {
            let (t, s) = (visited[n - 1 - i], if i + 1 == n { 0 } else { visited[n - 2 - i] });
            prop_assert_eq!(step.t, t);
            let (at, before) = (process.alpha_bar(t), process.alpha_bar(s));
            let sigma = eta * ((1.0 - before) / (1.0 - at)).sqrt() * (1.0 - at / before).sqrt();
            let eps = (xt - at.sqrt() * x0) / (1.0 - at).sqrt();
            let expected = before.sqrt() * x0 + (1.0 - before - sigma * sigma).max(0.0).sqrt() * eps;
            prop_assert!(near(step.mean(&xt, &x0, None, &7.0).unwrap(), expected, 1e-7));
            prop_assert!(near(step.noise.sigma(0.0), sigma, 1e-9));
        }
    }

    /// Lu et al. 2022, Algorithm 2, in the paper's letters.
    #[test]
    fn dpm_solver_is_its_algorithm_2(process in any_process(), n in 2usize..20, xt in -2.0f64..2.0, x0 in -1.0f64..1.0, before in -1.0f64..1.0) {
        prop_assume!(process.signal_vanishes_at().is_none() && process.timesteps() >= n);
        let sampler = Sampler::DpmSolver2m { clip: false, steps: Some(n) };
        let steps = sampler.plan(&process, Prediction::Eps, ReverseVariance::FixedSmall).unwrap();
        let visited = even_steps(process.timesteps(), n).unwrap();
        let (alpha, sigma) = (|t: usize| process.alpha_bar(t).sqrt(), |t: usize| (1.0 - process.alpha_bar(t)).sqrt());
        let lambda = |t: usize| (alpha(t) / sigma(t)).ln();
        for (i, step) in steps.iter().enumerate() {
            prop_assert_eq!((step.t, step.noise), (visited[n - 1 - i], Noise::Fixed(0.0)));
            let got = step.mean(&xt, &x0, Some(&before), &7.0).unwrap();
            if i + 1 == n {
                // sigma_0 = 0: what is predicted is what comes.
                prop_assert!(near(got, x0, 1e-12));
                continue;
            }
            let (t, s) = (step.t, visited[n - 2 - i]);
            let h = lambda(s) - lambda(t);
            let d = match i {
                0 => x0,
                _ => {
                    let r = (lambda(t) - lambda(visited[n - i])) / h;
                    (1.0 + 0.5 / r) * x0 - 0.5 / r * before
                }
            };
            let expected = sigma(s) / sigma(t) * xt - alpha(s) * (-h).exp_m1() * d;
            prop_assert!(near(got, expected, 1e-6), "t = {t}, s = {s}: {got} {expected}");
        }
    }

    /// A walk that begins in the middle has no past there: a step of first order, which is DDIM's.
    #[test]
    fn a_step_of_dpm_solver_without_a_past_is_ddims(process in any_process(), n in 3usize..20, xt in -2.0f64..2.0, x0 in -1.0f64..1.0, pick: prop::sample::Index) {
        prop_assume!(process.timesteps() >= n);
        let plan = |sampler: Sampler| sampler.plan(&process, Prediction::X0, ReverseVariance::FixedSmall).unwrap()[pick.index(n)];
        let mean = |step: Step| step.mean(&xt, &x0, None, &7.0).unwrap();
        let (ours, ddims) = (mean(plan(Sampler::DpmSolver2m { clip: false, steps: Some(n) })), mean(plan(ddim(0.0, Some(n)))));
        prop_assert!(near(ours, ddims, 1e-7), "{ours} {ddims}");
    }

    /// Of two steps neither has a past to use: DDIM.
    #[test]
    fn two_steps_of_dpm_solver_are_ddims(process in any_process(), data in data(), x in -2.0f64..2.0) {
        let end = |sampler: Sampler| {
            let steps = sampler.plan(&process, Prediction::X0, ReverseVariance::FixedSmall).unwrap();
            walk(&steps, &data, Prediction::X0, &process, x)
        };
        let (ours, ddims) = (end(Sampler::DpmSolver2m { clip: false, steps: Some(2) }), end(ddim(0.0, Some(2))));
        prop_assert!(near(ours, ddims, 1e-7), "{ours} {ddims}");
    }

    /// A walk without noise is one linear map for Gaussian data: the exact law of its end is that of N(0, 1) under the map.
    #[test]
    fn a_law_is_the_start_led_through_the_walk(process in any_process(), data in data(), n in 2usize..20, second: bool) {
        prop_assume!(process.timesteps() >= n);
        let sampler = if second { Sampler::DpmSolver2m { clip: false, steps: Some(n) } } else { ddim(0.0, Some(n)) };
        let steps = sampler.plan(&process, Prediction::X0, ReverseVariance::FixedSmall).unwrap();
        let law = data.sampler_law(&process, &steps, Prediction::X0);
        let end = |x| walk(&steps, &data, Prediction::X0, &process, x);
        let slope = end(1.0) - end(0.0);
        prop_assert!(near(law.mean, end(0.0), 1e-7) && near(law.variance, slope * slope, 1e-7), "{law:?} {} {slope}", end(0.0));
    }

    #[test]
    fn ddim_without_noise_is_deterministic(process in any_process(), n in 2usize..20) {
        prop_assume!(process.timesteps() >= n);
        let steps = ddim(0.0, Some(n)).plan(&process, Prediction::Eps, ReverseVariance::FixedSmall).unwrap();
        prop_assert!(steps.iter().all(|s| s.noise == Noise::Fixed(0.0)));
        let steps = Sampler::ancestral().plan(&process, Prediction::Eps, ReverseVariance::FixedSmall).unwrap();
        prop_assert!(steps[..steps.len() - 1].iter().all(|s| s.noise.sigma(0.0) > 0.0));
    }

    #[test]
    fn even_steps_are_spread_from_end_to_end(timesteps in 2usize..2000, share in 0.0f64..1.0) {
        let n = 2 + (share * (timesteps - 2) as f64) as usize;
        let steps = even_steps(timesteps, n).unwrap();
        prop_assert_eq!((steps.len(), steps[0], steps[n - 1]), (n, 1, timesteps));
        let gaps: Vec<usize> = steps.windows(2).map(|w| w[1] - w[0]).collect();
        prop_assert!(gaps.iter().max().unwrap() - gaps.iter().min().unwrap() <= 1 && gaps[0] >= 1);
    }

    #[test]
    fn with_the_exact_reverse_variance_each_step_undoes_one_of_the_forward_process(process in any_process(), data in data()) {
        prop_assume!(process.signal_vanishes_at().is_none());
        let mut steps = Sampler::ancestral().plan(&process, Prediction::Eps, ReverseVariance::FixedSmall).unwrap();
        for step in &mut steps {
            step.noise = Noise::Fixed(data.optimal_sigma2(&process, step.t).sqrt());
        }
        // The law after the walk from N(0, 1) less what the start is off by, which the walk only shrinks.
        let law = data.sampler_law(&process, &steps, Prediction::Eps);
        let last = data.marginal(&process, process.timesteps());
        let slack = 2.0 * ((last.mean).abs() + (last.variance - 1.0).abs());
        prop_assert!((law.mean - data.mean).abs() < 1e-7 + slack, "{law:?} {data:?}");
        prop_assert!((law.variance - data.std * data.std).abs() < 1e-7 + slack, "{law:?} {data:?}");
        // And each step by itself, from the marginal it should find to the one it should leave.
        for step in &steps {
            let (from, to) = (data.marginal(&process, step.t), data.marginal(&process, step.t - 1));
            let (low, high) = (mean(step, &data, Prediction::Eps, &process, 0.0), mean(step, &data, Prediction::Eps, &process, 1.0));
            let slope = high - low;
            prop_assert!(near(low + slope * from.mean, to.mean, 1e-7));
            prop_assert!(near(slope * slope * from.variance + step.noise.sigma(0.0).powi(2), to.variance, 1e-7), "t = {}", step.t);
        }
    }

    #[test]
    fn standard_normal_data_come_out_as_they_went_in(process in any_process()) {
        prop_assume!(process.signal_vanishes_at().is_none());
        let data = GaussianData { mean: 0.0, std: 1.0 };
        let mut steps = Sampler::ancestral().plan(&process, Prediction::Eps, ReverseVariance::FixedLarge).unwrap();
        // The last step adds no noise: N(0, alpha_1) instead of N(0, 1).
        let last = steps.pop().unwrap();
        let law = data.sampler_law(&process, &steps, Prediction::Eps);
        prop_assert!(near(law.variance, 1.0, 1e-9) && law.mean == 0.0, "{law:?}");
        steps.push(last);
        prop_assert!(near(data.sampler_law(&process, &steps, Prediction::Eps).variance, process.alpha(1), 1e-9));
    }

    #[test]
    fn a_point_is_hit_whatever_the_variance(process in any_process(), mean in -1.0f64..1.0) {
        prop_assume!(process.signal_vanishes_at().is_none());
        for variance in [ReverseVariance::FixedSmall, ReverseVariance::FixedLarge] {
            for sampler in [Sampler::ancestral(), ddim(0.0, None), ddim(1.0, None)] {
                let steps = sampler.plan(&process, Prediction::Eps, variance).unwrap();
                let law = GaussianData { mean, std: 0.0 }.sampler_law(&process, &steps, Prediction::Eps);
                prop_assert!(near(law.mean, mean, 1e-6) && law.variance.abs() < 1e-9, "{law:?}");
            }
        }
    }

    #[test]
    fn a_langevin_step_follows_the_score(process in any_process(), data in data(), xt in -2.0f64..2.0, step_size in 0.01f64..1.0, inner in 1usize..5, n in 2usize..6) {
        prop_assume!(process.signal_vanishes_at().is_none() && process.timesteps() >= n);
        let visited = even_steps(process.timesteps(), n).unwrap();
        for prediction in Prediction::ALL {
            let steps = Sampler::Langevin { step_size, inner, steps: Some(n) }.plan(&process, prediction, ReverseVariance::FixedSmall).unwrap();
            prop_assert_eq!(steps.len(), n * inner + 1);
            for (i, step) in steps[..n * inner].iter().enumerate() {
                let level = n - 1 - i / inner;
                prop_assert_eq!(step.t, visited[level]);
                let delta = step_size * (1.0 - process.alpha_bar(step.t));
                // The last step of a level moves on to the signal's scale at the next.
                let moves = i % inner == inner - 1 && level > 0;
                let rise = if moves { (process.alpha_bar(visited[level - 1]) / process.alpha_bar(visited[level])).sqrt() } else { 1.0 };
                let expected = rise * (xt + 0.5 * delta * data.score(&process, step.t, xt));
                prop_assert!(near(mean(step, &data, prediction, &process, xt) / rise, expected / rise, 1e-6), "{prediction:?} step {i}");
                prop_assert!(near(step.noise.sigma(0.0) / rise, delta.sqrt(), 1e-9));
            }
            let last = steps[n * inner];
            prop_assert_eq!((last.t, last.noise.sigma(0.0)), (1, 0.0));
            prop_assert!(near(mean(&last, &data, prediction, &process, xt), data.x0_given_xt(&process, 1, xt).mean, 1e-7));
        }
    }
}

/// The exact solution of the probability flow for Gaussian data is known: x_s - a_s m = (x_t - a_t m) sqrt(v_s / v_t). Down to a noise
/// level that stays where it is: the last step, to no noise at all, has no length that more steps would make smaller.
#[test]
fn solvers_of_the_flow_have_their_order() {
    let data = GaussianData { mean: 0.3, std: 0.5 };
    let dpm = Sampler::DpmSolver2m { clip: false, steps: None };
    for (sampler, order) in [(ddim(0.0, None), 1.0), (dpm, 2.0)] {
        for prediction in Prediction::ALL {
            let error = |n: usize| {
                let alpha_bar = |t: usize| if t == 0 { 1.0 } else { (0.3 + (t - 1) as f64 / (n - 1) as f64).cos().powi(2) };
                let process = Process::new((1..=n).map(|t| 1.0 - alpha_bar(t) / alpha_bar(t - 1)).collect()).unwrap();
                let (first, last) = (data.marginal(&process, 1), data.marginal(&process, n));
                let exact = first.mean + (1.0 - last.mean) * (first.variance / last.variance).sqrt();
                let steps = sampler.plan(&process, prediction, ReverseVariance::FixedSmall).unwrap();
                (walk(&steps[..n - 1], &data, prediction, &process, 1.0) - exact).abs()
            };
            let measured = (error(400) / error(800)).log2();
            assert!((measured - order).abs() < 0.1, "{sampler:?} of {prediction:?}: measured order {measured}");
        }
    }
}

/// With many small steps at the last level, Langevin dynamics ends in that level's law, whatever it began with.
#[test]
fn langevin_forgets_its_start() {
    let process = smooth_chain(2);
    let data = GaussianData { mean: 0.4, std: 0.7 };
    let mut steps = Sampler::Langevin { step_size: 0.01, inner: 4000, steps: None }
        .plan(&process, Prediction::Eps, ReverseVariance::FixedSmall)
        .unwrap();
    steps.pop();
    let (law, level) = (data.sampler_law(&process, &steps, Prediction::Eps), data.marginal(&process, 1));
    assert!((law.mean - level.mean).abs() < 1e-6, "{law:?} {level:?}");
    // The step's discretisation leaves a variance that is too large by about delta/(4 v).
    let delta = 0.01 * (1.0 - process.alpha_bar(1));
    assert!(close(law.variance, level.variance / (1.0 - delta / (4.0 * level.variance)), 1e-6), "{law:?} {level:?}");
}

#[test]
fn impossible_walks_are_errors() {
    let process = smooth_chain(10);
    let plan = |sampler: Sampler, variance| sampler.plan(&process, Prediction::Eps, variance);
    let small = ReverseVariance::FixedSmall;
    for eta in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(plan(ddim(eta, None), small), Err(Error::Parameter { name: "eta", .. })));
    }
    for step_size in [0.0, 2.0, f64::NAN] {
        let sampler = Sampler::Langevin { step_size, inner: 1, steps: None };
        assert!(matches!(plan(sampler, small), Err(Error::Parameter { name: "step_size", .. })));
    }
    for inner in [0, 1_000_000, usize::MAX] {
        let sampler = Sampler::Langevin { step_size: 0.1, inner, steps: None };
        assert!(matches!(plan(sampler, small), Err(Error::Parameter { name: "inner", .. })));
    }
    let vanishing = Process::new(vec![0.1, 1.0]).unwrap();
    let sampler = Sampler::Langevin { step_size: 0.1, inner: 1, steps: None };
    assert_eq!(sampler.plan(&vanishing, Prediction::X0, small), Err(Error::LangevinWithoutSignal { t: 2 }));
    for steps in [0, 1, 11] {
        assert!(matches!(plan(ddim(0.0, Some(steps)), small), Err(Error::Subsequence { .. })));
    }
    let short = |n| Sampler::Ancestral { clip: true, steps: Some(n) };
    assert_eq!(plan(short(5), ReverseVariance::Learned), Err(Error::LearnedVarianceOnSubsequence));
    assert!(plan(short(5), ReverseVariance::LearnedRange).is_ok() && plan(short(10), ReverseVariance::Learned).is_ok());
    assert!(plan(Sampler::ancestral(), ReverseVariance::Learned).is_ok());
}

#[test]
fn learned_noise_is_read_from_the_second_output() {
    let process = smooth_chain(10);
    let steps = Sampler::ancestral().plan(&process, Prediction::Eps, ReverseVariance::Learned).unwrap();
    assert!(steps[..9].iter().all(|s| close(s.noise.sigma(-3.0), (-1.5f64).exp(), 1e-14)));
    assert_eq!(steps[9].noise, Noise::Fixed(0.0));
    let ranged = Sampler::Ancestral { clip: true, steps: Some(4) }.plan(&process, Prediction::Mu, ReverseVariance::LearnedRange).unwrap();
    let short = process.respaced(&even_steps(10, 4).unwrap()).unwrap();
    assert!(close(ranged[0].noise.sigma(1.0), short.beta(4).sqrt(), 1e-12));
    assert!(close(ranged[0].x0, short.posterior_mean_coef_x0(4), 1e-12) && ranged[0].output == 0.0);
}

#[test]
fn who_clips() {
    assert!(Sampler::ancestral().clips() && Sampler::Ddim { eta: 0.0, clip: true, steps: None }.clips());
    assert!(!ddim(0.0, None).clips() && !Sampler::Ancestral { clip: false, steps: None }.clips());
    assert!(!Sampler::Langevin { step_size: 0.1, inner: 1, steps: None }.clips());
    assert!([true, false].map(|clip| Sampler::DpmSolver2m { clip, steps: None }.clips()) == [true, false]);
    assert_eq!(Sampler::ancestral().visited(3).unwrap(), [1, 2, 3]);
}
