//! YAML in and out. The only file that knows the YAML library.

use crate::base::error::ConfigError;
use crate::base::text::unmarked;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// Largest file that is read: an experiment is a page, not a data set.
const MAX_BYTES: usize = 1 << 20;

/// A YAML text as a tree. `origin` names it in errors.
pub fn parse(text: &str, origin: &str) -> Result<Value, ConfigError> {
    let text = unmarked(text);
    if text.len() > MAX_BYTES {
        return Err(ConfigError::new(origin, "", format!("expected at most {MAX_BYTES} bytes of YAML, got {}", text.len())));
    }
    if brackets(text) > DEEPEST {
        return Err(ConfigError::new(origin, "", format!("expected at most {DEEPEST} brackets within each other")));
    }
    // The library's own tree first: it refuses a key that stands twice, where the JSON tree would keep the last.
    let wrong = |e: &dyn std::fmt::Display| ConfigError::new(origin, "", format!("not valid YAML: {e}"));
    let tree: serde_yaml::Value = serde_yaml::from_str(text).map_err(|e| wrong(&e))?;
    if !finite(&tree) {
        return Err(ConfigError::new(origin, "", "a number is infinite or not a number"));
    }
    serde_json::to_value(tree).map_err(|e| wrong(&e))
}

/// Maximum nesting of brackets. The library has its own limit, but its running time is quadratic in the number of open brackets.
const DEEPEST: usize = 64;

/// Most brackets that are open at once, wherever they stand: those in quotes and comments are few.
fn brackets(text: &str) -> usize {
    let (mut open, mut most) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

fn finite(tree: &serde_yaml::Value) -> bool {
    match tree {
        serde_yaml::Value::Number(n) => n.as_f64().is_none_or(f64::is_finite),
        serde_yaml::Value::Sequence(items) => items.iter().all(finite),
        serde_yaml::Value::Mapping(map) => map.iter().all(|(k, v)| finite(k) && finite(v)),
        serde_yaml::Value::Tagged(tagged) => finite(&tagged.value),
        serde_yaml::Value::Null | serde_yaml::Value::Bool(_) | serde_yaml::Value::String(_) => true,
    }
}

/// A YAML file as a tree.
pub fn read(path: &Path) -> Result<Value, ConfigError> {
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| ConfigError::new(&origin, "", format!("cannot be read: {e}")))?;
    match parse(&text, &origin)? {
        Value::Null => Err(ConfigError::new(&origin, "", "expected keys and values, found nothing")),
        tree => Ok(tree),
    }
}

/// A tree as YAML text.
pub fn to_string(value: &impl Serialize) -> String {
    serde_yaml::to_string(value).expect("a configuration has only text keys")
}
