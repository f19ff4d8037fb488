//! Reading a grid file and its base.

use super::base::{Base, Tuned};
use super::cell::Cell;
use super::expand::expand;
use super::grid::GridFile;
use super::shelf::Shelf;
use super::{seeds, strict, study, yaml};
use crate::base::error::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A grid on a base: what `ablate` and `plan` work on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The stems of the grid's file and the base's, with a digest of flags and other seeds where there are any: names the report's folder.
    pub name: String,
    /// The grid file.
    pub file: GridFile,
    /// Its cells, each checked.
    pub cells: Vec<Cell>,
    /// What its base's settings were chosen for; absent where the base does not say.
    #[serde(default)]
    pub tuned: Option<Tuned>,
}

/// The longest name of a folder on the file systems that are in use.
const LONGEST: usize = 255;

impl GridFile {
    /// From its file; what it says of cells is not checked yet.
    pub fn read(path: &Path) -> Result<GridFile, ConfigError> {
        strict::typed(&study::normalised(yaml::read(path)?), &path.display().to_string())
    }
}

impl Experiment {
    /// Reads a grid and its base (a name that [`Shelf::find`] knows, or a path), applies `sets`, and checks every cell.
    pub fn read(grid: &Path, base: Option<&str>, sets: &[String]) -> Result<Experiment, ConfigError> {
        Experiment::with_seeds(grid, base, sets, None)
    }

    /// The same with other seeds than the grid's, where some are given.
    pub fn with_seeds(grid: &Path, base: Option<&str>, sets: &[String], others: Option<&[u64]>) -> Result<Experiment, ConfigError> {
        let origin = grid.display().to_string();
        let mut file = GridFile::read(grid)?;
        let others = others.filter(|others| **others != file.seeds);
        let stem = grid.file_stem().map_or_else(|| "grid".into(), |s| s.to_string_lossy().into_owned());
        let base_name = base.unwrap_or(&file.base);
        let path = Shelf::Bases.find(base_name, Some(grid.parent().unwrap_or(Path::new("."))))?;
        let base = Base::read(&path)?;
        let base_stem = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        let mut name = format!("{stem}-{base_stem}");
        if !sets.is_empty() {
            let digest = blake3::hash(sets.join("\n").as_bytes()).to_hex();
            name = format!("{name}-{}", &digest[..8]);
        }
        if let Some(others) = others {
            file.seeds = others.to_vec();
            name = format!("{name}-seeds-{}", seeds::list(others));
        }
        if name.len() > LONGEST {
            let problem = format!(
                "expected a grid, a base and seeds whose names are together at most {LONGEST} bytes long, got {}: {name}",
                name.len()
            );
            return Err(ConfigError::new(&origin, "", problem));
        }
        let cells = expand(&file, base.tree, &origin, &base.origin, sets)?;
        Ok(Experiment { name, file, cells, tuned: base.tuned })
    }
}
