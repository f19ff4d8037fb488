//! `ddpm sample`: images from a checkpoint.

use super::checkpoint::open;
use crate::base::device::Device;
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::base::{atomic, picture};
use crate::experiment::SamplingConfig;
use crate::interop::given::{self, GivenNoise};
use crate::stages;
use crate::store::progress::Reporter;
use anyhow::{Result, ensure};
use clap::Args;
use ddpm_model::sampling::Walk;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Sample {
    /// The checkpoint of a training, or pretrained:fashion, which comes with the program
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
    #[arg(long, short, default_value = "samples.png", value_parser = picture::png_path)]
    out: PathBuf,
}

impl Sample {
    pub fn run(self) -> Result<Exit> {
        self.device.choose()?;
        let mut opened = open(&self.checkpoint, &self.set)?;
        let (seed, count) = (self.seed.unwrap_or(opened.meta.seed), self.count as usize);
        let bytes = if self.noise.is_some() || self.dump.is_some() {
            let given = self.noise.as_ref().map(|path| GivenNoise::read(path, opened.shape)).transpose()?;
            let (diffusion, sampler) = (opened.meta.config.diffusion(), opened.meta.config.sampling.sampler);
            let walk = Walk::new(&mut opened.engine, diffusion, &sampler)?;
            let samples = given::sample(walk, given, count, seed, self.dump.as_deref())?;
            ensure!(samples.sqr()?.mean_all()?.to_scalar::<f32>()?.is_finite(), NOT_FINITE);
            picture::to_bytes(&samples)?
        } else {
            let config = opened.meta.config.clone();
            let sampling = SamplingConfig { count, ..config.sampling.clone() };
            let (samples, _) = stages::sample(&mut opened.engine, config.diffusion(), &sampling, seed, &[], &mut Reporter::silent())?;
            ensure!(samples.info.rms.is_some(), NOT_FINITE);
            samples.bytes
        };
        let columns = ((bytes.len() / opened.shape.len()) as f64).sqrt().ceil() as usize;
        let picture = picture::shown(&bytes, opened.shape, columns, picture::scale_for(opened.shape));
        atomic::write(&self.out, &picture::png(&picture)?)?;
        print(&format!("{}\n", self.out.display()));
        Ok(Exit::Ok)
    }
}

const NOT_FINITE: &str = "the samples are not finite: the sampler left its range";
