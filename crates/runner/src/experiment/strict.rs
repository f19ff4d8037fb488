//! From a tree to a typed value, with the path of whatever does not fit and the nearest valid name.

use crate::base::error::ConfigError;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The typed value of `tree`. An unknown key, a wrong type or an unknown name is an error with its full path.
pub fn typed<T: DeserializeOwned>(tree: &Value, origin: &str) -> Result<T, ConfigError> {
    let (path, message) = match attempt::<T>(tree) {
        Ok(value) => return Ok(value),
        Err(complaint) => complaint,
    };
    // Inside a value chosen by its `kind` serde loses the path: find the key without which the complaint is another.
    let path = blame::<T>(tree, &path, &message).unwrap_or(path);
    let (path, problem) = explain(&path, &message);
    Err(ConfigError::new(origin, &path, problem))
}

fn attempt<T: DeserializeOwned>(tree: &Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(tree).map_err(|e| {
        let path = match e.path().to_string() {
            dot if dot == "." => String::new(),
            path => path,
        };
        (path, e.into_inner().to_string())
    })
}

fn blame<T: DeserializeOwned>(tree: &Value, path: &str, message: &str) -> Option<String> {
    let pointer: String = path.split('.').filter(|p| !p.is_empty()).map(|p| format!("/{p}")).collect();
    let map = tree.pointer(&pointer)?.as_object()?;
    if !map.contains_key("kind") || message.starts_with("unknown field") || message.starts_with("missing field") {
        return None;
    }
    let culprit = map.keys().filter(|key| message.starts_with("unknown variant") == (*key == "kind")).find(|key| {
        let mut without = tree.clone();
        if let Some(map) = without.pointer_mut(&pointer).and_then(Value::as_object_mut) {
            map.remove(*key);
        }
        attempt::<T>(&without).err().is_none_or(|(_, other)| other != message)
    })?;
    Some(join(path, culprit))
}

/// serde's words as ours, with the unknown key moved into the path.
fn explain(path: &str, message: &str) -> (String, String) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if let (true, Some((name, known))) = (message.starts_with("unknown field"), quoted.split_first()) {
        let path = if path == *name || path.ends_with(&format!(".{name}")) { path.to_string() } else { join(path, name) };
        return (path, format!("unknown key{}", suggestion(name, known)));
    }
    if let (true, Some((name, known))) = (message.starts_with("unknown variant"), quoted.split_first()) {
        return (path.to_string(), format!("unknown name {name}{}", suggestion(name, known)));
    }
    if let (true, Some(name)) = (message.starts_with("missing field"), quoted.first()) {
        return (join(path, name), "is missing".into());
    }
    (path.to_string(), message.to_string())
}

/// The nearest known name, or all of them.
pub fn suggestion(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|k| (strsim::damerau_levenshtein(name, k), *k)).min();
    match nearest {
        Some((distance, near)) if distance <= 2.max(name.len() / 3) => format!(" (did you mean {near}?)"),
        Some(_) => format!(" (known: {})", known.join(", ")),
        None => " (no key is known here)".into(),
    }
}

/// A path with one more key.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}
