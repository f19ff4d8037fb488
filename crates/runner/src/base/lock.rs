//! Locks: they keep two processes, on one machine or on several that share a folder, from doing the same work.
//!
//! A lock is a numbered file in the folder that is locked. It is created with `O_EXCL`, and the one with the highest number counts; while
//! it counts it is never deleted, only marked as released. A process that finds it released, or its owner dead, tries to create the next
//! number, and only one can succeed. So a process that acted on stale information finds its number taken, or finds a higher one afterwards
//! and withdraws. The file system only has to support exclusive creation and renaming.
//!
//! A process on this machine is dead if its PID no longer runs or the machine has rebooted since. One elsewhere is considered dead if the
//! modification time of its lock, which a live one renews every few seconds, has not changed for [`LOST`] by the observer's clock.

use super::atomic;
use super::error::Meaning;
use anyhow::{Context, Result};
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Heartbeat interval.
const BEAT: Duration = Duration::from_secs(5);

/// A process on another machine without a heartbeat for this long is considered dead. Longer than network file systems cache a file's
/// attributes.
pub const LOST: Duration = Duration::from_secs(90);

/// A lock that still says nothing after this long was begun by a process that is gone, or that will find itself overtaken: it looks once
/// more when it has written it.
const UNWRITTEN: Duration = Duration::from_secs(10);

// Several heartbeats may be missed before their sender is considered dead, and a waiting process sees every one of them.
const _: () = assert!(BEAT.as_secs() * 4 <= LOST.as_secs() && LOOK.as_millis() < BEAT.as_millis());

/// Polling interval of a waiting process.
const LOOK: Duration = Duration::from_millis(200);

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The machine, and where there are containers which of them.
    pub host: String,
    /// Identifier of its current boot.
    boot: String,
    /// The process.
    pub pid: u32,
    /// When the process started, since PIDs are reused.
    began: String,
    /// Whether the lock has been released.
    released: bool,
}

impl Holder {
    fn here() -> Holder {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_string();
        let namespace = fs::read_link("/proc/self/ns/pid").map(|p| p.display().to_string()).unwrap_or_default();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let pid = std::process::id();
        Holder {
            host: format!("{host} {namespace}"),
            boot: read("/proc/sys/kernel/random/boot_id"),
            pid,
            began: began(pid),
            released: false,
        }
    }

    /// Whether the process is alive, as far as can be told from here.
    fn lives(&self, here: &Holder) -> Liveness {
        if self.host != here.host {
            return Liveness::Unknown;
        }
        let runs = || {
            let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
            pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
        };
        if self.boot == here.boot && runs() && began(self.pid) == self.began { Liveness::Yes } else { Liveness::No }
    }

    /// In words.
    pub fn description(&self) -> String {
        format!("process {} on {}", self.pid, self.host.split(' ').next().unwrap_or_default())
    }
}

enum Liveness {
    Yes,
    No,
    Unknown,
}

/// The start of a process in ticks since booting, where the system says it. A zombie has ended.
fn began(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; the state is the first field after it, the start the twentieth.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    match fields.first() {
        Some(&("Z" | "X")) => "ended".into(),
        _ => fields.get(19).unwrap_or(&"").to_string(),
    }
}

/// Something that this process holds until the lock is dropped or the process ends, however it ends.
pub struct Lock {
    dir: PathBuf,
    number: u64,
    me: Holder,
    /// Closing it ends the signs of life.
    beat: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Lock {
    /// Locks the folder `dir`, creating it if needed, or returns who holds it. Takes up to [`LOST`] if that may be another machine.
    pub fn attempt(dir: &Path) -> Result<std::result::Result<Lock, Holder>> {
        let attempt = || -> Result<_> {
            atomic::make_dir(dir)?;
            let me = Holder::here();
            loop {
                let number = match highest(dir)? {
                    None => 0,
                    Some(number) => match living(&name(dir, number), &me)? {
                        Some(holder) => return Ok(Err(holder)),
                        None => number + 1,
                    },
                };
                let path = name(dir, number);
                let mut file = match File::create_new(&path) {
                    Ok(file) => file,
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                    Err(e) => return Err(e.into()),
                };
                file.write_all(serde_json::to_string(&me)?.as_bytes())?;
                // Half a lock would be waited for after a power cut.
                file.sync_all()?;
                if highest(dir)? != Some(number) {
                    // Stale information: others have come and gone in the meantime, and may have deleted this file along with theirs.
                    match fs::remove_file(&path) {
                        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
                        _ => continue,
                    }
                }
                for old in numbers(dir)?.into_iter().filter(|n| *n < number) {
                    let _ = fs::remove_file(name(dir, old));
                }
                return Ok(Ok(Lock { dir: dir.into(), number, beat: Some(beat(path, BEAT)), me }));
            }
        };
        attempt().with_context(|| format!("{}: cannot be locked", dir.display())).stored()
    }

    /// Waits until it is this process's, or until the process is asked to stop.
    pub fn wait(dir: &Path) -> Result<Lock> {
        loop {
            if let Ok(lock) = Lock::attempt(dir)? {
                return Ok(lock);
            }
            crate::base::stop::check()?;
            std::thread::sleep(LOOK);
        }
    }

    /// An error if another process has taken it over: this one was stalled for so long that it was considered dead.
    pub fn check(&self) -> Result<()> {
        let now = highest(&self.dir)?;
        anyhow::ensure!(
            now == Some(self.number),
            "{}: was taken over by another process, as this one gave no sign of life for {} s",
            self.dir.display(),
            LOST.as_secs()
        );
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.beat.take() {
            drop(sender);
            let _ = thread.join();
        }
        // Where this fails, the end of the process says the same. Synced, since half a lock in its place would be waited for.
        let written = |path: &Path, text: String| {
            let mut file = File::create(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        let (path, part) = (name(&self.dir, self.number), self.dir.join(format!(".part-claim-{}-{}", self.number, self.me.pid)));
        if let Ok(text) = serde_json::to_string(&Holder { released: true, ..self.me.clone() })
            && written(&part, text).is_ok()
        {
            let _ = fs::rename(&part, &path);
        }
    }
}

/// Who holds a folder now, as far as can be said without waiting; none where nobody does.
pub fn holder(dir: &Path) -> Option<Holder> {
    let here = Holder::here();
    let (holder, _) = read(&name(dir, highest(dir).ok()??)).ok()?;
    holder.filter(|h| !h.released && !matches!(h.lives(&here), Liveness::No))
}

/// The process of this machine that holds a folder, if one does.
pub fn holder_here(dir: &Path) -> Option<Holder> {
    holder(dir).filter(|h| h.host == Holder::here().host)
}

/// Whether a file is a lock.
pub fn is_lock(file: &str) -> bool {
    file.strip_prefix(PREFIX).is_some_and(|n| n.parse::<u64>().is_ok())
}

/// What files are called on disk, for as long as programs may be running that call them so.
const PREFIX: &str = "claim-";

fn name(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number}"))
}

fn numbers(dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        found.extend(entry?.file_name().to_str().and_then(|n| n.strip_prefix(PREFIX)?.parse::<u64>().ok()));
    }
    Ok(found)
}

fn highest(dir: &Path) -> std::io::Result<Option<u64>> {
    Ok(numbers(dir)?.into_iter().max())
}

/// A lock's holder, none if it is not (or not completely) written yet, and its last heartbeat. The file is opened, not just queried, so
/// that network file systems ask the server.
fn read(path: &Path) -> std::io::Result<(Option<Holder>, SystemTime)> {
    let mut file = File::open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((serde_json::from_str(&text).ok(), file.metadata()?.modified()?))
}

/// The live holder of a lock; none if it was released or its process is dead.
fn living(path: &Path, here: &Holder) -> Result<Option<Holder>> {
    let started = Instant::now();
    let mut first = None;
    loop {
        let (holder, sign) = match read(path) {
            Ok(read) => read,
            // A later one has taken its place.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        match holder.as_ref().map(|h| (h.released, h.lives(here))) {
            Some((true, _) | (_, Liveness::No)) => return Ok(None),
            Some((_, Liveness::Yes)) => return Ok(holder),
            Some((_, Liveness::Unknown)) | None => {}
        }
        if holder.is_some() && first.is_some_and(|first| first != sign) {
            return Ok(holder);
        }
        first.get_or_insert(sign);
        if started.elapsed() >= if holder.is_some() { LOST } else { UNWRITTEN } {
            return Ok(None);
        }
        crate::base::stop::check()?;
        std::thread::sleep(LOOK);
    }
}

/// Sends a heartbeat at the interval `every` until the sender is dropped.
fn beat(path: PathBuf, every: Duration) -> (Sender<()>, JoinHandle<()>) {
    let (sender, receiver) = channel::<()>();
    let thread = std::thread::spawn(move || {
        while receiver.recv_timeout(every) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // What cannot be renewed now may be at the next beat.
            let _ = File::options().write(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        }
    });
    (sender, thread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_holds_and_the_next_takes_what_was_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::attempt(dir.path()).unwrap().ok().unwrap();
        let held = Lock::attempt(dir.path()).unwrap().err().unwrap();
        assert_eq!((held.pid, holder(dir.path())), (std::process::id(), Some(held.clone())));
        first.check().unwrap();
        drop(first);
        assert_eq!(holder(dir.path()), None);
        let second = Lock::attempt(dir.path()).unwrap().ok().unwrap();
        assert_eq!(second.number, 1);
        assert_eq!(numbers(dir.path()).unwrap(), [1]);
    }

    /// Many threads, many rounds: never two at once, and everyone's turn comes.
    #[test]
    fn never_two_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, turns, barrier) = (AtomicUsize::new(0), AtomicUsize::new(0), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let mut mine = 0;
                    while mine < 20 {
                        if let Ok(lock) = Lock::attempt(dir.path()).unwrap() {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            lock.check().unwrap();
                            turns.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                            mine += 1;
                        }
                    }
                });
            }
        });
        assert_eq!(turns.load(Ordering::SeqCst), 160);
    }

    fn left_by(dir: &Path, change: impl FnOnce(&mut Holder)) {
        let mut holder = Holder::here();
        change(&mut holder);
        fs::write(name(dir, 3), serde_json::to_string(&holder).unwrap()).unwrap();
    }

    #[test]
    fn the_dead_hold_nothing() {
        let mut over = std::process::Command::new("true").spawn().unwrap();
        let pid = over.id();
        over.wait().unwrap();
        let changes: [fn(&mut Holder, u32); 3] =
            [|h, pid| h.pid = pid, |h, _| h.boot = "an earlier one".into(), |h, _| h.began = "1".into()];
        for change in changes {
            let dir = tempfile::tempdir().unwrap();
            left_by(dir.path(), |h| change(h, pid));
            assert_eq!(holder(dir.path()), None);
            assert_eq!(Lock::attempt(dir.path()).unwrap().ok().unwrap().number, 4);
        }
    }

    #[test]
    fn another_machine_that_gives_signs_of_life_holds() {
        let dir = tempfile::tempdir().unwrap();
        left_by(dir.path(), |h| h.host = "elsewhere".into());
        let (sender, thread) = (name(dir.path(), 3), std::thread::spawn(|| std::thread::sleep(Duration::from_millis(300))));
        let renew = std::thread::spawn(move || {
            thread.join().unwrap();
            File::options().write(true).open(sender).unwrap().set_modified(SystemTime::now()).unwrap();
        });
        assert_eq!(Lock::attempt(dir.path()).unwrap().err().unwrap().host, "elsewhere");
        renew.join().unwrap();
    }

    #[test]
    fn one_that_was_taken_over_knows_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::attempt(dir.path()).unwrap().ok().unwrap();
        left_by(dir.path(), |_| {});
        assert!(lock.check().unwrap_err().to_string().contains("was taken over"));
    }

    #[test]
    fn a_sign_of_life_moves_the_files_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        file.set_modified(long_ago).unwrap();
        let (sender, thread) = beat(path.clone(), Duration::from_millis(5));
        let started = Instant::now();
        while fs::metadata(&path).unwrap().modified().unwrap() == long_ago {
            assert!(started.elapsed() < Duration::from_secs(60), "no sign of life");
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(sender);
        thread.join().unwrap();
    }
}
