//! `ddpm eval`: the bound of a checkpoint.

use super::cache::CacheArgs;
use super::checkpoint::{cache_of, open};
use crate::base::device::Device;
use crate::base::error::ConfigError;
use crate::base::exit::Exit;
use crate::base::text::{number, print};
use crate::interop::given;
use crate::metrics::{Measured, Metric, weights_in_words};
use crate::stages::{BoundOf, bound, sample, score};
use crate::store::BoundBreakdown;
use crate::store::progress::Reporter;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use ddpm_core::likelihood::{Bound, UnderVariances};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct Eval {
    #[command(subcommand)]
    part: Option<Part>,
    /// The checkpoint of a training, or pretrained:fashion
    #[arg(required = true)]
    checkpoint: Option<PathBuf>,
    /// How many images; as many as the checkpoint's evaluation says, or there are, where absent
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
    /// The device: auto, cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Device,
    #[command(flatten)]
    cache: CacheArgs,
    /// Print JSON, with the terms of every step
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The network's output for given images and steps
    Forward {
        /// The checkpoint of a training, or pretrained:fashion
        #[arg(long)]
        checkpoint: PathBuf,
        /// A safetensors file: `x` [B, H, W, C] and `t` [B], 1 to T
        #[arg(long)]
        input: PathBuf,
        /// The safetensors file to write: `output` [B, H, W, C']
        #[arg(long, short, default_value = "output.safetensors")]
        out: PathBuf,
    },
}

impl Eval {
    pub fn run(self) -> Result<Exit> {
        self.device.choose()?;
        if let Some(Part::Forward { checkpoint, input, out }) = self.part {
            let mut opened = open(&checkpoint, &[])?;
            given::forward(&mut opened.engine, opened.shape, opened.meta.config.diffusion.timesteps, &input, &out)?;
            print(&format!("{}\n", out.display()));
            return Ok(Exit::Ok);
        }
        let checkpoint = self.checkpoint.context("the command line has asked for it")?;
        let mut opened = open(&checkpoint, &self.set)?;
        let data = opened.data(&checkpoint, &self.cache.or(cache_of(&checkpoint)))?;
        let (images, split) = if self.train { (&data.train, "train") } else { (&data.held_out, "held-out") };
        let (config, seed) = (opened.meta.config.clone(), opened.meta.seed);
        let evaluation = &config.evaluation;
        let there = images.len();
        let asked = if self.train { evaluation.train } else { evaluation.held_out };
        let n = self.images.unwrap_or(asked.min(there));
        if n == 0 || n > there {
            let name = &data.info.name;
            let problem = match there {
                0 => format!(
                    "{name} has no {split} images; name a data set that has, or {}",
                    if self.train { "leave out --train" } else { "give --train" }
                ),
                _ => format!("expected 1 to the {there} {split} images of {name}, got {n}"),
            };
            return Err(ConfigError::new("--images", "", problem).into());
        }
        let weights = weights_in_words(config.training.optimiser.ema_decay);
        let what = BoundOf { images, n, batch: evaluation.batch, decoder: evaluation.decoder, split, weights };
        let mut reporter = Reporter::silent();
        let (measured, BoundBreakdown { bound, terms, under, authors }) =
            bound(&mut opened.engine, config.diffusion(), &what, seed, &mut reporter)?;
        let mut scores: BTreeMap<Metric, Result<Measured, String>> = BTreeMap::new();
        if let Some(count) = self.samples {
            let mut sampling = config.sampling.clone();
            sampling.count = count as usize;
            let net = config.evaluation.features.load(data.info.shape)?;
            let (made, _) = sample(&mut opened.engine, config.diffusion(), &sampling, seed, &[], &mut reporter)?;
            scores.extend(score(None, &made, (&data, config.data.mixture()), net.as_ref(), (seed, weights), &mut reporter)?.samples);
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
        print(&breakdown(&bound, &under));
        if let Some(authors) = authors {
            print(&format!(
                "{} over whole batches of 256, as the authors: {} images\n",
                number(authors.value, authors.std_err, 4),
                authors.n
            ));
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

/// What a bound is made of, and what it would be under other variances.
fn breakdown(bound: &Bound, under: &UnderVariances) -> String {
    let line = |(name, value): (&str, f64)| format!("  {name:<18} {value:.6}\n");
    let parts = [
        ("prior L_T", bound.prior),
        ("variance mismatch", bound.variance_mismatch),
        ("mean error", bound.mean_error),
        ("decoder L_0", bound.decoder),
    ];
    let others = [("fixed-small", under.fixed_small), ("fixed-large", under.fixed_large), ("the best", under.optimal)];
    let of = |rows: &[(&str, f64)]| rows.iter().copied().map(line).collect::<String>();
    format!("{}if the reverse variance were\n{}", of(&parts), of(&others))
}
