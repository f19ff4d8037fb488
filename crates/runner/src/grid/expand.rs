//! The expansion of a grid: pure, ordered (last axis fastest), capped.

use super::GridFile;
use crate::config::paths::{full, set, short};
use crate::config::strict::join;
use crate::config::{Config, ConfigError, yaml};
use serde_json::{Map, Value};

/// Most jobs that a grid may have.
pub const MAX_JOBS: usize = 10_000;

/// One configuration of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What varies: (short name, value as typed), in the order of the grid.
    pub axes: Vec<(String, Value)>,
    /// The whole configuration.
    pub config: Config,
}

impl Cell {
    /// What varies, in words: `eps, vlb, learned`.
    pub fn label(&self) -> String {
        let words: Vec<String> = self.axes.iter().map(|(_, v)| words(v)).collect();
        if words.is_empty() { "the base".into() } else { words.join(", ") }
    }

    /// The value of one of the names that vary, in words; empty where this cell leaves it to the base.
    pub fn value(&self, name: &str) -> String {
        self.axes.iter().find(|(n, _)| n == name).map_or_else(String::new, |(_, v)| words(v))
    }
}

/// A typed value in a few words.
pub fn words(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Object(map) => {
            let kind = map.get("kind").map(words);
            let rest = map.iter().filter(|(k, _)| *k != "kind").map(|(k, v)| format!("{k}={}", words(v)));
            kind.into_iter().chain(rest).collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => format!("[{}]", items.iter().map(words).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

/// One value of an axis: what it sets, and where it stands in the file.
struct Choice {
    sets: Vec<(String, Value)>,
    place: String,
}

/// The cells of `file` over the base's `tree`, each checked. Errors say where the value stands.
pub fn expand(file: &GridFile, tree: Value, origin: &str, base: &str, flags: &[String]) -> Result<Vec<Cell>, ConfigError> {
    let at = |path: String, problem: String| ConfigError::new(origin, &path, problem);
    if file.seeds.is_empty() {
        return Err(at("seeds".into(), "expected at least one".into()));
    }
    let mut seeds = file.seeds.clone();
    seeds.sort_unstable();
    if let Some(pair) = seeds.windows(2).find(|w| w[0] == w[1]) {
        return Err(at("seeds".into(), format!("{} stands twice", pair[0])));
    }
    let mut shared = tree;
    // The base by itself first, so that its own mistakes are reported under its own name.
    Config::checked(&shared, base)?;
    for (name, value) in &file.set {
        let path = full(name).map_err(|problem| at(join("set", name), problem))?;
        set(&mut shared, &path, value.clone(), origin)?;
    }
    let axes = file.grid.iter().map(|(name, values)| choices(name, values, origin)).collect::<Result<Vec<_>, _>>()?;
    let product = axes.iter().try_fold(file.seeds.len(), |n, axis| n.checked_mul(axis.len())).filter(|n| *n <= MAX_JOBS);
    if product.is_none() {
        let sizes: Vec<String> = axes.iter().map(|a| a.len().to_string()).collect();
        let problem = format!("{} values times {} seeds are more than {MAX_JOBS} jobs: split the grid", sizes.join(" x "), seeds.len());
        return Err(at("grid".into(), problem));
    }
    let excluded =
        file.exclude.iter().enumerate().map(|(i, m)| condition(m, &format!("exclude[{i}]"), origin)).collect::<Result<Vec<_>, _>>()?;
    let mut cells = Vec::new();
    let mut places = vec![0; axes.len()];
    loop {
        let chosen: Vec<&Choice> = axes.iter().zip(&places).map(|(axis, i)| &axis[*i]).collect();
        let sets: Vec<&(String, Value)> = chosen.iter().flat_map(|c| &c.sets).collect();
        if !excluded.iter().any(|condition| agrees(condition, &sets)) {
            cells.push(cell(&shared, &chosen, origin, flags)?);
        }
        // An odometer: the last axis turns fastest.
        let Some(turned) = (0..axes.len()).rev().find(|&i| places[i] + 1 < axes[i].len()) else { break };
        places[turned] += 1;
        places[turned + 1..].fill(0);
    }
    if cells.is_empty() {
        return Err(at("exclude".into(), "leaves no cell".into()));
    }
    Ok(cells)
}

fn cell(shared: &Value, chosen: &[&Choice], origin: &str, flags: &[String]) -> Result<Cell, ConfigError> {
    let mut tree = shared.clone();
    let mut axes = Vec::new();
    for choice in chosen {
        for (path, value) in &choice.sets {
            set(&mut tree, path, value.clone(), origin)?;
            axes.push((short(path), value.clone()));
        }
    }
    for flag in flags {
        let wrong = |problem: String| ConfigError::new(&format!("--set {flag}"), "", problem);
        let (name, value) = flag.split_once('=').ok_or_else(|| wrong("expected path=value".into()))?;
        let path = full(name.trim()).map_err(wrong)?;
        set(&mut tree, &path, yaml::parse(value, &format!("--set {flag}"))?, &format!("--set {flag}"))?;
    }
    let config = Config::checked(&tree, origin).map_err(|error| locate(error, chosen, flags))?;
    Ok(Cell { axes, config })
}

/// An error in the resolved configuration as one in the file, where an axis or a flag brought the value.
fn locate(error: ConfigError, chosen: &[&Choice], flags: &[String]) -> ConfigError {
    for flag in flags {
        let path = flag.split_once('=').and_then(|(name, _)| full(name.trim()).ok());
        if path.is_some_and(|path| inside(&error.path, &path)) {
            return ConfigError { origin: format!("--set {flag}"), ..error };
        }
    }
    for choice in chosen {
        for (path, _) in &choice.sets {
            if inside(&error.path, path) {
                let rest = &error.path[path.len()..];
                let name = if choice.sets.len() == 1 && !choice.place.contains(".*") { String::new() } else { format!(".{}", short(path)) };
                return ConfigError { path: format!("{}{name}{rest}", choice.place.replace(".*", "")), ..error };
            }
        }
    }
    error
}

fn inside(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

/// An axis's values. A name that is no path may hold maps, each of which sets several paths at once.
fn choices(name: &str, values: &Value, origin: &str) -> Result<Vec<Choice>, ConfigError> {
    let place = join("grid", name);
    let error = |place: &str, problem: String| ConfigError::new(origin, place, problem);
    let values =
        values.as_array().filter(|v| !v.is_empty()).ok_or_else(|| error(&place, "expected a list of at least one value".into()))?;
    match full(name) {
        Ok(path) => Ok(values
            .iter()
            .enumerate()
            .map(|(i, value)| Choice { sets: vec![(path.clone(), value.clone())], place: format!("{place}[{i}]") })
            .collect()),
        Err(problem) => values
            .iter()
            .enumerate()
            .map(|(i, value)| {
                let here = format!("{place}[{i}]");
                let map = value.as_object().ok_or_else(|| error(&place, problem.clone()))?;
                Ok(Choice { sets: condition(map, &here, origin)?, place: format!("{here}.*") })
            })
            .collect(),
    }
}

/// The entries of a map with their full paths.
fn condition(map: &Map<String, Value>, place: &str, origin: &str) -> Result<Vec<(String, Value)>, ConfigError> {
    if map.is_empty() {
        return Err(ConfigError::new(origin, place, "expected at least one key"));
    }
    map.iter().map(|(name, value)| Ok((full(name).map_err(|p| ConfigError::new(origin, &join(place, name), p))?, value.clone()))).collect()
}

/// Whether all values of `condition` are among what is set. Kinds may be written alone on either side.
fn agrees(condition: &[(String, Value)], sets: &[&(String, Value)]) -> bool {
    let same = |a: &Value, b: &Value| a == b || words(a) == words(b);
    condition.iter().all(|(path, value)| sets.iter().any(|(p, v)| p == path && same(v, value)))
}

/// Whether a cell has all the values that a published row names.
pub fn belongs(cell: &Cell, row: &Map<String, Value>) -> bool {
    let sets: Vec<(String, Value)> = cell.axes.iter().map(|(name, v)| (full(name).unwrap_or_else(|_| name.clone()), v.clone())).collect();
    let wanted = condition(row, "", "").unwrap_or_default();
    !wanted.is_empty() && agrees(&wanted, &sets.iter().collect::<Vec<_>>())
}
