//! `ddpm sample`: images from a checkpoint.

use super::{Unusable, print};
use crate::config::{Config, paths};
use crate::data::Dataset;
use crate::exit::Exit;
use crate::picture;
use crate::progress::Reporter;
use crate::stages::{self, Described};
use crate::store::atomic;
use anyhow::{Context, Result, ensure};
use clap::Args;
use ddpm_model::{Engine, checkpoint};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Sample {
    /// The checkpoint of a training
    checkpoint: PathBuf,
    /// How many images
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Seed of their noise; the training's where absent
    #[arg(long)]
    seed: Option<u64>,
    /// Set a value of the checkpoint's configuration: path=value, such as sampler={kind: ddim, steps: 20}
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// The PNG to write
    #[arg(long, short, default_value = "samples.png")]
    out: PathBuf,
}

/// A checkpoint, ready to be used.
pub struct Opened {
    pub config: Config,
    pub seed: u64,
    pub data: Dataset,
    /// With the moving average of the weights.
    pub engine: Engine,
}

/// Reads a checkpoint, with `sets` over its configuration.
pub fn open(path: &Path, sets: &[String]) -> Result<Opened> {
    let origin = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| format!("{origin}: cannot be read")).context(Unusable)?;
    let described: Described = checkpoint::description(&bytes)
        .map_err(anyhow::Error::from)
        .and_then(|text| Ok(serde_json::from_str(&text)?))
        .with_context(|| format!("{origin}: is not a checkpoint of this program"))
        .context(Unusable)?;
    let mut tree = serde_json::to_value(&described.config)?;
    for flag in sets {
        let (path, value) = paths::flag(flag)?;
        paths::set(&mut tree, &path, value, &format!("--set {flag}"))?;
    }
    let config = Config::checked(&tree, &origin)?;
    let data = config.data.load().context(Unusable)?;
    config.check_images(&origin, &data)?;
    ensure!(described.data == data.digest, "{origin}: was trained on data of digest {}, these have {}", described.data, data.digest);
    let unet = config.unet(data.shape);
    let [_, _, _, average] = checkpoint::read_states(&bytes, unet.parameters()).with_context(|| origin.clone()).context(Unusable)?;
    let engine = Engine::with_weights(&unet, config.training.precision, average)?;
    Ok(Opened { engine, seed: described.seed, config, data })
}

impl Sample {
    pub fn run(self) -> Result<Exit> {
        let mut opened = open(&self.checkpoint, &self.set)?;
        let mut sampling = opened.config.sampling.clone();
        sampling.count = self.count as usize;
        let seed = self.seed.unwrap_or(opened.seed);
        let mut reporter = Reporter::silent();
        let (samples, _) = stages::sample(&mut opened.engine, &opened.config.diffusion(), &sampling, seed, &[], &mut reporter)?;
        ensure!(samples.about.rms.is_some(), "the samples are not finite: the sampler left its range");
        let columns = (sampling.count as f64).sqrt().ceil() as usize;
        atomic::write(&self.out, &picture::png(&picture::grid(&samples.bytes, opened.data.shape, columns, 2))?).context(Unusable)?;
        print(&format!("{}\n", self.out.display()));
        Ok(Exit::Ok)
    }
}
