//! `ddpm status`: where each job is.

use super::{ExperimentArgs, print};
use crate::exit::Exit;
use crate::plan::State;
use anyhow::Result;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub fn run(self) -> Result<Exit> {
        let loaded = self.experiment.load()?;
        let mut rows = Vec::new();
        for (cell, job) in &loaded.jobs {
            rows.push((loaded.experiment.cells[*cell].label(), job, State::of(&loaded.store, job)?));
        }
        if self.json {
            let jobs: Vec<_> =
                rows.iter().map(|(label, job, state)| json!({ "id": job.id, "cell": label, "seed": job.seed, "state": state })).collect();
            print(&format!("{}\n", serde_json::to_string_pretty(&jobs)?));
            return Ok(Exit::Ok);
        }
        for (label, job, state) in rows {
            let detail = match &state {
                State::Failed { reason } => reason.clone(),
                State::Partial { progress: Some(p), .. } => format!("{} {} of {}", p.stage, p.done, p.total),
                State::Done { .. } | State::Partial { .. } | State::Missing {} => String::new(),
            };
            print(&format!("{:<9} {label} (seed {}) {detail}\n", state.word(), job.seed));
        }
        Ok(Exit::Ok)
    }
}
