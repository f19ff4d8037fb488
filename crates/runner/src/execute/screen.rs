//! What is seen of jobs while they run.

use crate::base::text::duration;
use crate::metrics::Metric;
use crate::store::{Outcome, Record, progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bars on a terminal, a line for each finished job elsewhere. All on stderr.
pub struct Screen {
    bars: MultiProgress,
    all: ProgressBar,
    terminal: bool,
    started: Instant,
    /// Share done of each running job, by name.
    running: Mutex<BTreeMap<String, f64>>,
}

impl Screen {
    /// For this many jobs.
    pub fn new(jobs: usize) -> Screen {
        let (bars, terminal) = (MultiProgress::new(), std::io::stderr().is_terminal());
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} jobs, {elapsed} so far{msg}").expect("a valid template");
        let all = bars.add(ProgressBar::new(jobs as u64).with_style(style));
        all.enable_steady_tick(Duration::from_millis(500));
        Screen { bars, all, terminal, started: Instant::now(), running: Mutex::default() }
    }

    /// A job begins.
    pub fn begin(&self, id: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("  {prefix} {msg}").expect("a valid template");
        // An 80-column terminal has room for the end of a name, where the digest is.
        let short: String = id.chars().skip(id.chars().count().saturating_sub(32)).collect();
        self.bars.insert_before(&self.all, ProgressBar::new(1).with_style(style).with_prefix(short))
    }

    /// Where it is.
    pub fn update(&self, bar: &ProgressBar, id: &str, p: &progress::Progress) {
        let part = p.done as f64 / p.total.max(1) as f64;
        let mut running = self.running.lock().expect("no worker panics");
        running.insert(id.to_string(), p.stage.share(part));
        let done = self.all.position() as f64 + running.values().sum::<f64>();
        let left = self.started.elapsed().as_secs_f64() * (self.all.length().unwrap_or(1) as f64 / done.max(1e-6) - 1.0);
        if done > 0.02 {
            self.all.set_message(format!(", about {} left", duration(left)));
        }
        let loss = p.loss.map_or(String::new(), |l| format!(" loss {l:.4}"));
        let rate = if p.images_per_s > 0.0 { format!(" {:.0}%{loss} {:.0} img/s", 100.0 * part, p.images_per_s) } else { String::new() };
        bar.set_message(format!("{}{rate}", p.stage.name()));
    }

    /// The job's process has ended; the job may be retried.
    pub fn gone(&self, bar: &ProgressBar, id: &str) {
        bar.finish_and_clear();
        self.bars.remove(bar);
        self.running.lock().expect("no worker panics").remove(id);
    }

    /// The job of this name is over, with this record.
    pub fn end(&self, id: &str, record: Option<&Record>) {
        self.all.inc(1);
        let Some(record) = record else { return self.say(id) };
        let how = match &record.outcome {
            Outcome::Finished {} => {
                // Without the arrow of the heading: a line of 80 columns holds all four.
                let name = |m: &Metric| m.heading().trim_end_matches([' ', '↑', '↓']);
                let usual = record.metrics.iter().filter(|(m, _)| Metric::USUAL.contains(m));
                let mut words: Vec<String> = usual.map(|(m, v)| format!("{} {:.*}", name(m), m.digits(), v.value)).collect();
                if let Some(findings) = &record.findings {
                    words.extend(findings.pictures.iter().map(|p| p.file.clone()));
                    words.extend(
                        findings
                            .anatomy
                            .iter()
                            .map(|found| format!("{} skip connections at {} steps", found.skips.len(), found.steps.len())),
                    );
                    words.extend(
                        findings
                            .score_field
                            .iter()
                            .map(|found| format!("scores at {} steps, {} samplers", found.fields.len(), found.walks.len())),
                    );
                    words.extend(findings.blank.clone());
                }
                words.join(", ")
            }
            Outcome::Diverged { reason } | Outcome::Failed { reason, .. } => reason.clone(),
        };
        self.say(&format!("{}\n    {how}", record.id));
    }

    /// A line above the bars.
    pub fn say(&self, line: &str) {
        if self.terminal {
            let _ = self.bars.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}
