//! A job's history: a line for each time that it was begun and ended, by whom. Only who holds the job's claim writes.

use crate::base::error::Meaning;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
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
    /// Its record was left.
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
    let append = || File::options().create(true).append(true).open(&path)?.write_all(line.as_bytes());
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
