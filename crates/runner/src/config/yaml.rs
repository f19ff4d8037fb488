//! YAML in and out. The only file that knows the YAML library.

use super::ConfigError;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// Largest file that is read: an experiment is a page, not a data set.
const MAX_BYTES: usize = 1 << 20;

/// A YAML text as a tree. `origin` names it in errors.
pub fn parse(text: &str, origin: &str) -> Result<Value, ConfigError> {
    if text.len() > MAX_BYTES {
        return Err(ConfigError::new(origin, "", format!("expected at most {MAX_BYTES} bytes of YAML, got {}", text.len())));
    }
    serde_yaml::from_str(text).map_err(|e| ConfigError::new(origin, "", format!("not valid YAML: {e}")))
}

/// A YAML file as a tree.
pub fn read(path: &Path) -> Result<Value, ConfigError> {
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| ConfigError::new(&origin, "", format!("cannot be read: {e}")))?;
    parse(&text, &origin)
}

/// A tree as YAML text.
pub fn to_string(value: &impl Serialize) -> String {
    serde_yaml::to_string(value).expect("a configuration has only text keys")
}
