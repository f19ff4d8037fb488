//! Trained networks that come with the program.

use crate::base::error::ConfigError;
use std::path::Path;

/// What stands before a network's name where a command takes a checkpoint.
const PREFIX: &str = "pretrained:";

/// By name: a file of `ddpm export average`.
const NETWORKS: [(&str, &[u8]); 2] = [
    // The best cell of results/reference/table2-fashion-cpu-seeds-0-2, at seed 0.
    ("fashion", include_bytes!("../../data/pretrained/fashion.safetensors")),
    // The same in single pixels in place of blocks, for which other programs have no word.
    ("fashion-pixels", include_bytes!("../../data/pretrained/fashion-pixels.safetensors")),
];

/// The file that `path` names, where it is `pretrained:NAME` and no path at all.
pub fn pretrained(path: &Path) -> Result<Option<&'static [u8]>, ConfigError> {
    let Some(name) = path.to_str().and_then(|path| path.strip_prefix(PREFIX)) else { return Ok(None) };
    match NETWORKS.iter().find(|(there, _)| *there == name) {
        Some((_, bytes)) => Ok(Some(bytes)),
        None => {
            let names = NETWORKS.map(|(there, _)| format!("{PREFIX}{there}")).join(" or ");
            Err(ConfigError::new(&path.display().to_string(), "", format!("expected {names}, or a checkpoint's path")))
        }
    }
}
