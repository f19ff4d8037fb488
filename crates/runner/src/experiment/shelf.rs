//! Where grids and bases lie, and what there is of them: they are called by their names from anywhere in a repository.

use super::suggest::suggestion;
use crate::base::error::ConfigError;
use std::path::{Path, PathBuf};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// Questions.
    Grids,
    /// Data set, network, budget.
    Bases,
}

impl Shelf {
    fn folder(self) -> &'static str {
        match self {
            Shelf::Grids => "grids",
            Shelf::Bases => "bases",
        }
    }

    fn one(self) -> &'static str {
        match self {
            Shelf::Grids => "grid",
            Shelf::Bases => "base",
        }
    }

    /// The file that `name` stands for: one of that name beside the folder of `near`, else one in `experiments` here or in a folder above, else
    /// a file as it is.
    pub fn find(self, name: &str, near: Option<&Path>) -> Result<PathBuf, ConfigError> {
        if name.ends_with(".yaml") || name.ends_with(".yml") {
            return Ok(name.into());
        }
        let places = self.places(near);
        if let Some(file) = places.iter().map(|place| place.join(format!("{name}.yaml"))).find(|file| file.is_file()) {
            return Ok(file);
        }
        if Path::new(name).is_file() {
            return Ok(name.into());
        }
        let error = |problem: String| Err(ConfigError::new(format!("{} {name}", self.one()).trim(), "", problem));
        if name.is_empty() {
            return error("expected a name or a file, got an empty one: leave it out".into());
        }
        let mut known: Vec<String> = places.iter().flat_map(|place| names(place)).collect();
        known.sort();
        known.dedup();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        match places.first() {
            None => error(format!("expected a file, or a name in {}", self.nowhere())),
            Some(place) => error(format!("expected a file, or a name in {}{}", place.display(), suggestion(name, &known))),
        }
    }

    /// The files of all that have a name, in the order of the alphabet.
    pub fn all(self) -> Result<Vec<PathBuf>, ConfigError> {
        match self.places(None).first() {
            None => Err(ConfigError::new(self.folder(), "", format!("expected some in {}", self.nowhere()))),
            Some(place) => Ok(names(place).into_iter().map(|name| place.join(format!("{name}.yaml"))).collect()),
        }
    }

    fn nowhere(self) -> String {
        format!("experiments/{}, which is neither here nor in a folder above", self.folder())
    }

    /// Folders in which names are looked for.
    fn places(self, near: Option<&Path>) -> Vec<PathBuf> {
        let beside = near.map(|near| near.join("..").join(self.folder()));
        let here = Path::new("experiments").join(self.folder());
        let above = std::env::current_dir().unwrap_or_default();
        let above = above.ancestors().skip(1).map(|dir| dir.join(&here)).collect::<Vec<_>>();
        beside.into_iter().chain([here]).chain(above).filter(|place| place.is_dir()).collect()
    }
}

/// The names of the YAML files in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<String> = files
        .filter(|file| file.extension().is_some_and(|e| e == "yaml"))
        .filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}
