//! Power cuts: what a small ablation does to files is recorded, and at every moment of it the states are built that a cut may leave on the
//! disk. Nothing that is accepted in one of them may be less than whole, nothing that was told to be done may be gone, and the same
//! command must end as if nothing had been.

mod disk;
mod record;

use crate::small::Small;
use crate::*;
use ddpm_runner::base::data::prepared;
use ddpm_runner::plan::verify::verify;
use ddpm_runner::store::Store;
use disk::{Disk, State};
use record::{Call, TRACED, calls};
use std::collections::BTreeSet;
use std::fs;

/// What is asked; its one figure is quickly drawn.
const ASKED: &str = "{question: Which?, grid: {prediction: [eps, mu], variance: [fixed-small, fixed-large]}, figures: [training-loss]}";

/// Two jobs at a time, with a checkpoint whenever one can be.
const OFTEN: [&str; 4] = ["--jobs", "2", "--checkpoint-every", "0"];

/// The calls of an undisturbed run, or why they cannot be had.
fn recorded(small: &Small, results: &Path) -> Result<Vec<Call>, String> {
    let record = small.at("record");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-xx", "-s", "100000000", "-e", &format!("trace={TRACED}"), "-o"]).arg(&record);
    strace.arg(env!("CARGO_BIN_EXE_ddpm")).args(small.words(results)).args(OFTEN).current_dir(root());
    match strace.output() {
        Ok(output) if record.exists() => expect(&output, 0),
        Ok(output) => return Err(format!("strace does not run: {}", stderr(&output).trim())),
        Err(_) => return Err("strace is not installed".into()),
    }
    Ok(calls(&fs::read_to_string(record).unwrap(), results))
}

/// The tables of a results folder.
fn tables(results: &Path) -> Vec<Vec<u8>> {
    ["metrics.csv", "terms.csv", "bounds.csv", "curves.csv", "table.md"]
        .map(|name| fs::read(results.join("grid-base").join(name)).unwrap())
        .into()
}

/// The state in a folder.
fn lay(state: &State, root: &Path, at: &Path) {
    let _ = fs::remove_dir_all(at);
    for (path, contents) in state {
        let path = at.join(path.strip_prefix(root).unwrap());
        match contents {
            Some(bytes) => fs::write(path, &bytes[..]).unwrap(),
            None => fs::create_dir_all(path).unwrap(),
        }
    }
}

/// What has been told to be done: jobs, and the page.
#[derive(Clone, Default)]
struct Told {
    said: String,
}

impl Told {
    fn jobs<'a>(&'a self, all: &'a [String]) -> impl Iterator<Item = &'a String> {
        all.iter().filter(|id| self.said.contains(*id))
    }

    fn page(&self) -> bool {
        self.said.contains("grid-base/index.html")
    }
}

/// What is wrong with a state that a cut has left; none where all is as it should be.
fn wrong(disk: &Disk, results: &Path, at: &Path, told: &Told, jobs: &[String], expected: &[Vec<u8>]) -> Option<String> {
    let store = Store::new(at);
    for id in told.jobs(jobs) {
        match store.done(id) {
            Ok(Some(_)) => {}
            other => return Some(format!("{id} was told to be done, and its record is {:?}", other.map(|record| record.is_some()))),
        }
    }
    if told.page() && (!["README.md", "index.html"].iter().all(|page| at.join("grid-base").join(page).exists()) || tables(at) != expected) {
        return Some("the page was told to be there, and its tables are others".into());
    }
    let verified = match verify(&store) {
        Ok(verified) => verified,
        Err(error) => return Some(format!("store verify: {error:#}")),
    };
    // What is accepted is what was written, and whole.
    let damaged: BTreeSet<PathBuf> = verified.findings.into_iter().map(|finding| finding.path).collect();
    for (path, versions) in &disk.versions {
        let here = at.join(path.strip_prefix(results).unwrap());
        let name = path.file_name().unwrap().to_str().unwrap();
        let verified = name.ends_with(".safetensors") || ["record.json", "training.json", "experiment.json"].contains(&name);
        if verified && !damaged.contains(&here) && fs::read(&here).is_ok_and(|bytes| !versions.iter().any(|version| **version == bytes)) {
            return Some(format!("{} is accepted and was never written so", path.display()));
        }
    }
    // Images that are said to be prepared are.
    for set in folders(&at.join("data")) {
        match prepared::verified(&set) {
            Ok((false, found)) if set.join("set.json").exists() => return Some(found),
            Err(error) => return Some(format!("{}: {error:#}", set.display())),
            Ok(_) => {}
        }
    }
    // A training that has left a checkpoint has left a good one.
    for training in folders(&at.join("training")) {
        let there: Vec<PathBuf> = ["checkpoint.safetensors", "checkpoint.previous.safetensors"].map(|name| training.join(name)).into();
        let there: Vec<PathBuf> = there.into_iter().filter(|path| path.exists()).collect();
        if !there.is_empty() && there.iter().all(|path| damaged.contains(path)) {
            return Some(format!("{}: no checkpoint is good", training.display()));
        }
    }
    None
}

/// Goes through a record, and gives every state that has not been seen to `look`, with what has been told by then, until it says that it has
/// seen enough.
fn cuts(calls: &[Call], results: &Path, mut look: impl FnMut(&Disk, &State, &Told) -> bool) -> Disk {
    let (mut disk, mut told) = (Disk::new(results), Told::default());
    for call in calls {
        if let Call::Said(text) = call {
            told.said += text;
        }
        disk.apply(call);
        for state in disk.cut() {
            if look(&disk, &state, &told) {
                return disk;
            }
        }
    }
    disk
}

/// What results depend on in a state: all but locks, histories, and files that are unfinished.
fn essence(state: &State) -> String {
    let mut hash = blake3::Hasher::new();
    let aside = [".part-", "claim-", "history.", "progress."];
    for (path, contents) in state {
        let name = path.file_name().unwrap().to_string_lossy();
        if let Some(bytes) = contents.as_ref().filter(|_| !aside.iter().any(|prefix| name.starts_with(prefix))) {
            hash.update(path.to_string_lossy().as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        }
    }
    hash.finalize().to_hex().to_string()
}

/// Every state of a small ablation after a power cut.
pub fn power(effort: Effort) -> Found {
    let small = Small::new(ASKED);
    let (results, at) = (small.at("results"), small.at("after"));
    let calls = match recorded(&small, &results) {
        Ok(calls) => calls,
        Err(why) => return Found::NotHere(why),
    };
    let expected = tables(&results);
    let jobs: Vec<String> =
        folders(&results.join("runs")).iter().map(|run| run.file_name().unwrap().to_str().unwrap().to_string()).collect();
    assert_eq!(jobs.len(), 4);
    // Short, a part of the states is looked at; at length all are, and all that differ in what results depend on are gone on from.
    let mut chance = Chance::by_the_clock();
    let (mut states, mut again, mut essences) = (0, 0, BTreeSet::new());
    let disk = cuts(&calls, &results, |disk, state, told| {
        let goes_on = if effort.full { essences.insert(essence(state)) || chance.below(10) == 0 } else { chance.below(500) == 0 };
        if !effort.full && !goes_on && chance.below(10) > 0 {
            return false;
        }
        states += 1;
        lay(state, &results, &at);
        if let Some(problem) = wrong(disk, &results, &at, told, &jobs, &expected) {
            panic!("after {:?}: {problem}", told.said.lines().last());
        }
        if goes_on {
            again += 1;
            let verified = run(&["store", "verify", "--results", at.to_str().unwrap()]);
            assert!([Some(0), Some(5)].contains(&verified.status.code()), "{}{}", stdout(&verified), stderr(&verified));
            let output = ddpm().args(small.words(&at)).args(OFTEN).output().unwrap();
            expect(&output, 0);
            assert!(tables(&at) == expected, "tables differ after {:?}", told.said.lines().last());
        }
        false
    });
    // The model is the disk: what it holds at the end is what is there.
    for (path, contents) in disk.running() {
        match contents {
            Some(bytes) => assert!(fs::read(&path).is_ok_and(|there| there == **bytes), "{} is not as recorded", path.display()),
            None => assert!(path.is_dir(), "{} is not as recorded", path.display()),
        }
    }
    let found = missing_syncs(&calls, &results, &at, &jobs, &expected, &mut chance);
    Found::Seen(format!(
        "{} calls, {states} states: nothing told is lost, nothing torn is accepted; {again} gone on from, tables equal byte for byte; {found} of {} planted lacks of a sync found",
        calls.len(),
        PLANTED.len()
    ))
}

/// Whether a sync of this path is forgotten.
type Forgotten = fn(&Path) -> bool;

/// Syncs that a program may have forgotten: of files' contents, of folders' names, of the names of jobs' folders, of checkpoints, of prepared images.
const PLANTED: [(&str, Forgotten); 5] = [
    ("contents", |path| is_part(path)),
    ("names", |path| !is_part(path)),
    ("jobs", |path| path.ends_with("results/runs")),
    ("checkpoints", |path| is_part(path) && path.components().any(|part| part.as_os_str() == "training")),
    ("prepared images", |path| path.ends_with("images")),
];

fn is_part(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".part-"))
}

/// The same without some syncs must be found wanting; a part of the states is enough for that.
fn missing_syncs(calls: &[Call], results: &Path, at: &Path, jobs: &[String], expected: &[Vec<u8>], chance: &mut Chance) -> usize {
    for (name, forgotten) in PLANTED {
        let without: Vec<Call> = calls.iter().filter(|call| !matches!(call, Call::Sync(path) if forgotten(path))).cloned().collect();
        assert!(without.len() < calls.len(), "{name}");
        let mut problem = None;
        cuts(&without, results, |disk, state, told| {
            if chance.below(10) == 0 {
                lay(state, results, at);
                problem = wrong(disk, results, at, told, jobs, expected);
            }
            problem.is_some()
        });
        assert!(problem.is_some(), "a lack of syncs of {name} is not found");
    }
    PLANTED.len()
}
