//! Reading a base: a configuration, and what its settings were chosen for.

use super::cell::condition;
use super::config::{Config, RawConfig};
use super::{paths, schema, strict, yaml};
use crate::base::error::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// What a base holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// The configuration, as typed.
    pub tree: Value,
    /// What its settings were chosen for, where it says so.
    pub tuned: Option<Tuned>,
    /// Its file.
    pub origin: String,
}

/// How settings were chosen, where by trying: others than those that they were chosen for may do better with settings of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tuned {
    /// What was tried: values by path.
    pub on: Map<String, Value>,
    /// Which settings were chosen, among how many, by what.
    pub how: String,
}

/// The key of [`Tuned`] in a base's file, beside the sections of the configuration.
const TUNED: &str = "tuned";

impl Base {
    /// From its file.
    pub fn read(path: &Path) -> Result<Base, ConfigError> {
        Base::of(yaml::read(path)?, path.display().to_string())
    }

    /// From a file's tree.
    pub fn of(mut tree: Value, origin: String) -> Result<Base, ConfigError> {
        let Some(tuned) = tree.as_object_mut().and_then(|map| map.remove(TUNED)) else { return Ok(Base { tree, tuned: None, origin }) };
        let within = |error: ConfigError| ConfigError { path: super::suggest::join(TUNED, &error.path), ..error };
        let tuned: Tuned = strict::typed(&tuned, &origin).map_err(within)?;
        let mut tried = tree.clone();
        for (path, value) in condition(&tuned.on, "tuned.on", &origin)? {
            paths::set(&mut tried, &path, value, &origin)?;
        }
        // What was tried is a configuration, if the base itself is one.
        if Config::checked(&tree, &origin).is_ok() {
            Config::checked(&tried, &origin).map_err(|error| ConfigError { path: format!("tuned.on: {}", error.path), ..error })?;
        }
        Ok(Base { tree, tuned: Some(tuned), origin })
    }

    /// JSON Schema of its file.
    pub fn schema() -> Value {
        let mut all = schema::of::<RawConfig>().clone();
        let mut tuned = schema::of::<Tuned>().clone();
        if let (Some(properties), Some(tuned)) = (all.pointer_mut("/properties").and_then(Value::as_object_mut), tuned.as_object_mut()) {
            tuned.retain(|key, _| !["$schema", "title"].contains(&key.as_str()));
            properties.insert(TUNED.into(), Value::Object(tuned.clone()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn smoke() -> Value {
        yaml::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/bases/fashion-smoke.yaml"))).unwrap()
    }

    #[test]
    fn what_a_base_was_tuned_for_is_no_part_of_its_configuration() {
        let mut tree = smoke();
        assert_eq!(Base::of(tree.clone(), "b".into()).unwrap(), Base { tree: smoke(), tuned: None, origin: "b".into() });
        tree["tuned"] = json!({ "on": { "prediction": "mu", "network.dropout": 0.2 }, "how": "by hand" });
        let base = Base::of(tree.clone(), "b".into()).unwrap();
        assert_eq!((base.tree, base.tuned.unwrap().how.as_str()), (smoke(), "by hand"));
        let schema = schema::as_typed(&Base::schema());
        assert_eq!(schema::check(&schema, &tree), Ok(()));
        for (key, value, expected) in [
            (
                "on",
                json!({ "predictoin": "mu" }),
                "b: tuned.on.predictoin: neither an axis nor a path of the configuration (did you mean prediction?)",
            ),
            ("on", json!({ "prediction": "my" }), "b: tuned.on: diffusion.prediction: unknown name my (did you mean mu?)"),
            ("on", json!({}), "b: tuned.on: expected at least one key"),
            ("how", json!(3), "b: tuned.how: expected a text, got 3"),
            ("by", json!("x"), "b: tuned.by: unknown key (did you mean on?)"),
        ] {
            let mut wrong = tree.clone();
            wrong["tuned"][key] = value;
            assert_eq!(Base::of(wrong, "b".into()).unwrap_err().to_string(), expected);
        }
    }
}
