//! A real Slurm, of one node on this machine, and what can happen to an array in its hands.

use crate::kills::kill;
use crate::*;
use std::fs;
use std::time::Duration;

struct Cluster {
    dir: tempfile::TempDir,
}

impl Cluster {
    /// None where Slurm is not installed or this is not root.
    fn start() -> Result<Cluster, String> {
        for program in ["slurmctld", "slurmd", "munged", "sbatch"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
            if !found.status.success() {
                return Err(format!("{program} is not installed (Debian: slurm-wlm, munge)"));
            }
        }
        let id = Command::new("id").arg("-u").output().unwrap();
        if id.stdout != b"0\n" {
            return Err("a cluster of its own needs root".into());
        }
        let cluster = Cluster { dir: tempfile::tempdir().unwrap() };
        let started = cluster.script("start");
        assert!(started.status.success(), "{}", stderr(&started));
        Ok(cluster)
    }

    fn script(&self, what: &str) -> Output {
        Command::new("bash").arg(root().join("tests/faults/cluster.sh")).arg(what).arg(self.dir.path()).output().unwrap()
    }

    fn conf(&self) -> PathBuf {
        self.dir.path().join("slurm.conf")
    }

    /// One of Slurm's commands, by words.
    fn says(&self, words: &str) -> String {
        let mut words = words.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).env("SLURM_CONF", self.conf()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    }

    fn node(&self, state: &str) {
        let node = self.says("sinfo -h -o %n");
        self.says(&format!("scontrol update nodename={} state={state} reason=test", node.trim()));
    }

    /// Waits until an element, by its index, is in a state.
    fn await_state(&self, index: usize, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(300);
        let wanted = format!("{index}|{state}");
        while !self.says("squeue -h -r -o %K|%T").lines().any(|line| line == wanted) {
            assert!(Instant::now() < deadline, "element {index} never was {state}:\n{}", self.says("squeue -r"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.script("stop");
    }
}

/// A grid, where its results are, and the tables of an undisturbed run of it on this machine.
struct Question {
    dir: tempfile::TempDir,
    expected: Vec<(String, Vec<u8>)>,
}

impl Question {
    fn new(text: &str, allocation: &str) -> Question {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("q.yaml"), text).unwrap();
        fs::write(dir.path().join("allocation.yaml"), allocation).unwrap();
        let mut question = Question { dir, expected: Vec::new() };
        let local = question.dir.path().join("local");
        expect(&run(&["ablate", &question.grid(), "--base", BASE, "--jobs", "2", "--results", local.to_str().unwrap()]), 0);
        question.expected = question.tables(&local);
        question
    }

    fn grid(&self) -> String {
        self.dir.path().join("q.yaml").display().to_string()
    }

    fn results(&self) -> PathBuf {
        self.dir.path().join("re %j \"s'ults")
    }

    fn tables(&self, results: &Path) -> Vec<(String, Vec<u8>)> {
        let read = |name: &str| (name.to_string(), fs::read(results.join("q-fashion-smoke").join(name)).unwrap());
        ["metrics.csv", "terms.csv", "curves.csv"].map(read).into()
    }

    fn submit(&self, cluster: &Cluster, more: &[&str]) -> Output {
        let mut command = ddpm();
        command.args(["ablate", &self.grid(), "--base", BASE, "--executor", "slurm", "--allocation"]);
        command.arg(self.dir.path().join("allocation.yaml")).arg("--results").arg(self.results()).args(more);
        command.env("SLURM_CONF", cluster.conf()).output().unwrap()
    }

    fn status(&self, cluster: &Cluster) -> String {
        let mut command = ddpm();
        command.args(["status", &self.grid(), "--base", BASE, "--results"]).arg(self.results()).env("SLURM_CONF", cluster.conf());
        let output = command.output().unwrap();
        expect(&output, 0);
        stdout(&output)
    }

    /// The whole table, each job ended once.
    fn check(&self, jobs: usize) {
        assert!(self.tables(&self.results()) == self.expected, "tables differ");
        once_each(&self.results(), jobs);
    }
}

/// Elements that are drained, cancelled, requeued, cut off by a time limit, with a controller that dies: then `ablate` again.
pub fn slurm(effort: Effort) -> Found {
    let cluster = match Cluster::start() {
        Ok(cluster) => cluster,
        Err(why) => return Found::NotHere(why),
    };
    let text = "question: q\nset: {training.steps: 800, sampling.count: 10, evaluation.held_out: 4, evaluation.train: 4}\ngrid: {prediction: [eps, mu]}\nseeds: [0, 1, 2]\n";
    let question = Question::new(text, "cpus: 1\nmemory: 500M\ncheckpoint_every: 0\n");
    expect(&question.submit(&cluster, &[]), 0);
    let again = question.submit(&cluster, &[]);
    assert!(stderr(&again).contains("6 jobs are in Slurm's hands, 0 to submit"), "{}", stderr(&again));
    cluster.await_state(0, "RUNNING");
    cluster.node("drain");
    let array = cluster.says("squeue -h -r -o %F");
    let array = array.lines().next().unwrap();
    // One that waits vanishes from Slurm's memory; one that runs is remembered as cancelled.
    cluster.says(&format!("scancel {array}_5 {array}_0"));
    let status = question.status(&cluster);
    for words in ["it was cancelled there", "waits in Slurm (", "6 jobs:"] {
        assert!(status.contains(words), "{words}: {status}");
    }
    await_words(&question, &cluster, "cancelled in Slurm as");
    cluster.node("resume");
    // Slurm writes its state down every few seconds; what it had not written it has forgotten after this.
    std::thread::sleep(Duration::from_secs(7));
    // The controller dies while jobs run, and `status` waits for the next one.
    let pid = fs::read_to_string(cluster.dir.path().join("controller.pid")).unwrap();
    kill("-9", pid.trim().parse().unwrap());
    let restarted = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(2));
            cluster.script("controller")
        });
        question.status(&cluster)
    });
    assert!(restarted.contains("6 jobs:"), "{restarted}");
    cluster.await_state(4, "RUNNING");
    cluster.says(&format!("scontrol requeue {array}_4"));
    // Slurm lets one that is queued up again wait for two minutes; that is its own business.
    cluster.await_state(4, "PENDING");
    cluster.says(&format!("scontrol update jobid={array}_4 starttime=now"));
    let mut resubmitted = Vec::new();
    loop {
        let last = question.submit(&cluster, &["--wait"]);
        let words = stderr(&last);
        resubmitted.extend(words.lines().find_map(|l| l.split(", ").nth(1)?.strip_suffix(" to submit").map(str::to_string)));
        if last.status.code() == Some(0) {
            break;
        }
        expect(&last, 3);
        assert!(resubmitted.len() < 4, "{words}");
    }
    question.check(6);
    let limit = if effort.full { time_limit(&cluster) } else { "time limit only with --full" };
    Found::Seen(format!(
        "6 elements; submitted again by later calls: {}; {limit}; every job ended once, tables equal byte for byte",
        resubmitted.join(", ")
    ))
}

fn await_words(question: &Question, cluster: &Cluster, words: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = question.status(cluster);
        if status.contains(words) {
            return;
        }
        assert!(Instant::now() < deadline, "{words} never came:\n{status}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// An element that meets its limit leaves a checkpoint, queues up by itself, and goes on.
fn time_limit(cluster: &Cluster) -> &'static str {
    let text = "question: q\nset: {training.steps: 12000, sampling.count: 10, evaluation.held_out: 4, evaluation.train: 4}\ngrid: {prediction: [eps]}\n";
    let question = Question::new(text, "cpus: 1\nmemory: 500M\ntime: \"1\"\nahead: 40\n");
    expect(&question.submit(cluster, &["--wait"]), 0);
    question.check(1);
    let events = history(&folders(&question.results().join("runs"))[0]);
    assert!(events.contains(&"interrupted".to_string()), "the limit was never met: {events:?}");
    "time limit met and gone on from"
}
