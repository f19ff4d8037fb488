//! `ddpm classifier`: makes the feature network that is embedded.

use super::{Unusable, print};
use crate::data::DataSource;
use crate::exit::Exit;
use crate::stages::classifier::train;
use crate::store::atomic;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ClassifierArgs {
    /// Passes over the training images
    #[arg(long, default_value_t = 30)]
    epochs: u64,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The file to write
    #[arg(long, short, default_value = "classifier.safetensors")]
    out: PathBuf,
}

impl ClassifierArgs {
    pub fn run(self) -> Result<Exit> {
        let data = DataSource::FashionMnist {}.load()?;
        let (bytes, recipe) = train(&data, self.epochs, self.seed, |epoch, loss, accuracy| {
            eprintln!("epoch {epoch}: loss {loss:.4}, accuracy on held-out images {:.1}%", 100.0 * accuracy);
        })?;
        atomic::write(&self.out, &bytes).context(Unusable)?;
        print(&format!("{}\n", serde_json::to_string(&recipe)?));
        Ok(Exit::Ok)
    }
}
