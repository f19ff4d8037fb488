//! Folders of the Python library diffusers: `config.json`, `diffusion_pytorch_model.safetensors` (or `.bin`), `scheduler_config.json`.
//!
//! Their configuration has many keys; those that make another network than the authors' are errors, with what was expected.

mod network;
mod scheduler;

pub use network::{config, network};
pub use scheduler::{scheduler, scheduler_config};

use crate::base::error::ConfigError;
use serde_json::{Map, Value};

/// Files of a folder, in the order in which they are looked for.
pub const WEIGHTS: [&str; 2] = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];

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
