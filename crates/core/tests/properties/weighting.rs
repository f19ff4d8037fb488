use crate::common::*;
use ddpm_core::{Error, Objective, Prediction, Space, Weight};
use proptest::prelude::*;

/// Any weight, with parameters as far apart as anybody would set them.
pub fn any_weight() -> impl Strategy<Value = Weight> {
    let gamma = 0.1f64..20.0;
    prop_oneof![
        Just(Weight::Constant {}),
        Just(Weight::Snr {}),
        Just(Weight::TruncatedSnr {}),
        gamma.prop_map(|gamma| Weight::MinSnr { gamma }),
        (0.1f64..10.0, 0.1f64..3.0).prop_map(|(k, gamma)| Weight::P2 { k, gamma }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// From the definitions alone: two images that could have been, each with the noise that makes x_t of it; their squared distance in
    /// every reading, times that reading's weight.
    #[test]
    fn the_loss_is_the_spaces_whatever_is_predicted(at in any_at(), weight in any_weight(), x0 in -1.0f64..1.0, other in -1.0f64..1.0, xt in -3.0f64..3.0) {
        prop_assume!(at.has_signal() && (x0 - other).abs() > 1e-3);
        let (p, t) = (&at.process, at.t);
        let alpha_bar = p.alpha_bar(t);
        let (a, s) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let eps = |x0: f64| (xt - a * x0) / s;
        let v = |x0: f64| a * eps(x0) - s * x0;
        let mu = |x0: f64| p.q_posterior(x0, xt, t).mean;
        let score = |x0: f64| -(xt - a * x0) / (1.0 - alpha_bar);
        let square = |of: &dyn Fn(f64) -> f64| (of(x0) - of(other)).powi(2);
        let lambda = weight.at(alpha_bar / (1.0 - alpha_bar));
        for space in Space::ALL {
            let expected = lambda * match space {
                Space::Mu => square(&mu),
                Space::X0 => square(&|x0| x0),
                Space::Eps => square(&eps),
                Space::V => square(&v),
                Space::Score => square(&score),
            };
            let objective = Objective::Weighted { space, weight };
            for prediction in Prediction::ALL {
                let error = match prediction {
                    Prediction::Mu => square(&mu),
                    Prediction::X0 => square(&|x0| x0),
                    Prediction::Eps => square(&eps),
                    Prediction::V => square(&v),
                };
                let loss = objective.error_weight(prediction, p, t) * error;
                prop_assert!(close(loss, expected, 1e-6), "{space:?} {prediction:?}: {loss} {expected}");
                // On the noise the weight is one for all predictions.
                let on_noise = objective.eps_weight(prediction, p, t, 0.0);
                prop_assert_eq!(on_noise, objective.eps_weight(Prediction::Eps, p, t, 0.0));
                prop_assert!(close(on_noise * square(&eps), expected, 1e-6), "{space:?} {prediction:?}: {on_noise}");
            }
        }
    }

    /// Salimans & Ho 2022, section 4: SNR on x0 is 1 on eps, and SNR + 1 on x0 is 1 on v.
    #[test]
    fn the_known_weights_are_each_others_in_other_spaces(at in any_at(), k in 0.1f64..10.0, gamma in 0.1f64..3.0) {
        prop_assume!(at.has_signal());
        let (p, t) = (&at.process, at.t);
        let snr = p.snr(t);
        let rows = [
            (Space::X0, Weight::Snr {}, 1.0),
            (Space::Eps, Weight::Constant {}, 1.0),
            (Space::V, Weight::Constant {}, (snr + 1.0) / snr),
            (Space::X0, Weight::TruncatedSnr {}, f64::max(1.0, 1.0 / snr)),
            (Space::X0, Weight::MinSnr { gamma }, f64::min(1.0, gamma / snr)),
            (Space::Eps, Weight::P2 { k, gamma }, 1.0 / (k + snr).powf(gamma)),
            (Space::Score, Weight::Constant {}, 1.0 / (1.0 - p.alpha_bar(t))),
        ];
        for (space, weight, expected) in rows {
            let got = Objective::Weighted { space, weight }.eps_weight(Prediction::Eps, p, t, 0.0);
            prop_assert!(close(got, expected, 1e-9), "{space:?} {weight:?}: {got} {expected}");
        }
    }
}

#[test]
fn in_its_own_space_and_unweighted_it_is_the_simple_loss() {
    let process = ddpm_core::Process::new(vec![0.1, 0.2, 0.3]).unwrap();
    let pairs = [(Space::Mu, Prediction::Mu), (Space::X0, Prediction::X0), (Space::Eps, Prediction::Eps), (Space::V, Prediction::V)];
    for (space, prediction) in pairs {
        for t in 1..=3 {
            let weighted = Objective::Weighted { space, weight: Weight::Constant {} };
            assert_eq!(weighted.error_weight(prediction, &process, t), 1.0);
            assert_eq!(Objective::Simple {}.error_weight(prediction, &process, t), 1.0);
            assert_eq!(Objective::hybrid().error_weight(prediction, &process, t), 1.0);
            assert_eq!(Objective::Vlb {}.error_weight(prediction, &process, t), 0.0);
            assert_eq!(Objective::VlbRescaled {}.error_weight(prediction, &process, t), 0.0);
        }
    }
}

/// By hand, on both sides of every bend.
#[test]
fn weights_at_three_ratios() {
    let of = |weight: Weight| [0.25, 1.0, 16.0].map(|snr| weight.at(snr));
    assert_eq!(of(Weight::Constant {}), [1.0, 1.0, 1.0]);
    assert_eq!(of(Weight::Snr {}), [0.25, 1.0, 16.0]);
    assert_eq!(of(Weight::TruncatedSnr {}), [1.0, 1.0, 16.0]);
    assert_eq!(of(Weight::MinSnr { gamma: 5.0 }), [0.25, 1.0, 5.0]);
    // 1 / (1/4)^1.5, 1 / 1^1.5 and 1 / 16^1.5 where next to nothing is added.
    let p2 = of(Weight::P2 { k: 1e-12, gamma: 1.5 });
    assert!(p2.iter().zip([8.0, 1.0, 1.0 / 64.0]).all(|(got, expected)| close(*got, expected, 1e-9)), "{p2:?}");
    let p2 = of(Weight::P2 { k: 3.0, gamma: 0.5 });
    assert!(p2.iter().zip([13.0f64, 16.0, 76.0]).all(|(got, square)| close(*got, 2.0 / square.sqrt(), 1e-12)), "{p2:?}");
}

#[test]
fn parameters_are_positive_numbers() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let name = |weight: Weight| match weight.check() {
            Err(Error::Parameter { name, .. }) => name,
            other => panic!("{bad}: {other:?}"),
        };
        assert_eq!(name(Weight::MinSnr { gamma: bad }), "gamma");
        assert_eq!(name(Weight::P2 { k: bad, gamma: 1.0 }), "k");
        assert_eq!(name(Weight::P2 { k: 1.0, gamma: bad }), "gamma");
    }
}
