//! Doing jobs: one process for each, so that a crash costs one job.

use crate::commands::duration;
use crate::data::Dataset;
use crate::job::Job;
use crate::metrics::Metric;
use crate::progress;
use crate::store::{FORMAT, Machine, Outcome, Record, Store, write_json};
use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How jobs are done.
pub trait Executor {
    /// Does all `jobs`; returns once each has left a record. Errors are of the executor itself, not of a job.
    fn execute(&self, jobs: &[Job]) -> Result<()>;
}

/// Processes on this machine.
pub struct Local<'a> {
    /// The results.
    pub store: &'a Store,
    /// The data set of all jobs.
    pub data: &'a Dataset,
    /// The program that does one job (`ddpm run`).
    pub program: PathBuf,
    /// Jobs at a time.
    pub workers: usize,
    /// Threads of each.
    pub threads: usize,
    /// Seconds between checkpoints.
    pub checkpoint_every: u64,
}

impl Executor for Local<'_> {
    fn execute(&self, jobs: &[Job]) -> Result<()> {
        // Jobs that share a training go one after the other: the first one trains.
        let mut groups: Vec<Vec<&Job>> = Vec::new();
        for job in jobs {
            match groups.iter_mut().find(|g| g[0].training_id == job.training_id) {
                Some(group) => group.push(job),
                None => groups.push(vec![job]),
            }
        }
        let queue = Mutex::new(groups.into_iter().collect::<VecDeque<_>>());
        let screen = Screen::new(jobs.len());
        std::thread::scope(|scope| {
            let work = || -> Result<()> {
                loop {
                    let Some(group) = queue.lock().expect("no worker panics").pop_front() else { return Ok(()) };
                    for job in group {
                        self.one(job, &screen)?;
                    }
                }
            };
            let workers: Vec<_> = (0..self.workers).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|w| w.join().expect("no worker panics"))
        })
    }
}

impl Local<'_> {
    fn one(&self, job: &Job, screen: &Screen) -> Result<()> {
        let dir = self.store.run(&job.id);
        let bar = screen.begin(&job.id);
        let mut child = Command::new(&self.program)
            .args(["run", "-", "--leashed", "--results"])
            .arg(self.store.root())
            .args(["--checkpoint-every", &self.checkpoint_every.to_string()])
            .env("RAYON_NUM_THREADS", self.threads.to_string())
            .env("CANDLE_NUM_THREADS", self.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: cannot be started", self.program.display()))?;
        // Held open until the job is over: when this process ends, however it ends, the job's process sees that and ends too.
        // One that dies before it reads says so on stderr.
        let mut leash = child.stdin.take().expect("piped");
        let _ = writeln!(leash, "{}", serde_json::to_string(job)?);
        let started = Instant::now();
        let said = watch(&mut child, || {
            if let Some(p) = progress::of(&dir) {
                screen.update(&bar, &job.id, &p);
            }
        })?;
        let status = child.wait()?;
        drop(leash);
        if !matches!(self.store.done(&job.id), Ok(Some(_))) {
            let last = said.trim().lines().last().unwrap_or("it said nothing").to_string();
            self.failed(job, format!("the job's process ended with {status}: {last}"), started.elapsed().as_secs_f64())?;
        }
        screen.end(&bar, &job.id, self.store.record(&job.id).ok().flatten().as_ref());
        Ok(())
    }

    /// The record that a job could not write itself.
    fn failed(&self, job: &Job, reason: String, wall_s: f64) -> Result<()> {
        let record = Record {
            format: FORMAT,
            id: job.id.clone(),
            training_id: job.training_id.clone(),
            config: job.config.clone(),
            seed: job.seed,
            data: self.data.digest.clone(),
            outcome: Outcome::Failed { reason: reason.clone() },
            metrics: BTreeMap::new(),
            blanks: Metric::ALL.into_iter().map(|m| (m, reason.clone())).collect(),
            real: BTreeMap::new(),
            bounds: BTreeMap::new(),
            progressive: Vec::new(),
            evaluations: 0,
            findings: None,
            wall_s,
            machine: Machine::here(),
        };
        write_json(&self.store.run(&job.id).join("record.json"), &record)
    }
}

/// Waits for a process, calling `look` twice a second; returns what it said on stderr.
fn watch(child: &mut Child, mut look: impl FnMut()) -> Result<String> {
    let stderr = child.stderr.take().expect("piped");
    let reader = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default());
    while child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(if reader.is_finished() { 20 } else { 200 }));
        look();
    }
    Ok(reader.join().unwrap_or_default())
}

/// Bars on a terminal, a line for each finished job elsewhere. All on stderr.
struct Screen {
    bars: MultiProgress,
    all: ProgressBar,
    terminal: bool,
    started: Instant,
    /// Share done of each running job, by name.
    running: Mutex<BTreeMap<String, f64>>,
}

impl Screen {
    fn new(jobs: usize) -> Screen {
        let (bars, terminal) = (MultiProgress::new(), std::io::stderr().is_terminal());
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} jobs, {elapsed} so far{msg}").expect("a valid template");
        let all = bars.add(ProgressBar::new(jobs as u64).with_style(style));
        all.enable_steady_tick(Duration::from_millis(500));
        Screen { bars, all, terminal, started: Instant::now(), running: Mutex::default() }
    }

    fn begin(&self, id: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("  {prefix} {msg}").expect("a valid template");
        // An 80-column terminal has room for the end of a name, where the digest is.
        let short: String = id.chars().skip(id.chars().count().saturating_sub(32)).collect();
        self.bars.insert_before(&self.all, ProgressBar::new(1).with_style(style).with_prefix(short))
    }

    fn update(&self, bar: &ProgressBar, id: &str, p: &progress::Progress) {
        // About how a job's time is shared out: most of it is training.
        let part = p.done as f64 / p.total.max(1) as f64;
        let share = match p.stage.as_str() {
            "train" => 0.75 * part,
            "sample" => 0.75 + 0.12 * part,
            "score" => 0.87,
            _ => 0.92 + 0.08 * part,
        };
        let mut running = self.running.lock().expect("no worker panics");
        running.insert(id.to_string(), share);
        let done = self.all.position() as f64 + running.values().sum::<f64>();
        let left = self.started.elapsed().as_secs_f64() * (self.all.length().unwrap_or(1) as f64 / done.max(1e-6) - 1.0);
        if done > 0.02 {
            self.all.set_message(format!(", about {} left", duration(left)));
        }
        let loss = p.loss.map_or(String::new(), |l| format!(" loss {l:.4}"));
        let rate = if p.images_per_s > 0.0 { format!(" {:.0}%{loss} {:.0} img/s", 100.0 * part, p.images_per_s) } else { String::new() };
        bar.set_message(format!("{}{rate}", p.stage));
    }

    fn end(&self, bar: &ProgressBar, id: &str, record: Option<&Record>) {
        bar.finish_and_clear();
        self.running.lock().expect("no worker panics").remove(id);
        self.all.inc(1);
        let Some(record) = record else { return };
        let how = match &record.outcome {
            Outcome::Finished {} => {
                // Without the arrow of the heading: a line of 80 columns holds all four.
                let name = |m: &Metric| m.heading().trim_end_matches([' ', '↑', '↓']);
                let usual = record.metrics.iter().filter(|(m, _)| Metric::USUAL.contains(m));
                let mut words: Vec<String> = usual.map(|(m, v)| format!("{} {:.*}", name(m), m.digits(), v.value)).collect();
                if let Some(findings) = &record.findings {
                    words.extend(findings.pictures.iter().map(|p| p.file.clone()));
                    words.extend(findings.blank.clone());
                }
                words.join(", ")
            }
            Outcome::Diverged { reason } | Outcome::Failed { reason } => reason.clone(),
        };
        let line = format!("{}\n    {how}", record.id);
        if self.terminal {
            let _ = self.bars.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}
