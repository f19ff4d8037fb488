use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, MapDeserializer};

use ddpm_core::{BetaScale, Error, Objective, Prediction, ReverseVariance, Sampler, Schedule, Setup};

fn setup(kind: &str, prediction: Prediction, variance: ReverseVariance, objective: Objective) -> Setup {
    Setup { timesteps: 50, schedule: Schedule::named(kind).unwrap(), beta_scale: BetaScale::AsGiven, prediction, variance, objective }
}

/// Every combination of the axes: it runs, or the error says which two choices exclude each other.
#[test]
fn every_combination_is_judged() {
    let objectives = [Objective::Vlb {}, Objective::VlbRescaled {}, Objective::Simple {}, Objective::hybrid()];
    let mut legal = 0;
    for kind in Schedule::all().map(|schedule| schedule.kind()) {
        for prediction in Prediction::ALL {
            for variance in ReverseVariance::ALL {
                for objective in objectives {
                    let result = setup(kind, prediction, variance, objective).process().map(|_| ());
                    let expected = match (kind, prediction, variance.is_learned(), objective) {
                        ("jsd", Prediction::Eps, _, _) => Err(Error::EpsWithoutSignal { t: 50 }),
                        (_, _, true, Objective::Simple {}) => Err(Error::SimpleWithLearnedVariance),
                        (_, _, false, Objective::Hybrid { .. }) => Err(Error::HybridWithFixedVariance),
                        _ => Ok(()),
                    };
                    legal += usize::from(expected.is_ok());
                    assert_eq!(result, expected, "{kind} {prediction:?} {variance:?} {objective:?}");
                }
            }
        }
    }
    assert_eq!(legal, 8 * 4 * 12 - 12);
}

#[test]
fn the_hybrids_weight_is_a_positive_number() {
    for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let result = setup("linear", Prediction::Eps, ReverseVariance::LearnedRange, Objective::Hybrid { lambda }).process();
        assert!(matches!(result, Err(Error::Parameter { name: "lambda", .. })), "{lambda}");
    }
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
    for kind in Schedule::all().map(|schedule| schedule.kind()) {
        assert_eq!(Some(of::<Schedule>(kind)), Schedule::named(kind));
    }
}
