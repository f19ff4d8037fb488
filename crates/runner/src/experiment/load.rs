//! Reading a grid file and its base.

use super::base::{Base, Tuned};
use super::cell::Cell;
use super::choice::{Candidate, Choice};
use super::claim::Claim;
use super::config::{Config, RawConfig};
use super::expand::{expand, share_averages};
use super::grid::GridFile;
use super::shelf::Shelf;
use super::tune::Tune;
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
    /// What each cell's own settings were chosen among, in the cells' order; empty where the grid tunes none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// What its cells are candidates for, where they are.
    #[serde(skip)]
    pub aim: Option<Box<Aim>>,
}

/// What candidates are tried for: the experiment as its file asks it, each cell still as all its candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct Aim {
    name: String,
    file: GridFile,
    tune: Tune,
    cells: Vec<Cell>,
}

impl Aim {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is claimed of its cells.
    pub fn claims(&self) -> &[Claim] {
        &self.file.claims
    }

    /// What is tried, and by what score it is chosen.
    pub fn tune(&self) -> &Tune {
        &self.tune
    }
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
    /// Of cells that are known, on a base that does not say what it was tuned for.
    pub fn new(name: &str, file: GridFile, cells: Vec<Cell>) -> Experiment {
        Experiment { name: name.into(), file, cells, tuned: None, choices: Vec::new(), aim: None }
    }

    /// Reads a grid and its base (a name that [`Shelf::find`] knows, or a path), applies `sets`, and checks every cell. Of a grid that tunes its
    /// cells it is the experiment that tries their candidates: [`Experiment::chosen`] is what follows.
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
        // What is chosen is the same whatever seeds are reported.
        let tuning = format!("{name}-tuning");
        if let Some(others) = others {
            file.seeds = others.to_vec();
            name = format!("{name}-seeds-{}", seeds::list(others));
        }
        let names = [Some(&name), file.tune.as_ref().map(|_| &tuning)];
        if let Some(long) = names.into_iter().flatten().find(|name| name.len() > LONGEST) {
            let n = long.len();
            let problem =
                format!("expected a grid, a base and seeds whose names are together at most {LONGEST} bytes long, got {n}: {long}");
            return Err(ConfigError::new(&origin, "", problem));
        }
        let cells = expand(&file, base.tree, &origin, &base.origin, sets)?;
        let whole = Experiment { tuned: base.tuned, ..Experiment::new(&name, file, cells) };
        match whole.file.tune.clone() {
            None => Ok(Experiment { cells: share_averages(whole.cells, &origin)?, ..whole }),
            Some(tune) => whole.candidates(tune, tuning, &origin),
        }
    }

    /// The experiment `name` that tries the candidates which its cells are. They are scored where their training ends, and nowhere else.
    fn candidates(self, tune: Tune, name: String, origin: &str) -> Result<Experiment, ConfigError> {
        let Experiment { name: aimed_at, file, cells, tuned, .. } = self;
        let at_the_end = |cell: &Cell| {
            let mut raw = RawConfig::from(cell.config.clone());
            raw.evaluation.at.clear();
            Ok(Cell { axes: cell.axes.clone(), config: Config::new(raw, origin)? })
        };
        let tried = share_averages(cells.iter().map(at_the_end).collect::<Result<_, ConfigError>>()?, origin)?;
        let candidates = Experiment { tuned, ..Experiment::new(&name, file.candidates(&tune), tried) };
        Ok(Experiment { aim: Some(Box::new(Aim { name: aimed_at, file, tune, cells })), ..candidates })
    }

    /// What its candidates are tried for, each cell with the settings that score best: `score` is of a candidate, by its place, on a seed, none
    /// where it diverged. None where this experiment tries no candidates.
    pub fn chosen<E: From<ConfigError>>(&self, score: impl Fn(usize, u64) -> Result<Option<f64>, E>) -> Result<Option<Experiment>, E> {
        let Some(aim) = &self.aim else { return Ok(None) };
        let Aim { name, file, tune, cells } = &**aim;
        let (mut chosen, mut choices): (Vec<Cell>, Vec<Choice>) = (Vec::new(), Vec::new());
        for group in tune.groups(cells) {
            let candidate = |place: &usize| {
                let scores = tune.seeds.iter().map(|seed| score(*place, *seed)).collect::<Result<_, E>>()?;
                Ok(Candidate { axes: tune.tried(&cells[*place]), scores })
            };
            let choice = Choice::of(group.iter().map(candidate).collect::<Result<_, E>>()?, tune.metric.rises());
            chosen.push(cells[group[choice.chosen]].clone());
            choices.push(choice);
        }
        let chosen = share_averages(chosen, name)?;
        Ok(Some(Experiment { tuned: self.tuned.clone(), choices, ..Experiment::new(name, file.clone(), chosen) }))
    }

    /// The same with the first candidate of each cell, for what does not depend on which is chosen.
    pub fn with_first_candidates(&self) -> Result<Option<Experiment>, ConfigError> {
        self.chosen(|_, _| Ok(Some(0.0)))
    }

    /// What its candidates are tried for with the choice of `before`, where that was made among the same candidates. In the words of this file.
    pub fn chosen_before(&self, before: &Experiment) -> Option<Experiment> {
        let aim = self.aim.as_ref().filter(|aim| !before.choices.is_empty() && before.file.tune.as_ref() == Some(&aim.tune))?;
        let candidate = |cell: &Cell| aim.cells.iter().find(|candidate| candidate.axes == cell.axes).cloned();
        let cells = share_averages(before.cells.iter().map(candidate).collect::<Option<_>>()?, &aim.name).ok()?;
        let experiment = Experiment { choices: before.choices.clone(), ..Experiment::new(&aim.name, aim.file.clone(), cells) };
        (experiment.cells == before.cells).then(|| Experiment { tuned: self.tuned.clone(), ..experiment })
    }
}
