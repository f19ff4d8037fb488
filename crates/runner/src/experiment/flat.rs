//! A configuration as paths and values, to be compared with another.

use super::cell::brief;
use super::config::Config;
use anyhow::Result;
use ddpm_model::Network;
use serde_json::Value;
use std::collections::BTreeMap;

/// Values in words by their paths.
pub type Values = BTreeMap<String, String>;

/// Every value of a configuration.
pub fn flat(config: &Config) -> Result<Values> {
    let mut values = Values::new();
    flatten("", &serde_json::to_value(config)?, &mut values);
    // What a training keeps, and what is measured beside its end, changes no number of a cell.
    for key in ["training.optimiser.ema_kept", "evaluation.at"] {
        values.remove(key);
    }
    // Keys that are written only where they say something unusual.
    let Network { downsample, upsample, .. } = &config.network;
    for (key, name) in [("downsample", downsample.name()), ("upsample", upsample.name())] {
        values.insert(format!("network.{key}"), name.into());
    }
    Ok(values)
}

/// The leaves of a tree by their paths; a kind stands under the path of what it is the kind of.
fn flatten(path: &str, tree: &Value, values: &mut Values) {
    match tree {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(if key == "kind" { path } else { &inner }, value, values);
            }
        }
        leaf => drop(values.insert(path.into(), brief(leaf))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;

    #[test]
    fn values_stand_under_their_paths() {
        let config = tiny(&few("d", 20, 3), &["objective=vlb", "sampler={kind: ddim, steps: 2}", "network.attention=[]"]).config;
        let values = flat(&config).unwrap();
        let of = |path: &str| values[path].as_str();
        assert_eq!([of("diffusion.objective"), of("sampling.sampler"), of("sampling.sampler.steps")], ["vlb", "ddim", "2"]);
        assert_eq!([of("network.attention"), of("network.downsample"), of("network.upsample")], ["[]", "conv", "nearest-conv"]);
        // Whatever a network can have is there, written or not.
        let schema = serde_json::to_value(schemars::schema_for!(Network)).unwrap();
        for key in schema["properties"].as_object().unwrap().keys() {
            assert!(values.contains_key(&format!("network.{key}")), "{key} is missing");
        }
        let along = [
            "objective=vlb",
            "sampler={kind: ddim, steps: 2}",
            "network.attention=[]",
            "evaluation.at=[3]",
            "training.optimiser.ema_kept=[0.5, 0.9]",
        ];
        assert_eq!(flat(&tiny(&few("d", 20, 3), &along).config).unwrap(), values);
        let other = tiny(&few("d", 20, 3), &["downsample=max-pool", "upsample=transposed-conv"]).config;
        assert_eq!(flat(&other).unwrap()["network.downsample"], "max-pool");
        assert_eq!(flat(&other).unwrap()["network.upsample"], "transposed-conv");
    }
}
