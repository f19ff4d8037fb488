//! `ddpm plan`: what would be done.

use super::{ExperimentArgs, print};
use crate::config::Config;
use crate::exit::Exit;
use crate::grid::Study;
use crate::plan::{Cost, Costs, Speed, State};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::HashSet;

#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Print JSON with each job's whole configuration
    #[arg(long)]
    json: bool,
}

/// A plan as JSON.
#[derive(Serialize)]
struct All<'a> {
    experiment: &'a str,
    question: &'a str,
    speed_flops: Speed,
    jobs: Vec<Planned<'a>>,
}

/// A job of it: what `ddpm run` reads, and what is known of it. Written from where it lies, since a plan may have thousands.
#[derive(Serialize)]
struct Planned<'a> {
    id: &'a str,
    training_id: &'a str,
    sampling_id: &'a str,
    study: &'a Option<Study>,
    axes: Map<String, Value>,
    seed: u64,
    state: &'a State,
    cost: Cost,
    estimated_s: f64,
    config: &'a Config,
}

impl Plan {
    pub fn run(self) -> Result<Exit> {
        let loaded = self.experiment.load()?;
        let speed = Speed::measure(&loaded.jobs[0].1, &loaded.data)?;
        let (mut rows, mut costs) = (Vec::new(), Costs::default());
        for (cell, job) in &loaded.jobs {
            rows.push((&loaded.experiment.cells[*cell], job, State::of(&loaded.store, job)?, costs.of(job, &loaded.data)));
        }
        if self.json {
            let jobs = rows.iter().map(|(cell, job, state, cost)| Planned {
                id: &job.id,
                training_id: &job.training_id,
                sampling_id: &job.sampling_id,
                study: &job.study,
                axes: cell.axes.iter().cloned().collect(),
                seed: job.seed,
                state,
                cost: *cost,
                estimated_s: speed.seconds(*cost),
                config: &job.config,
            });
            let (experiment, question) = (&loaded.experiment.name, &loaded.experiment.file.question);
            let all = All { experiment, question, speed_flops: speed, jobs: jobs.collect() };
            print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
            return Ok(Exit::Ok);
        }
        print(&format!("{}\n{}\n\n", loaded.experiment.name, loaded.experiment.file.question));
        print(&format!("{:<8} {:>8} {:>9} {:>7}  {}\n", "state", "TFLOP", "time", "disk", "job"));
        let (mut seconds, mut disk, mut trainings) = (0.0, 0, HashSet::new());
        for (cell, job, state, cost) in &rows {
            let flops = (cost.train_flops + cost.forward_flops) / 1e12;
            let time = speed.seconds(*cost);
            let row = [
                format!("{:<8}", state.word()),
                format!("{flops:>8.1}"),
                format!("{:>9}", duration(time)),
                format!("{:>7}", size(cost.disk_bytes)),
            ];
            print(&format!("{}  {} (seed {})\n", row.join(" "), cell.label(), job.seed));
            let shared = !trainings.insert(&job.training_id);
            let (train, disk_bytes) = match state {
                State::Done { .. } => continue,
                State::Partial { trained: true, .. } => (0.0, 0),
                // Jobs that differ only in sampling share their training.
                _ if shared => (0.0, 0),
                State::Partial { .. } | State::Failed { .. } | State::Running { .. } | State::Missing {} => {
                    (cost.train_flops, cost.disk_bytes)
                }
            };
            seconds += speed.seconds(Cost { train_flops: train, ..*cost });
            disk += disk_bytes;
        }
        print(&format!("\nleft to do: about {}, {}\n", duration(seconds), size(disk)));
        eprintln!("(speed measured just now: {:.0} GFLOP/s in training, {:.0} forward)", speed.train / 1e9, speed.forward / 1e9);
        Ok(Exit::Ok)
    }
}

/// Seconds as a person says them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

fn size(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}
