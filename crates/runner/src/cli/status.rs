//! `ddpm status`: where each job is.

use super::experiment::{ExperimentArgs, Loaded};
use crate::base::exit::Exit;
use crate::base::stop;
use crate::base::text::{duration, print};
use crate::execute::slurm::{self, Element};
use crate::plan::State;
use crate::store::progress::Progress;
use crate::store::submissions;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::io::IsTerminal;
use std::time::Duration;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Look again every two seconds until all jobs are done
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

impl Status {
    pub fn run(self) -> Result<Exit> {
        stop::listen()?;
        let mut loaded = self.experiment.recall()?;
        loop {
            let states = loaded.jobs.iter().map(|(_, job)| State::of(&loaded.store, job)).collect::<Result<Vec<_>>>()?;
            let in_slurm = InSlurm::of(&loaded)?;
            if self.json {
                print(&format!("{}\n", serde_json::to_string_pretty(&as_json(&loaded, &states, &in_slurm))?));
                return Ok(Exit::Ok);
            }
            if self.watch && std::io::stdout().is_terminal() {
                // Home and clear.
                print("\x1b[H\x1b[2J");
            }
            print(&text(&loaded, &states, &in_slurm));
            // Of failed jobs alone nothing more is to come.
            let over = states.iter().all(|state| state.is_done() || matches!(state, State::Failed { .. }));
            if self.watch
                && over
                && let Some(next) = loaded.next()?
            {
                loaded = next;
                continue;
            }
            if !self.watch || over {
                let failed = self.watch && !states.iter().all(State::is_done);
                return Ok(if failed { Exit::SomeJobsFailed } else { Exit::Ok });
            }
            std::thread::sleep(LOOK);
            stop::check()?;
        }
    }
}

/// What is known of jobs on a cluster.
struct InSlurm {
    elements: BTreeMap<String, Element>,
    submitted: HashSet<String>,
}

impl InSlurm {
    fn of(loaded: &Loaded) -> Result<InSlurm> {
        let submitted = submissions::submitted(&loaded.store)?;
        let elements = if submitted.is_empty() || !slurm::is_there() { BTreeMap::new() } else { slurm::known(&loaded.store)? };
        Ok(InSlurm { elements, submitted })
    }
}

fn as_json(loaded: &Loaded, states: &[State], in_slurm: &InSlurm) -> serde_json::Value {
    let row = |((cell, job), state): (&(usize, crate::experiment::Job), &State)| {
        let label = loaded.experiment.cells[*cell].label();
        let element = in_slurm.elements.get(&job.id).map(|e| json!({ "id": e.id, "state": e.state, "reason": e.reason }));
        json!({ "id": job.id, "cell": label, "seed": job.seed, "study": job.study, "at": job.at, "state": state, "slurm": element })
    };
    loaded.jobs.iter().zip(states).map(row).collect()
}

/// A line for each job, a second one where there is more to say, and the sum.
fn text(loaded: &Loaded, states: &[State], in_slurm: &InSlurm) -> String {
    let mut out = String::new();
    for ((cell, job), state) in loaded.jobs.iter().zip(states) {
        out += &format!("{:<9} {}\n", state.word(), loaded.label(*cell, job));
        if let Some(more) = detail(loaded, job, state, in_slurm) {
            out += &format!("          {more}\n");
        }
    }
    let mut sum: Vec<(&str, usize)> = Vec::new();
    for state in states {
        match sum.iter_mut().find(|(word, _)| *word == state.word()) {
            Some((_, n)) => *n += 1,
            None => sum.push((state.word(), 1)),
        }
    }
    let words: Vec<String> = sum.iter().map(|(word, n)| format!("{n} {word}")).collect();
    out += &format!("{} jobs: {}\n", states.len(), words.join(", "));
    if let Some(aim) = &loaded.experiment.aim {
        out += &format!("these are candidates; then {}, with the settings that they choose\n", aim.name());
    }
    out
}

fn detail(loaded: &Loaded, job: &crate::experiment::Job, state: &State, in_slurm: &InSlurm) -> Option<String> {
    let in_slurm = || {
        // For a job that was submitted and that Slurm no longer knows, the store still has its history.
        let traces = || in_slurm.submitted.contains(&job.id).then(|| slurm::traces(&loaded.store, &job.id).to_string());
        in_slurm.elements.get(&job.id).map(Element::description).or_else(traces)
    };
    match state {
        State::Done { .. } => None,
        State::Failed { reason } => Some(reason.clone()),
        State::Running { process, progress } => {
            Some(format!("{process}{}", progress.as_ref().map_or(String::new(), |p| format!(": {}", progress_line(p)))))
        }
        State::Partial { progress, .. } => in_slurm().or_else(|| progress.as_ref().map(progress_line)),
        State::Missing {} => in_slurm(),
    }
}

fn progress_line(p: &Progress) -> String {
    let rate = if p.images_per_s > 0.0 { format!(", {:.0} img/s on {}", p.images_per_s, p.device) } else { String::new() };
    let left = p.seconds_left.map_or(String::new(), |s| format!(", {} left", duration(s)));
    format!("{} {} of {}{rate}{left}", p.stage.name(), p.done, p.total)
}
