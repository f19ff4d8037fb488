//! How far something is, on stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How far something is: on a terminal on one line, else a line a minute.
pub struct Bar {
    shown: bool,
    what: &'static str,
    total: u64,
    said: Instant,
    every: Duration,
}

impl Bar {
    /// Of so many images, or of some where that is 0; `what` has been done with them.
    pub fn new(what: &'static str, total: u64) -> Bar {
        let every = if std::io::stderr().is_terminal() { Duration::from_millis(200) } else { Duration::from_secs(60) };
        Bar { shown: false, what, total, said: Instant::now(), every }
    }

    /// So many are done.
    pub fn tell(&mut self, done: u64) {
        if self.said.elapsed() >= self.every {
            self.said = Instant::now();
            let (start, end) = if std::io::stderr().is_terminal() { ("\r", "") } else { ("", "\n") };
            let of = if self.total > 0 { format!(" of {}", self.total) } else { String::new() };
            eprint!("{start}{done}{of} images {}{end}", self.what);
            self.shown = true;
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Bar {
    /// What comes next begins a line.
    fn drop(&mut self) {
        if self.shown && std::io::stderr().is_terminal() {
            eprint!("\r{:60}\r", "");
        }
    }
}
