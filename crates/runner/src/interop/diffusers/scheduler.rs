//! `scheduler_config.json`: the diffusion.

use super::reader::Reader;
use crate::base::error::ConfigError;
use ddpm_core::schedule::BetaScale;
use ddpm_core::{Prediction, ReverseVariance, Schedule, Setup};
use serde_json::{Value, json};

/// Their words for the choices of a set-up that they have words for.
const PREDICTIONS: [(Prediction, &str); 3] = [(Prediction::Eps, "epsilon"), (Prediction::X0, "sample"), (Prediction::V, "v_prediction")];
const VARIANCES: [(ReverseVariance, &str); 3] = [
    (ReverseVariance::FixedSmall, "fixed_small"),
    (ReverseVariance::FixedLarge, "fixed_large"),
    (ReverseVariance::LearnedRange, "learned_range"),
];

/// `setup` with what a `scheduler_config.json` says in its place.
pub fn scheduler(config: &Value, origin: &str, setup: &Setup) -> Result<Setup, ConfigError> {
    let Some(map) = config.as_object() else { return Err(ConfigError::new(origin, "", "expected an object")) };
    let reader = Reader { origin, map };
    let word = |key: &str, default: &str| map.get(key).and_then(Value::as_str).unwrap_or(default).to_string();
    let number = |key: &str, default: f64| map.get(key).and_then(Value::as_f64).unwrap_or(default);
    let (beta_start, beta_end) = (number("beta_start", 1e-4), number("beta_end", 0.02));
    let schedule = match word("beta_schedule", "linear").as_str() {
        "linear" => Schedule::Linear { beta_start, beta_end },
        "scaled_linear" => Schedule::Quad { beta_start, beta_end },
        "squaredcos_cap_v2" => Schedule::Cosine { s: 0.008, max_beta: 0.999 },
        other => return reader.wrong("beta_schedule", format!("expected linear, scaled_linear or squaredcos_cap_v2, got {other}")),
    };
    if map.get("trained_betas").is_some_and(|b| !b.is_null()) {
        return reader.wrong("trained_betas", "is not understood".into());
    }
    let prediction = word("prediction_type", "epsilon");
    let Some((prediction, _)) = PREDICTIONS.iter().find(|(_, w)| *w == prediction) else {
        return reader.wrong("prediction_type", format!("expected epsilon, sample or v_prediction, got {prediction}"));
    };
    // The suffix `_log` is about how they compute it, not what it means.
    let variance = word("variance_type", "fixed_small");
    let Some((variance, _)) = VARIANCES.iter().find(|(_, w)| *w == variance.trim_end_matches("_log")) else {
        return reader.wrong("variance_type", format!("expected fixed_small, fixed_large or learned_range, got {variance}"));
    };
    let timesteps = if map.contains_key("num_train_timesteps") { reader.count("num_train_timesteps")? } else { 1000 };
    Ok(Setup { timesteps, schedule, beta_scale: BetaScale::AsGiven, prediction: *prediction, variance: *variance, ..setup.clone() })
}

/// The `scheduler_config.json` of a set-up, where they have words for it.
pub fn scheduler_config(setup: &Setup, clip: bool) -> Option<Value> {
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
    Some(json!({
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": setup.timesteps,
        "beta_schedule": schedule,
        "beta_start": start * scale,
        "beta_end": end * scale,
        "prediction_type": prediction,
        "variance_type": variance,
        "clip_sample": clip,
        "trained_betas": null,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What diffusers leaves out has the value that its documentation gives.
    #[test]
    fn what_is_left_out_has_their_default() {
        let other = Setup {
            timesteps: 7,
            schedule: Schedule::named("sigmoid").unwrap(),
            beta_scale: BetaScale::Per1000Steps,
            prediction: Prediction::V,
            variance: ReverseVariance::FixedLarge,
            objective: ddpm_core::Objective::Simple {},
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
        assert_eq!(scheduler(&json!({"trained_betas": null}), "s", &other).unwrap(), theirs);
        let more = json!({"num_train_timesteps": 4, "beta_start": 0.25, "variance_type": "fixed_large_log"});
        let started = Setup {
            timesteps: 4,
            schedule: Schedule::Linear { beta_start: 0.25, beta_end: 0.02 },
            variance: ReverseVariance::FixedLarge,
            ..theirs
        };
        assert_eq!(scheduler(&more, "s", &other).unwrap(), started);
        assert_eq!(scheduler(&json!([]), "s", &other).unwrap_err().path, "");
        for count in [json!(0), json!(-1), json!(1_048_577), json!(2.5)] {
            assert_eq!(scheduler(&json!({"num_train_timesteps": count}), "s", &other).unwrap_err().path, "num_train_timesteps", "{count}");
        }
        // A cosine of other numbers has no word.
        for cosine in [Schedule::Cosine { s: 0.01, max_beta: 0.999 }, Schedule::Cosine { s: 0.008, max_beta: 0.99 }] {
            assert_eq!(scheduler_config(&Setup { schedule: cosine, ..started.clone() }, true), None);
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
            objective: ddpm_core::Objective::Simple {},
        };
        let written = scheduler_config(&setup, true).unwrap();
        let other = Setup { prediction: Prediction::V, variance: ReverseVariance::FixedSmall, timesteps: 7, ..setup.clone() };
        assert_eq!(scheduler(&written, "s", &other).unwrap(), setup);
        assert_eq!(scheduler_config(&Setup { prediction: Prediction::Mu, ..setup.clone() }, true), None);
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
            objective: ddpm_core::Objective::hybrid(),
        };
        let linear = Schedule::Linear { beta_start: 1e-4, beta_end: 0.02 };
        let plain = |p, v| setup(linear.clone(), p, v, 1000, BetaScale::AsGiven);
        let said = |s: &Setup, key: &str| scheduler_config(s, false).unwrap()[key].clone();
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
            let back =
                scheduler(&scheduler_config(&written, true).unwrap(), "s", &plain(Prediction::V, ReverseVariance::FixedLarge)).unwrap();
            assert_eq!(back, written);
        }
        let scaled = setup(linear, Prediction::Eps, ReverseVariance::FixedSmall, 100, BetaScale::Per1000Steps);
        let (start, end) = (said(&scaled, "beta_start").as_f64().unwrap(), said(&scaled, "beta_end").as_f64().unwrap());
        assert!((start - 1e-3).abs() < 1e-15 && (end - 0.2).abs() < 1e-12);
        assert_eq!(said(&scaled, "clip_sample"), false);
    }
}
