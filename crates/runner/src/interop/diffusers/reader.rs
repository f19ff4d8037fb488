//! Keys of one JSON object.

use crate::base::error::ConfigError;
use serde_json::{Map, Value};

/// Reads keys of one JSON object, and complains with their names. A key that is absent has the default that is given with it;
/// one that is null does not, as in diffusers.
pub struct Reader<'a> {
    pub origin: &'a str,
    pub map: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    /// Of `config`, which must be an object.
    pub fn of(config: &'a Value, origin: &'a str) -> Result<Reader<'a>, ConfigError> {
        match config.as_object() {
            Some(map) => Ok(Reader { origin, map }),
            None => Err(ConfigError::new(origin, "", "expected an object")),
        }
    }

    pub fn wrong<T>(&self, key: &str, problem: String) -> Result<T, ConfigError> {
        Err(ConfigError::new(self.origin, key, problem))
    }

    /// A value of a type, by what JSON says of it.
    fn typed<T>(&self, key: &str, default: T, expected: &str, of: impl Fn(&'a Value) -> Option<T>) -> Result<T, ConfigError> {
        match self.map.get(key) {
            None => Ok(default),
            Some(value) => of(value).map_or_else(|| self.wrong(key, format!("expected {expected}, got {value}")), Ok),
        }
    }

    pub fn number(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        self.typed(key, default, "a number", Value::as_f64)
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        self.typed(key, default, "true or false", Value::as_bool)
    }

    pub fn word(&self, key: &str, default: &'a str) -> Result<&'a str, ConfigError> {
        self.typed(key, default, "a word in quotes", Value::as_str)
    }

    pub fn count(&self, key: &str, default: Option<usize>) -> Result<usize, ConfigError> {
        match (self.map.get(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => self.wrong(key, "expected a positive number, got nothing".into()),
            (Some(value), _) => counted(value).map_or_else(|| self.wrong(key, format!("expected a positive number, got {value}")), Ok),
        }
    }

    pub fn list(&self, key: &str) -> Result<&'a Vec<Value>, ConfigError> {
        match self.map.get(key).and_then(Value::as_array) {
            Some(list) if !list.is_empty() => Ok(list),
            _ => self.wrong(key, format!("expected a list, got {}", self.map.get(key).map_or("nothing".into(), Value::to_string))),
        }
    }
}

/// A positive number of something that is counted.
pub fn counted(value: &Value) -> Option<usize> {
    value.as_u64().filter(|n| *n > 0 && *n <= 1 << 20).map(|n| n as usize)
}
