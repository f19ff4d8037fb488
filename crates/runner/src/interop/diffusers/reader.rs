//! Keys of one JSON object.

use crate::base::error::ConfigError;
use serde_json::{Map, Value};

/// Reads keys of one JSON object, and complains with their names.
pub struct Reader<'a> {
    pub origin: &'a str,
    pub map: &'a Map<String, Value>,
}

impl Reader<'_> {
    pub fn wrong<T>(&self, key: &str, problem: String) -> Result<T, ConfigError> {
        Err(ConfigError::new(self.origin, key, problem))
    }

    pub fn count(&self, key: &str) -> Result<usize, ConfigError> {
        match self.map.get(key).map(|v| (v, v.as_u64())) {
            Some((_, Some(n))) if n > 0 && n <= 1 << 20 => Ok(n as usize),
            other => self.wrong(key, format!("expected a positive number, got {}", other.map_or("nothing".into(), |o| o.0.to_string()))),
        }
    }

    pub fn list(&self, key: &str) -> Result<&Vec<Value>, ConfigError> {
        match self.map.get(key).and_then(Value::as_array) {
            Some(list) if !list.is_empty() => Ok(list),
            _ => self.wrong(key, "expected a list".into()),
        }
    }
}
