//! What was submitted to a cluster: a folder for each array, with its plan.

use super::layout::Store;
use crate::base::error::Meaning;
use crate::experiment::Job;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The submissions in the store.
pub const FOLDER: &str = "slurm";

/// The plan in a submission's folder: a line of jobs for each element of the array.
pub const PLAN: &str = "plan.jsonl";

/// The groups of a plan.
pub fn plan(path: &Path) -> Result<Vec<Vec<Job>>> {
    let text = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display())).needed()?;
    let element = |line| serde_json::from_str(line).with_context(|| format!("{}: is not a plan", path.display()));
    text.lines().map(element).collect::<Result<_>>().needed()
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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::atomic;
    use crate::base::data::few;
    use crate::experiment::tiny;
    use std::time::{Duration, SystemTime};

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
}
