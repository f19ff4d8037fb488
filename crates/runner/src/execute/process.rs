//! One job in a process of its own, and what became of it.

use super::oom::{self, OomKills};
use crate::base::cause::{Cause, Failed};
use crate::base::exit::Exit;
use crate::base::stop;
use crate::experiment::Job;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How a job's process ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With a record.
    Over,
    /// Another process is running the job.
    Busy,
    /// On request; its progress is kept.
    Stopped,
    /// Without a record.
    Failed {
        /// What kind of reason.
        cause: Cause,
        /// In words.
        reason: String,
    },
}

/// Starts `command` (a `ddpm run - --leashed`), gives it the job, and waits; `look` is called a few times a second. `give_up` asks the
/// job to stop, as a request to this process does.
pub fn run(mut command: Command, job: &Job, mut look: impl FnMut(), give_up: impl Fn() -> bool) -> Result<Ended> {
    let program = command.get_program().to_os_string();
    let kills = OomKills::here();
    let before = kills.count();
    // A group of its own: Ctrl-C on the terminal reaches this process, which asks the job to stop.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{}: cannot be started", program.display()))?;
    oom::prefer(child.id());
    // Held open until the job is over: when this process ends, however it ends, the job's process sees that and ends too.
    // One that dies before it reads says so on stderr.
    let mut leash = child.stdin.take().expect("piped");
    let _ = writeln!(leash, "{}", serde_json::to_string(job)?);
    let (said, errors) = listen(&mut child, &mut leash, &mut look, give_up);
    let status = child.wait()?;
    drop(leash);
    Ok(verdict(status, &said, &errors, kills.count() > before))
}

/// Reads what the process says on stdout and stderr until it closes both.
fn listen(child: &mut Child, leash: &mut ChildStdin, look: &mut impl FnMut(), give_up: impl Fn() -> bool) -> (String, String) {
    let (sender, receiver) = channel::<()>();
    let reader = |mut from: Box<dyn Read + Send>, sender: Sender<()>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            drop(sender);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let said = reader(Box::new(child.stdout.take().expect("piped")), sender.clone());
    let errors = reader(Box::new(child.stderr.take().expect("piped")), sender);
    let mut asked = false;
    while receiver.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
        look();
        if !asked && (stop::requested() || give_up()) {
            asked = true;
            let _ = writeln!(leash, "{STOP}");
        }
    }
    (said.join().unwrap_or_default(), errors.join().unwrap_or_default())
}

/// The word by which a job's process is asked to stop.
pub const STOP: &str = "stop";

/// What an end means. `oom` is whether the kernel has killed someone for lack of memory meanwhile.
fn verdict(status: ExitStatus, said: &str, errors: &str, oom: bool) -> Ended {
    let is = |exit: Exit| status.code() == Some(exit as i32);
    if status.success() {
        return Ended::Over;
    }
    if is(Exit::Busy) {
        return Ended::Busy;
    }
    if is(Exit::Interrupted) {
        return Ended::Stopped;
    }
    // The process reported the cause itself, if it could.
    if let Some(Failed { cause, reason }) = said.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        return Ended::Failed { cause, reason };
    }
    let last = errors.trim().lines().last().unwrap_or("it said nothing");
    let killed = signal(status) == Some(9);
    let cause = if killed && oom || errors.contains("memory allocation of") && errors.contains("failed") {
        Cause::Memory
    } else if signal(status).is_some_and(|signal| [9, 15].contains(&signal)) {
        Cause::Killed
    } else {
        Cause::Program
    };
    let last = if killed && oom { "the kernel killed it for lack of memory" } else { last };
    Ended::Failed { cause, reason: format!("the job's process ended with {status}: {last}") }
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}
