use crate::common::*;
use ddpm_core::{BetaScale, Error, Process, Schedule};
use proptest::prelude::*;

fn betas(schedule: &Schedule, timesteps: usize) -> Vec<f64> {
    schedule.betas(timesteps, BetaScale::AsGiven).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn snr_falls_strictly(schedule in any_schedule(), timesteps in 2usize..600) {
        let process = Process::from_schedule(&schedule, timesteps, BetaScale::AsGiven).unwrap();
        for t in 2..=timesteps {
            prop_assert!(process.snr(t) < process.snr(t - 1), "t = {t}: {} then {}", process.snr(t - 1), process.snr(t));
        }
        prop_assert!(process.snr(1).is_finite());
    }

    #[test]
    fn there_is_one_beta_for_each_step_and_each_is_a_share(schedule in any_schedule(), timesteps in 2usize..600) {
        let betas = betas(&schedule, timesteps);
        prop_assert_eq!(betas.len(), timesteps);
        prop_assert!(betas.iter().all(|b| *b > 0.0 && *b <= 1.0));
        prop_assert!(betas[..timesteps - 1].iter().all(|b| *b < 1.0));
    }

    #[test]
    fn linear_and_quad_are_straight_lines_in_beta_and_its_root(start in 1e-5f64..0.4, end in 1e-5f64..0.4, timesteps in 2usize..400) {
        let linear = betas(&Schedule::Linear { beta_start: start, beta_end: end }, timesteps);
        let quad = betas(&Schedule::Quad { beta_start: start, beta_end: end }, timesteps);
        for i in 0..timesteps {
            let u = i as f64 / (timesteps - 1) as f64;
            // Rounding is a share of the larger end: near the smaller one it is a larger share of the value.
            prop_assert!((linear[i] - (start + (end - start) * u)).abs() <= 1e-14 * start.max(end));
            prop_assert!((quad[i].sqrt() - (start.sqrt() * (1.0 - u) + end.sqrt() * u)).abs() <= 1e-13 * start.max(end).sqrt());
        }
        prop_assert_eq!(linear[timesteps - 1], end);
    }

    #[test]
    fn warm_ups_rise_and_stay(start in 1e-5f64..0.01, end in 0.02f64..0.4, timesteps in 2usize..400) {
        for (tenths, schedule) in [
            (1, Schedule::Warmup10 { beta_start: start, beta_end: end }),
            (5, Schedule::Warmup50 { beta_start: start, beta_end: end }),
        ] {
            // int(T * fraction) in double precision, as the authors' Python: a tenth of 30 is 3 there and here.
            let n = (timesteps as f64 * (tenths as f64 / 10.0)) as usize;
            for (i, beta) in betas(&schedule, timesteps).into_iter().enumerate() {
                let expected = match i {
                    _ if i >= n => end,
                    _ if n == 1 => start,
                    _ => start + (end - start) * i as f64 / (n - 1) as f64,
                };
                prop_assert!((beta - expected).abs() <= 1e-14, "{schedule:?} i = {i}: {beta} {expected}");
            }
        }
    }

    #[test]
    fn const_is_constant(beta_end in 1e-5f64..0.9, timesteps in 2usize..50) {
        let constant = Schedule::Const { beta_end };
        prop_assert!(betas(&constant, timesteps).iter().all(|b| *b == beta_end));
    }

    #[test]
    fn jsd_takes_the_same_share_of_the_signal_at_each_step(timesteps in 2usize..500) {
        let process = Process::from_schedule(&Schedule::Jsd {}, timesteps, BetaScale::AsGiven).unwrap();
        for t in 1..=timesteps {
            prop_assert!((process.alpha_bar(t) - (1.0 - t as f64 / timesteps as f64)).abs() < 1e-12);
        }
        prop_assert_eq!(process.signal_vanishes_at(), Some(timesteps));
    }

    #[test]
    fn cosine_and_sigmoid_follow_their_signal_curves_until_beta_is_limited(
        s in 0.0f64..0.1, start in -4.0f64..-1.0, end in 1.0f64..4.0, tau in 0.5f64..2.0, max_beta in 0.5f64..0.999, timesteps in 2usize..400,
    ) {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x / tau).exp());
        let cosine_bar = |u: f64| {
            let f = |u: f64| (((u + s) / (1.0 + s)) * std::f64::consts::PI / 2.0).cos().powi(2);
            f(u) / f(0.0)
        };
        let sigmoid_bar = |u: f64| (sigmoid(end) - sigmoid(start + u * (end - start))) / (sigmoid(end) - sigmoid(start));
        let curves: [(Schedule, &dyn Fn(f64) -> f64); 2] =
            [(Schedule::Cosine { s, max_beta }, &cosine_bar), (Schedule::Sigmoid { start, end, tau, max_beta }, &sigmoid_bar)];
        for (schedule, curve) in curves {
            let process = Process::from_schedule(&schedule, timesteps, BetaScale::AsGiven).unwrap();
            let limited = (1..=timesteps).find(|&t| process.beta(t) >= max_beta).unwrap_or(timesteps + 1);
            for t in 1..limited {
                let expected = curve(t as f64 / timesteps as f64);
                prop_assert!(close(process.alpha_bar(t), expected, 1e-9), "{schedule:?} t = {t}: {} {expected}", process.alpha_bar(t));
            }
            prop_assert!((1..=timesteps).all(|t| process.beta(t) <= max_beta));
        }
    }

    #[test]
    fn rescaled_betas_are_multiplied_by_1000_over_t(schedule in any_schedule(), timesteps in 200usize..3000) {
        let plain = betas(&schedule, timesteps);
        let scaled = schedule.betas(timesteps, BetaScale::Per1000Steps).unwrap();
        let factor = match schedule {
            Schedule::Linear { .. } | Schedule::Quad { .. } | Schedule::Const { .. } | Schedule::Warmup10 { .. } | Schedule::Warmup50 { .. } => {
                1000.0 / timesteps as f64
            }
            Schedule::Jsd {} | Schedule::Cosine { .. } | Schedule::Sigmoid { .. } => 1.0,
        };
        prop_assert!(plain.iter().zip(&scaled).all(|(a, b)| close(a * factor, *b, 1e-12)));
    }
}

/// alpha_bar_1000 of the authors' schedules, computed in float64 outside this project.
#[test]
fn the_authors_defaults_end_where_theirs_do() {
    for (kind, expected) in [
        ("linear", 4.03582976538e-05),
        ("quad", 7.33412459581e-04),
        ("warmup10", 4.61368668e-09),
        ("warmup50", 2.60613513e-07),
        ("const", 1.68296736e-09),
        ("jsd", 0.0),
    ] {
        let process = Process::from_schedule(&Schedule::named(kind).unwrap(), 1000, BetaScale::AsGiven).unwrap();
        assert!(close(process.alpha_bar(1000), expected, 2e-9), "{kind}: {}", process.alpha_bar(1000));
    }
}

#[test]
fn defaults_are_the_published_ones() {
    for schedule in Schedule::all() {
        assert_eq!(Schedule::named(schedule.kind()).unwrap(), schedule);
    }
    assert_eq!(Schedule::named("lineal"), None);
    assert_eq!(Schedule::named("cosine"), Some(Schedule::Cosine { s: 0.008, max_beta: 0.999 }));
    assert_eq!(Schedule::named("sigmoid"), Some(Schedule::Sigmoid { start: -3.0, end: 3.0, tau: 1.0, max_beta: 0.999 }));
    for (kind, expected) in [("linear", (1e-4, 0.02)), ("quad", (1e-4, 0.02)), ("warmup50", (1e-4, 0.02))] {
        let betas = betas(&Schedule::named(kind).unwrap(), 1000);
        assert!(close(betas[0], expected.0, 1e-12) && close(betas[999], expected.1, 1e-12), "{kind}");
    }
}

#[test]
fn parameters_outside_their_range_are_named() {
    let name = |schedule: Schedule, scale| match schedule.betas(10, scale) {
        Err(Error::Parameter { name, .. }) => name,
        other => panic!("{schedule:?}: {other:?}"),
    };
    let given = BetaScale::AsGiven;
    assert_eq!(name(Schedule::Linear { beta_start: 0.0, beta_end: 0.1 }, given), "beta_start");
    assert_eq!(name(Schedule::Linear { beta_start: 0.1, beta_end: 1.0 }, given), "beta_end");
    assert_eq!(name(Schedule::Const { beta_end: f64::NAN }, given), "beta_end");
    assert_eq!(name(Schedule::Const { beta_end: 0.02 }, BetaScale::Per1000Steps), "beta_end");
    assert_eq!(name(Schedule::Cosine { s: 1.0, max_beta: 0.9 }, given), "s");
    assert_eq!(name(Schedule::Cosine { s: 0.1, max_beta: 1.0 }, given), "max_beta");
    let sigmoid = |start, end, tau, max_beta| Schedule::Sigmoid { start, end, tau, max_beta };
    for end in [1.0, 0.5, f64::NAN, f64::INFINITY] {
        assert_eq!(name(sigmoid(1.0, end, 1.0, 0.9), given), "end");
    }
    assert_eq!(name(sigmoid(f64::NEG_INFINITY, 3.0, 1.0, 0.9), given), "end");
    for tau in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(name(sigmoid(-3.0, 3.0, tau, 0.9), given), "tau");
    }
    assert_eq!(name(sigmoid(-3.0, 3.0, 1.0, 0.0), given), "max_beta");
    assert_eq!(Schedule::Jsd {}.betas(1, given), Err(Error::TooFewTimesteps { got: 1 }));
}
