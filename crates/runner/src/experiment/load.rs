//! Reading a grid file and its base.

use super::cell::Cell;
use super::expand::expand;
use super::grid::GridFile;
use super::{strict, study, yaml};
use crate::base::error::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A grid on a base: what `ablate` and `plan` work on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The grid file's stem and, where it is not the grid's own, the base's: names the report's folder.
    pub name: String,
    /// The grid file.
    pub file: GridFile,
    /// Its cells, each checked.
    pub cells: Vec<Cell>,
}

/// The longest name of a folder on the file systems that are in use.
const LONGEST: usize = 255;

/// The file of a base: a file as it is, else a name in the folder `bases` beside `grids`, else one in `experiments/bases`.
pub fn base_file(name: &str, grids: &Path) -> Result<PathBuf, ConfigError> {
    if name.ends_with(".yaml") || name.ends_with(".yml") {
        return Ok(name.into());
    }
    let folders = [grids.join("../bases"), PathBuf::from("experiments/bases")];
    if let Some(file) = folders.iter().map(|folder| folder.join(format!("{name}.yaml"))).find(|file| file.is_file()) {
        return Ok(file);
    }
    let folder = folders.iter().find(|folder| folder.is_dir()).unwrap_or(&folders[0]);
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<String> = files
        .filter(|file| file.extension().is_some_and(|e| e == "yaml"))
        .filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let there = if names.is_empty() { "none there".to_string() } else { names.join(", ") };
    Err(ConfigError::new(&format!("base {name}"), "", format!("expected a file, or a name in {}: {there}", folder.display())))
}

impl Experiment {
    /// Reads a grid and its base (a name of `bases` beside the grid's folder, or a path), applies `sets`, and checks every cell.
    pub fn read(grid: &Path, base: Option<&str>, sets: &[String]) -> Result<Experiment, ConfigError> {
        let origin = grid.display().to_string();
        let file: GridFile = strict::typed(&study::normalised(yaml::read(grid)?), &origin)?;
        let stem = grid.file_stem().map_or_else(|| "grid".into(), |s| s.to_string_lossy().into_owned());
        let base_name = base.unwrap_or(&file.base);
        let path = base_file(base_name, grid.parent().unwrap_or(Path::new(".")))?;
        let tree = yaml::read(&path)?;
        let base_stem = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        let mut name = format!("{stem}-{base_stem}");
        if !sets.is_empty() {
            let digest = blake3::hash(sets.join("\n").as_bytes()).to_hex();
            name = format!("{name}-{}", &digest[..8]);
        }
        if name.len() > LONGEST {
            let problem =
                format!("expected a grid and a base whose names are together at most {LONGEST} bytes long, got {}: {name}", name.len());
            return Err(ConfigError::new(&origin, "", problem));
        }
        let cells = expand(&file, tree, &origin, &path.display().to_string(), sets)?;
        Ok(Experiment { name, file, cells })
    }
}
