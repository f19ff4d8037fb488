//! `ddpm plan`: what would be done.

use super::experiment::{ExperimentArgs, Loaded};
use crate::base::exit::Exit;
use crate::base::text::{duration, print, size, wrapped};
use crate::experiment::{Cell, Config, Job, Study};
use crate::plan::{Cost, Costs, Left, Speed, Speeds, State};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

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
    jobs: Vec<Planned<'a>>,
    /// What follows, where these are candidates.
    then: Option<Then<'a>>,
}

/// What candidates are tried for, as far as that does not depend on which are chosen.
#[derive(Serialize)]
struct Then<'a> {
    experiment: &'a str,
    jobs: usize,
    /// Reckoned with each cell's first candidate.
    left_s: f64,
    disk_bytes: u64,
}

/// A job of a plan: what `ddpm run` reads, and what is known about it. Borrowed, not copied, since a plan may have thousands of jobs.
#[derive(Serialize)]
struct Planned<'a> {
    id: &'a str,
    training_id: &'a str,
    sampling_id: &'a str,
    study: &'a Option<Study>,
    at: Option<u64>,
    axes: Map<String, Value>,
    seed: u64,
    state: &'a State,
    speed_flops: Speed,
    /// Of the whole job.
    cost: Cost,
    estimated_s: f64,
    /// Of what is still to do; what jobs share is counted with the first.
    left: Cost,
    left_s: f64,
    config: &'a Config,
}

impl Plan {
    pub fn run(self) -> Result<Exit> {
        let loaded = self.experiment.load_or_recall()?;
        let (mut speeds, mut costs, mut left) = (Speeds::default(), Costs::default(), Left::default());
        let rows = rows(&loaded, &mut speeds, &mut costs, &mut left)?;
        // On another machine what follows may need what is not there, and the rest of the plan does not.
        let next = loaded.experiment.with_first_candidates()?.map(|experiment| loaded.with(experiment)).transpose();
        let next = next.unwrap_or_else(|error| {
            eprintln!("{error:#}; what follows is not reckoned");
            None
        });
        let then = match &next {
            None => None,
            Some(next) => {
                let rows = self::rows(next, &mut speeds, &mut costs, &mut left)?;
                Some(Then { experiment: &next.experiment.name, jobs: rows.len(), left_s: seconds(&rows), disk_bytes: disk(&rows) })
            }
        };
        let (experiment, question) = (&loaded.experiment.name, &loaded.experiment.file.question);
        if self.json {
            let all = All { experiment, question, jobs: rows.iter().map(Row::planned).collect(), then };
            print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
            return Ok(Exit::Ok);
        }
        print(&format!("{experiment}\n{}\n{:<8} {:>8} {:>9} {:>8}  job\n", wrapped(question), "state", "TFLOP", "time", "disk"));
        rows.iter().for_each(|row| print(&row.line()));
        let (mut all_s, mut disk) = (seconds(&rows), disk(&rows));
        print("\nWork left per job; shared work (training, samples) is listed with the first job.\n");
        if let Some(Then { experiment, jobs, left_s, disk_bytes }) = &then {
            let these = format!("These: about {}, {}. ", duration(all_s), size(disk));
            let then = format!(
                "Then {experiment}, {jobs} jobs with the settings that these choose: about {}, {}, ",
                duration(*left_s),
                size(*disk_bytes)
            );
            print(&wrapped(&format!("{these}{then}reckoned with each cell's first candidate.")));
            (all_s, disk) = (all_s + left_s, disk + disk_bytes);
        }
        print(&format!("All: about {} of this machine's time, one after another, {}\n", duration(all_s), size(disk)));
        eprintln!(
            "(measured just now: {} GFLOP/s in training, {} forward)",
            range(speeds.all().map(|s| s.train)),
            range(speeds.all().map(|s| s.forward))
        );
        Ok(Exit::Ok)
    }
}

/// The jobs of an experiment; `left` has seen those before.
fn rows<'a>(loaded: &'a Loaded, speeds: &mut Speeds, costs: &mut Costs, left: &mut Left) -> Result<Vec<Row<'a>>> {
    let row = |(cell, job): &'a (usize, Job)| {
        let (state, cost) = (State::of(&loaded.store, job)?, costs.of(job, &loaded.data));
        let (left, speed) = (left.of(&loaded.store, job, &state, cost), speeds.of(job, loaded.data.shape)?);
        Ok(Row { cell: &loaded.experiment.cells[*cell], label: loaded.label(*cell, job), job, state, cost, left, speed })
    };
    loaded.jobs.iter().map(row).collect()
}

/// Time that they take one after another.
fn seconds(rows: &[Row]) -> f64 {
    rows.iter().map(|row| row.speed.seconds(row.left)).sum()
}

/// What they leave in the store.
fn disk(rows: &[Row]) -> u64 {
    rows.iter().map(|row| row.left.disk_bytes()).sum()
}

/// A job and what is known of it.
struct Row<'a> {
    cell: &'a Cell,
    label: String,
    job: &'a Job,
    state: State,
    cost: Cost,
    left: Cost,
    speed: Speed,
}

impl Row<'_> {
    fn planned(&self) -> Planned<'_> {
        let Row { cell, job, state, cost, left, speed, .. } = self;
        Planned {
            id: &job.id,
            training_id: &job.training_id,
            sampling_id: &job.sampling_id,
            study: &job.study,
            at: job.at,
            axes: cell.axes.iter().cloned().collect(),
            seed: job.seed,
            state,
            speed_flops: *speed,
            cost: *cost,
            estimated_s: speed.seconds(*cost),
            left: *left,
            left_s: speed.seconds(*left),
            config: &job.config,
        }
    }

    fn line(&self) -> String {
        let (flops, time, disk) = match self.state {
            State::Done { .. } => ("–".into(), "–".into(), "–".into()),
            _ => (format!("{:.1}", self.left.flops() / 1e12), duration(self.speed.seconds(self.left)), size(self.left.disk_bytes())),
        };
        format!("{:<8} {flops:>8} {time:>9} {disk:>8}  {}\n", self.state.word(), self.label)
    }
}

/// One number or the least and the largest, in units of 10^9.
fn range(values: impl Iterator<Item = f64>) -> String {
    let (least, most) = values.fold((f64::INFINITY, 0f64), |(least, most), v| (least.min(v), most.max(v)));
    match (format!("{:.0}", least / 1e9), format!("{:.0}", most / 1e9)) {
        (least, most) if least == most => least,
        (least, most) => format!("{least} to {most}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_one_number_or_a_range() {
        assert_eq!(range([41.2e9, 40.8e9].into_iter()), "41");
        assert_eq!(range([41.2e9, 7e9, 12e9].into_iter()), "7 to 41");
    }
}
