//! What two things to be compared are: a run, or a cell of an experiment with the runs of all its seeds.

use crate::base::error::{ConfigError, Meaning};
use crate::experiment::{Cell, Config, belongs, paths, suggestion};
use crate::plan::records;
use crate::store::{MANIFEST, Manifest, RECORD, Record, Store};
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A run, or a cell.
pub struct Side {
    /// What it is called.
    pub name: String,
    /// The cell in words; of a run nothing.
    pub label: String,
    /// Its configuration.
    pub config: Config,
    /// The records by their seeds.
    pub runs: BTreeMap<u64, Record>,
    /// Where its results are.
    pub store: Store,
}

/// What `named` means: a run by its folder or its name in `results`, an experiment (all its cells) by its folder or its name there, or
/// `EXPERIMENT:CELL`, the cell as tables name it or by `path=value,path=value`.
pub fn sides(named: &str, results: &Path) -> Result<Vec<Side>> {
    let run = [PathBuf::from(named), results.join("runs").join(named)].into_iter().find(|folder| folder.join(RECORD).is_file());
    if let Some(folder) = run {
        return Ok(vec![of_run(&folder)?]);
    }
    let found = |name: &str| [PathBuf::from(name), results.join(name)].into_iter().find(|folder| folder.join(MANIFEST).is_file());
    // A folder's name may have a colon in it.
    if let Some(folder) = found(named) {
        return of_experiment(&folder, |_| true);
    }
    match named.split_once(':').map(|(experiment, cell)| (found(experiment), cell)) {
        Some((Some(folder), cell)) => of_cells(&folder, named, cell),
        _ => Err(anyhow!(unknown(named, results))).needed(),
    }
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

fn of_run(folder: &Path) -> Result<Side> {
    let place = folder.canonicalize().with_context(|| folder.display().to_string()).needed()?;
    let (id, root) =
        place.file_name().zip(place.ancestors().nth(2)).with_context(|| format!("{}: is no run", folder.display())).needed()?;
    let store = Store::new(root);
    let id = id.to_string_lossy();
    let record = store.record(&id).needed()?.with_context(|| format!("{id}: has left no record")).needed()?;
    let (config, runs) = (record.config.clone(), BTreeMap::from([(record.seed, record)]));
    Ok(Side { name: id.into(), label: String::new(), config, runs, store })
}

/// The cells of an experiment that are wanted.
fn of_experiment(folder: &Path, wanted: impl Fn(&Cell) -> bool) -> Result<Vec<Side>> {
    let manifest = Manifest::read(folder).needed()?.with_context(|| format!("{}: holds no experiment", folder.display())).needed()?;
    let place = folder.canonicalize().with_context(|| folder.display().to_string()).needed()?;
    let (root, name) = (place.parent().unwrap_or(Path::new("/")), place.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let (store, jobs, cells) = (Store::new(root), manifest.jobs(), manifest.experiment.cells);
    let mut runs: Vec<BTreeMap<u64, Record>> = vec![BTreeMap::new(); cells.len()];
    for (cell_index, job, record) in records(&store, &jobs)? {
        if job.study.is_none() {
            runs[cell_index].insert(record.seed, record);
        }
    }
    let side = |(cell, runs): (Cell, BTreeMap<u64, Record>)| {
        let label = cell.label();
        Side { name: format!("{name}: {label}"), label, config: cell.config, runs, store: store.clone() }
    };
    Ok(cells.into_iter().zip(runs).filter(|(cell, _)| wanted(cell)).map(side).collect())
}

/// Those that a label or values name.
fn of_cells(folder: &Path, named: &str, cell: &str) -> Result<Vec<Side>> {
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    let by_label = of_experiment(folder, |candidate| plain(&candidate.label()) == plain(cell))?;
    if !by_label.is_empty() {
        return Ok(by_label);
    }
    let all: Vec<String> = of_experiment(folder, |_| true)?.into_iter().map(|side| side.label).collect();
    let none = || ConfigError::new(named, "", format!("expected a cell, as {}, or path=value,path=value", all.join("; ")));
    let values = cell.split(',').filter(|piece| piece.contains('=')).map(paths::flag).collect::<Result<Vec<_>, _>>()?;
    if values.is_empty() || values.len() < cell.split(',').count() {
        return Err(none().into());
    }
    let found = of_experiment(folder, |candidate| belongs(candidate, &values))?;
    if found.is_empty() { Err(none().into()) } else { Ok(found) }
}
