//! `ddpm sample`: images from a checkpoint.

use super::outside::{self, GivenNoise};
use super::{Unusable, print};
use crate::config::{Config, SamplingConfig, paths};
use crate::data::Dataset;
use crate::device::Device;
use crate::exit::Exit;
use crate::picture;
use crate::progress::Reporter;
use crate::stages::{self, Described};
use crate::store::{atomic, checkpoints};
use anyhow::{Context, Result, ensure};
use clap::Args;
use ddpm_model::network::ImageShape;
use ddpm_model::optimiser::ROWS;
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
    /// Take the noise from a safetensors file: `x_T` [n, H, W, C], and `z` [steps, n, H, W, C] where it is there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "seed"])]
    noise: Option<PathBuf>,
    /// Write every step to a safetensors file: `t`, `output`, `x0` (predicted), `samples`
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// The device: auto, cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// The PNG to write
    #[arg(long, short, default_value = "samples.png")]
    out: PathBuf,
}

/// A checkpoint, ready to be used.
pub struct Opened {
    pub described: Described,
    pub shape: ImageShape,
    /// With the moving average of the weights.
    pub engine: Engine,
}

/// Reads a checkpoint, with `sets` over its configuration: what stands in it, its images' shape, and its rows of numbers.
pub fn read(path: &Path, sets: &[String]) -> Result<(Described, ImageShape, [Vec<f32>; ROWS])> {
    let origin = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| format!("{origin}: cannot be read")).context(Unusable)?;
    let mut described = checkpoints::describe(&bytes).context(origin.clone()).context(Unusable)?;
    let mut tree = serde_json::to_value(&described.config)?;
    for flag in sets {
        let (path, value) = paths::flag(flag)?;
        paths::set(&mut tree, &path, value, &format!("--set {flag}"))?;
    }
    described.config = Config::checked(&tree, &origin)?;
    let shape = described.config.data.image().context(Unusable)?;
    described.config.check_network(&origin, shape)?;
    let unet = described.config.unet(shape);
    let rows = checkpoint::read_states(&bytes, unet.parameters()).with_context(|| origin.clone()).context(Unusable)?;
    Ok((described, shape, rows))
}

/// Reads a checkpoint and makes its network ready.
pub fn open(path: &Path, sets: &[String]) -> Result<Opened> {
    let (described, shape, [_, _, _, average]) = read(path, sets)?;
    let engine = Device::here().engine(&described.config.unet(shape), described.config.training.precision)?.load(average);
    Ok(Opened { described, shape, engine })
}

impl Opened {
    /// The images that it was trained on, where it says which; else those that its configuration names.
    pub fn data(&self, path: &Path) -> Result<Dataset> {
        let data = self.described.config.data.load().context(Unusable)?;
        self.described.check_data(&data).with_context(|| path.display().to_string())?;
        self.described.config.check_data(&path.display().to_string(), &data)?;
        Ok(data)
    }
}

impl Sample {
    pub fn run(self) -> Result<Exit> {
        self.device.choose().context(Unusable)?;
        let mut opened = open(&self.checkpoint, &self.set)?;
        let (seed, count) = (self.seed.unwrap_or(opened.described.seed), self.count as usize);
        let bytes = if self.noise.is_some() || self.dump.is_some() {
            let given = self.noise.as_ref().map(|path| GivenNoise::read(path, &opened)).transpose()?;
            let samples = outside::sample(&mut opened, given, count, seed, self.dump.as_deref())?;
            ensure!(samples.sqr()?.mean_all()?.to_scalar::<f32>()?.is_finite(), NOT_FINITE);
            picture::to_bytes(&samples)?
        } else {
            let config = opened.described.config.clone();
            let sampling = SamplingConfig { count, ..config.sampling.clone() };
            let (samples, _) = stages::sample(&mut opened.engine, &config.diffusion(), &sampling, seed, &[], &mut Reporter::silent())?;
            ensure!(samples.about.rms.is_some(), NOT_FINITE);
            samples.bytes
        };
        let columns = ((bytes.len() / opened.shape.len()) as f64).sqrt().ceil() as usize;
        let picture = picture::grid(&bytes, opened.shape, columns, picture::scale_for(opened.shape));
        atomic::write(&self.out, &picture::png(&picture)?).context(Unusable)?;
        print(&format!("{}\n", self.out.display()));
        Ok(Exit::Ok)
    }
}

const NOT_FINITE: &str = "the samples are not finite: the sampler left its range";
