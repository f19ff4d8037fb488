//! A cluster under Slurm: the plan becomes a job array, one element for each group of jobs.
//!
//! There is no daemon and no database. A submission is a folder in the store with the plan and the script; its array has the folder's
//! name, so Slurm can be queried about its elements at any time, from any machine. Results are in the store, as always.

mod queue;
mod script;

pub use queue::{Element, is_there};
pub use script::{Allocation, Places, text};

use script::can_be_written;

use super::executor::{Executor, JobGroup, groups};
use crate::base::data::DatasetInfo;
use crate::base::error::Meaning;
use crate::base::lock::Lock;
use crate::base::{atomic, stop};
use crate::experiment::Job;
use crate::store::submissions::{FOLDER, PLAN, plan, submissions};
use crate::store::{Store, history};
use anyhow::{Context, Result, anyhow, ensure};
use queue::Submitted;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Elements of an array where neither the allocation nor the cluster gives a limit.
const MOST: usize = 1000;

/// How often a cluster is asked while one waits for it.
const LOOK: Duration = Duration::from_secs(2);

/// Job arrays.
pub struct Slurm<'a> {
    /// The results, on a file system that the nodes share.
    pub store: &'a Store,
    /// The data set of all jobs.
    pub data: &'a DatasetInfo,
    /// The program on the nodes.
    pub program: PathBuf,
    /// What each element asks for.
    pub allocation: &'a Allocation,
    /// Whether to wait until no job is pending or running in Slurm.
    pub wait: bool,
}

impl Executor for Slurm<'_> {
    fn execute(&self, jobs: &[Job]) -> Result<()> {
        {
            // Only one process at a time queries and submits: two would submit the same jobs.
            let _lock = Lock::wait(&self.store.root().join(FOLDER))?;
            let known = known(self.store)?;
            let free = |job: &&Job| !known.get(&job.id).is_some_and(Element::is_in_hand);
            let missing: Vec<Job> = jobs.iter().filter(free).cloned().collect();
            let groups = groups(&missing, self.data);
            eprintln!("{} jobs are in Slurm's hands, {} to submit", jobs.len() - missing.len(), missing.len());
            self.submit_all(&groups)?;
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
    /// Submits the groups as arrays that the cluster takes; where it does not say how large that is, ever smaller ones are tried.
    fn submit_all(&self, groups: &[JobGroup]) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let mut most = self.allocation.array_size.map(|n| n as usize).or_else(queue::largest_array).unwrap_or(MOST);
        let mut rest = groups;
        while !rest.is_empty() {
            let (part, later) = rest.split_at(most.min(rest.len()));
            if self.submit(part)? {
                rest = later;
            } else if part.len() > 1 {
                most = part.len() / 2;
            } else {
                let problem = "sbatch: the cluster takes no job array, not even of one element (MaxArraySize in its configuration)";
                return Err(anyhow!(problem)).needed();
            }
        }
        Ok(())
    }

    /// Submits one array; whether the cluster takes one of this size.
    fn submit(&self, groups: &[JobGroup]) -> Result<bool> {
        let root = fs::canonicalize(self.store.root()).with_context(|| self.store.root().display().to_string())?;
        // Elements begin in a folder of their own.
        let cache = self.store.cache().asked().map(std::path::absolute).transpose()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let digest = blake3::hash(format!("{since} {} {}", std::process::id(), groups[0][0].id).as_bytes()).to_hex();
        let name = format!("ddpm-{}", &digest[..10]);
        let folder = root.join(FOLDER).join(&name);
        if let Some(path) = [&folder, &self.program].into_iter().chain(&cache).find(|path| !can_be_written(path)) {
            let problem = "Slurm cannot be told of a path with a backslash, a line break, or characters that are no UTF-8; choose another";
            return Err(anyhow!("{}: {problem}", path.display())).needed();
        }
        let lines: Vec<String> = groups.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        atomic::write(&folder.join(PLAN), (lines.join("\n") + "\n").as_bytes())?;
        let at = Places { program: &self.program, results: &root, cache: cache.as_deref(), folder: &folder };
        let script = folder.join("script.sh");
        atomic::write(&script, text(&name, groups.len(), self.allocation, at).as_bytes())?;
        let forget = || drop(fs::remove_dir_all(&folder));
        match queue::submit(&script, &self.allocation.overridden_by()).inspect_err(|_| forget())? {
            Submitted::Yes(number) => {
                let array = number.map_or_else(|| format!("the array {name}"), |number| format!("job {number}"));
                eprintln!("submitted {} elements as {array}; their output is in {}", groups.len(), folder.display());
                Ok(true)
            }
            Submitted::TooLarge => {
                forget();
                Ok(false)
            }
        }
    }
}

/// The state of every job that was submitted from this store and that Slurm still knows. For a job that was submitted several times, that
/// of the pending or running submission, otherwise that of the latest.
pub fn known(store: &Store) -> Result<BTreeMap<String, Element>> {
    let mut found: BTreeMap<String, Element> = BTreeMap::new();
    for folder in submissions(store)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let groups = plan(&folder.join(PLAN))?;
        // One whose every job is done need not be asked about.
        if groups.iter().flatten().all(|job| matches!(store.done(&job.id), Ok(Some(_)))) {
            continue;
        }
        let made = fs::metadata(folder.join(PLAN)).and_then(|m| m.modified());
        let ago = made.ok().and_then(|made| made.elapsed().ok()).unwrap_or_default();
        let elements = queue::elements(&name, ago)?;
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

/// What the history says about a job that was submitted, has no record, and is no longer known to Slurm.
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

    use crate::store::history::{Event, add};

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
