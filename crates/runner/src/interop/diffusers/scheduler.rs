//! `scheduler_config.json`: the diffusion.

use super::contract;
use super::reader::Reader;
use crate::base::error::ConfigError;
use ddpm_core::schedule::BetaScale;
use ddpm_core::{Objective, Prediction, ReverseVariance, Sampler, Schedule, Setup};
use serde_json::{Value, json};

/// Their words for the choices of a set-up that they have words for.
const PREDICTIONS: [(Prediction, &str); 3] = [(Prediction::Eps, "epsilon"), (Prediction::X0, "sample"), (Prediction::V, "v_prediction")];
const VARIANCES: [(ReverseVariance, &str); 4] = [
    (ReverseVariance::FixedSmall, "fixed_small"),
    // Only computed otherwise. Their `fixed_large_log` takes the root of a logarithm, and is not read.
    (ReverseVariance::FixedSmall, "fixed_small_log"),
    (ReverseVariance::FixedLarge, "fixed_large"),
    (ReverseVariance::LearnedRange, "learned_range"),
];

/// The steps in which diffusers' pipeline samples with DDIM where nothing else is said.
const DDIM_STEPS: usize = 50;

/// How a `DDIMScheduler` samples otherwise than our DDIM.
const DDIM_DIFFERS: &str = "spread over 1 to T with both ends, and eps is taken again from the clipped x_0, as diffusers does with \
    use_clipped_model_output";

/// The number of DDIM's steps out of `timesteps`; none is all.
fn ddim_steps(timesteps: usize) -> Option<usize> {
    Some(DDIM_STEPS).filter(|steps| *steps < timesteps)
}

/// What a `scheduler_config.json` describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduler {
    /// The diffusion.
    pub setup: Setup,
    /// How it is sampled.
    pub sampler: Sampler,
    /// What a person should know: keys that were passed over, what differs.
    pub notes: Vec<String>,
}

/// What a `scheduler_config.json` describes; its objective, of which it says nothing, is that of `setup` where that goes with its variance:
/// otherwise the hybrid for one that is learned, and L_simple for one that is fixed.
pub fn scheduler(config: &Value, origin: &str, setup: &Setup) -> Result<Scheduler, ConfigError> {
    let reader = Reader::of(config, origin)?;
    let (ddpm, ddim) = (contract::ddpm(), contract::ddim());
    let class = reader.word("_class_name", ddpm.class)?;
    let Some(contract) = [&ddpm, &ddim].into_iter().find(|contract| contract.class == class) else {
        return reader.wrong("_class_name", format!("expected {} or {}, got {class}", ddpm.class, ddim.class));
    };
    let idle = contract.check(&reader)?;
    let mut notes: Vec<String> = if idle.is_empty() { vec![] } else { vec![format!("passed over: {}", idle.join(", "))] };
    let (beta_start, beta_end) = (reader.number("beta_start", 1e-4)?, reader.number("beta_end", 0.02)?);
    let schedule = match reader.word("beta_schedule", "linear")? {
        "linear" => Schedule::Linear { beta_start, beta_end },
        "scaled_linear" => Schedule::Quad { beta_start, beta_end },
        "squaredcos_cap_v2" => Schedule::Cosine { s: 0.008, max_beta: 0.999 },
        other => return reader.wrong("beta_schedule", format!("expected linear, scaled_linear or squaredcos_cap_v2, got {other}")),
    };
    let prediction = reader.word("prediction_type", "epsilon")?;
    let Some((prediction, _)) = PREDICTIONS.iter().find(|(_, w)| *w == prediction) else {
        return reader.wrong("prediction_type", format!("expected epsilon, sample or v_prediction, got {prediction}"));
    };
    let is_ddim = class == ddim.class;
    // DDIM has no word for it: its noise at eta = 1 is the posterior's.
    let variance = if is_ddim { "fixed_small" } else { reader.word("variance_type", "fixed_small")? };
    let Some((variance, _)) = VARIANCES.iter().find(|(_, w)| *w == variance) else {
        let words = VARIANCES.map(|(_, word)| word).join(", ");
        return reader.wrong("variance_type", format!("expected one of {words}, got {variance}"));
    };
    let spacing = reader.word("timestep_spacing", "leading")?;
    if !["leading", "trailing", "linspace"].contains(&spacing) {
        return reader.wrong("timestep_spacing", format!("expected leading, trailing or linspace, got {spacing}"));
    }
    let (timesteps, clip) = (reader.count("num_train_timesteps", Some(1000))?, reader.flag("clip_sample", true)?);
    let range = reader.number("clip_sample_range", 1.0)?;
    if clip && range != 1.0 {
        return reader.wrong("clip_sample_range", format!("expected 1, got {range}"));
    }
    let sampler = if is_ddim {
        let steps = ddim_steps(timesteps);
        let n = steps.unwrap_or(timesteps);
        notes.push(format!("DDIMScheduler: samples are made by ddim in {n} steps, {DDIM_DIFFERS}"));
        Sampler::Ddim { eta: 0.0, clip, steps }
    } else {
        Sampler::Ancestral { clip, steps: None }
    };
    let objective = match setup.objective {
        Objective::Simple {} | Objective::Weighted { .. } if variance.is_learned() => Objective::hybrid(),
        Objective::Hybrid { .. } if !variance.is_learned() => Objective::Simple {},
        objective => objective,
    };
    let setup = Setup { timesteps, schedule, beta_scale: BetaScale::AsGiven, prediction: *prediction, variance: *variance, objective };
    // Here the file and the key are known; later only ours would be.
    if let Err(error) = setup.process() {
        return reader.wrong("beta_schedule", error.to_string());
    }
    Ok(Scheduler { setup, sampler, notes })
}

/// The `scheduler_config.json` of a set-up and its sampler, where they have words for the set-up. A sampler that a `DDIMScheduler` does not
/// stand for is left out: then it is a `DDPMScheduler`'s.
pub fn scheduler_config(setup: &Setup, sampler: &Sampler) -> Option<Value> {
    let prediction = PREDICTIONS.iter().find(|(p, _)| *p == setup.prediction)?.1;
    let variance = VARIANCES.iter().find(|(v, _)| *v == setup.variance)?.1;
    let (schedule, start, end) = match setup.schedule {
        Schedule::Linear { beta_start, beta_end } => ("linear", beta_start, beta_end),
        Schedule::Quad { beta_start, beta_end } => ("scaled_linear", beta_start, beta_end),
        Schedule::Cosine { s, max_beta } if (s, max_beta) == (0.008, 0.999) => ("squaredcos_cap_v2", 1e-4, 0.02),
        Schedule::Const { .. } | Schedule::Warmup10 { .. } | Schedule::Warmup50 { .. } | Schedule::Jsd {} => return None,
        Schedule::Cosine { .. } | Schedule::Sigmoid { .. } => return None,
    };
    let scale = match setup.beta_scale {
        BetaScale::AsGiven => 1.0,
        BetaScale::Per1000Steps => 1000.0 / setup.timesteps as f64,
    };
    let mut config = json!({
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": setup.timesteps,
        "beta_schedule": schedule,
        "beta_start": start * scale,
        "beta_end": end * scale,
        "prediction_type": prediction,
        "variance_type": variance,
        "clip_sample": sampler.clips(),
        "trained_betas": null,
    });
    if *sampler == (Sampler::Ddim { eta: 0.0, clip: sampler.clips(), steps: ddim_steps(setup.timesteps) }) {
        config["_class_name"] = json!("DDIMScheduler");
        // They have no word for it, and with eta = 0 no use.
        config.as_object_mut()?.shift_remove("variance_type");
    }
    Some(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddpm_core::{Space, Weight};

    /// What diffusers leaves out has the value that its documentation gives.
    #[test]
    fn what_is_left_out_has_their_default() {
        let other = Setup {
            timesteps: 7,
            schedule: Schedule::named("sigmoid").unwrap(),
            beta_scale: BetaScale::Per1000Steps,
            prediction: Prediction::V,
            variance: ReverseVariance::FixedLarge,
            objective: Objective::Simple {},
        };
        let linear = Schedule::Linear { beta_start: 1e-4, beta_end: 0.02 };
        let theirs = Setup {
            timesteps: 1000,
            schedule: linear,
            beta_scale: BetaScale::AsGiven,
            prediction: Prediction::Eps,
            variance: ReverseVariance::FixedSmall,
            ..other.clone()
        };
        let found = scheduler(&json!({"trained_betas": null}), "s", &other).unwrap();
        assert_eq!(found, Scheduler { setup: theirs.clone(), sampler: Sampler::Ancestral { clip: true, steps: None }, notes: vec![] });
        let more = json!({"num_train_timesteps": 4, "beta_start": 0.25, "variance_type": "fixed_large"});
        let started = Setup {
            timesteps: 4,
            schedule: Schedule::Linear { beta_start: 0.25, beta_end: 0.02 },
            variance: ReverseVariance::FixedLarge,
            ..theirs
        };
        assert_eq!(scheduler(&more, "s", &other).unwrap().setup, started);
        assert_eq!(scheduler(&json!([]), "s", &other).unwrap_err().path, "");
        for count in [json!(0), json!(-1), json!(1_048_577), json!(2.5)] {
            assert_eq!(scheduler(&json!({"num_train_timesteps": count}), "s", &other).unwrap_err().path, "num_train_timesteps", "{count}");
        }
        // A cosine of other numbers has no word.
        for cosine in [Schedule::Cosine { s: 0.01, max_beta: 0.999 }, Schedule::Cosine { s: 0.008, max_beta: 0.99 }] {
            assert_eq!(scheduler_config(&Setup { schedule: cosine, ..started.clone() }, &Sampler::ancestral()), None);
        }
    }

    #[test]
    fn a_set_up_comes_back() {
        let setup = Setup {
            timesteps: 1000,
            schedule: Schedule::Linear { beta_start: 1e-4, beta_end: 0.02 },
            beta_scale: BetaScale::AsGiven,
            prediction: Prediction::Eps,
            variance: ReverseVariance::FixedLarge,
            objective: Objective::Simple {},
        };
        let written = scheduler_config(&setup, &Sampler::ancestral()).unwrap();
        let other = Setup { prediction: Prediction::V, variance: ReverseVariance::FixedSmall, timesteps: 7, ..setup.clone() };
        assert_eq!(scheduler(&written, "s", &other).unwrap().setup, setup);
        assert_eq!(scheduler_config(&Setup { prediction: Prediction::Mu, ..setup.clone() }, &Sampler::ancestral()), None);
        let wrong = |key: &str| {
            let mut config = written.clone();
            config[key] = json!("something");
            scheduler(&config, "s", &setup).unwrap_err().path
        };
        for key in ["beta_schedule", "prediction_type", "variance_type", "trained_betas"] {
            assert_eq!(wrong(key), key);
        }
    }

    /// Each of their words by itself, as diffusers' documentation of DDPMScheduler has them.
    #[test]
    fn words_are_theirs() {
        let setup = |schedule: Schedule, prediction, variance, timesteps, beta_scale| Setup {
            timesteps,
            schedule,
            beta_scale,
            prediction,
            variance,
            objective: Objective::Simple {},
        };
        let linear = Schedule::Linear { beta_start: 1e-4, beta_end: 0.02 };
        let plain = |p, v| setup(linear.clone(), p, v, 1000, BetaScale::AsGiven);
        let unclipped = Sampler::Ancestral { clip: false, steps: None };
        let said = |s: &Setup, key: &str| scheduler_config(s, &unclipped).unwrap()[key].clone();
        for (prediction, word) in [(Prediction::Eps, "epsilon"), (Prediction::X0, "sample"), (Prediction::V, "v_prediction")] {
            let written = plain(prediction, ReverseVariance::FixedSmall);
            assert_eq!(said(&written, "prediction_type"), word);
        }
        for (variance, word) in [
            (ReverseVariance::FixedSmall, "fixed_small"),
            (ReverseVariance::FixedLarge, "fixed_large"),
            (ReverseVariance::LearnedRange, "learned_range"),
        ] {
            assert_eq!(said(&plain(Prediction::Eps, variance), "variance_type"), word);
        }
        let quad = Schedule::Quad { beta_start: 8.5e-4, beta_end: 0.012 };
        for (schedule, word) in
            [(linear.clone(), "linear"), (quad, "scaled_linear"), (Schedule::named("cosine").unwrap(), "squaredcos_cap_v2")]
        {
            let written = setup(schedule, Prediction::Eps, ReverseVariance::FixedSmall, 1000, BetaScale::AsGiven);
            assert_eq!(said(&written, "beta_schedule"), word);
            // And back, over another.
            let back = scheduler(
                &scheduler_config(&written, &Sampler::ancestral()).unwrap(),
                "s",
                &plain(Prediction::V, ReverseVariance::FixedLarge),
            )
            .unwrap();
            assert_eq!(back.setup, written);
        }
        let scaled = setup(linear, Prediction::Eps, ReverseVariance::FixedSmall, 100, BetaScale::Per1000Steps);
        let (start, end) = (said(&scaled, "beta_start").as_f64().unwrap(), said(&scaled, "beta_end").as_f64().unwrap());
        assert!((start - 1e-3).abs() < 1e-15 && (end - 0.2).abs() < 1e-12);
        assert_eq!(said(&scaled, "clip_sample"), false);
    }

    fn plain() -> Setup {
        let (prediction, variance, objective) = (Prediction::Eps, ReverseVariance::FixedLarge, Objective::Simple {});
        let schedule = Schedule::Linear { beta_start: 1e-4, beta_end: 0.02 };
        Setup { timesteps: 1000, schedule, beta_scale: BetaScale::AsGiven, prediction, variance, objective }
    }

    /// Clipping is kept, and so is the class: DDPM walks all steps, DDIM as many as diffusers' pipeline does, and says what differs.
    #[test]
    fn the_sampler_is_theirs() {
        let of = |config: Value| scheduler(&config, "s", &plain()).unwrap();
        for clip in [true, false] {
            let ddpm = of(json!({"clip_sample": clip, "timestep_spacing": "trailing", "sample_max_value": 2.0}));
            assert_eq!(ddpm.sampler, Sampler::Ancestral { clip, steps: None });
            assert_eq!(ddpm.notes, ["passed over: sample_max_value (of thresholding, which is off)"]);
            let ddim = of(json!({"_class_name": "DDIMScheduler", "clip_sample": clip, "set_alpha_to_one": true}));
            assert_eq!(ddim.sampler, Sampler::Ddim { eta: 0.0, clip, steps: Some(50) });
            assert!(ddim.notes.len() == 1 && ddim.notes[0].contains("by ddim in 50 steps, "), "{:?}", ddim.notes);
            // And back; other samplers have no word.
            let other = Sampler::Ddim { eta: 0.0, clip, steps: Some(49) };
            for (sampler, expected) in [(ddpm.sampler, ddpm.sampler), (ddim.sampler, ddim.sampler), (other, ddpm.sampler)] {
                assert_eq!(of(scheduler_config(&plain(), &sampler).unwrap()).sampler, expected);
            }
        }
        let few = of(json!({"_class_name": "DDIMScheduler", "num_train_timesteps": 10, "variance_type": "fixed_large"}));
        assert_eq!(few.sampler, Sampler::Ddim { eta: 0.0, clip: true, steps: None });
        assert!(few.notes[0].contains("variance_type (of another scheduler)") && few.notes[1].contains("by ddim in 10 steps, "));
        of(json!({"clip_sample": false, "clip_sample_range": 2.0, "set_alpha_to_one": true}));
    }

    /// A learned variance was taught by an objective that sees it.
    #[test]
    fn a_learned_variance_has_an_objective() {
        let learned = json!({"variance_type": "learned_range"});
        let of = |objective| scheduler(&learned, "s", &Setup { objective, ..plain() }).unwrap().setup.objective;
        assert_eq!((of(Objective::Simple {}), of(Objective::Vlb {})), (Objective::hybrid(), Objective::Vlb {}));
        let weighted = Objective::Weighted { space: Space::X0, weight: Weight::Snr {} };
        assert_eq!(of(weighted), Objective::hybrid());
        assert_eq!(scheduler(&json!({}), "s", &Setup { objective: weighted, ..plain() }).unwrap().setup.objective, weighted);
        let hybrid = Setup { objective: Objective::hybrid(), ..plain() };
        assert_eq!(scheduler(&json!({}), "s", &hybrid).unwrap().setup.objective, Objective::Simple {});
    }

    /// What is of another type, another sampler's, or not understood is refused with its key.
    #[test]
    fn what_is_not_understood_is_refused() {
        let refused = |config: Value| scheduler(&config, "s", &plain()).unwrap_err().path;
        assert_eq!(refused(json!({"beta_start": "0.0001"})), "beta_start");
        assert_eq!(refused(json!({"beta_end": [0.02]})), "beta_end");
        assert_eq!(refused(json!({"clip_sample": "false"})), "clip_sample");
        assert_eq!(refused(json!({"clip_sample": 0})), "clip_sample");
        assert_eq!(refused(json!({"beta_schedule": 1})), "beta_schedule");
        assert_eq!(refused(json!({"beta_schedule": "sigmoid"})), "beta_schedule");
        assert_eq!(refused(json!({"beta_shedule": "linear"})), "beta_shedule");
        assert_eq!(refused(json!({"rescale_betas_zero_snr": true})), "rescale_betas_zero_snr");
        assert_eq!(refused(json!({"thresholding": true})), "thresholding");
        assert_eq!(refused(json!({"clip_sample_range": 2.0})), "clip_sample_range");
        assert_eq!(refused(json!({"steps_offset": 1})), "steps_offset");
        assert_eq!(refused(json!({"predict_epsilon": false})), "predict_epsilon");
        assert_eq!(refused(json!({"timestep_spacing": "karras"})), "timestep_spacing");
        for word in ["fixed_small_log_log", "fixed_large_log", "learned_range_log", "learned"] {
            assert_eq!(refused(json!({"variance_type": word})), "variance_type", "{word}");
        }
        for key in ["beta_start", "clip_sample", "variance_type", "prediction_type", "thresholding", "num_train_timesteps"] {
            assert_eq!(refused(json!({key: null})), key);
        }
        assert_eq!(refused(json!({"beta_end": 2.0})), "beta_schedule");
        assert_eq!(refused(json!({"_class_name": "EulerDiscreteScheduler"})), "_class_name");
        assert_eq!(refused(json!({"_class_name": "DDIMScheduler", "set_alpha_to_one": false})), "set_alpha_to_one");
    }
}
