//! How far something is, on stderr.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// How often it is said where there is no terminal.
const EVERY: Duration = Duration::from_secs(60);

/// How far something is: a line on a terminal that goes when it is over, else a line a minute.
pub struct Bar {
    bar: ProgressBar,
    what: &'static str,
    said: Instant,
}

impl Bar {
    /// Of so many images, or of some where that is 0; `what` has been done with them.
    pub fn new(what: &'static str, total: u64) -> Bar {
        let template = if total > 0 { "{pos} of {len} images {msg}, {eta} left" } else { "{pos} images {msg}" };
        let style = ProgressStyle::with_template(template).expect("a template that is one");
        let bar = ProgressBar::new(total).with_style(style).with_message(what);
        Bar { bar, what, said: Instant::now() }
    }

    /// So many are done.
    pub fn tell(&mut self, done: u64) {
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            let of = self.bar.length().filter(|total| *total > 0).map_or(String::new(), |total| format!(" of {total}"));
            eprintln!("{done}{of} images {}", self.what);
        }
    }
}

impl Drop for Bar {
    /// What comes next begins a line.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
