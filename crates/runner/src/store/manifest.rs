//! What an experiment was when it last ran: enough to tell where it stands and to draw it where neither its images nor its feature
//! network are at hand.

use super::layout::Store;
use crate::base::data::DatasetInfo;
use crate::base::sealed;
use crate::experiment::{Asked, Experiment, FORMAT, Job, Study, asked};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file in an experiment's folder.
pub const MANIFEST: &str = "experiment.json";

/// An experiment with the names of its jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    format: u32,
    /// Grid file and cells.
    pub experiment: Experiment,
    /// The data set.
    pub data: DatasetInfo,
    jobs: Vec<Named>,
}

/// A job; its configuration is its cell's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    cell: usize,
    seed: u64,
    study: Option<Study>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    id: String,
    training_id: String,
    sampling_id: String,
}

impl Manifest {
    /// Of an experiment on a data set, with all its jobs.
    pub fn of(experiment: &Experiment, data: &DatasetInfo, jobs: &[(usize, Job)]) -> Manifest {
        let named = |(cell, job): &(usize, Job)| Named {
            cell: *cell,
            seed: job.seed,
            study: job.study.clone(),
            at: job.at,
            id: job.id.clone(),
            training_id: job.training_id.clone(),
            sampling_id: job.sampling_id.clone(),
        };
        Manifest { format: FORMAT, experiment: experiment.clone(), data: data.clone(), jobs: jobs.iter().map(named).collect() }
    }

    /// Its jobs, each with the place of its cell.
    pub fn jobs(&self) -> Vec<(usize, Job)> {
        let job = |named: &Named| {
            let Named { cell, seed, study, at, id, training_id, sampling_id } = named.clone();
            (cell, Job { id, training_id, sampling_id, config: self.experiment.cells[cell].config.clone(), seed, study, at })
        };
        self.jobs.iter().map(job).collect()
    }

    /// The data set and the jobs.
    pub fn into_named(self) -> (DatasetInfo, Vec<(usize, Job)>) {
        let jobs = self.jobs();
        (self.data, jobs)
    }

    /// Whether `experiment` asks for the same jobs, whatever it says of how they are shown.
    pub fn asks_the_same(&self, experiment: &Experiment) -> bool {
        experiment.cells == self.experiment.cells && self.names_all_of(experiment)
    }

    fn names_all_of(&self, experiment: &Experiment) -> bool {
        let as_asked = |named: &Named| Asked { cell_index: named.cell, seed: named.seed, study: named.study.clone(), at: named.at };
        asked(experiment).into_iter().eq(self.jobs.iter().map(as_asked))
    }

    /// Leaves it in the experiment's folder.
    pub fn leave(&self, store: &Store) -> Result<()> {
        sealed::write(&store.report(&self.experiment.name).join(MANIFEST), self)
    }

    /// The one in `folder`; none where there is no such file. An error where it is damaged or of another version.
    pub fn read(folder: &Path) -> Result<Option<Manifest>> {
        let path = folder.join(MANIFEST);
        let Some(found) = sealed::read::<Manifest>(&path)? else { return Ok(None) };
        let whole = || {
            ensure!(found.format == FORMAT, "has format {}, this program reads and writes {FORMAT}", found.format);
            ensure!(found.names_all_of(&found.experiment), "its jobs are not those that its cells ask for");
            Ok(())
        };
        whole().with_context(|| path.display().to_string())?;
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{Cell, GridFile, jobs, tiny};
    use serde_json::json;

    fn experiment(seeds: &[u64]) -> Experiment {
        let cell = |sets: &[&str]| Cell { axes: Vec::new(), config: tiny(&few("d", 20, 3), sets).config };
        let file = json!({ "question": "q", "grid": { "sampling.count": [15, 16] }, "seeds": seeds });
        let file: GridFile = serde_json::from_value(file).unwrap();
        Experiment::new("x", file, vec![cell(&["sampling.count=15"]), cell(&["sampling.count=16"])])
    }

    /// What is left is read again as it was, job by job; it stands for an experiment that asks the same in other words, and for no other.
    #[test]
    fn what_is_left_is_what_was_asked() {
        let (dir, data) = (tempfile::tempdir().unwrap(), few("d", 20, 3).info);
        let (store, asked) = (Store::new(dir.path()), experiment(&[3, 1]));
        let jobs = jobs(&asked, data.shape, &data.identity()).unwrap();
        assert_eq!(jobs.iter().map(|(cell, job)| (*cell, job.seed)).collect::<Vec<_>>(), [(0, 3), (0, 1), (1, 3), (1, 1)]);
        let folder = store.report("x");
        assert_eq!(Manifest::read(&folder).unwrap(), None);
        let manifest = Manifest::of(&asked, &data, &jobs);
        manifest.leave(&store).unwrap();
        let read = Manifest::read(&folder).unwrap().unwrap();
        assert_eq!((read.jobs(), &read.data, &read), (jobs.clone(), &data, &manifest));
        let other_words = Experiment { file: GridFile { question: "r".into(), ..asked.file.clone() }, name: "y".into(), ..asked.clone() };
        assert!(read.asks_the_same(&asked) && read.asks_the_same(&other_words));
        assert!(!read.asks_the_same(&experiment(&[1, 3])) && !read.asks_the_same(&experiment(&[3, 1, 4])));
        let reversed = Experiment { cells: asked.cells.iter().rev().cloned().collect(), ..asked.clone() };
        let fewer = Experiment { cells: asked.cells[..1].to_vec(), ..asked.clone() };
        assert!(!read.asks_the_same(&reversed) && !read.asks_the_same(&fewer));
        // Of another version, or with a job too few.
        let refused = |manifest: Manifest| {
            manifest.leave(&store).unwrap();
            format!("{:#}", Manifest::read(&folder).unwrap_err())
        };
        assert!(refused(Manifest { format: FORMAT + 1, ..manifest.clone() }).contains(&format!("has format {}", FORMAT + 1)));
        assert!(refused(Manifest::of(&asked, &data, &jobs[1..])).contains("its jobs are not those"));
    }
}
