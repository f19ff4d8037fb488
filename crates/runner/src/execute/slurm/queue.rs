//! What Slurm says of its elements, through its own commands: `squeue` while it knows them, `sacct` where there is accounting.

use crate::base::error::Meaning;
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a controller that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(120);

/// An element's state as Slurm names it (`PENDING`, `RUNNING`, `NODE_FAIL`, ...), why it waits, and the array it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// `JOB_INDEX`.
    pub id: String,
    /// Slurm's word.
    pub state: String,
    /// Slurm's reason, where it waits.
    pub reason: String,
}

impl Element {
    /// Whether Slurm will still run it, or is running it.
    pub fn is_in_hand(&self) -> bool {
        let words = [
            "PENDING",
            "RUNNING",
            "REQUEUED",
            "REQUEUE_HOLD",
            "REQUEUE_FED",
            "RESIZING",
            "SUSPENDED",
            "CONFIGURING",
            "COMPLETING",
            "STOPPED",
            "SIGNALING",
            "STAGE_OUT",
            "SPECIAL_EXIT",
        ];
        words.contains(&self.state.as_str())
    }

    /// In a few words for a person.
    pub fn description(&self) -> String {
        let word = match self.state.as_str() {
            "PENDING" if self.reason.to_lowercase().contains("held") => {
                return format!("held by Slurm ({}): scontrol release {}", self.reason, self.id);
            }
            "PENDING" => return format!("waits in Slurm ({}) as {}", self.reason, self.id),
            "RUNNING" => "running",
            "COMPLETED" => "ended",
            "CANCELLED" => "cancelled",
            "FAILED" => "failed",
            "NODE_FAIL" => "its node was lost",
            "TIMEOUT" => "met its time limit",
            "OUT_OF_MEMORY" => "killed for lack of memory",
            "PREEMPTED" => "preempted",
            "BOOT_FAIL" => "its node did not boot",
            other => return format!("{} as {}", other.to_lowercase().replace('_', " "), self.id),
        };
        format!("{word} in Slurm as {}", self.id)
    }
}

/// The elements of the arrays called `name`, by index; a controller that is being restarted is waited for.
pub fn elements(name: &str) -> Result<BTreeMap<usize, Element>> {
    // Without accounting there is none.
    let ended = said("sacct", &["-n", "-X", "-P", "--duplicates", "--name", name, "-o", "JobID,State"]).unwrap_or_default();
    let format = "%F|%K|%T|%r";
    let waiting = patiently(|| said("squeue", &["-h", "-r", "-t", "all", "-n", name, "-o", format]))?;
    Ok(merged(&ended, &waiting))
}

/// The output of `sacct` and `squeue`, merged: for a requeued element, its current state.
fn merged(sacct: &str, squeue: &str) -> BTreeMap<usize, Element> {
    let mut found = accounted(sacct);
    found.extend(queued(squeue));
    found
}

/// Submits a script; the array's number.
pub fn submit(script: &std::path::Path) -> Result<String> {
    let path = script.display().to_string();
    let id = patiently(|| said("sbatch", &["--parsable", &path]))?;
    Ok(id.trim().split(';').next().unwrap_or_default().to_string())
}

/// Whether Slurm's commands are there.
pub fn is_there() -> bool {
    Command::new("squeue").arg("--version").output().is_ok_and(|o| o.status.success())
}

fn patiently(mut ask: impl FnMut() -> Result<String>) -> Result<String> {
    let started = Instant::now();
    let mut told = false;
    loop {
        match ask() {
            Err(why) if !PASSING.iter().any(|text| format!("{why:#}").contains(text)) || started.elapsed() >= PATIENCE => return Err(why),
            Err(why) => {
                if !std::mem::replace(&mut told, true) {
                    eprintln!("{why:#}; asked again for up to {} s", PATIENCE.as_secs());
                }
                crate::base::stop::check()?;
                std::thread::sleep(Duration::from_secs(2));
            }
            answer => return answer,
        }
    }
}

/// What Slurm's commands say while the controller is away.
const PASSING: [&str; 5] =
    ["Unable to contact slurm controller", "Socket timed out", "Connection refused", "Zero Bytes were transmitted", "temporarily"];

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("{program}: cannot be run; is Slurm installed?")).needed()?;
    if !output.status.success() {
        return Err(anyhow!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())).needed();
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn queued(text: &str) -> BTreeMap<usize, Element> {
    let line = |line: &str| {
        let [array, index, state, reason] = line.split('|').collect::<Vec<_>>()[..] else { return None };
        let index: usize = index.parse().ok()?;
        Some((index, Element { id: format!("{array}_{index}"), state: state.into(), reason: reason.into() }))
    };
    text.lines().filter_map(line).collect()
}

fn accounted(text: &str) -> BTreeMap<usize, Element> {
    let line = |line: &str| {
        let (id, state) = line.split_once('|')?;
        let index: usize = id.split_once('_')?.1.parse().ok()?;
        // `CANCELLED by 1000` says more than is asked.
        let state = state.split(' ').next()?.to_string();
        Some((index, Element { id: id.into(), state, reason: String::new() }))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slurm_says_is_read() {
        let found = queued("12|0|PENDING|Resources\n12|1|RUNNING|None\n12|2|PENDING|JobHeldUser\nnot a line\n12|N/A|PENDING|x\n");
        assert_eq!(found.len(), 3);
        assert!(found.values().all(Element::is_in_hand));
        assert_eq!(found[&0].description(), "waits in Slurm (Resources) as 12_0");
        assert_eq!(found[&2].description(), "held by Slurm (JobHeldUser): scontrol release 12_2");
        let ended = accounted("12_3|CANCELLED by 0\n12_4|NODE_FAIL\n12_[5-9]|PENDING\n");
        assert_eq!(ended.len(), 2);
        assert!(!ended.values().any(Element::is_in_hand));
        assert_eq!(
            (ended[&3].description(), ended[&4].description()),
            ("cancelled in Slurm as 12_3".into(), "its node was lost in Slurm as 12_4".into())
        );
    }

    #[test]
    fn one_that_was_queued_up_again_is_in_hand() {
        let found = merged("12_0|NODE_FAIL\n12_1|COMPLETED\n", "12|0|PENDING|BeginTime\n");
        assert!(found[&0].is_in_hand() && !found[&1].is_in_hand(), "{found:?}");
    }

    /// All states of Slurm's documentation of `squeue`: those that end an element, and those that do not.
    #[test]
    fn every_state_is_in_hand_or_over() {
        let of = |state: &str| Element { id: "1_0".into(), state: state.into(), reason: String::new() };
        for over in ["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "REVOKED"] {
            assert!(!of(over).is_in_hand(), "{over}");
        }
        for going_on in [
            "PENDING",
            "RUNNING",
            "CONFIGURING",
            "COMPLETING",
            "SUSPENDED",
            "REQUEUED",
            "REQUEUE_HOLD",
            "REQUEUE_FED",
            "RESIZING",
            "SIGNALING",
            "STAGE_OUT",
            "STOPPED",
            "SPECIAL_EXIT",
        ] {
            assert!(of(going_on).is_in_hand(), "{going_on}");
        }
    }

    #[test]
    fn every_state_has_words() {
        let words = [
            ("RUNNING", "running in Slurm as 1_0"),
            ("COMPLETED", "ended in Slurm as 1_0"),
            ("CANCELLED", "cancelled in Slurm as 1_0"),
            ("FAILED", "failed in Slurm as 1_0"),
            ("NODE_FAIL", "its node was lost in Slurm as 1_0"),
            ("TIMEOUT", "met its time limit in Slurm as 1_0"),
            ("OUT_OF_MEMORY", "killed for lack of memory in Slurm as 1_0"),
            ("PREEMPTED", "preempted in Slurm as 1_0"),
            ("BOOT_FAIL", "its node did not boot in Slurm as 1_0"),
            ("REQUEUE_HOLD", "requeue hold as 1_0"),
        ];
        for (state, words) in words {
            let reason = "None".into();
            assert_eq!(Element { id: "1_0".into(), state: state.into(), reason }.description(), words);
        }
    }
}
