//! Paths in a configuration: short names for the usual axes, values that may be written short, and setting one by its path.

use super::suggest::{join, suggestion};
use super::yaml;
use crate::base::error::ConfigError;
use serde_json::{Map, Value, json};

/// Short names of the usual axes.
const SHORT: [(&str, &str); 20] = [
    ("prediction", "diffusion.prediction"),
    ("variance", "diffusion.variance"),
    ("objective", "diffusion.objective"),
    ("space", "diffusion.objective.space"),
    ("weight", "diffusion.objective.weight"),
    ("schedule", "diffusion.schedule"),
    ("timesteps", "diffusion.timesteps"),
    ("beta_scale", "diffusion.beta_scale"),
    ("sampler", "sampling.sampler"),
    ("features", "evaluation.features"),
    ("skips", "network.skips"),
    ("time_embedding", "network.time_embedding"),
    ("downsample", "network.downsample"),
    ("upsample", "network.upsample"),
    ("attention", "network.attention"),
    ("channels", "network.channels"),
    ("dropout", "network.dropout"),
    ("steps", "training.steps"),
    ("learning_rate", "training.optimiser.learning_rate"),
    ("ema_decay", "training.optimiser.ema_decay"),
];

/// Values chosen by their `kind`, which may be written as the kind alone where its other keys have defaults.
const BY_KIND: [&str; 7] = [
    "data",
    "data.transform",
    "diffusion.schedule",
    "diffusion.objective",
    "diffusion.objective.weight",
    "sampling.sampler",
    "evaluation.features",
];

/// The sections of a configuration.
const SECTIONS: [&str; 6] = ["data", "diffusion", "network", "training", "sampling", "evaluation"];

/// Most keys of a path; configurations are a few deep.
const DEEPEST: usize = 16;

/// The full path that `name` stands for, where it is a short name or begins with a section; else what it may have meant.
pub fn full(name: &str) -> Result<String, String> {
    if let Some((_, path)) = SHORT.iter().find(|(short, _)| *short == name) {
        return Ok(path.to_string());
    }
    if name.split('.').count() > DEEPEST {
        return Err(format!("expected a path of at most {DEEPEST} keys"));
    }
    if SECTIONS.contains(&name.split('.').next().unwrap_or_default()) {
        return Ok(name.to_string());
    }
    let known: Vec<&str> = SHORT.iter().map(|(short, _)| *short).collect();
    Err(format!("neither an axis nor a path of the configuration{}", suggestion(name, &known)))
}

/// A name for tables: the short one where there is one.
pub fn short(path: &str) -> String {
    SHORT.iter().find(|(_, full)| *full == path).map_or(path, |(short, _)| short).to_string()
}

/// What a flag `path=value` sets: the full path and the value, read as YAML.
pub fn flag(text: &str) -> Result<(String, Value), ConfigError> {
    let origin = format!("--set {text}");
    let wrong = |problem: String| ConfigError::new(&origin, "", problem);
    let (name, value) = text.split_once('=').ok_or_else(|| wrong("expected path=value".into()))?;
    Ok((full(name.trim()).map_err(wrong)?, yaml::parse(value, &origin)?))
}

/// Whether `path` is `prefix` or leads on from it.
pub fn inside(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Sets the value at `path`, making maps on the way. Errors where the way leads through something that is not a map.
pub fn set(tree: &mut Value, path: &str, value: Value, origin: &str) -> Result<(), ConfigError> {
    let mut at = tree;
    let mut walked = String::new();
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().expect("split gives at least one piece");
    for key in keys {
        walked = join(&walked, key);
        at = as_map(at, origin, path)?.entry(key).or_insert_with(|| json!({}));
        // A kind written alone becomes a map before a key is added to it.
        if let (true, Value::String(kind)) = (BY_KIND.contains(&walked.as_str()), &*at) {
            *at = json!({ "kind": kind });
        }
    }
    as_map(at, origin, path)?.insert(last.to_string(), value);
    Ok(())
}

fn as_map<'a>(value: &'a mut Value, origin: &str, path: &str) -> Result<&'a mut Map<String, Value>, ConfigError> {
    value.as_object_mut().ok_or_else(|| ConfigError::new(origin, path, "leads through a value that has no keys"))
}

/// The tree with every kind that was written alone as a map.
pub fn normalised(tree: &Value) -> Value {
    let mut tree = tree.clone();
    for path in BY_KIND {
        let pointer = format!("/{}", path.replace('.', "/"));
        if let Some(value) = tree.pointer_mut(&pointer)
            && let Value::String(kind) = &*value
        {
            *value = json!({ "kind": kind });
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_an_end() {
        let path = |keys: usize| format!("data{}", ".a".repeat(keys - 1));
        assert_eq!(full(&path(DEEPEST)).unwrap(), path(DEEPEST));
        assert!(full(&path(DEEPEST + 1)).unwrap_err().contains("at most 16 keys"));
    }
}
