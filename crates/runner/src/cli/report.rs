//! `ddpm report`: tables and pictures of what is there, and what is not.

use super::experiment::Loaded;
use crate::base::exit::Exit;
use crate::execute::slurm::{self, Element};
use crate::experiment::Job;
use crate::plan::State;
use crate::store::submissions::submissions;
use anyhow::Result;
use std::collections::BTreeMap;
#[cfg(feature = "report")]
use {
    super::experiment::ExperimentArgs, crate::base::error::RunError, crate::base::text::print, crate::report, clap::Args,
    std::io::ErrorKind,
};

#[cfg(feature = "report")]
#[derive(Debug, Args)]
pub struct Report {
    #[command(flatten)]
    experiment: ExperimentArgs,
}

#[cfg(feature = "report")]
impl Report {
    pub fn run(self) -> Result<Exit> {
        let loaded = self.experiment.recall_results()?;
        let Loaded { experiment, jobs, store, data, .. } = &loaded;
        match loaded.leave().and_then(|()| report::write(experiment, jobs, store, data)) {
            Ok(text) => print(&text),
            // Results may belong to someone else: they can be read all the same.
            Err(error) if is_for_others(&error) => {
                eprintln!("{error:#}; only the table is shown");
                print(&report::table(experiment, jobs, store)?);
            }
            Err(error) => return Err(error),
        }
        outcome(&loaded)
    }
}

/// Whether something could not be written because it is not this user's to write.
#[cfg(feature = "report")]
fn is_for_others(error: &anyhow::Error) -> bool {
    let kinds = [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem];
    matches!(RunError::of(error), Some(RunError::Storage(inner))
        if inner.chain().any(|part| part.downcast_ref::<std::io::Error>().is_some_and(|e| kinds.contains(&e.kind()))))
}

/// The report, and whether all jobs are there.
pub fn finish(loaded: &Loaded) -> Result<Exit> {
    #[cfg(feature = "report")]
    print(&report::write(&loaded.experiment, &loaded.jobs, &loaded.store, &loaded.data)?);
    outcome(loaded)
}

/// Whether all jobs are there; on stderr those that are not.
fn outcome(loaded: &Loaded) -> Result<Exit> {
    let mut failed = Vec::new();
    let in_slurm =
        if !submissions(&loaded.store)?.is_empty() && slurm::is_there() { slurm::known(&loaded.store)? } else { BTreeMap::new() };
    for (_, job) in &loaded.jobs {
        match State::of(&loaded.store, job)? {
            State::Done { .. } => {}
            State::Failed { reason } => failed.push((job, reason)),
            State::Running { process, .. } => failed.push((job, format!("{process} is running it"))),
            State::Partial { .. } | State::Missing {} => {
                failed.push((job, in_slurm.get(&job.id).map_or_else(|| "not done".into(), Element::description)))
            }
        }
    }
    Ok(say(&failed))
}

fn say(failed: &[(&Job, String)]) -> Exit {
    if failed.is_empty() {
        return Exit::Ok;
    }
    eprintln!("{} jobs are not done:", failed.len());
    for (job, reason) in failed {
        eprintln!("  {}: {reason}", job.id);
    }
    Exit::SomeJobsFailed
}

#[cfg(all(test, feature = "report"))]
mod tests {
    use super::*;

    use crate::base::error::Meaning;
    use anyhow::Context;

    /// A full disk is no reason to leave an old page beside new results without a word.
    #[test]
    fn only_what_belongs_to_others_is_forgiven() {
        let of = |kind: ErrorKind| Err::<(), _>(std::io::Error::from(kind)).context("x: cannot be written").stored().unwrap_err();
        assert!(is_for_others(&of(ErrorKind::PermissionDenied)) && is_for_others(&of(ErrorKind::ReadOnlyFilesystem)));
        assert!(!is_for_others(&of(ErrorKind::StorageFull)) && !is_for_others(&anyhow::anyhow!("x")));
    }
}
