//! Where data sets are prepared.

use crate::base::data::Cache;
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct CacheArgs {
    /// Where data sets are prepared, whatever their size [default: those of more than 64 MiB, in `data` in the results; `fid`: none]
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
}

impl CacheArgs {
    /// The folder that is asked for.
    pub fn folder(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// What is asked for, or else.
    pub fn or(&self, otherwise: Cache) -> Cache {
        self.folder().map_or(otherwise, Cache::at)
    }
}
