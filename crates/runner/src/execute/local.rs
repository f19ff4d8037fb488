//! Processes on this machine: so many at a time on each device.

use super::executor::{Executor, JobGroup, groups};
use super::process::{self, Ended};
use super::screen::Screen;
use crate::base::cause::Cause;
use crate::base::data::DatasetInfo;
use crate::base::device::Device;
use crate::base::error::RunError;
use crate::base::lock::{self, Lock};
use crate::base::stop;
use crate::experiment::Job;
use crate::store::history::{self, Event};
use crate::store::{Outcome, Record, Store, progress};
use anyhow::{Result, anyhow};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// First pause before a job is tried again; each further one is four times as long.
const PAUSE: Duration = Duration::from_secs(1);

/// How long to leave a job alone while another process is running it.
const ELSEWHERE: Duration = Duration::from_millis(500);

/// Processes on this machine.
pub struct Local<'a> {
    /// The results.
    pub store: &'a Store,
    /// The data set of all jobs.
    pub data: &'a DatasetInfo,
    /// The program that does one job (`ddpm run`).
    pub program: PathBuf,
    /// A place for one job at a time each.
    pub slots: Vec<Device>,
    /// Processes that train each job together.
    pub ranks: usize,
    /// Threads of each process.
    pub threads: usize,
    /// Seconds between checkpoints.
    pub checkpoint_every: u64,
    /// How often a job is tried again where the cause may have passed.
    pub retries: u32,
}

/// Waiting groups, each with the earliest time at which it may be taken.
struct Queue(Mutex<Vec<(Instant, JobGroup)>>);

enum Next {
    Take(JobGroup),
    Later,
    Empty,
}

impl Queue {
    fn next(&self) -> Next {
        let mut waiting = self.0.lock().expect("no worker panics");
        let now = Instant::now();
        match waiting.iter().position(|(from, _)| *from <= now) {
            Some(place) => Next::Take(waiting.remove(place).1),
            None if waiting.is_empty() => Next::Empty,
            None => Next::Later,
        }
    }

    fn put_back(&self, group: JobGroup) {
        self.0.lock().expect("no worker panics").push((Instant::now() + ELSEWHERE, group));
    }
}

/// What the workers share.
struct Workers<'a> {
    local: &'a Local<'a>,
    queue: Queue,
    screen: Screen,
    /// The store cannot be written: nothing more can be done.
    broken: AtomicBool,
    /// Seconds that jobs' processes took, all together.
    spent: Mutex<f64>,
}

impl Executor for Local<'_> {
    fn execute(&self, jobs: &[Job]) -> Result<()> {
        let now = Instant::now();
        let queue = Queue(Mutex::new(groups(jobs, self.data).into_iter().map(|group| (now, group)).collect()));
        let work = Workers { local: self, queue, screen: Screen::new(jobs.len()), broken: AtomicBool::new(false), spent: Mutex::new(0.0) };
        let busy = std::thread::scope(|scope| {
            let workers: Vec<_> = self.slots.iter().map(|device| scope.spawn(|| work.until_done(*device))).collect();
            // The first error; the other workers have stopped because of it.
            workers.into_iter().map(|w| w.join().expect("no worker panics")).try_fold(0.0, |sum, busy| Ok::<_, anyhow::Error>(sum + busy?))
        })?;
        let spent = *work.spent.lock().expect("no worker panics");
        work.screen.say(&format!("jobs took {spent:.1} s, {:.1}% more passed between jobs", 100.0 * (busy - spent) / spent.max(1e-9)));
        stop::check()
    }
}

impl Workers<'_> {
    fn ends(&self) -> bool {
        stop::requested() || self.broken.load(Ordering::SeqCst)
    }

    /// Does groups until none is left; the seconds from the first to the last.
    fn until_done(&self, device: Device) -> Result<f64> {
        let started = Instant::now();
        while !self.ends() {
            let mut group = match self.queue.next() {
                Next::Take(group) => group,
                Next::Later => {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
                Next::Empty => break,
            };
            while !group.is_empty() && !self.ends() {
                let ended = self.persist(&group[0], device).inspect_err(|_| self.broken.store(true, Ordering::SeqCst))?;
                match ended {
                    Ended::Over | Ended::Failed { .. } => drop(group.remove(0)),
                    Ended::Busy => self.queue.put_back(std::mem::take(&mut group)),
                    Ended::Stopped => break,
                }
            }
        }
        Ok(started.elapsed().as_secs_f64())
    }

    /// One job, tried again where that may help. An error where the store cannot be written.
    fn persist(&self, job: &Job, device: Device) -> Result<Ended> {
        let (local, screen) = (self.local, &self.screen);
        let dir = local.store.run(&job.id);
        if let Ok(Some(record)) = local.store.done(&job.id) {
            // By another process that shares the store.
            screen.end(&job.id, Some(&record));
            return Ok(Ended::Over);
        }
        if lock::holder_here(&dir).is_some() {
            return Ok(Ended::Busy);
        }
        let (started, mut attempts) = (Instant::now(), 0);
        loop {
            attempts += 1;
            let ended = self.once(job, device)?;
            match &ended {
                Ended::Over => screen.end(&job.id, local.store.record(&job.id).ok().flatten().as_ref()),
                Ended::Busy | Ended::Stopped => {}
                Ended::Failed { cause: Cause::Storage, reason } => {
                    let what = anyhow!("{}: {reason}; free space or make the store writable, and run the same command again", job.id);
                    return Err(RunError::Storage(what).into());
                }
                Ended::Failed { cause, reason } if cause.is_transient() && attempts <= local.retries && !self.ends() => {
                    let pause = PAUSE * 4u32.pow(attempts - 1);
                    screen.say(&format!("{}\n    {reason}; tried again in {} s", job.id, pause.as_secs()));
                    let until = Instant::now() + pause;
                    while Instant::now() < until && !self.ends() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    continue;
                }
                Ended::Failed { cause, reason } => {
                    let outcome = Outcome::Failed { cause: *cause, reason: reason.clone(), attempts };
                    local.failed(job, outcome, started.elapsed().as_secs_f64())?;
                    screen.end(&job.id, local.store.record(&job.id).ok().flatten().as_ref());
                }
            }
            return Ok(ended);
        }
    }

    fn once(&self, job: &Job, device: Device) -> Result<Ended> {
        let (dir, bar, started) = (self.local.store.run(&job.id), self.screen.begin(&job.id), Instant::now());
        let look = || {
            if let Some(p) = progress::of(&dir) {
                self.screen.update(&bar, &job.id, &p);
            }
        };
        let ended = process::run(self.local.command(device), job, look, || self.ends());
        self.screen.gone(&bar, &job.id);
        *self.spent.lock().expect("no worker panics") += started.elapsed().as_secs_f64();
        ended
    }
}

impl Local<'_> {
    fn command(&self, device: Device) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["run", "-", "--leashed", "--no-wait", "--device", &device.to_string(), "--results"])
            .arg(self.store.root())
            .args(["--checkpoint-every", &self.checkpoint_every.to_string(), "--ranks", &self.ranks.to_string()])
            .args(self.store.cache().asked().map(|dir| [OsStr::new("--cache"), dir.as_os_str()]).into_iter().flatten())
            .env("RAYON_NUM_THREADS", self.threads.to_string())
            .env("CANDLE_NUM_THREADS", self.threads.to_string());
        command
    }

    /// The record that a job could not write itself; left unwritten where another process has taken the job up.
    fn failed(&self, job: &Job, outcome: Outcome, wall_s: f64) -> Result<()> {
        let dir = self.store.run(&job.id);
        let Ok(lock) = Lock::attempt(&dir)? else { return Ok(()) };
        if matches!(self.store.done(&job.id), Ok(Some(_))) {
            return Ok(());
        }
        let record = Record { wall_s, ..Record::of(job, &self.data.digest, outcome) };
        self.store.leave_record(&record)?;
        history::add(&dir, Event::Failed)?;
        drop(lock);
        Ok(())
    }
}
