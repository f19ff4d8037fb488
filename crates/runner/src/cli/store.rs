//! `ddpm store`: verifies what is stored, and removes what no table needs.

use crate::base::error::Meaning;
use crate::base::exit::Exit;
use crate::base::text::{print, size};
use crate::plan::verify::{Also, removable, remove, verify};
use crate::store::Store;
use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read every record, checkpoint, sample and feature file, check its digest, and say what to do where one is not as it was written
    Verify {
        /// Where results are kept
        #[arg(long, default_value = "results")]
        results: PathBuf,
    },
    /// List what no table and no later run needs; records, pictures and each training's last checkpoint stay
    Gc {
        /// Where results are kept
        #[arg(long, default_value = "results")]
        results: PathBuf,
        /// Samples too: the checkpoints can make them again
        #[arg(long)]
        samples: bool,
        /// States along trainings too (evaluation.at): only these trainings can make them again
        #[arg(long)]
        snapshots: bool,
        /// Remove it
        #[arg(long)]
        remove: bool,
    },
}

impl StoreArgs {
    pub fn run(self) -> Result<Exit> {
        match self.what {
            What::Verify { results } => {
                let verified = verify(&there(results)?)?;
                for finding in &verified.findings {
                    print(&format!("{}\n    {}\n    {}\n", finding.path.display(), finding.problem, finding.advice));
                }
                print(&format!("{} files read, {} findings\n", verified.read, verified.findings.len()));
                Ok(if verified.findings.is_empty() { Exit::Ok } else { Exit::Environment })
            }
            What::Gc { results, samples, snapshots, remove: really } => {
                let found = removable(&there(results)?, Also { samples, snapshots })?;
                for what in &found {
                    if really {
                        remove(what)?;
                    }
                    print(&format!("{:>9}  {} ({})\n", size(what.bytes), what.path.display(), what.why));
                }
                let (n, bytes) = (found.len(), size(found.iter().map(|what| what.bytes).sum()));
                let word = if really { "removed" } else { "to remove; --remove does it" };
                print(&format!("{n} things, {bytes} {word}\n"));
                Ok(Exit::Ok)
            }
        }
    }
}

/// The store in a folder that is there: of one that is not, nothing is verified.
fn there(results: PathBuf) -> Result<Store> {
    if !results.is_dir() {
        return Err(anyhow!("{}: expected the folder of results, found none", results.display())).needed();
    }
    Ok(Store::new(results))
}
