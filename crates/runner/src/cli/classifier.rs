//! `ddpm classifier`: makes the feature networks that are embedded.

use crate::base::atomic;
use crate::base::data::{Cache, DataSource};
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::stages::classifier::{Hyperparameters, train};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ClassifierArgs {
    /// Data set to train on
    #[arg(value_enum, default_value = "fashion-mnist")]
    images: Labelled,
    /// The folder of CIFAR-10's binary version
    #[arg(long, default_value = "data/cifar-10-batches-bin")]
    path: PathBuf,
    /// Number of epochs [default: 30 for Fashion-MNIST, 28 for CIFAR-10]
    #[arg(long)]
    epochs: Option<u64>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The file to write
    #[arg(long, short, default_value = "classifier.safetensors")]
    out: PathBuf,
}

/// Data sets with labels.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Labelled {
    FashionMnist,
    Cifar10,
}

impl ClassifierArgs {
    pub fn run(self) -> Result<Exit> {
        let source = match self.images {
            Labelled::FashionMnist => DataSource::FashionMnist {},
            Labelled::Cifar10 => DataSource::Cifar10 { path: self.path },
        };
        let data = source.load(&Cache::default())?;
        let mut hyper = Hyperparameters::of(data.info.shape);
        hyper.epochs = self.epochs.unwrap_or(hyper.epochs);
        let (bytes, recipe) = train(&data, &hyper, self.seed, |epoch, loss, accuracy| {
            eprintln!("epoch {epoch}: loss {loss:.4}, accuracy on held-out images {:.1}%", 100.0 * accuracy);
        })?;
        atomic::write(&self.out, &bytes)?;
        print(&format!("{}\n", serde_json::to_string(&recipe)?));
        Ok(Exit::Ok)
    }
}
