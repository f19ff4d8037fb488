//! `ddpm eval`: the bound of a checkpoint.

use super::print;
use super::sample::open;
use crate::config::ConfigError;
use crate::exit::Exit;
use crate::progress::Reporter;
use crate::stages::{BoundOf, bound};
use crate::store::Split;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Eval {
    /// The checkpoint of a training
    checkpoint: PathBuf,
    /// How many images; as many as the checkpoint's evaluation says where absent
    #[arg(long)]
    images: Option<usize>,
    /// Measure training images instead of held-out ones
    #[arg(long)]
    train: bool,
    /// Set a value of the checkpoint's configuration: path=value
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Print JSON, with the terms of every step
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(self) -> Result<Exit> {
        let opened = open(&self.checkpoint, &self.set)?;
        let (images, split) = if self.train { (&opened.data.train, "train") } else { (&opened.data.held_out, "held-out") };
        let evaluation = &opened.config.evaluation;
        let n = self.images.unwrap_or(if self.train { evaluation.train } else { evaluation.held_out });
        let there = images.len(opened.data.shape);
        if n == 0 || n > there {
            return Err(ConfigError::new("--images", "", format!("expected 1 to {there}, got {n}")).into());
        }
        let what = BoundOf { images, shape: opened.data.shape, n, batch: evaluation.batch, decoder: evaluation.decoder, split };
        let mut reporter = Reporter::silent();
        let (measured, Split { bound, terms }) =
            bound(&opened.unet, &opened.weights, &opened.config.diffusion(), &what, opened.seed, &mut reporter)?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&json!({ "bits_per_dim": measured, "bound": bound, "terms": terms }))?));
            return Ok(Exit::Ok);
        }
        let error = measured.std_err.map_or(String::new(), |e| format!(" ± {e:.4}"));
        print(&format!("{:.4}{error} bits/dim on {n} {split} images\n", measured.value));
        for (name, part) in [
            ("prior L_T", bound.prior),
            ("variance mismatch", bound.variance_mismatch),
            ("mean error", bound.mean_error),
            ("decoder L_0", bound.decoder),
        ] {
            print(&format!("  {name:<18} {part:.6}\n"));
        }
        Ok(Exit::Ok)
    }
}
