//! The expansion of a grid: pure, ordered (last axis fastest), capped.

use super::cell::{Cell, agrees, agrees_with, belongs, condition, label};
use super::claim;
use super::config::{Config, RawConfig};
use super::grid::{GridFile, PaperRow};
use super::paths::{self, full, set, short};
use super::seeds::MAX_JOBS;
use super::study::Study;
use super::suggest::join;
use crate::base::error::ConfigError;
use crate::metrics::Metric;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// One value of an axis: what it sets, and where it stands in the file.
struct Setting {
    sets: Vec<(String, Value)>,
    place: String,
    /// Whether it is a map of several paths.
    paired: bool,
}

/// The cells of `file` over the base's `tree`, each checked; where the file tunes them, each as all its candidates, one after the other. Averages
/// are not shared among them yet. Errors say where the value stands.
pub fn expand(file: &GridFile, tree: Value, origin: &str, base: &str, flags: &[String]) -> Result<Vec<Cell>, ConfigError> {
    let at = |path: String, problem: String| ConfigError::new(origin, &path, problem);
    check_seeds(&file.seeds, "seeds", origin)?;
    let mut shared = tree;
    // The base by itself first, so that its own mistakes are reported under its own name.
    Config::checked(&shared, base)?;
    for (name, value) in &file.set {
        let path = full(name).map_err(|problem| at(join("set", name), problem))?;
        set(&mut shared, &path, value.clone(), origin)?;
    }
    let axes_of = |place, grid: &Map<String, Value>| {
        grid.iter().map(|(name, values)| settings(place, name, values, origin)).collect::<Result<Vec<_>, _>>()
    };
    let mut axes = axes_of("grid", &file.grid)?;
    check_size(&axes, file.seeds.len(), "grid", origin)?;
    if let Some(tune) = &file.tune {
        check_seeds(&tune.seeds, "tune.seeds", origin)?;
        axes.extend(axes_of("tune.grid", &tune.grid)?);
        tune.check_axes(&file.grid).map_err(|(path, problem)| at(path, problem))?;
        check_size(&axes, tune.seeds.len(), "tune.grid", origin)?;
    }
    apart(&axes, flags, origin)?;
    let excluded =
        file.exclude.iter().enumerate().map(|(i, m)| condition(m, &format!("exclude[{i}]"), origin)).collect::<Result<Vec<_>, _>>()?;
    let (mut cells, mut excludes) = (Vec::new(), vec![false; excluded.len()]);
    for settings in combinations(&axes) {
        let sets: Vec<&(String, Value)> = settings.iter().flat_map(|c| &c.sets).collect();
        let excluding: Vec<usize> = (0..excluded.len()).filter(|i| agrees(&excluded[*i], &sets)).collect();
        excluding.iter().for_each(|i| excludes[*i] = true);
        if excluding.is_empty() {
            cells.push(cell(&shared, &settings, file, origin, flags)?);
        }
    }
    if cells.is_empty() {
        return Err(at("exclude".into(), "leaves no cell".into()));
    }
    if let Some(i) = excludes.iter().position(|excludes| !excludes) {
        return Err(at(format!("exclude[{i}]"), "agrees with no combination of the axes' values".into()));
    }
    check_each(file, &cells, origin)?;
    match &file.tune {
        None => check_named(file, &cells, origin)?,
        Some(tune) => {
            tune.check(&file.seeds, &cells, &named_cells(file)).map_err(|(path, problem)| at(path, problem))?;
            // What the file says of a cell it says of whichever candidate is chosen.
            let of_cells: Vec<Cell> = tune.groups(&cells).iter().map(|group| cells[group[0]].clone()).collect();
            check_named(file, &of_cells, origin)?;
        }
    }
    Ok(cells)
}

/// Cells that are trained alike but for the moving average that they use keep each other's, and so are one training.
pub fn share_averages(cells: Vec<Cell>, origin: &str) -> Result<Vec<Cell>, ConfigError> {
    let decay = |cell: &Cell| cell.config.training.optimiser.ema_decay;
    if cells.iter().all(|cell| decay(cell) == decay(&cells[0])) {
        return Ok(cells);
    }
    let alike = |cell: &Cell| Value::Object(cell.config.trained_by()).to_string();
    let mut kept: HashMap<String, Vec<f64>> = HashMap::new();
    for cell in &cells {
        let of_cell = cell.config.training.optimiser.ema_kept.iter().copied().chain([decay(cell)]);
        kept.entry(alike(cell)).or_default().extend(of_cell.filter(|decay| *decay > 0.0));
    }
    for decays in kept.values_mut() {
        decays.sort_by(f64::total_cmp);
        decays.dedup();
    }
    let shared = |cell: &Cell| {
        let (kept, mut raw) = (&kept[&alike(cell)], RawConfig::from(cell.config.clone()));
        raw.training.optimiser.ema_kept = if kept.is_empty() || *kept == [decay(cell)] { Vec::new() } else { kept.clone() };
        Ok(Cell { axes: cell.axes.clone(), config: Config::new(raw, origin)? })
    };
    cells.iter().map(shared).collect()
}

fn check_seeds(seeds: &[u64], place: &str, origin: &str) -> Result<(), ConfigError> {
    let error = |problem: String| Err(ConfigError::new(origin, place, problem));
    if seeds.is_empty() {
        return error("expected at least one".into());
    }
    let mut seeds = seeds.to_vec();
    seeds.sort_unstable();
    match seeds.windows(2).find(|w| w[0] == w[1]) {
        Some(pair) => error(format!("{} stands twice", pair[0])),
        None => Ok(()),
    }
}

/// Before anything is multiplied out.
fn check_size(axes: &[Vec<Setting>], seeds: usize, place: &str, origin: &str) -> Result<(), ConfigError> {
    let product = axes.iter().try_fold(seeds, |n, axis| n.checked_mul(axis.len()));
    if product.is_some_and(|n| n <= MAX_JOBS) {
        return Ok(());
    }
    let sizes: Vec<String> = axes.iter().map(|a| a.len().to_string()).collect();
    let problem = format!("{} values times {seeds} seeds are more than {MAX_JOBS} jobs: split the grid", sizes.join(" x "));
    Err(ConfigError::new(origin, place, problem))
}

/// One value of each axis, in all combinations: an odometer whose last axis turns fastest.
fn combinations(axes: &[Vec<Setting>]) -> impl Iterator<Item = Vec<&Setting>> {
    let mut places = Some(vec![0; axes.len()]);
    std::iter::from_fn(move || {
        let mut now = places.take()?;
        let settings = axes.iter().zip(&now).map(|(axis, i)| &axis[*i]).collect();
        if let Some(turning) = (0..axes.len()).rev().find(|&i| now[i] + 1 < axes[i].len()) {
            now[turning] += 1;
            now[turning + 1..].fill(0);
            places = Some(now);
        }
        Some(settings)
    })
}

/// No cell twice; each can be scored, when the others are, and studied as the file wants it.
fn check_each(file: &GridFile, cells: &[Cell], origin: &str) -> Result<(), ConfigError> {
    let at = |path: String, problem: String| ConfigError::new(origin, &path, problem);
    for (i, cell) in cells.iter().enumerate() {
        if let Some(twin) = cells[..i].iter().find(|other| other.config == cell.config) {
            return Err(at("grid".into(), format!("the cells {} and {} are one configuration", twin.label(), cell.label())));
        }
        if let Some(metric) = file.metrics.iter().find(|metric| Metric::of_data(&cell.config.data).all(|other| other != **metric)) {
            let (metric, kind) = (metric.name(), cell.config.data.kind());
            return Err(at("metrics".into(), format!("{metric} needs data whose law is known, as mixture-2d is; got {kind}")));
        }
    }
    if cells.iter().any(|cell| cell.config.evaluation.at != cells[0].config.evaluation.at) {
        return Err(at("evaluation.at".into(), "expected the same moments in all cells: set them for all, they are no axis".into()));
    }
    for (i, studied) in file.studies.iter().enumerate() {
        for (j, study) in studied.kinds.iter().enumerate() {
            study.check().map_err(|(key, problem)| at(format!("studies[{i}].kinds[{j}].{key}"), problem))?;
            for cell in cells.iter().filter(|cell| agrees_with(cell, &studied.cell)) {
                study.check_cell(&cell.config).map_err(|(key, problem)| at(format!("studies[{i}].kinds[{j}]{key}"), problem))?;
            }
        }
    }
    Ok(())
}

/// What the file says of cells is of cells that there are, and they are not too many.
fn check_named(file: &GridFile, cells: &[Cell], origin: &str) -> Result<(), ConfigError> {
    let at = |path: String, problem: String| ConfigError::new(origin, &path, problem);
    // Those of claims are checked with them.
    for (place, conditions) in named_cells(file).into_iter().filter(|(place, _)| !place.starts_with("claims")) {
        let wanted = condition(conditions, &place, origin)?;
        if !cells.iter().any(|cell| belongs(cell, &wanted)) {
            return Err(at(place, "agrees with no cell".into()));
        }
    }
    if let Some(budget) = file.paper.as_ref().and_then(|paper| paper.budget)
        && [budget.steps, budget.batch as u64, budget.timesteps as u64, budget.samples as u64].contains(&0)
    {
        return Err(at("paper.budget".into(), "expected positive numbers, got 0".into()));
    }
    let jobs: usize = cells.iter().map(|cell| file.seeds.len() * (cell.config.evaluation.at.len() + 1)).sum();
    if jobs > MAX_JOBS {
        return Err(at(
            "evaluation.at".into(),
            format!("{jobs} scores of {} cells are more than {MAX_JOBS} jobs: name fewer steps", cells.len()),
        ));
    }
    claim::check(&file.claims, &file.metrics, cells, origin)?;
    for (i, row) in file.coding.iter().flat_map(|c| &c.rows).enumerate() {
        if !(row.received > 0.0 && row.received <= 1.0) {
            return Err(at(format!("coding.rows[{i}].received"), format!("expected a share of T in (0, 1], got {}", row.received)));
        }
    }
    Ok(())
}

/// Every place of the file that names cells.
fn named_cells(file: &GridFile) -> Vec<(String, &Map<String, Value>)> {
    let mut named = Vec::new();
    let rows = file.paper.iter().flat_map(|p| &p.rows).enumerate();
    named.extend(rows.map(|(i, row)| (format!("paper.rows[{i}].cell"), &row.cell)));
    named.extend(file.studies.iter().enumerate().map(|(i, s)| (format!("studies[{i}].cell"), &s.cell)));
    for (i, table) in file.tables.iter().enumerate() {
        let rows = table.rows.iter().enumerate().filter_map(|(j, row)| Some((j, row.cell.as_ref()?)));
        named.extend(rows.map(|(j, cell)| (format!("tables[{i}].rows[{j}].cell"), cell)));
    }
    named.extend(file.coding.iter().map(|c| ("coding.cell".to_string(), &c.cell)));
    for (i, claim) in file.claims.iter().enumerate() {
        named.extend(claim.conditions().map(|(key, condition)| (format!("claims[{i}].{key}"), condition)));
    }
    named
}

/// No path may be set by two axes, or by an axis and a flag: the table would name a value that did not run.
fn apart(axes: &[Vec<Setting>], flags: &[String], origin: &str) -> Result<(), ConfigError> {
    let clash = |a: &str, b: &str| paths::inside(a, b) || paths::inside(b, a);
    for (i, axis) in axes.iter().enumerate() {
        for (setting, (path, _)) in axis.iter().flat_map(|c| c.sets.iter().map(move |s| (c, s))) {
            for flag in flags {
                if clash(path, &paths::flag(flag)?.0) {
                    return Err(ConfigError::new(&format!("--set {flag}"), "", format!("{} varies it", setting.place)));
                }
            }
            let others = axes[..i].iter().flatten().flat_map(|c| c.sets.iter().map(move |s| (c, s)));
            if let Some((other, _)) = others.into_iter().find(|(_, (p, _))| clash(path, p)) {
                return Err(ConfigError::new(origin, &setting.place, format!("{} sets {} too", other.place, short(path))));
            }
        }
    }
    Ok(())
}

fn cell(shared: &Value, settings: &[&Setting], file: &GridFile, origin: &str, flags: &[String]) -> Result<Cell, ConfigError> {
    let mut tree = shared.clone();
    let mut axes = Vec::new();
    for setting in settings {
        for (path, value) in &setting.sets {
            set(&mut tree, path, value.clone(), origin)?;
            axes.push((short(path), value.clone()));
        }
    }
    for flag in flags {
        let (path, value) = paths::flag(flag)?;
        set(&mut tree, &path, value, &format!("--set {flag}"))?;
    }
    let config = Config::checked(&tree, origin).map_err(|error| locate(error, settings, file, flags))?;
    Ok(Cell { axes, config })
}

/// An error in the resolved configuration as one in the file, where an axis, the file's own `set` or a flag brought the value.
/// Elsewhere it is a matter of the whole cell, which is named.
fn locate(error: ConfigError, settings: &[&Setting], file: &GridFile, flags: &[String]) -> ConfigError {
    let touches = |path: &str| paths::inside(&error.path, path);
    if let Some(flag) = flags.iter().find(|f| paths::flag(f).is_ok_and(|(path, _)| touches(&path))) {
        return ConfigError { origin: format!("--set {flag}"), ..error };
    }
    for setting in settings {
        if let Some((path, _)) = setting.sets.iter().find(|(path, _)| touches(path)) {
            let name = if setting.paired { format!(".{}", short(path)) } else { String::new() };
            return ConfigError { path: format!("{}{name}{}", setting.place, &error.path[path.len()..]), ..error };
        }
    }
    for name in file.set.keys() {
        if let Some(path) = full(name).ok().filter(|path| touches(path)) {
            return ConfigError { path: format!("set.{name}{}", &error.path[path.len()..]), ..error };
        }
    }
    let sets = settings.iter().flat_map(|setting| &setting.sets);
    let axes: Vec<(String, Value)> = sets.map(|(path, value)| (short(path), value.clone())).collect();
    let cell = if axes.is_empty() { String::new() } else { format!(" (in the cell {})", label(&axes)) };
    ConfigError { problem: format!("{}{cell}", error.problem), ..error }
}

/// An axis's values. A name that is no path may hold maps, each of which sets several paths at once.
fn settings(place: &str, name: &str, values: &Value, origin: &str) -> Result<Vec<Setting>, ConfigError> {
    let place = join(place, name);
    let error = |place: &str, problem: String| ConfigError::new(origin, place, problem);
    let values =
        values.as_array().filter(|v| !v.is_empty()).ok_or_else(|| error(&place, "expected a list of at least one value".into()))?;
    match full(name) {
        Ok(path) => Ok(values
            .iter()
            .enumerate()
            .map(|(i, value)| Setting { sets: vec![(path.clone(), value.clone())], place: format!("{place}[{i}]"), paired: false })
            .collect()),
        Err(problem) => values
            .iter()
            .enumerate()
            .map(|(i, value)| {
                let here = format!("{place}[{i}]");
                let map = value.as_object().ok_or_else(|| error(&place, problem.clone()))?;
                Ok(Setting { sets: condition(map, &here, origin)?, place: here, paired: true })
            })
            .collect(),
    }
}

/// The studies of a cell, each once.
pub fn studies(file: &GridFile, cell: &Cell) -> Vec<Study> {
    let mut found: Vec<Study> = Vec::new();
    for study in file.studies.iter().filter(|s| agrees_with(cell, &s.cell)).flat_map(|s| &s.kinds) {
        if !found.contains(study) {
            found.push(study.clone());
        }
    }
    found
}

/// The published row of a cell.
pub fn published<'a>(file: &'a GridFile, cell: &Cell) -> Option<&'a PaperRow> {
    let of = |row: &&PaperRow| agrees_with(cell, &row.cell);
    file.paper.iter().flat_map(|p| &p.rows).find(of)
}
