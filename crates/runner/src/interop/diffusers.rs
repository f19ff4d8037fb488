//! Folders of the Python library diffusers: `config.json`, `diffusion_pytorch_model.safetensors` (or `.bin`), `scheduler_config.json`.
//!
//! Their configuration has many keys; those that make another network than the authors' are errors, with what was expected.

use crate::base::error::ConfigError;
use ddpm_core::schedule::BetaScale;
use ddpm_core::{Prediction, ReverseVariance, Schedule, Setup};
use ddpm_model::Network;
use ddpm_model::network::{ImageShape, Skips, TimeEmbedding};
use serde_json::{Map, Value, json};

/// Files of a folder, in the order in which they are looked for.
pub const WEIGHTS: [&str; 2] = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];

/// Keys of `config.json` that must have one value for the network to be the authors'.
fn fixed() -> Vec<(&'static str, Value)> {
    vec![
        ("center_input_sample", json!(false)),
        ("time_embedding_type", json!("positional")),
        ("time_embedding_dim", Value::Null),
        ("freq_shift", json!(1)),
        ("flip_sin_to_cos", json!(false)),
        ("mid_block_type", json!("UNetMidBlock2D")),
        ("mid_block_scale_factor", json!(1)),
        ("downsample_padding", json!(0)),
        ("downsample_type", json!("conv")),
        ("upsample_type", json!("conv")),
        ("act_fn", json!("silu")),
        ("attention_head_dim", Value::Null),
        ("attn_norm_num_groups", Value::Null),
        ("norm_eps", json!(1e-6)),
        ("resnet_time_scale_shift", json!("default")),
        ("add_attention", json!(true)),
        ("class_embed_type", Value::Null),
        ("num_class_embeds", Value::Null),
        ("num_train_timesteps", Value::Null),
    ]
}

/// What diffusers takes where a key is absent and its own default is not the authors'.
const DEFAULTS_THAT_DIFFER: [(&str, &str); 4] =
    [("flip_sin_to_cos", "true"), ("freq_shift", "0"), ("downsample_padding", "1"), ("attention_head_dim", "8")];

/// Reads keys of one JSON object, and complains with their names.
struct Reader<'a> {
    origin: &'a str,
    map: &'a Map<String, Value>,
}

impl Reader<'_> {
    fn wrong<T>(&self, key: &str, problem: String) -> Result<T, ConfigError> {
        Err(ConfigError::new(self.origin, key, problem))
    }

    fn count(&self, key: &str) -> Result<usize, ConfigError> {
        match self.map.get(key).map(|v| (v, v.as_u64())) {
            Some((_, Some(n))) if n > 0 && n <= 1 << 20 => Ok(n as usize),
            other => self.wrong(key, format!("expected a positive number, got {}", other.map_or("nothing".into(), |o| o.0.to_string()))),
        }
    }

    fn list(&self, key: &str) -> Result<&Vec<Value>, ConfigError> {
        match self.map.get(key).and_then(Value::as_array) {
            Some(list) if !list.is_empty() => Ok(list),
            _ => self.wrong(key, "expected a list".into()),
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

/// The network that a `config.json` describes, its images and its output channels.
pub fn network(config: &Value, origin: &str) -> Result<(Network, ImageShape, usize), ConfigError> {
    let Some(map) = config.as_object() else { return Err(ConfigError::new(origin, "", "expected an object")) };
    let reader = Reader { origin, map };
    if let Some(class) = map.get("_class_name").filter(|c| **c != json!("UNet2DModel")) {
        return reader.wrong("_class_name", format!("expected UNet2DModel, got {class}"));
    }
    for (key, value) in fixed() {
        let found = map.get(key).cloned();
        let absent = DEFAULTS_THAT_DIFFER.iter().find(|(k, _)| *k == key).filter(|_| found.is_none());
        if let Some((_, default)) = absent {
            return reader.wrong(key, format!("expected {value}, got nothing, which stands for {default}"));
        }
        // Absent and null mean the default; where that is the authors' value both are as good.
        match found {
            None | Some(Value::Null) if key != "norm_eps" => {}
            Some(found) if same(&found, &value) => {}
            other => {
                return reader.wrong(key, format!("expected {value}, got {}", other.unwrap_or(json!("nothing, which stands for 1e-5"))));
            }
        }
    }
    let read =
        ["sample_size", "in_channels", "out_channels", "block_out_channels", "layers_per_block", "down_block_types", "up_block_types"];
    let known = |key: &str| read.contains(&key) || ["norm_num_groups", "dropout"].contains(&key) || fixed().iter().any(|(k, _)| *k == key);
    if let Some((key, value)) = map.iter().find(|(key, value)| !key.starts_with('_') && !known(key) && !value.is_null()) {
        return reader.wrong(key, format!("is not understood (it is {value})"));
    }
    let widths: Vec<usize> = reader
        .list("block_out_channels")?
        .iter()
        .map(|v| match v.as_u64() {
            Some(n) if n > 0 && n <= 1 << 20 => Ok(n as usize),
            _ => reader.wrong("block_out_channels", format!("expected positive numbers, got {v}")),
        })
        .collect::<Result<_, _>>()?;
    let channels = widths[0];
    if let Some(width) = widths.iter().find(|w| !w.is_multiple_of(channels)) {
        return reader.wrong("block_out_channels", format!("expected multiples of the first, {channels}, got {width}"));
    }
    let (size, levels) = (reader.count("sample_size")?, widths.len());
    let attends = |key: &str, plain: &str, attending: &str| -> Result<Vec<bool>, ConfigError> {
        let list = reader.list(key)?;
        if list.len() != levels {
            return reader.wrong(key, format!("expected {levels} blocks, as block_out_channels has, got {}", list.len()));
        }
        let one = |v: &Value| match v.as_str() {
            Some(name) if name == plain => Ok(false),
            Some(name) if name == attending => Ok(true),
            _ => reader.wrong(key, format!("expected {plain} or {attending}, got {v}")),
        };
        list.iter().map(one).collect()
    };
    let down = attends("down_block_types", "DownBlock2D", "AttnDownBlock2D")?;
    let mut up = attends("up_block_types", "UpBlock2D", "AttnUpBlock2D")?;
    up.reverse();
    if down != up {
        return reader.wrong("up_block_types", "expected attention at the resolutions of down_block_types".into());
    }
    let groups = if map.contains_key("norm_num_groups") { reader.count("norm_num_groups")? } else { 32 };
    let network = Network {
        channels,
        multipliers: widths.iter().map(|w| w / channels).collect(),
        blocks: reader.count("layers_per_block")?,
        attention: (0..levels).filter(|level| down[*level]).map(|level| size >> level).collect(),
        dropout: map.get("dropout").and_then(Value::as_f64).unwrap_or(0.0),
        groups,
        block_size: 1,
        skips: Skips::All,
        time_embedding: TimeEmbedding::EveryBlock,
    };
    let image = ImageShape { height: size, width: size, channels: reader.count("in_channels")? };
    network.check(image).map_err(|e| ConfigError::new(origin, "", e.to_string()))?;
    let out = reader.count("out_channels")?;
    if out != image.channels && out != 2 * image.channels {
        return reader.wrong(
            "out_channels",
            format!("expected {0}, or {1} where the variance is learned, got {out}", image.channels, 2 * image.channels),
        );
    }
    Ok((network, image, out))
}

/// The `config.json` of a network for square images of `image`.
pub fn config(network: &Network, image: ImageShape, out_channels: usize) -> Value {
    let levels = network.multipliers.len();
    let attends = |level: usize| network.attention.contains(&(image.height >> level));
    let kind = |level: usize, plain: &str, attending: &str| if attends(level) { attending.to_string() } else { plain.to_string() };
    let mut map = Map::new();
    map.insert("_class_name".into(), json!("UNet2DModel"));
    map.extend(fixed().into_iter().map(|(key, value)| (key.to_string(), value)));
    let own = [
        ("sample_size", json!(image.height)),
        ("in_channels", json!(image.channels)),
        ("out_channels", json!(out_channels)),
        ("block_out_channels", json!(network.multipliers.iter().map(|m| m * network.channels).collect::<Vec<_>>())),
        ("layers_per_block", json!(network.blocks)),
        ("down_block_types", json!((0..levels).map(|l| kind(l, "DownBlock2D", "AttnDownBlock2D")).collect::<Vec<_>>())),
        ("up_block_types", json!((0..levels).rev().map(|l| kind(l, "UpBlock2D", "AttnUpBlock2D")).collect::<Vec<_>>())),
        ("norm_num_groups", json!(network.groups)),
        ("dropout", json!(network.dropout)),
    ];
    map.extend(own.map(|(key, value)| (key.to_string(), value)));
    Value::Object(map)
}

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
        _ => return None,
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

    fn paper() -> (Network, ImageShape) {
        (Network::cifar10(), ImageShape { height: 32, width: 32, channels: 3 })
    }

    #[test]
    fn what_is_written_is_read() {
        let (network_, image) = paper();
        let large = (Network::large(), ImageShape { height: 256, width: 256, channels: 3 });
        for (net, image) in [(network_, image), large] {
            for out in [3, 6] {
                assert_eq!(network(&config(&net, image, out), "c").unwrap(), (net.clone(), image, out));
            }
        }
    }

    /// Every key that makes another network is an error that names it.
    #[test]
    fn other_networks_are_refused() {
        let (net, image) = paper();
        let good = config(&net, image, 3);
        for (key, _) in fixed() {
            let mut other = good.clone();
            other[key] = json!(0.123);
            let error = network(&other, "c").unwrap_err();
            assert_eq!(error.path, key, "{error}");
        }
        for (key, default) in DEFAULTS_THAT_DIFFER {
            let mut other = good.clone();
            other.as_object_mut().unwrap().remove(key);
            let error = network(&other, "c").unwrap_err();
            assert!(error.path == key && error.problem.contains(default), "{error}");
        }
        for (key, value) in [
            ("block_out_channels", json!([128, 200])),
            ("block_out_channels", json!([])),
            ("down_block_types", json!(["DownBlock2D"])),
            ("up_block_types", json!(["UpBlock2D", "UpBlock2D", "UpBlock2D", "AttnUpBlock2D"])),
            ("up_block_types", json!(["SkipUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"])),
            ("out_channels", json!(4)),
            ("sample_size", json!(-1)),
            ("_class_name", json!("UNet2DConditionModel")),
            ("cross_attention_dim", json!(768)),
        ] {
            let mut other = good.clone();
            other[key] = value;
            assert_eq!(network(&other, "c").unwrap_err().path, key);
        }
    }

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
        let (net, image) = paper();
        let mut map = config(&net, image, 3).as_object().unwrap().clone();
        map.retain(|key, _| !["norm_num_groups", "dropout", "act_fn"].contains(&key.as_str()));
        map.insert("class_embed_type".into(), Value::Null);
        map.insert("_of_another_program".into(), json!(1));
        let read = network(&Value::Object(map.clone()), "c").unwrap().0;
        assert_eq!(read, Network { groups: 32, dropout: 0.0, ..net });
        map.remove("norm_eps");
        assert!(network(&Value::Object(map), "c").unwrap_err().problem.contains("stands for 1e-5"));
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
