//! What Slurm says of its elements, through its own commands: `squeue` while it knows them, `sacct` where there is accounting.

use crate::base::error::Meaning;
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::path::Path;
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

/// The elements of the arrays called `name`, submitted `ago`, by index; a controller that is being restarted is waited for.
pub fn elements(name: &str, ago: Duration) -> Result<BTreeMap<usize, Element>> {
    // Accounting tells of today alone where it is not asked since when. An hour more: clocks differ.
    let since = format!("now-{}hours", ago.as_secs() / 3600 + 2);
    let asked = ["-n", "-X", "-P", "--duplicates", "-S", &since, "--name", name, "-o", "JobID,State"];
    // Without accounting there is none.
    let ended = said("sacct", &asked).unwrap_or_default();
    let waiting = patiently(|| said("squeue", &["-h", "-r", "-t", "all", "-n", name, "-o", "%F|%K|%T|%r"]))?;
    Ok(merged(&ended, &waiting))
}

/// The output of `sacct` and `squeue`, merged: for a requeued element, its current state.
fn merged(sacct: &str, squeue: &str) -> BTreeMap<usize, Element> {
    let mut found = accounted(sacct);
    found.extend(queued(squeue));
    found
}

/// What came of submitting a script.
pub enum Submitted {
    /// It is in Slurm's hands; the array's number, where Slurm's answer has one.
    Yes(Option<String>),
    /// The cluster does not take an array of this size.
    TooLarge,
}

/// Submits a script; variables of the environment that would override it are left out.
pub fn submit(script: &Path, overriding: &[&str]) -> Result<Submitted> {
    match patiently(|| said_without(overriding, "sbatch", &["--parsable", &script.display().to_string()])) {
        Ok(answer) => Ok(Submitted::Yes(number(&answer))),
        Err(why) if format!("{why:#}").contains("Invalid job array specification") => Ok(Submitted::TooLarge),
        Err(why) => Err(why),
    }
}

/// The array's number in an answer of `sbatch --parsable`, `NUMBER` or `NUMBER;CLUSTER`; what a site says around it is not.
fn number(answer: &str) -> Option<String> {
    let number = |line: &str| {
        let number = line.trim().split(';').next()?;
        (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(|| number.to_string())
    };
    answer.lines().rev().find_map(number)
}

/// Maximum number of elements of an array, where the cluster says it.
pub fn largest_array() -> Option<usize> {
    configured(&said("scontrol", &["show", "config"]).ok()?)
}

/// `MaxArraySize` in what `scontrol show config` says: one more than the highest index, and indices begin at 0.
fn configured(config: &str) -> Option<usize> {
    let line = config.lines().find_map(|line| line.trim().strip_prefix("MaxArraySize"))?;
    line.trim_start().strip_prefix('=')?.trim().parse().ok().filter(|n| *n > 0)
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

/// Settings of `sbatch` in the environment that come before what a script says of itself.
const OVERRIDES: [&str; 9] = [
    "SBATCH_ARRAY_INX",
    "SBATCH_ERROR",
    "SBATCH_JOB_NAME",
    "SBATCH_OUTPUT",
    "SBATCH_OPEN_MODE",
    "SBATCH_REQUEUE",
    "SBATCH_NO_REQUEUE",
    "SBATCH_SIGNAL",
    "SBATCH_WAIT",
];

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    said_without(&[], program, arguments)
}

fn said_without(variables: &[&str], program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    // A person's own settings would show other columns or fewer jobs, or make another array of the script.
    let ours = |name: &str| {
        ["SQUEUE_", "SACCT_"].iter().any(|prefix| name.starts_with(prefix)) || OVERRIDES.contains(&name) || variables.contains(&name)
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
        command.env_remove(name);
    }
    let output = command.args(arguments).output();
    let output = output.with_context(|| format!("{program}: cannot be run; is Slurm installed?")).needed()?;
    if !output.status.success() {
        return Err(anyhow!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())).needed();
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `ARRAY|INDEX|STATE|REASON`; other lines are a site's own.
fn queued(text: &str) -> BTreeMap<usize, Element> {
    let line = |line: &str| {
        let [array, index, state, reason] = line.splitn(4, '|').collect::<Vec<_>>()[..] else { return None };
        element(array, index, state, reason)
    };
    text.lines().filter_map(line).collect()
}

/// `ARRAY_INDEX|STATE`, where `CANCELLED by 1000` says more than is asked.
fn accounted(text: &str) -> BTreeMap<usize, Element> {
    let line = |line: &str| {
        let (id, state) = line.split_once('|')?;
        let (array, index) = id.split_once('_')?;
        element(array, index, state.split(' ').next()?, "")
    };
    text.lines().filter_map(line).collect()
}

fn element(array: &str, index: &str, state: &str, reason: &str) -> Option<(usize, Element)> {
    let is_state = !state.is_empty() && state.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    if array.parse::<u64>().is_err() || !is_state {
        return None;
    }
    Some((index.parse().ok()?, Element { id: format!("{array}_{index}"), state: state.into(), reason: reason.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slurm_says_is_read() {
        let text = "-- maintenance | on | SUNDAY | 0 --\n12|0|PENDING|Resources\n12|1|RUNNING|None\n12|2|PENDING|JobHeldUser\n";
        let found = queued(&format!("{text}not a line\n12|N/A|PENDING|x\n12|3|2 nodes|x\nx|4|RUNNING|x\n"));
        assert_eq!(found.len(), 3);
        assert!(found.values().all(Element::is_in_hand));
        assert_eq!(found[&0].description(), "waits in Slurm (Resources) as 12_0");
        assert_eq!(found[&2].description(), "held by Slurm (JobHeldUser): scontrol release 12_2");
        let ended = accounted("12_3|CANCELLED by 0\n12_4|NODE_FAIL\n12_[5-9]|PENDING\na_6|FAILED\n12_7|welcome\n");
        assert_eq!(ended.len(), 2);
        assert!(!ended.values().any(Element::is_in_hand));
        assert_eq!(
            (ended[&3].description(), ended[&4].description()),
            ("cancelled in Slurm as 12_3".into(), "its node was lost in Slurm as 12_4".into())
        );
    }

    /// The number alone, that of a cluster among several, one after a banner; where there is none, none is made up.
    #[test]
    fn an_arrays_number_is_a_line_of_its_own() {
        for answer in ["4242\n", "4242;north\n", "-----\n  Notice: 2 nodes are down until 2027\n-----\n--> job name: OK\n4242\n"] {
            assert_eq!(number(answer).as_deref(), Some("4242"), "{answer}");
        }
        assert_eq!([number(""), number("Submitted batch job 4242\n"), number(";north\n")], [None, None, None]);
    }

    #[test]
    fn the_largest_array_is_the_clusters() {
        let config =
            "Configuration data as of 2026-11-29T12:00:00\nMaxArraySize            = 1001\nMaxArraySizeOther = 7\nMaxJobCount = 10000\n";
        assert_eq!(configured(config), Some(1001));
        assert_eq!([configured(""), configured("scontrol show config"), configured("MaxArraySize = 0")], [None, None, None]);
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
