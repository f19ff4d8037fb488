//! What two things to be compared are: a run, or a cell of an experiment with the runs of all its seeds.

use crate::base::error::{ConfigError, Meaning};
use crate::base::sealed;
use crate::experiment::{Cell, Config, agrees_in_all, label, paths, suggestion};
use crate::plan::records;
use crate::store::{FORMAT, MANIFEST, Manifest, Outcome, RECORD, Record, Store};
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A run, or a cell.
pub struct Side {
    /// What it is called: as it was typed, with its cell.
    pub name: String,
    /// What varies, of a cell; of a run nothing.
    pub axes: Vec<(String, Value)>,
    /// The same without what was chosen for it: cells that have this in common are compared.
    pub given: Vec<(String, Value)>,
    /// Its configuration.
    pub config: Config,
    /// What its runs left, by their seeds; of failed ones nothing.
    pub runs: BTreeMap<u64, Run>,
}

/// A run.
pub struct Run {
    /// Its record.
    pub record: Record,
    /// Its folder.
    pub folder: PathBuf,
}

/// What `named` means: a run by its folder or its name in `results`, an experiment (all its cells) by its folder or its name there, or
/// `EXPERIMENT:CELL`, the cell as tables name it or by `path=value,path=value`.
pub fn sides(named: &str, results: &Path) -> Result<Vec<Side>> {
    let places = [PathBuf::from(named), results.join("runs").join(named)];
    if let Some(folder) = places.iter().find(|folder| folder.join(RECORD).is_file()) {
        return Ok(vec![of_run(named, folder)?]);
    }
    let found = |name: &str| [PathBuf::from(name), results.join(name)].into_iter().find(|folder| folder.join(MANIFEST).is_file());
    if let Some(folder) = found(named) {
        return of_experiment(named, &folder);
    }
    // A folder's name may have a colon in it.
    let at_colon = |at: usize| Some((&named[..at], found(&named[..at])?, &named[at + 1..]));
    if let Some((experiment, folder, cell)) = named.match_indices(':').find_map(|(at, _)| at_colon(at)) {
        return of_cells(named, of_experiment(experiment, &folder)?, cell);
    }
    if !named.is_empty() && places[1].is_dir() {
        return Err(anyhow!("{named}: has left no record yet")).needed();
    }
    Err(anyhow!(unknown(named, results))).needed()
}

fn unknown(named: &str, results: &Path) -> String {
    let folders = fs::read_dir(results).into_iter().flatten().flatten().filter(|folder| folder.path().join(MANIFEST).is_file());
    let mut names: Vec<String> = folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let experiment = named.split(':').next().unwrap_or(named);
    let near = if names.is_empty() { String::new() } else { suggestion(experiment, &names) };
    format!("{named}: expected a run, an experiment in {}, or EXPERIMENT:CELL{near}", results.display())
}

fn of_run(named: &str, folder: &Path) -> Result<Side> {
    let path = folder.join(RECORD);
    let read = || -> Result<Record> {
        let record: Record = sealed::read(&path)?.context("has vanished")?;
        ensure!(record.format == FORMAT, "has format {}, this program reads and writes {FORMAT}", record.format);
        Ok(record)
    };
    let record = read().with_context(|| path.display().to_string()).needed()?;
    let name = record.at.map_or_else(|| named.into(), |step| format!("{named} (at step {step})"));
    let (config, seed) = (record.config.clone(), record.seed);
    let runs = BTreeMap::from([(seed, Run { record, folder: folder.into() })]);
    Ok(Side { name, axes: Vec::new(), given: Vec::new(), config, runs })
}

/// Each cell of an experiment.
fn of_experiment(named: &str, folder: &Path) -> Result<Vec<Side>> {
    let manifest = Manifest::read(folder).needed()?.with_context(|| format!("{named}: holds no experiment")).needed()?;
    let place = folder.canonicalize().with_context(|| named.to_string()).needed()?;
    let store = Store::new(place.parent().unwrap_or(Path::new("/")));
    let (jobs, cells, tune) = (manifest.jobs(), manifest.experiment.cells, manifest.experiment.file.tune);
    let side = |cell: Cell| {
        let given = tune.as_ref().map_or_else(|| cell.axes.clone(), |tune| tune.given(&cell));
        Side { name: format!("{named}: {}", cell.label()), axes: cell.axes, given, config: cell.config, runs: BTreeMap::new() }
    };
    let mut sides: Vec<Side> = cells.into_iter().map(side).collect();
    for (cell_index, job, record) in records(&store, &jobs)? {
        if job.scores_the_end() && !matches!(record.outcome, Outcome::Failed { .. }) {
            sides[cell_index].runs.insert(record.seed, Run { folder: store.run(&record.id), record });
        }
    }
    Ok(sides)
}

/// Of an experiment's cells those that a label or values name.
fn of_cells(named: &str, mut all: Vec<Side>, cell: &str) -> Result<Vec<Side>> {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace(", ", ",");
    let is_called = |side: &Side| [&side.axes, &side.given].iter().any(|axes| plain(&label(axes)) == plain(cell));
    if all.iter().any(is_called) {
        all.retain(is_called);
        return Ok(all);
    }
    let labels: Vec<String> = all.iter().map(|side| label(&side.axes)).collect();
    let none = || ConfigError::new(named, "", format!("expected a cell, such as {}, or path=value,path=value", labels.join("; ")));
    let mut wanted = Map::new();
    for piece in pieces(cell) {
        if !piece.contains('=') {
            return Err(none().into());
        }
        let (path, value) = paths::flag(piece).map_err(|error| ConfigError { origin: named.into(), ..error })?;
        wanted.insert(path, value);
    }
    all.retain(|side| agrees_in_all(&side.config, &wanted));
    if all.is_empty() { Err(none().into()) } else { Ok(all) }
}

/// The parts between commas, those inside brackets aside.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut first, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                pieces.push(&text[first..at]);
                first = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[first..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parted_outside_their_brackets() {
        assert_eq!(pieces("a=1,b={kind: x, y: [1, 2]},c=[3,4]"), ["a=1", "b={kind: x, y: [1, 2]}", "c=[3,4]"]);
        assert_eq!(pieces("a"), ["a"]);
    }
}
