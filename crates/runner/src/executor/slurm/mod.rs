//! A cluster under Slurm: the plan becomes a job array, one element for each group of jobs.
//!
//! There is no daemon and no database. A submission is a folder in the store with the plan and the script; it names its array after
//! itself, so what became of its elements can be asked of Slurm at any time, from any machine. What is done is in the store, as always.

mod queue;
mod script;

pub use queue::{Element, is_there};
pub use script::{Allocation, PLAN, Places, text};

use super::{Executor, Group, groups};
use crate::commands::Unusable;
use crate::data::Dataset;
use crate::job::Job;
use crate::stop;
use crate::store::claim::Claim;
use crate::store::{Store, atomic, history};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most elements of an array; Slurm's usual limit is 1001.
const MOST: usize = 1000;

/// How often a cluster is asked while one waits for it.
const LOOK: Duration = Duration::from_secs(2);

/// The submissions in the store.
const FOLDER: &str = "slurm";

/// Job arrays.
pub struct Slurm<'a> {
    /// The results, on a file system that the nodes share.
    pub store: &'a Store,
    /// The data set of all jobs.
    pub data: &'a Dataset,
    /// The program on the nodes.
    pub program: PathBuf,
    /// What each element asks for.
    pub allocation: &'a Allocation,
    /// Whether to stay until nothing is in Slurm's hands.
    pub wait: bool,
}

impl Executor for Slurm<'_> {
    fn execute(&self, jobs: &[Job]) -> Result<()> {
        {
            // One at a time asks and submits: two would submit the same.
            let _claim = Claim::wait(&self.store.root().join(FOLDER))?;
            let known = known(self.store)?;
            let free = |job: &&Job| !known.get(&job.id).is_some_and(Element::is_in_hand);
            let missing: Vec<Job> = jobs.iter().filter(free).cloned().collect();
            let groups = groups(&missing, self.data);
            eprintln!("{} jobs are in Slurm's hands, {} to submit", jobs.len() - missing.len(), missing.len());
            for part in groups.chunks(MOST) {
                self.submit(part)?;
            }
        }
        if self.wait {
            await_all(self.store, jobs)?;
        }
        Ok(())
    }
}

/// Waits until Slurm has none of the jobs in hand.
fn await_all(store: &Store, jobs: &[Job]) -> Result<()> {
    loop {
        let known = known(store)?;
        if !jobs.iter().any(|job| known.get(&job.id).is_some_and(Element::is_in_hand)) {
            return Ok(());
        }
        stop::check()?;
        std::thread::sleep(LOOK);
    }
}

impl Slurm<'_> {
    fn submit(&self, groups: &[Group]) -> Result<()> {
        let root = fs::canonicalize(self.store.root()).with_context(|| self.store.root().display().to_string())?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let digest = blake3::hash(format!("{since} {} {}", std::process::id(), groups[0][0].id).as_bytes()).to_hex();
        let name = format!("ddpm-{}", &digest[..10]);
        let folder = root.join(FOLDER).join(&name);
        let lines: Vec<String> = groups.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        atomic::write(&folder.join(PLAN), (lines.join("\n") + "\n").as_bytes())?;
        let at = Places { program: &self.program, results: &root, folder: &folder };
        let path = folder.join("script.sh");
        atomic::write(&path, text(&name, groups.len(), self.allocation, at).as_bytes())?;
        let id = queue::submit(&path).inspect_err(|_| drop(fs::remove_dir_all(&folder))).context(Unusable)?;
        eprintln!("submitted {} elements as job {id}; what they say is in {}", groups.len(), folder.display());
        Ok(())
    }
}

/// The groups of a plan.
pub fn plan(path: &Path) -> Result<Vec<Group>> {
    let text = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{}: is not a plan", path.display()))).collect()
}

/// For every job that was ever submitted from this store and of which Slurm still says something, what it says: where it was submitted
/// several times, of the one that Slurm is at or will be, else of the last.
pub fn known(store: &Store) -> Result<BTreeMap<String, Element>> {
    let mut found: BTreeMap<String, Element> = BTreeMap::new();
    for folder in submissions(store)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let groups = plan(&folder.join(PLAN))?;
        // One whose every job is done need not be asked about.
        if groups.iter().flatten().all(|job| matches!(store.done(&job.id), Ok(Some(_)))) {
            continue;
        }
        let elements = queue::elements(&name).context(Unusable)?;
        for (index, element) in elements {
            ensure!(index < groups.len(), "{}: Slurm knows an element {index}, the plan has {}", folder.display(), groups.len());
            for job in &groups[index] {
                if !found.get(&job.id).is_some_and(Element::is_in_hand) {
                    found.insert(job.id.clone(), element.clone());
                }
            }
        }
    }
    Ok(found)
}

/// The submissions' folders, oldest first.
pub fn submissions(store: &Store) -> Result<Vec<PathBuf>> {
    let dir = store.root().join(FOLDER);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if let Ok(made) = fs::metadata(path.join(PLAN)).and_then(|m| m.modified()) {
            found.push((made, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The jobs that were ever submitted from this store.
pub fn submitted(store: &Store) -> Result<HashSet<String>> {
    let plans = submissions(store)?.iter().map(|folder| plan(&folder.join(PLAN))).collect::<Result<Vec<_>>>()?;
    Ok(plans.into_iter().flatten().flatten().map(|job| job.id).collect())
}

/// What can be said of a job that was submitted, has no record, and of which Slurm says nothing any more.
pub fn traces(store: &Store, id: &str) -> &'static str {
    match history::of(&store.run(id)).last().map(|entry| entry.event) {
        None => "never started, and Slurm knows it no more: it was cancelled there, or lost",
        Some(history::Event::Begun) => "was begun, did not end, and Slurm knows it no more: its node or process was lost",
        Some(history::Event::Interrupted) => "stopped as asked",
        Some(history::Event::Failed) => "failed",
        Some(history::Event::Ended) => "ended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::data::few;
    use crate::job::tiny;
    use crate::store::history::{Event, add};

    #[test]
    fn what_was_submitted_is_in_the_plans() {
        let (dir, data) = (tempfile::tempdir().unwrap(), few("d", 9, 1));
        let store = Store::new(dir.path());
        assert!(submitted(&store).unwrap().is_empty());
        let job = |id: &str| Job { id: id.into(), ..tiny(&data, &[]) };
        let plans = [("b", vec![vec![job("1"), job("2")], vec![job("3")]]), ("a", vec![vec![job("3"), job("4")]])];
        for (name, groups) in &plans {
            let lines: Vec<String> = groups.iter().map(|group| serde_json::to_string(group).unwrap() + "\n").collect();
            atomic::write(&dir.path().join(FOLDER).join(name).join(PLAN), lines.concat().as_bytes()).unwrap();
            let made = SystemTime::now() - Duration::from_secs(if *name == "b" { 100 } else { 0 });
            fs::File::options().write(true).open(dir.path().join(FOLDER).join(name).join(PLAN)).unwrap().set_modified(made).unwrap();
        }
        // A folder without a plan is none.
        fs::create_dir_all(dir.path().join(FOLDER).join("c")).unwrap();
        let folders = submissions(&store).unwrap();
        assert_eq!(folders.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(plan(&folders[0].join(PLAN)).unwrap(), plans[0].1);
        let mut all: Vec<String> = submitted(&store).unwrap().into_iter().collect();
        all.sort();
        assert_eq!(all, ["1", "2", "3", "4"]);
    }

    #[test]
    fn the_last_event_is_what_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let folder = store.run("j");
        fs::create_dir_all(&folder).unwrap();
        let mut said = vec![traces(&store, "j")];
        for event in [Event::Begun, Event::Interrupted, Event::Failed, Event::Ended] {
            add(&folder, event).unwrap();
            said.push(traces(&store, "j"));
        }
        let words = ["never started", "did not end", "stopped as asked", "failed", "ended"];
        assert!(said.iter().zip(words).all(|(said, words)| said.contains(words)), "{said:?}");
    }
}
