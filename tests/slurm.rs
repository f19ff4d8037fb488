//! What clusters really say: stand-ins for Slurm's commands that answer as sites are known to. A real Slurm is in `tests/faults`.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::*;
use tempfile::TempDir;

/// A cluster of shell scripts, with what was submitted to it.
struct Site {
    dir: TempDir,
}

impl Site {
    /// One that takes arrays of up to `most` elements, says `banner` before each answer, and has `sacct` and `scontrol` of its own.
    fn new(most: usize, banner: &str, sacct: &str, scontrol: &str) -> Site {
        let site = Site { dir: tempfile::tempdir().unwrap() };
        let command = |name: &str, body: &str| {
            let path = site.at(name);
            fs::write(&path, format!("#!/bin/bash\n{body}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        // Whoever asks without `-S` is told of today only, as by Slurm's own.
        let asked = site.at("asked").display().to_string();
        command("sacct", &format!("echo \"$*\" >> {asked}; case \" $* \" in *\" -S \"*) {sacct};; esac"));
        command("scontrol", scontrol);
        command("squeue", &format!("[ \"$1\" = --version ] || [ -z \"$SQUEUE_PARTITION\" ] || exit 3\n{banner}\nexit 0"));
        let log = site.at("log").display().to_string();
        let sbatch = format!(
            "{banner}\nscript=\"${{@: -1}}\"\ntop=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' \"$script\")
if [ \"$top\" -ge {most} ]; then echo 'sbatch: error: Batch job submission failed: Invalid job array specification' >&2; exit 1; fi
[ -z \"$SBATCH_ARRAY_INX$SBATCH_TIMELIMIT\" ] || exit 3
echo \"$top $*\" >> {log}\necho 4242"
        );
        command("sbatch", &sbatch);
        fs::write(site.at("grid.yaml"), "question: q\nset: {timesteps: 25, sampling.count: 10, evaluation.held_out: 1, evaluation.train: 1}\ngrid: {steps: [1, 2, 3, 4, 5, 6, 7]}\n").unwrap();
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ask(&self, command: &str, results: &Path, more: &[&str]) -> Output {
        self.ask_with(&[], command, results, more)
    }

    fn ask_with(&self, variables: &[(&str, &str)], command: &str, results: &Path, more: &[&str]) -> Output {
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        let grid = self.at("grid.yaml");
        let mut ddpm = ddpm();
        ddpm.args([command, grid.to_str().unwrap(), "--base", "fashion-smoke", "--results"]).arg(results).args(more);
        ddpm.envs(variables.iter().copied())
            .env("PATH", path)
            .env("SQUEUE_PARTITION", "other")
            .env("SBATCH_ARRAY_INX", "0-1")
            .output()
            .unwrap()
    }

    fn submit(&self, results: &Path, more: &[&str]) -> String {
        let output = self.ask("ablate", results, &[&["--executor", "slurm"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    }

    /// The highest index of each array that was taken.
    fn taken(&self) -> Vec<usize> {
        let log = fs::read_to_string(self.at("log")).unwrap();
        log.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
    }
}

const SILENT: &str = "exit 1";

/// Arrays are as large as the allocation says, as the cluster says, or as it takes.
#[test]
fn arrays_fit_the_cluster() {
    let elements = |site: &Site| site.taken().iter().map(|top| top + 1).collect::<Vec<_>>();
    let says = "[ \"$*\" = 'show config' ] && echo 'MaxArraySize            = 5'";
    let site = Site::new(5, "", SILENT, says);
    site.submit(&site.at("r"), &[]);
    assert_eq!(elements(&site), [5, 2]);
    let site = Site::new(5, "", SILENT, SILENT);
    site.submit(&site.at("r"), &[]);
    assert_eq!(elements(&site), [3, 3, 1]);
    assert_eq!(fs::read_dir(site.at("r/slurm")).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count(), 3);
    let site = Site::new(5, "", SILENT, says);
    fs::write(site.at("a.yaml"), "{array_size: 4, at_a_time: 2, time: 90, memory: 2000}").unwrap();
    site.submit(&site.at("r"), &["--allocation", site.at("a.yaml").to_str().unwrap()]);
    let folders = fs::read_dir(site.at("r/slurm")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    for script in folders.map(|folder| fs::read_to_string(folder.join("script.sh")).unwrap()) {
        for line in ["#SBATCH --time=90\n", "#SBATCH --mem=2000\n", "%2\n"] {
            assert!(script.contains(line), "{line}: {script}");
        }
    }
    let site = Site::new(0, "", SILENT, SILENT);
    let output = site.ask("ablate", &site.at("r"), &["--executor", "slurm"]);
    let said = stderr(&output);
    assert!(output.status.code() == Some(5) && said.contains("takes no job array") && said.contains("MaxArraySize"), "{said}");
}

/// What the allocation says is not overridden by the environment; what it leaves open is a person's own.
#[test]
fn the_allocation_comes_first() {
    let site = Site::new(100, "", SILENT, SILENT);
    let allocation = site.at("a.yaml");
    for (text, code) in [("cpus: 1", 5), ("time: 90", 0)] {
        fs::write(&allocation, text).unwrap();
        let more = ["--executor", "slurm", "--allocation", allocation.to_str().unwrap()];
        let output = site.ask_with(&[("SBATCH_TIMELIMIT", "10")], "ablate", &site.at("r"), &more);
        assert_eq!(output.status.code(), Some(code), "{text}: {}", stderr(&output));
    }
}

/// A site's banner is not the array's number, and a number's absence is no failure: the array has a name.
#[test]
fn a_banner_is_no_answer() {
    let site = Site::new(100, "echo '----'; echo '  2027 | is | RUNNING | out'; echo '--> job name: OK'", SILENT, SILENT);
    let said = site.submit(&site.at("r"), &[]);
    assert!(said.contains("submitted 7 elements as job 4242;"), "{said}");
    let status = site.ask("status", &site.at("r"), &[]);
    assert!(status.status.success() && stdout(&status).contains("it was cancelled there, or lost"), "{}", stderr(&status));
}

/// Accounting is asked since the submission, not since midnight.
#[test]
fn what_died_yesterday_is_told() {
    let site = Site::new(100, "", "echo 'Welcome to | accounting'; echo '4242_0|OUT_OF_MEMORY'; echo '4242_1|CANCELLED by 1000'", SILENT);
    site.submit(&site.at("r"), &[]);
    let folder = fs::read_dir(site.at("r/slurm")).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir()).unwrap();
    let plan = fs::File::options().write(true).open(folder.join("plan.jsonl")).unwrap();
    plan.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 24 * 3600)).unwrap();
    let status = stdout(&site.ask("status", &site.at("r"), &[]));
    for words in ["killed for lack of memory in Slurm as 4242_0", "cancelled in Slurm as 4242_1", "cancelled there, or lost"] {
        assert!(status.contains(words), "{words}: {status}");
    }
    let asked = fs::read_to_string(site.at("asked")).unwrap();
    assert!(asked.lines().last().unwrap().contains(" -S now-74hours "), "{asked}");
}

/// Characters that mean something to a shell or in a pattern of Slurm's are characters in a path.
#[test]
fn paths_are_what_they_are() {
    let site = Site::new(100, "", SILENT, SILENT);
    let results = site.at("a 100%j \"b\" $(c) 'e'");
    site.submit(&results, &[]);
    let folder = fs::read_dir(results.join("slurm")).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir()).unwrap();
    let script = fs::read_to_string(folder.join("script.sh")).unwrap();
    assert!(script.contains("/a 100%%j \\\"b\\\" $(c) 'e'/slurm/ddpm-"), "{script}");
    // As a node runs it: from where it was submitted, by the element's index alone.
    let mut node = Command::new("bash");
    node.arg(folder.join("script.sh")).current_dir(root()).env("SLURM_ARRAY_TASK_ID", "6");
    let output = node.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_dir(results.join("runs")).unwrap().filter(|e| e.as_ref().unwrap().path().join("record.json").exists()).count(), 1);
    // Slurm has no way to write this one.
    let output = site.ask("ablate", &site.at("a\\d"), &["--executor", "slurm"]);
    assert!(output.status.code() == Some(5) && stderr(&output).contains("a path with a backslash"), "{}", stderr(&output));
}
