//! A job's history: a line for each time that it was begun and ended, by whom. Only who holds the job's lock writes.

use crate::base::error::Meaning;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The file in a job's folder.
const FILE: &str = "history.jsonl";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A process took it up.
    Begun,
    /// Its record was left. Whether a job has ended is for its record to say: a process that is killed between the record and this line
    /// leaves no such line.
    Ended,
    /// It stopped as it was asked to.
    Interrupted,
    /// It failed.
    Failed,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryLine {
    /// Seconds since 1970, by the clock of the machine.
    pub at: u64,
    /// What happened.
    pub event: Event,
    /// The process.
    pub pid: u32,
    /// The machine.
    pub host: String,
    /// The Slurm job ID, if it ran under Slurm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slurm: Option<String>,
}

/// Adds a line to the history of the job whose folder is `dir`.
pub fn add(dir: &Path, event: Event) -> Result<()> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let entry = HistoryLine { at, event, pid: std::process::id(), host, slurm: std::env::var("SLURM_JOB_ID").ok() };
    let path = dir.join(FILE);
    let line = format!("{}\n", serde_json::to_string(&entry)?);
    let append = || -> std::io::Result<()> {
        let mut file = File::options().create(true).append(true).read(true).open(&path)?;
        // After a power cut the last line may be half a line, which must not take this one with it.
        let mut last = [b'\n'];
        if file.metadata()?.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        let line = if last == [b'\n'] { line.clone() } else { format!("\n{line}") };
        file.write_all(line.as_bytes())?;
        file.sync_data()
    };
    append().with_context(|| format!("{}: cannot be written", path.display())).stored()
}

/// The lines so far; ones that a crash has cut short are left out.
pub fn of(dir: &Path) -> Vec<HistoryLine> {
    let text = fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Whether a file is a history.
pub fn is_history(file: &str) -> bool {
    file == FILE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a power cut left of a line takes no other line with it.
    #[test]
    fn a_torn_line_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), Event::Begun).unwrap();
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        fs::write(dir.path().join(FILE), [&whole[..], &whole[..20]].concat()).unwrap();
        add(dir.path(), Event::Failed).unwrap();
        add(dir.path(), Event::Ended).unwrap();
        let events: Vec<Event> = of(dir.path()).into_iter().map(|line| line.event).collect();
        assert_eq!(events, [Event::Begun, Event::Failed, Event::Ended]);
    }
}
