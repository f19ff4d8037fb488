//! The experiment that a command is about.

use super::cache::CacheArgs;
use crate::base::data::{DataSource, Dataset, DatasetInfo, Form};
use crate::base::error::{ConfigError, Meaning, RunError};
use crate::base::text::wrapped;
use crate::base::{atomic, picture};
use crate::experiment::{Experiment, Job, Shelf, jobs, paths, seeds, warnings};
use crate::plan::chosen;
use crate::store::{MANIFEST, Manifest, REAL, Store};
use anyhow::{Context, Result, anyhow};
use clap::Args;
use std::path::{Path, PathBuf};

/// Points of a plane that are shown as real ones.
const POINTS: usize = 10_000;

/// Which experiment, and where its results are.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    /// The grid: a name in experiments/grids (see `ddpm grids`), a file, or the folder of an experiment's results
    #[arg(default_value = "table2")]
    grid: String,
    /// The base: a name in experiments/bases (see `ddpm bases`), or a file; the grid's own where absent
    #[arg(value_name = "BASE", conflicts_with = "base")]
    on: Option<String>,
    /// The same as a flag
    #[arg(long)]
    base: Option<String>,
    /// Other seeds than the grid's, as 0-4,7
    #[arg(long, value_parser = Seeds::parsed)]
    seeds: Option<Seeds>,
    /// Set a value of every cell, after everything else: path=value
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Where results are kept [default: results, beside the experiments folder in which the grid's name was found]
    #[arg(long)]
    results: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
}

/// A list of seeds; a type of its own, since a list of them is one value to the command line.
#[derive(Clone, Debug)]
struct Seeds(Vec<u64>);

impl Seeds {
    fn parsed(list: &str) -> std::result::Result<Seeds, String> {
        seeds::parsed(list).map(Seeds)
    }
}

/// An experiment with its jobs.
pub struct Loaded {
    pub experiment: Experiment,
    pub data: DatasetInfo,
    pub jobs: Vec<(usize, Job)>,
    pub store: Store,
    /// The first of its real images, where they were read.
    real: Option<Vec<u8>>,
}

impl Loaded {
    /// As its manifest has it.
    fn known(experiment: Experiment, store: Store, manifest: Manifest) -> Loaded {
        let (data, jobs) = manifest.into_named();
        Loaded { experiment, data, jobs, store, real: None }
    }

    /// A job as a person knows it: its cell, its seed where there are several, what is looked at.
    pub fn label(&self, cell: usize, job: &Job) -> String {
        let aside = job.aside().map_or(String::new(), |aside| format!(": {aside}"));
        let seed = if self.experiment.file.seeds.len() > 1 { format!(" (seed {})", job.seed) } else { String::new() };
        format!("{}{seed}{aside}", self.experiment.cells[cell].label())
    }

    /// What its cells are candidates for, once their records choose; none where they are none, or some are still to be tried. Names of jobs are
    /// taken from its manifest where the images were not read.
    pub fn next(&self) -> Result<Option<Loaded>> {
        let Some(experiment) = chosen(&self.store, &self.experiment, &self.jobs)? else { return Ok(None) };
        let known = if self.real.is_none() { known(&experiment, &self.store) } else { None };
        match known.filter(|manifest| manifest.data.identity() == self.data.identity()) {
            Some(manifest) => Ok(Some(Loaded::known(experiment, self.store.clone(), manifest))),
            None => self.with(experiment).map(Some),
        }
    }

    /// The same in another experiment on the same images.
    pub fn with(&self, experiment: Experiment) -> Result<Loaded> {
        let jobs = jobs(&experiment, self.data.shape, &self.data.identity())?;
        Ok(Loaded { experiment, jobs, data: self.data.clone(), store: self.store.clone(), real: self.real.clone() })
    }

    /// Candidates, or what they have chosen, with what keeps them from choosing on stderr.
    fn latest(self) -> Loaded {
        match self.next() {
            Ok(Some(next)) => return next,
            Ok(None) => {}
            Err(error) => eprintln!("{error:#}"),
        }
        self
    }

    /// The same for who only reads results: a choice that was made before is one, where some of its candidates are lost since.
    #[cfg(feature = "report")]
    fn latest_or_before(self) -> Loaded {
        let Some(aim) = &self.experiment.aim else { return self };
        let before = Manifest::read(&self.store.report(aim.name())).unwrap_or_else(|why| {
            eprintln!("{why:#}; it is not used");
            None
        });
        let of_same_images = before.filter(|manifest| manifest.data.identity() == self.data.identity());
        let chosen = of_same_images.and_then(|manifest| Some((self.experiment.chosen_before(&manifest.experiment)?, manifest)));
        match chosen.filter(|(experiment, manifest)| manifest.asks_the_same(experiment)) {
            None => self,
            Some((experiment, manifest)) => {
                eprintln!("{}: its candidates do not choose now; the settings are those that were chosen before", experiment.name);
                Loaded::known(experiment, self.store, manifest)
            }
        }
    }

    /// Leaves in the store what the experiment is, for those who have the results and not the images.
    pub fn leave(&self) -> Result<()> {
        Manifest::of(&self.experiment, &self.data, &self.jobs).leave(&self.store)?;
        let Some(real) = &self.real else { return Ok(()) };
        let picture = picture::png(&picture::tiled(real, self.data.shape, picture::COLUMNS))?;
        atomic::write(&self.store.report(&self.experiment.name).join(REAL), &picture)
    }
}

impl ExperimentArgs {
    /// With its images read and checked against every cell. Of a grid that tunes its cells it is the experiment that tries their candidates.
    pub fn load(&self) -> Result<Loaded> {
        let (experiment, store) = self.read()?;
        self.name_jobs(experiment, store)
    }

    /// Loads it from its manifest in the store; the images are read only if that is not enough. Of a grid that tunes its cells it is the experiment
    /// with what was chosen for them, once that is known.
    pub fn recall(&self) -> Result<Loaded> {
        let (experiment, store) = self.read()?;
        let loaded = match known(&experiment, &store) {
            Some(manifest) => Loaded::known(experiment, store, manifest),
            None => self.name_jobs(experiment, store)?,
        };
        Ok(loaded.latest())
    }

    /// The same for who only reads what was found: with the choice that was made before, where candidates are lost since.
    #[cfg(feature = "report")]
    pub fn recall_results(&self) -> Result<Loaded> {
        Ok(self.recall()?.latest_or_before())
    }

    /// As [`ExperimentArgs::recall`] with its images or, if they are unavailable, from its manifest in the store, with a message on stderr.
    pub fn load_or_recall(&self) -> Result<Loaded> {
        let (experiment, store) = self.read()?;
        let loaded = self.name_jobs(experiment.clone(), store.clone()).or_else(|error| {
            let unavailable = matches!(RunError::of(&error), Some(RunError::Environment(_)));
            let Some(manifest) = unavailable.then(|| known(&experiment, &store)).flatten() else { return Err(error) };
            eprintln!("{error:#}\n(taken from the store: the images as they were when this last ran)");
            Ok(Loaded::known(experiment, store, manifest))
        })?;
        Ok(loaded.latest())
    }

    /// Its images, prepared whatever their size; in this form, where one is given.
    pub fn prepare(&self, form: Option<Form>) -> Result<Dataset> {
        let (experiment, store) = self.read()?;
        self.source(&experiment)?.load(&store.cache().clone().every(form))
    }

    /// The experiment as it is asked for, and the store.
    fn read(&self) -> Result<(Experiment, Store)> {
        let (experiment, store) = if self.is_folder() { self.read_folder()? } else { self.read_file()? };
        Ok((experiment, store.with_cache(self.cache.folder())))
    }

    /// Whether a folder of results is meant: one that is called as a grid is has to hold an experiment.
    fn is_folder(&self) -> bool {
        let place = Path::new(&self.grid);
        place.is_dir() && (place.join(MANIFEST).exists() || Shelf::Grids.find(&self.grid, None).is_err())
    }

    /// The experiment of a grid's file. Results are kept where the grid's name was found.
    fn read_file(&self) -> Result<(Experiment, Store)> {
        let grid = Shelf::Grids.find(&self.grid, None)?;
        let by_name = grid != Path::new(&self.grid);
        let root = grid.ancestors().nth(3).filter(|_| by_name).unwrap_or(Path::new(""));
        let results = self.results.clone().unwrap_or_else(|| root.join("results"));
        if results.exists() && !results.is_dir() {
            return Err(anyhow!("{}: expected a folder for results, found a file", results.display())).needed();
        }
        let seeds = self.seeds.as_ref().map(|seeds| &seeds.0[..]);
        Ok((Experiment::with_seeds(&grid, self.base(), &self.set, seeds)?, Store::new(results)))
    }

    /// The base, where one is given.
    fn base(&self) -> Option<&str> {
        self.on.as_deref().or(self.base.as_deref())
    }

    /// The experiment of a folder of results, which holds all of it.
    fn read_folder(&self) -> Result<(Experiment, Store)> {
        let (folder, place) = (&self.grid, Path::new(&self.grid));
        let given = [
            (if self.on.is_some() { "BASE" } else { "--base" }, self.base().is_some()),
            ("--set", !self.set.is_empty()),
            ("--seeds", self.seeds.is_some()),
            ("--results", self.results.is_some()),
        ];
        for (flag, given) in given {
            if given {
                let problem = format!("expected a grid file with this flag, got the results folder {folder}");
                return Err(ConfigError::new(flag, "", problem).into());
            }
        }
        let manifest = Manifest::read(place).needed()?;
        let missing = || format!("{folder}: holds no experiment.json; expected a grid file or the folder of an experiment's results");
        let manifest = manifest.with_context(missing).needed()?;
        // Spelled out, since `.` has no name; the folder may have been given another one since.
        let place = place.canonicalize().with_context(|| folder.to_string()).needed()?;
        let (root, name) = place.parent().zip(place.file_name()).with_context(missing).needed()?;
        Ok((Experiment { name: name.to_string_lossy().into_owned(), ..manifest.experiment }, Store::new(root)))
    }

    /// Where its images come from.
    fn source<'a>(&self, experiment: &'a Experiment) -> Result<&'a DataSource> {
        let source = &experiment.cells[0].config.data;
        match experiment.cells.iter().find(|c| c.config.data != *source) {
            None => Ok(source),
            Some(other) => {
                let problem = format!("expected one data set for all cells, got {} and {}", source.kind(), other.config.data.kind());
                Err(ConfigError::new(&self.grid, "data", problem).into())
            }
        }
    }

    /// Reads the images, and names the jobs that they make.
    fn name_jobs(&self, experiment: Experiment, store: Store) -> Result<Loaded> {
        warnings(&experiment).iter().for_each(|warning| eprint!("{}", wrapped(&format!("warning: {warning}"))));
        let dataset = self.source(&experiment)?.load(store.cache())?;
        if !dataset.left_out.is_empty() {
            eprintln!("data set {}: left out: {}", dataset.info.name, dataset.left_out.join(", "));
        }
        let images = if dataset.held_out.is_empty() { &dataset.train } else { &dataset.held_out };
        let shown = if picture::is_plane(dataset.info.shape) { POINTS } else { picture::SHOWN };
        let real = (0..images.len().min(shown)).map(|i| Ok(images.image(i)?.to_vec())).collect::<Result<Vec<_>>>()?.concat();
        let data = dataset.info;
        for cell in &experiment.cells {
            cell.config.check_data(&self.grid, &data).map_err(|error| self.locate(error, &cell.label()))?;
        }
        if let Some(aim) = &experiment.aim {
            let checked = aim.tune().check_data(&experiment.cells, data.shape);
            checked.map_err(|(path, problem)| ConfigError::new(&self.grid, &path, problem))?;
        }
        let jobs = jobs(&experiment, data.shape, &data.identity())?;
        Ok(Loaded { experiment, data, jobs, store, real: Some(real) })
    }

    /// Attributes an error found against the images to the flag that set the value, otherwise to the cell.
    fn locate(&self, error: ConfigError, cell: &str) -> ConfigError {
        let brings = |flag: &&String| paths::flag(flag).is_ok_and(|(path, _)| paths::inside(&error.path, &path));
        match self.set.iter().find(brings) {
            Some(flag) => ConfigError { origin: format!("--set {flag}"), ..error },
            None => ConfigError { problem: format!("{} (in the cell {cell})", error.problem), ..error },
        }
    }
}

/// What the store knows of an experiment, where that is of the same jobs.
fn known(experiment: &Experiment, store: &Store) -> Option<Manifest> {
    match Manifest::read(&store.report(&experiment.name)) {
        Ok(manifest) => manifest.filter(|manifest| manifest.asks_the_same(experiment)),
        Err(why) => {
            eprintln!("{why:#}; it is not used");
            None
        }
    }
}
