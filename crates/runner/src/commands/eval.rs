//! `ddpm eval`: the bound of a checkpoint.

use super::sample::open;
use super::{Unusable, number, print};
use crate::config::ConfigError;
use crate::exit::Exit;
use crate::metrics::{Measured, Metric};
use crate::progress::Reporter;
use crate::stages::{BoundOf, bound, sample, score};
use crate::store::Split;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
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
    /// Also make and score this many samples (in the checkpoint's features; --set features=inception for others)
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    samples: Option<u32>,
    /// Print JSON, with the terms of every step
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(self) -> Result<Exit> {
        let mut opened = open(&self.checkpoint, &self.set)?;
        let (images, split) = if self.train { (&opened.data.train, "train") } else { (&opened.data.held_out, "held-out") };
        let evaluation = &opened.config.evaluation;
        let n = self.images.unwrap_or(if self.train { evaluation.train } else { evaluation.held_out });
        let there = images.len(opened.data.shape);
        if n == 0 || n > there {
            return Err(ConfigError::new("--images", "", format!("expected 1 to {there}, got {n}")).into());
        }
        let what = BoundOf { images, shape: opened.data.shape, n, batch: evaluation.batch, decoder: evaluation.decoder, split };
        let mut reporter = Reporter::silent();
        let (measured, Split { bound, terms, under, authors }) = bound(&mut opened.engine, &opened.config.diffusion(), &what, opened.seed, &mut reporter)?;
        let mut scores: BTreeMap<Metric, Result<Measured, String>> = BTreeMap::new();
        if let Some(count) = self.samples {
            let mut sampling = opened.config.sampling.clone();
            sampling.count = count as usize;
            let net = opened.config.evaluation.features.load(opened.data.shape).context(Unusable)?;
            let (made, _) = sample(&mut opened.engine, &opened.config.diffusion(), &sampling, opened.seed, &[], &mut reporter)?;
            scores.extend(score(None, &made, &opened.data, net.as_ref(), opened.seed, &mut reporter)?.samples);
        }
        if self.json {
            let scores: BTreeMap<_, _> = scores.iter().map(|(m, v)| (m.name(), v)).collect();
            print(&format!(
                "{}\n",
                serde_json::to_string_pretty(&json!({
                    "bits_per_dim": measured, "authors": authors, "bound": bound, "under": under, "terms": terms, "scores": scores,
                }))?
            ));
            return Ok(Exit::Ok);
        }
        print(&format!("{} bits/dim on {n} {split} images\n", number(measured.value, measured.std_err, 4)));
        for (name, part) in [
            ("prior L_T", bound.prior),
            ("variance mismatch", bound.variance_mismatch),
            ("mean error", bound.mean_error),
            ("decoder L_0", bound.decoder),
        ] {
            print(&format!("  {name:<18} {part:.6}\n"));
        }
        print("if the reverse variance were\n");
        for (name, total) in [("fixed-small", under.fixed_small), ("fixed-large", under.fixed_large), ("the best", under.optimal)] {
            print(&format!("  {name:<18} {total:.6}\n"));
        }
        if let Some(authors) = authors {
            print(&format!("{} over whole batches of 256, as the authors: {} images\n", number(authors.value, authors.std_err, 4), authors.n));
        }
        for (metric, score) in scores {
            match score {
                Ok(m) => print(&format!("{} {} ({})\n", metric.heading(), number(m.value, m.std_err, metric.digits()), m.protocol)),
                Err(reason) => print(&format!("{} – {reason}\n", metric.heading())),
            }
        }
        Ok(Exit::Ok)
    }
}
