use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, MapDeserializer};

use ddpm_core::{BetaScale, Error, Objective, Prediction, ReverseVariance, Sampler, Schedule, Setup, Space, Weight};

fn setup(kind: &str, prediction: Prediction, variance: ReverseVariance, objective: Objective) -> Setup {
    Setup { timesteps: 50, schedule: Schedule::named(kind).unwrap(), beta_scale: BetaScale::AsGiven, prediction, variance, objective }
}

/// Every combination of the axes: it runs, or the error says which two choices exclude each other.
#[test]
fn every_combination_is_judged() {
    let weighted = Objective::Weighted { space: Space::X0, weight: Weight::Snr {} };
    let objectives = [Objective::Vlb {}, Objective::VlbRescaled {}, Objective::Simple {}, Objective::hybrid(), weighted];
    let mut legal = 0;
    for kind in Schedule::all().map(|schedule| schedule.kind()) {
        for prediction in Prediction::ALL {
            for variance in ReverseVariance::ALL {
                for objective in objectives {
                    let result = setup(kind, prediction, variance, objective).process().map(|_| ());
                    let expected = match (kind, prediction, variance.is_learned(), objective) {
                        ("jsd", Prediction::Eps, _, _) => Err(Error::EpsWithoutSignal { t: 50 }),
                        (_, _, true, Objective::Simple {}) => Err(Error::UntrainedVariance { objective: "simple" }),
                        (_, _, true, Objective::Weighted { .. }) => Err(Error::UntrainedVariance { objective: "weighted" }),
                        (_, _, false, Objective::Hybrid { .. }) => Err(Error::HybridWithFixedVariance),
                        _ => Ok(()),
                    };
                    legal += usize::from(expected.is_ok());
                    assert_eq!(result, expected, "{kind} {prediction:?} {variance:?} {objective:?}");
                }
            }
        }
    }
    assert_eq!(legal, 8 * 4 * 14 - 14);
}

#[test]
fn the_hybrids_weight_is_a_positive_number() {
    for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let result = setup("linear", Prediction::Eps, ReverseVariance::LearnedRange, Objective::Hybrid { lambda }).process();
        assert!(matches!(result, Err(Error::Parameter { name: "lambda", .. })), "{lambda}");
    }
}

#[test]
fn a_weights_parameters_are_checked() {
    let of =
        |weight| setup("linear", Prediction::V, ReverseVariance::FixedLarge, Objective::Weighted { space: Space::V, weight }).process();
    assert!(matches!(of(Weight::MinSnr { gamma: -1.0 }), Err(Error::Parameter { name: "gamma", .. })));
    assert!(of(Weight::MinSnr { gamma: 1.0 }).is_ok());
}

/// Where alpha_bar is 1e-48, an error of eps is one 1e24 times as large in x0, and the square of that is past f32.
#[test]
fn a_weight_is_a_number_in_single_precision() {
    let steep = |objective, prediction| {
        let schedule = Schedule::Const { beta_end: 1.0 - 1e-16 };
        Setup { timesteps: 3, schedule, ..setup("linear", prediction, ReverseVariance::FixedLarge, objective) }.process().map(|_| ())
    };
    let weighted = |space, weight| Objective::Weighted { space, weight };
    let result = steep(weighted(Space::X0, Weight::Constant {}), Prediction::Eps);
    assert!(matches!(result, Err(Error::WeightTooLarge { t: 3, got }) if got > 1e47), "{result:?}");
    assert_eq!(steep(weighted(Space::X0, Weight::Snr {}), Prediction::Eps), Ok(()));
    assert_eq!(steep(weighted(Space::X0, Weight::Constant {}), Prediction::V), Ok(()));
}

#[test]
fn the_plan_is_the_samplers() {
    let setup = setup("linear", Prediction::Eps, ReverseVariance::FixedSmall, Objective::Simple {});
    let process = setup.process().unwrap();
    let plan = setup.sampling_plan(&process, &Sampler::ancestral()).unwrap();
    assert_eq!(plan, Sampler::ancestral().plan(&process, Prediction::Eps, ReverseVariance::FixedSmall).unwrap());
    assert_eq!(plan.len(), 50);
}

/// What a configuration leaves out is as published: each kind by its name alone.
#[test]
fn defaults_are_those_of_the_papers() {
    fn of<T: DeserializeOwned>(kind: &str) -> T {
        T::deserialize(MapDeserializer::<_, ValueError>::new([("kind", kind)].into_iter())).unwrap()
    }
    assert_eq!(of::<Sampler>("ancestral"), Sampler::Ancestral { clip: true, steps: None });
    assert_eq!(of::<Sampler>("ddim"), Sampler::Ddim { eta: 0.0, clip: true, steps: None });
    assert_eq!(of::<Sampler>("langevin"), Sampler::Langevin { step_size: 0.1, inner: 3, steps: None });
    assert_eq!(of::<Sampler>("dpmpp-2m"), Sampler::DpmSolver2m { clip: true, steps: None });
    assert_eq!(of::<Objective>("hybrid"), Objective::Hybrid { lambda: 0.001 });
    assert_eq!(of::<Weight>("min-snr"), Weight::MinSnr { gamma: 5.0 });
    assert_eq!(of::<Weight>("p2"), Weight::P2 { k: 1.0, gamma: 1.0 });
    for kind in Schedule::all().map(|schedule| schedule.kind()) {
        assert_eq!(Some(of::<Schedule>(kind)), Schedule::named(kind));
    }
}
