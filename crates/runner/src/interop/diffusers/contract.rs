//! What each key of a diffusers configuration means here: used, one value only, or nothing. Anything else is refused by name, since a key
//! that is passed over may make other samples.

use super::reader::Reader;
use crate::base::error::ConfigError;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a key means here.
#[derive(Clone)]
pub enum Key {
    /// Its value is read.
    Used,
    /// It must have the value `here`; `absent` is what diffusers takes where it is not given.
    Implied {
        /// The only value.
        here: Value,
        /// Their default.
        absent: Value,
    },
    /// It has no influence on what is read here; the reason, and their default, of which nothing need be said.
    Idle(&'static str, Value),
}

/// The keys of a class of diffusers.
pub struct Contract {
    /// The class's name.
    pub class: &'static str,
    /// Every key that is understood. Those that begin with `_` are diffusers' own bookkeeping.
    pub keys: Vec<(&'static str, Key)>,
}

/// A key whose only value is their default too.
fn default(value: Value) -> Key {
    Key::Implied { here: value.clone(), absent: value }
}

fn implied(here: Value, absent: Value) -> Key {
    Key::Implied { here, absent }
}

/// What `EMAModel.save_pretrained` adds to a network's configuration.
const AVERAGE: Key = Key::Idle("of diffusers' moving average", Value::Null);

/// `UNet2DModel`.
pub fn network() -> Contract {
    let keys = vec![
        ("sample_size", Key::Used),
        ("in_channels", Key::Used),
        ("out_channels", Key::Used),
        ("block_out_channels", Key::Used),
        ("layers_per_block", Key::Used),
        ("down_block_types", Key::Used),
        ("up_block_types", Key::Used),
        ("norm_num_groups", Key::Used),
        ("dropout", Key::Used),
        ("center_input_sample", default(json!(false))),
        ("time_embedding_type", default(json!("positional"))),
        ("time_embedding_dim", Key::Used),
        ("freq_shift", implied(json!(1), json!(0))),
        ("flip_sin_to_cos", implied(json!(false), json!(true))),
        ("mid_block_type", default(json!("UNetMidBlock2D"))),
        ("mid_block_scale_factor", default(json!(1))),
        ("downsample_padding", implied(json!(0), json!(1))),
        ("downsample_type", default(json!("conv"))),
        ("upsample_type", default(json!("conv"))),
        ("act_fn", default(json!("silu"))),
        ("attention_head_dim", implied(Value::Null, json!(8))),
        ("attention_legacy_order", default(json!(false))),
        ("attn_norm_num_groups", default(Value::Null)),
        ("norm_eps", implied(json!(1e-6), json!(1e-5))),
        ("resnet_time_scale_shift", default(json!("default"))),
        ("add_attention", default(json!(true))),
        ("class_embed_type", default(Value::Null)),
        ("num_class_embeds", default(Value::Null)),
        ("num_train_timesteps", Key::Idle("of learned time embeddings", Value::Null)),
        ("decay", AVERAGE),
        ("min_decay", AVERAGE),
        ("optimization_step", AVERAGE),
        ("update_after_step", AVERAGE),
        ("use_ema_warmup", AVERAGE),
        ("inv_gamma", AVERAGE),
        ("power", AVERAGE),
    ];
    Contract { class: "UNet2DModel", keys }
}

/// What all schedulers that are read have. A scheduler that was made from another's configuration keeps the other's keys.
fn scheduler(own: [(&'static str, Key); 2]) -> Vec<(&'static str, Key)> {
    let threshold = |value: f64| Key::Idle("of thresholding, which is off", json!(value));
    let common = vec![
        ("num_train_timesteps", Key::Used),
        ("beta_start", Key::Used),
        ("beta_end", Key::Used),
        ("beta_schedule", Key::Used),
        ("prediction_type", Key::Used),
        ("clip_sample", Key::Used),
        ("clip_sample_range", Key::Used),
        ("trained_betas", default(Value::Null)),
        ("predict_epsilon", default(json!(true))),
        ("thresholding", default(json!(false))),
        ("dynamic_thresholding_ratio", threshold(0.995)),
        ("sample_max_value", threshold(1.0)),
        ("rescale_betas_zero_snr", default(json!(false))),
        ("steps_offset", default(json!(0))),
        ("timestep_spacing", Key::Used),
        ("skip_prk_steps", Key::Idle("of another scheduler", Value::Null)),
        ("tensor_format", Key::Idle("of diffusers' first releases", json!("pt"))),
    ];
    [common, own.to_vec()].concat()
}

/// `DDPMScheduler`.
pub fn ddpm() -> Contract {
    let own = [("variance_type", Key::Used), ("set_alpha_to_one", Key::Idle("of another scheduler", json!(true)))];
    Contract { class: "DDPMScheduler", keys: scheduler(own) }
}

/// `DDIMScheduler`.
pub fn ddim() -> Contract {
    let own = [("variance_type", Key::Idle("of another scheduler", Value::Null)), ("set_alpha_to_one", default(json!(true)))];
    Contract { class: "DDIMScheduler", keys: scheduler(own) }
}

impl Contract {
    /// Refuses by name what has another value than here, and what is not understood. Gives the keys that are passed over, with why.
    pub fn check(&self, reader: &Reader) -> Result<Vec<String>, ConfigError> {
        for (key, meaning) in &self.keys {
            let Key::Implied { here, absent } = meaning else { continue };
            match reader.map.get(*key) {
                Some(found) if same(&meant(key, found), here) => {}
                None if same(absent, here) => {}
                None => return reader.wrong(key, format!("expected {here}, got nothing, which stands for {absent}")),
                Some(found) => return reader.wrong(key, format!("expected {here}, got {found}")),
            }
        }
        let mut idle: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        // A key of a later version that is null asks for nothing.
        for (key, value) in reader.map.iter().filter(|(key, value)| !key.starts_with('_') && !value.is_null()) {
            match self.keys.iter().find(|(known, _)| known == key) {
                Some((_, Key::Idle(why, default))) if !same(value, default) => idle.entry(why).or_default().push(key),
                Some(_) => {}
                None => {
                    let known: Vec<&str> = self.keys.iter().map(|(known, _)| *known).collect();
                    let problem = format!("is not understood (it is {value}); known of {} are {}", self.class, known.join(", "));
                    return reader.wrong(key, problem);
                }
            }
        }
        Ok(idle.into_iter().map(|(why, keys)| format!("{} ({why})", keys.join(", "))).collect())
    }
}

/// A value as it is meant: another word for the same function is that function.
fn meant(key: &str, value: &Value) -> Value {
    match (key, value.as_str().map(str::to_lowercase).as_deref()) {
        ("act_fn", Some("swish" | "silu")) => json!("silu"),
        _ => value.clone(),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of every class: another value of an implied one is refused by its name, and so is its absence where their default is
    /// another; idle ones are passed over and told.
    #[test]
    fn every_key_is_kept_to() {
        for contract in [network(), ddpm(), ddim()] {
            let good: serde_json::Map<String, Value> = contract
                .keys
                .iter()
                .filter_map(
                    |(key, meaning)| if let Key::Implied { here, .. } = meaning { Some((key.to_string(), here.clone())) } else { None },
                )
                .collect();
            let check = |map: &serde_json::Map<String, Value>| contract.check(&Reader { origin: "c", map });
            assert!(check(&good).unwrap().is_empty());
            for (key, meaning) in &contract.keys {
                let mut other = good.clone();
                other.insert(key.to_string(), json!(0.123));
                let result = check(&other);
                match meaning {
                    Key::Used => assert!(result.unwrap().is_empty(), "{key}"),
                    Key::Idle(why, default) => {
                        assert_eq!(result.unwrap(), [format!("{key} ({why})")]);
                        other.insert(key.to_string(), default.clone());
                        assert!(check(&other).unwrap().is_empty(), "{key}");
                    }
                    Key::Implied { here, absent } => {
                        assert_eq!(result.unwrap_err().path, *key);
                        // To diffusers null is a value like others.
                        other.insert(key.to_string(), Value::Null);
                        assert_eq!(check(&other).is_ok(), here.is_null(), "{key}");
                        other.remove(*key);
                        match check(&other) {
                            Ok(_) => assert!(same(here, absent), "{key}"),
                            Err(error) => {
                                assert!(
                                    !same(here, absent) && error.path == *key && error.problem.contains(&absent.to_string()),
                                    "{error}"
                                );
                            }
                        }
                    }
                }
            }
            let mut more = good.clone();
            more.insert("_of_another_program".into(), json!(1));
            more.insert("not_set".into(), Value::Null);
            assert!(check(&more).unwrap().is_empty());
            let idle: Vec<&str> = contract.keys.iter().filter(|(_, key)| matches!(key, Key::Idle(..))).map(|(key, _)| *key).collect();
            idle.iter().for_each(|key| drop(more.insert(key.to_string(), json!(0.5))));
            let told = check(&more).unwrap().join(" ");
            assert!(idle.iter().all(|key| told.contains(key)), "{told}");
            more.insert("beta_shedule".into(), json!("linear"));
            let error = check(&more).unwrap_err();
            assert!(error.path == "beta_shedule" && error.problem.contains("is not understood") && error.problem.contains(contract.class));
        }
    }
}
