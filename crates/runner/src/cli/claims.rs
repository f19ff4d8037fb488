//! `ddpm claims`: what a grid claims, and what its seeds say of that.

use super::experiment::{ExperimentArgs, Loaded};
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::report;
use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub struct Claims {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// End with 3 unless seeds support every claim
    #[arg(long)]
    require: bool,
}

impl Claims {
    pub fn run(self) -> Result<Exit> {
        let Loaded { experiment, jobs, store, .. } = &self.experiment.recall_results()?;
        if let Some(aim) = experiment.aim.as_ref().filter(|aim| !aim.claims().is_empty()) {
            // What is not run yet supports nothing.
            if self.json {
                print("[]\n");
            }
            eprintln!("{}: nothing is decided before its candidates ({}) are all scored", aim.name(), experiment.name);
            return Ok(if self.require { Exit::SomeJobsFailed } else { Exit::Ok });
        }
        let judged = report::claims(experiment, jobs, store)?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&judged)?));
        } else if judged.is_empty() {
            eprintln!("{} makes no claims", experiment.name);
        } else {
            print(&report::claims_text(&judged));
        }
        let unsupported = judged.iter().filter(|claim| !claim.is_supported()).count();
        if !self.require || unsupported == 0 {
            return Ok(Exit::Ok);
        }
        eprintln!("claims that the seeds do not support: {unsupported} of {}", judged.len());
        Ok(Exit::SomeJobsFailed)
    }
}
