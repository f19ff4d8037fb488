//! A job that needs more memory than there is: the kernel kills it.

use crate::small::Small;
use crate::*;
use std::fs;

/// Enough for the program and a small network, too little for a large one.
const LIMIT: u64 = 250 << 20;

/// A control group with a limit of memory, of the first or the second version.
struct Group(PathBuf);

impl Group {
    /// None where none can be made: without root, or without control groups.
    fn new() -> Option<Group> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = |wanted: &str| {
            let path = groups.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(wanted)?.strip_prefix(':'));
            path.map(|path| path.trim_start_matches('/').to_string())
        };
        let name = format!("ddpm-faults-{}", std::process::id());
        let mount = Path::new("/sys/fs/cgroup");
        let mut places = vec![(mount.join(&name), "memory.max")];
        if let Some(path) = own("memory") {
            places.insert(0, (mount.join("memory").join(path).join(&name), "memory.limit_in_bytes"));
        }
        let made = |(path, limit): (PathBuf, &str)| {
            fs::create_dir(&path).ok()?;
            let group = Group(path);
            fs::write(group.0.join(limit), LIMIT.to_string()).ok()?;
            // Without swap, where that has a limit of its own.
            let _ = fs::write(group.0.join("memory.swap.max"), "0");
            let _ = fs::write(group.0.join("memory.memsw.limit_in_bytes"), LIMIT.to_string());
            Some(group)
        };
        places.into_iter().find_map(made)
    }

    /// The command with its process and all that it starts in the group.
    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0).arg(env!("CARGO_BIN_EXE_ddpm")).args(words);
        command.current_dir(root());
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// One cell's network is far larger than the limit: its job is recorded as `memory` after it was tried again, the other ends.
pub fn limit(_: Effort) -> Found {
    let Some(group) = Group::new() else { return Found::NotHere("control groups of memory cannot be made here".into()) };
    let small = Small::new("{question: Which?, grid: {channels: [4, 512]}, figures: []}");
    let results = small.at("results");
    let mut words = small.words(&results);
    words.extend(["--retries", "1"].map(String::from));
    let output = output(group.command(&words));
    expect(&output, 3);
    let mut outcomes: Vec<(String, String, u64)> = folders(&results.join("runs"))
        .iter()
        .map(|run| {
            let record: Value = serde_json::from_str(&fs::read_to_string(run.join(RECORD)).unwrap()).unwrap();
            let of = |key: &str| record["outcome"][key].as_str().unwrap_or_default().to_string();
            (of("kind"), of("cause"), record["outcome"]["attempts"].as_u64().unwrap_or(0))
        })
        .collect();
    outcomes.sort();
    let expected = [("failed", "memory", 2), ("finished", "", 0)].map(|(kind, cause, n)| (kind.to_string(), cause.to_string(), n));
    assert_eq!(outcomes, expected, "{}", stderr(&output));
    assert!(stderr(&output).contains("the kernel killed it for lack of memory"), "{}", stderr(&output));
    // With what it needs, the same command ends well.
    expect(&ddpm().args(small.words(&results)).output().unwrap(), 0);
    Found::Seen("killed by the kernel, tried again once, recorded as memory; the other job ends; without the limit all do".into())
}
