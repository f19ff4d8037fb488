//! The text of a job array's script: a function of the plan and the block that says what to ask the cluster for.

use crate::base::error::ConfigError;
use crate::experiment::{strict, yaml};
use crate::store::submissions::PLAN;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::path::Path;

/// What each element asks the cluster for. What is absent is left to the cluster's own defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Allocation {
    /// The partition.
    pub partition: Option<String>,
    /// The account.
    pub account: Option<String>,
    /// The time limit, as Slurm writes it: `MINUTES`, `MINUTES:SECONDS`, `HOURS:MINUTES:SECONDS`, `DAYS-HOURS`, `DAYS-HOURS:MINUTES` or
    /// `DAYS-HOURS:MINUTES:SECONDS`. An element that reaches it is requeued and resumes.
    #[serde(deserialize_with = "as_written")]
    #[schemars(schema_with = "number_or_text")]
    pub time: Option<String>,
    /// GPUs.
    pub gpus: Option<u32>,
    /// Processor cores.
    pub cpus: Option<u32>,
    /// Memory, as Slurm writes it: `16G`, or `16000` for megabytes.
    #[serde(deserialize_with = "as_written")]
    #[schemars(schema_with = "number_or_text")]
    pub memory: Option<String>,
    /// Maximum number of elements of an array running at a time; if absent, as many as the cluster allows.
    pub at_a_time: Option<u32>,
    /// Maximum number of elements of an array; if absent, what the cluster says of itself (`MaxArraySize`). More are submitted as several
    /// arrays.
    pub array_size: Option<u32>,
    /// Seconds before the time limit at which an element saves a checkpoint and is requeued.
    pub ahead: Option<u32>,
    /// Seconds between checkpoints.
    pub checkpoint_every: Option<u64>,
    /// More options of `sbatch`, each as on its command line.
    pub options: Vec<String>,
    /// Lines of shell before the work, such as `module load cuda`.
    pub setup: Vec<String>,
}

/// A number or a text, as a text.
fn as_written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Value>::deserialize(deserializer)?.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string)))
}

fn number_or_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer", "null"], "minimum": 0 })
}

/// Whether a text is a time as Slurm writes it.
fn is_time(text: &str) -> bool {
    if ["UNLIMITED", "INFINITE"].contains(&text.to_uppercase().as_str()) {
        return true;
    }
    let (days, rest) = text.split_once('-').map_or((None, text), |(days, rest)| (Some(days), rest));
    let is_number = |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = rest.split(':').collect();
    parts.len() <= 3 && days.is_none_or(is_number) && parts.into_iter().all(is_number)
}

/// Whether a text is an amount of memory as Slurm writes it.
fn is_memory(text: &str) -> bool {
    let digits = text.strip_suffix(['K', 'M', 'G', 'T', 'k', 'm', 'g', 't']).unwrap_or(text);
    !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Seconds before the time limit where nothing is said.
const AHEAD: u32 = 120;

impl Allocation {
    /// Reads the block from a YAML file.
    pub fn read(path: &Path) -> Result<Allocation, ConfigError> {
        let origin = path.display().to_string();
        let allocation: Allocation = strict::typed(&yaml::read(path)?, &origin)?;
        allocation.check().map_err(|(key, problem)| ConfigError::new(&origin, &key, problem))?;
        Ok(allocation)
    }

    /// Whether each value is one that a line of the script can hold; else its key and what is wrong.
    fn check(&self) -> Result<(), (String, String)> {
        let words = [("partition", &self.partition), ("account", &self.account)];
        for (key, word) in words.into_iter().filter_map(|(key, word)| Some((key, word.as_ref()?))) {
            if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:,@+".contains(c)) {
                return Err((key.into(), format!("expected letters, digits and -_.:,@+ only, got {word:?}")));
            }
        }
        if let Some(time) = self.time.as_ref().filter(|time| !is_time(time)) {
            return Err(("time".into(), format!("expected minutes, as 90, or a time as 4:00:00 or 1-12:00:00 (days first), got {time:?}")));
        }
        if let Some(memory) = self.memory.as_ref().filter(|memory| !is_memory(memory)) {
            return Err(("memory".into(), format!("expected megabytes, as 16000, or an amount as 16G, got {memory:?}")));
        }
        let numbers = [
            ("gpus", self.gpus),
            ("cpus", self.cpus),
            ("at_a_time", self.at_a_time),
            ("array_size", self.array_size),
            ("ahead", self.ahead),
        ];
        if let Some((key, _)) = numbers.into_iter().find(|(_, n)| *n == Some(0)) {
            return Err((key.into(), "expected at least 1, got 0".into()));
        }
        for (i, option) in self.options.iter().enumerate() {
            if !option.starts_with("--") || option.chars().any(char::is_control) {
                return Err((format!("options[{i}]"), format!("expected one option as --name=value, got {option:?}")));
            }
        }
        match self.setup.iter().position(|line| line.chars().any(|c| c.is_control() && c != '\t')) {
            Some(i) => Err((format!("setup[{i}]"), "expected one line of shell".into())),
            None => Ok(()),
        }
    }
}

impl Allocation {
    /// Variables of the environment that `sbatch` would put before what this asks for.
    pub fn overridden_by(&self) -> Vec<&'static str> {
        let of = [
            (self.partition.is_some(), &["SBATCH_PARTITION"][..]),
            (self.account.is_some(), &["SBATCH_ACCOUNT"]),
            (self.time.is_some(), &["SBATCH_TIMELIMIT"]),
            (self.memory.is_some(), &["SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"]),
            (self.gpus.is_some(), &["SBATCH_GPUS", "SBATCH_GPUS_PER_NODE", "SBATCH_GPUS_PER_TASK"]),
            (self.cpus.is_some(), &["SBATCH_CPUS_PER_GPU"]),
        ];
        of.into_iter().filter(|(asked, _)| *asked).flat_map(|(_, names)| names.iter().copied()).collect()
    }
}

/// Where things lie, all absolute.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The program.
    pub program: &'a Path,
    /// The results.
    pub results: &'a Path,
    /// Where data sets are prepared, if that was asked for.
    pub cache: Option<&'a Path>,
    /// The submission's own folder, with the plan in it.
    pub folder: &'a Path,
}

/// Whether a path can stand in a script, and Slurm can write its output there: a backslash anywhere in the name of a file turns its patterns
/// off, and so the element's index too.
pub fn can_be_written(path: &Path) -> bool {
    path.to_str().is_some_and(|name| !name.chars().any(|c| c == '\\' || c.is_control()))
}

/// The script of an array of `elements` under the name `name`.
pub fn text(name: &str, elements: usize, a: &Allocation, at: Places) -> String {
    let mut lines = vec!["#!/bin/bash".to_string()];
    let mut option = |text: String| lines.push(format!("#SBATCH {text}"));
    option(format!("--job-name={name}"));
    let at_a_time = a.at_a_time.map_or(String::new(), |n| format!("%{n}"));
    option(format!("--array=0-{}{at_a_time}", elements - 1));
    // In the pattern of a file's name `%` stands for itself where it is doubled; in quotes a quote is escaped.
    option(format!("--output=\"{}/%a.txt\"", at.folder.display().to_string().replace('%', "%%").replace('"', "\\\"")));
    option("--open-mode=append".into());
    option("--requeue".into());
    option("--ntasks=1".into());
    option(format!("--signal=B:USR1@{}", a.ahead.unwrap_or(AHEAD)));
    let words = [("partition", &a.partition), ("account", &a.account), ("time", &a.time), ("mem", &a.memory)];
    words.into_iter().filter_map(|(key, word)| Some((key, word.as_ref()?))).for_each(|(key, word)| option(format!("--{key}={word}")));
    let numbers = [("gpus-per-task", a.gpus), ("cpus-per-task", a.cpus)];
    numbers.into_iter().filter_map(|(key, n)| Some((key, n?))).for_each(|(key, n)| option(format!("--{key}={n}")));
    a.options.iter().for_each(|more| option(more.clone()));
    lines.push(String::new());
    lines.extend(a.setup.iter().cloned());
    let every = a.checkpoint_every.map_or(String::new(), |s| format!(" --checkpoint-every {s}"));
    let cache = at.cache.map_or(String::new(), |dir| format!(" --cache {}", quoted(dir)));
    let [program, plan, results] = [at.program.to_path_buf(), at.folder.join(PLAN), at.results.to_path_buf()].map(|p| quoted(&p));
    lines.push(format!("{program} work {plan} \"$SLURM_ARRAY_TASK_ID\" --results {results}{cache}{every} &"));
    lines.extend(TAIL.lines().map(str::to_string));
    lines.join("\n") + "\n"
}

/// On a signal ahead of the time limit the work saves a checkpoint and the element is requeued. On a cancellation or a preemption it
/// saves a checkpoint too; whether it is requeued is up to Slurm.
const TAIL: &str = r#"work=$!
limit=
trap 'limit=yes; kill -USR1 $work' USR1
trap 'kill -TERM $work' TERM
# A signal ends the waiting, not the work.
while wait $work; status=$?; kill -0 $work 2>/dev/null; do :; done
if [ -n "$limit" ] && [ $status = 130 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit $status"#;

/// A path as one word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at() -> Places<'static> {
        let [program, results, folder] = ["/opt/it's/ddpm", "/data/r", "/data/r/slurm/x"].map(Path::new);
        Places { program, results, cache: None, folder }
    }

    #[test]
    fn the_script_is_the_committed_one() {
        let yaml = include_str!("../../../../../experiments/slurm.yaml");
        let allocation: Allocation = strict::typed(&yaml::parse(yaml, "slurm.yaml").unwrap(), "slurm.yaml").unwrap();
        allocation.check().unwrap();
        assert_eq!(text("ddpm-x", 42, &allocation, at()), include_str!("../../../../../tests/golden/slurm.sh"));
        let least = text("ddpm-x", 1, &Allocation::default(), at());
        assert!(least.contains("--array=0-0\n") && !least.contains("partition"), "{least}");
    }

    /// As a Slurm of version 22.05 was seen to read them.
    #[test]
    fn paths_are_escaped() {
        let folder = Path::new("/r/a 100%j \"b\" $c 'd'/x");
        let script = text("n", 1, &Allocation::default(), Places { folder, ..at() });
        assert!(script.contains("#SBATCH --output=\"/r/a 100%%j \\\"b\\\" $c 'd'/x/%a.txt\"\n"), "{script}");
        let cache = text("n", 1, &Allocation::default(), Places { cache: Some(Path::new("/data/it's")), ..at() });
        assert!(cache.contains(r" --results '/data/r' --cache '/data/it'\''s' &"), "{cache}");
        assert!(can_be_written(folder) && !can_be_written(Path::new("/r\\x")) && !can_be_written(Path::new("/r\nx")));
    }

    #[test]
    fn values_that_would_leave_their_line_are_refused() {
        let refused = |yaml: &str| {
            let a: Allocation = strict::typed(&yaml::parse(yaml, "f").unwrap(), "f").unwrap();
            a.check().unwrap_err().0
        };
        for time in ["90", "90:30", "4:00:00", "1-12", "1-12:30", "1-12:30:00", "UNLIMITED"] {
            strict::typed::<Allocation>(&json!({ "time": time }), "f").unwrap().check().unwrap();
        }
        for time in ["4h", "", "-1", "1:2:3:4", "1-", "-12", "1:", "1-2-3", "90 minutes", "٣"] {
            let a: Allocation = strict::typed(&json!({ "time": time }), "f").unwrap();
            assert_eq!(a.check().unwrap_err().0, "time", "{time}");
        }
        for memory in ["16000", "16G", "500m", "1T"] {
            strict::typed::<Allocation>(&json!({ "memory": memory }), "f").unwrap().check().unwrap();
        }
        for memory in ["16GB", "1.5G", "", "G"] {
            let a: Allocation = strict::typed(&json!({ "memory": memory }), "f").unwrap();
            assert_eq!(a.check().unwrap_err().0, "memory", "{memory}");
        }
        // As numbers they are what Slurm takes numbers for: minutes and megabytes.
        let a: Allocation = strict::typed(&yaml::parse("{time: 60, memory: 16000}", "f").unwrap(), "f").unwrap();
        let script = text("n", 1, &a, at());
        assert!(script.contains("#SBATCH --time=60\n") && script.contains("#SBATCH --mem=16000\n"), "{script}");
        let wrong = strict::typed::<Allocation>(&yaml::parse("time: [60]", "f").unwrap(), "f").unwrap_err();
        assert_eq!(wrong.to_string(), "f: time: expected a text or a whole number of at least 0, got [60]");
        assert_eq!(refused("array_size: 0"), "array_size");
        assert_eq!(refused("partition: \"a\\nrm -rf ~\""), "partition");
        assert_eq!(refused("time: $(reboot)"), "time");
        assert_eq!(refused("gpus: 0"), "gpus");
        assert_eq!(refused("options: [--ok=1, \"--a\\n--b\"]"), "options[1]");
        assert_eq!(refused("setup: [\"a\\nb\"]"), "setup[0]");
        let unknown = strict::typed::<Allocation>(&yaml::parse("partitoin: x", "f").unwrap(), "f").unwrap_err();
        assert!(unknown.to_string().contains("did you mean partition?"), "{unknown}");
    }
}
