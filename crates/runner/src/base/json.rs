//! JSON files.

use super::atomic;
use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::Path;

/// Writes `value` as indented JSON.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    atomic::write(path, text.as_bytes())
}

/// Reads JSON; none where there is no file, an error where it is something else.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("{}: cannot be read", path.display())),
    };
    let advice = "is not a record of this version; move its folder away to compute it anew";
    Ok(Some(serde_json::from_str(&text).with_context(|| format!("{}: {advice}", path.display()))?))
}
