//! A cell of a grid, and the conditions by which a grid file names cells.

use super::config::Config;
use super::paths::{full, set};
use super::suggest::join;
use crate::base::error::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Paths of what every reader of the field knows by its values' names.
const SPEAKING: [&str; 5] = ["diffusion.prediction", "diffusion.objective", "diffusion.variance", "diffusion.schedule", "sampling.sampler"];

/// One configuration of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What varies: (short name, value as typed), in the order of the grid.
    pub axes: Vec<(String, Value)>,
    /// The whole configuration.
    pub config: Config,
}

impl Cell {
    /// What varies, in words: `eps, vlb, learned`, and with its name where the value alone says little: `eps, dropout=0.1`.
    pub fn label(&self) -> String {
        label(&self.axes)
    }

    /// The value of one of the names that vary, in words; empty where this cell leaves it to the base.
    pub fn value(&self, name: &str) -> String {
        self.axes.iter().find(|(n, _)| n == name).map_or_else(String::new, |(_, v)| brief(v))
    }
}

/// What values of axes are called.
pub fn label(axes: &[(String, Value)]) -> String {
    let word = |(name, value): &(String, Value)| {
        let is_bare = matches!(value, Value::Number(_) | Value::Bool(_) | Value::Null);
        let is_silent = full(name).is_ok_and(|path| !SPEAKING.contains(&&*path));
        if is_bare || is_silent { format!("{name}={}", brief(value)) } else { brief(value) }
    };
    let words: Vec<String> = axes.iter().map(word).collect();
    if words.is_empty() { "the base".into() } else { words.join(", ") }
}

/// A typed value in a few words.
pub fn brief(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Object(map) => {
            let kind = map.get("kind").map(brief);
            let rest = map.iter().filter(|(k, _)| *k != "kind").map(|(k, v)| format!("{k}={}", brief(v)));
            kind.into_iter().chain(rest).collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => format!("[{}]", items.iter().map(brief).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

/// What is in a configuration, in a few words.
pub fn in_words(value: &impl Serialize) -> String {
    serde_json::to_value(value).map_or_else(|_| String::new(), |value| brief(&value))
}

/// The entries of a map with their full paths.
pub fn condition(map: &Map<String, Value>, place: &str, origin: &str) -> Result<Vec<(String, Value)>, ConfigError> {
    if map.is_empty() {
        return Err(ConfigError::new(origin, place, "expected at least one key"));
    }
    map.iter().map(|(name, value)| Ok((full(name).map_err(|p| ConfigError::new(origin, &join(place, name), p))?, value.clone()))).collect()
}

/// Whether all values of `condition` are among what is set. Kinds may be written alone on either side.
pub fn agrees(condition: &[(String, Value)], sets: &[&(String, Value)]) -> bool {
    let same = |a: &Value, b: &Value| a == b || brief(a) == brief(b);
    condition.iter().all(|(path, value)| sets.iter().any(|(p, v)| p == path && same(v, value)))
}

/// Whether a cell has all the values that a published row names, by full path.
pub fn belongs(cell: &Cell, wanted: &[(String, Value)]) -> bool {
    let sets: Vec<(String, Value)> = cell.axes.iter().map(|(name, v)| (full(name).unwrap_or_else(|_| name.clone()), v.clone())).collect();
    agrees(wanted, &sets.iter().collect::<Vec<_>>())
}

/// Whether a cell has all the values of a condition; the file has been checked.
pub fn agrees_with(cell: &Cell, wanted: &Map<String, Value>) -> bool {
    condition(wanted, "", "").is_ok_and(|wanted| belongs(cell, &wanted))
}

/// Whether a configuration has all these values already, those that the base brought as well.
pub fn agrees_in_all(config: &Config, wanted: &Map<String, Value>) -> bool {
    let with = || {
        let mut tree = serde_json::to_value(config).ok()?;
        for (path, value) in condition(wanted, "", "").ok()? {
            set(&mut tree, &path, value, "").ok()?;
        }
        Config::checked(&tree, "").ok()
    };
    with().is_some_and(|with| with == *config)
}
