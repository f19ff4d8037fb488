//! Faults, each caused on purpose, and what is left after them: the table that `just faults` prints. Without `--full` it is a short form
//! for every test run. `--only NAME` does one, and may be said again; a fault that cannot be caused here is a row that says so.

#[path = "../support.rs"]
mod support;

mod bench;
mod causes;
mod cluster;
mod damage;
mod disk;
mod kills;
mod memory;
mod power;
mod runners;
mod small;

use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Instant, SystemTime};
use support::*;

const GRID: &str = "tests/faults/grid.yaml";
const BASE: &str = "experiments/bases/fashion-smoke.yaml";
/// A job's record, in its folder.
const RECORD: &str = "record.json";

/// How much is done.
#[derive(Clone, Copy)]
pub struct Effort {
    full: bool,
}

impl Effort {
    fn of(self, full: usize, short: usize) -> usize {
        if self.full { full } else { short }
    }
}

/// What was found: in words, with numbers. A fault that cannot be caused here is the reason why.
pub enum Found {
    Seen(String),
    NotHere(String),
}

type Fault = (&'static str, &'static str, fn(Effort) -> Found);

const FAULTS: [Fault; 10] = [
    ("kills", "kill -9 of a job, of the parent, of both", kills::kills),
    ("stop", "Ctrl-C once, twice", kills::stops),
    ("disk", "disk full", disk::full),
    ("damage", "flipped bits, cut and foreign files", damage::damage),
    ("power", "power cuts, at every call of an ablation", power::power),
    ("runners", "two runners, one store", runners::two),
    ("causes", "no memory, lost device, divergence", causes::causes),
    ("memory", "a limit of memory", memory::limit),
    ("slurm", "drained node, cancelled, time limit, requeued, controller killed", cluster::slurm),
    ("overhead", "harness overhead", bench::overhead),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--list") {
        return;
    }
    let effort = Effort { full: arguments.iter().any(|a| a == "--full") };
    let only: Vec<&str> = arguments.windows(2).filter(|pair| pair[0] == "--only").map(|pair| &pair[1][..]).collect();
    let chosen: Vec<&Fault> = FAULTS.iter().filter(|(name, ..)| only.is_empty() || only.contains(name)).collect();
    let names = FAULTS.map(|(name, ..)| name);
    let unknown = only.iter().find(|name| !names.contains(name));
    assert!(unknown.is_none(), "no fault is called {}: {}", unknown.unwrap(), names.join(", "));
    println!("| fault | found | time |\n|---|---|---|");
    // How many of those named so are not as they should be.
    let failed =
        |named: &dyn Fn(&str) -> bool| chosen.iter().filter(|(name, ..)| named(name)).filter(|fault| !cause(fault, effort)).count();
    // A cluster is minutes of waiting: the others are caused meanwhile, and what measures time comes after both.
    let beside = std::thread::scope(|scope| {
        let cluster = scope.spawn(|| failed(&|name| name == "slurm"));
        failed(&|name| !["slurm", "overhead"].contains(&name)) + cluster.join().expect("what a fault does is caught")
    });
    let failed = beside + failed(&|name| name == "overhead");
    std::process::exit(i32::from(failed > 0));
}

/// Causes one, prints its row, and says whether all was as it should be.
fn cause((_, what, fault): &Fault, effort: Effort) -> bool {
    let started = Instant::now();
    let found = std::panic::catch_unwind(|| fault(effort));
    let words = match &found {
        Ok(Found::Seen(words)) => words,
        Ok(Found::NotHere(why)) => &format!("not caused here: {why}"),
        Err(_) => "FAILED, see above",
    };
    println!("| {what} | {words} | {:.0} s |", started.elapsed().as_secs_f64());
    found.is_ok()
}

/// `ddpm ablate` on the small grid.
pub fn ablate(results: &Path, more: &[&str]) -> Command {
    let mut command = ddpm();
    command.args(["ablate", GRID, "--base", BASE, "--checkpoint-every", "0", "--jobs", "2", "--results"]).arg(results).args(more);
    command
}

pub fn output(mut command: Command) -> Output {
    command.output().unwrap()
}

/// Panics with what was said where the exit code is another.
#[track_caller]
pub fn expect(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}{}", stdout(output), stderr(output));
}

/// The tables that the grid leaves, by file, as bytes.
pub fn tables(results: &Path) -> BTreeMap<String, Vec<u8>> {
    let dir = results.join("grid-fashion-smoke");
    let names = ["metrics.csv", "terms.csv", "bounds.csv", "curves.csv", "along.csv", "table.md"];
    names.into_iter().map(|name| (name.into(), std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")))).collect()
}

/// The tables of an undisturbed run, made once.
pub fn undisturbed() -> &'static BTreeMap<String, Vec<u8>> {
    static TABLES: std::sync::OnceLock<BTreeMap<String, Vec<u8>>> = std::sync::OnceLock::new();
    TABLES.get_or_init(|| {
        let dir = results();
        expect(&output(ablate(dir.path(), &[])), 0);
        tables(dir.path())
    })
}

/// Panics where a table is not the undisturbed run's, or where a job was ended more than once or begun after its end.
#[track_caller]
pub fn whole(results: &Path) {
    for (name, bytes) in tables(results) {
        assert!(bytes == undisturbed()[&name], "{name} differs:\n{}", String::from_utf8_lossy(&bytes));
    }
    once_each(results, 8);
}

/// Panics where there are not `jobs` jobs with a record, each ended once and never begun again. The line that says so comes after the
/// record, so a process that was killed between the two has left none: then the last one says that it was begun.
#[track_caller]
pub fn once_each(results: &Path, jobs: usize) {
    let runs = folders(&results.join("runs"));
    assert_eq!(runs.len(), jobs);
    for run in runs {
        assert!(run.join(RECORD).exists(), "{}: no record", run.display());
        let events = history(&run);
        let begun = events.iter().take_while(|event| *event != "ended").count();
        let after: Vec<&str> = events.iter().skip(begun).map(String::as_str).collect();
        assert!(matches!(&after[..], ["ended"] | []), "{}: {events:?}", run.display());
        assert!(!after.is_empty() || events.last().is_some_and(|event| event == "begun"), "{}: {events:?}", run.display());
    }
}

/// The records that are there, by job, each with the file that it is: a job done again leaves another one.
pub fn records(results: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let file = |run: PathBuf| {
        let found = std::fs::metadata(run.join(RECORD)).ok()?;
        Some((run, (found.ino(), found.modified().unwrap())))
    };
    folders(&results.join("runs")).into_iter().filter_map(file).collect()
}

/// The events of a job, oldest first.
pub fn history(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("history.jsonl")).unwrap_or_default();
    let event = |line: &str| serde_json::from_str::<Value>(line).ok()?["event"].as_str().map(str::to_string);
    text.lines().filter_map(event).collect()
}

pub fn folders(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    found.sort();
    found
}

/// A small generator of its own, seeded by the clock: faults fall on other moments in every run.
pub struct Chance(u64);

impl Chance {
    pub fn by_the_clock() -> Chance {
        let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        eprintln!("seed of the faults: {seed}");
        Chance(seed)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}
