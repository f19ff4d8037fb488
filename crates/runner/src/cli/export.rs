//! `ddpm export`: other files from a checkpoint.

use super::checkpoint::read;
use crate::base::error::Meaning;
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::base::{atomic, json};
use crate::interop::diffusers::{self as theirs, WEIGHTS};
use crate::store::CheckpointMeta;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use ddpm_model::{checkpoint, diffusers};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Export {
    #[command(subcommand)]
    to: To,
}

#[derive(Debug, Subcommand)]
enum To {
    /// A folder with config.json, scheduler_config.json and diffusion_pytorch_model.safetensors of UNet2DModel
    Diffusers {
        /// The checkpoint of a training, or pretrained:fashion
        checkpoint: PathBuf,
        /// The folder to make
        dir: PathBuf,
        /// The weights as trained instead of their moving average
        #[arg(long)]
        raw: bool,
        /// Set a value of the checkpoint's configuration: path=value, such as ema_decay=0.99, where several averages were kept
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
    },
    /// A checkpoint of the weights' moving average alone, in half precision: an eighth of the size; sample, eval, fid and export take it
    Average {
        /// The checkpoint of a training
        checkpoint: PathBuf,
        /// The file to write
        out: PathBuf,
        /// Set a value of the checkpoint's configuration: path=value, such as ema_decay=0.99, where several averages were kept
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
    },
}

impl Export {
    pub fn run(self) -> Result<Exit> {
        match self.to {
            To::Diffusers { checkpoint, dir, raw, set } => to_diffusers(&checkpoint, &dir, raw, &set)?,
            To::Average { checkpoint, out, set } => average(&checkpoint, &out, &set)?,
        }
        Ok(Exit::Ok)
    }
}

fn to_diffusers(path: &Path, dir: &Path, raw: bool, sets: &[String]) -> Result<()> {
    let stored = read(path, sets)?;
    let config = &stored.meta.config;
    let weights = if raw { stored.weights()? } else { stored.average()? };
    let tensors =
        diffusers::export(&config.network, stored.unet.parameters(), &weights).with_context(|| path.display().to_string()).needed()?;
    atomic::make_dir(dir).with_context(|| format!("{}: cannot be made", dir.display())).stored()?;
    let out_channels = config.diffusion().out_channels(stored.shape.channels);
    json::write(&dir.join("config.json"), &theirs::config(&config.network, stored.shape, out_channels))?;
    let sampler = &config.sampling.sampler;
    match theirs::scheduler_config(&config.diffusion, sampler) {
        Some(scheduler) => {
            json::write(&dir.join("scheduler_config.json"), &scheduler)?;
            let found = theirs::scheduler(&scheduler, "scheduler_config.json", &config.diffusion)?;
            if found.sampler != *sampler {
                eprintln!("scheduler_config.json is {}'s: diffusers has no word for this sampler", scheduler["_class_name"]);
            }
        }
        None => eprintln!("no scheduler_config.json: diffusers cannot express this diffusion"),
    }
    atomic::write(&dir.join(WEIGHTS), &checkpoint::plain_bytes(&tensors)?)?;
    print(&format!("{}: {} tensors, {} parameters\n", dir.display(), tensors.len(), stored.unet.parameter_count()));
    Ok(())
}

fn average(path: &Path, out: &Path, sets: &[String]) -> Result<()> {
    let stored = read(path, sets)?;
    let average = stored.average()?;
    // The file holds no other.
    let meta = CheckpointMeta { config: stored.meta.config.with_one_average(), ..stored.meta.clone() };
    let bytes = checkpoint::average_bytes(stored.unet.parameters(), &average, &serde_json::to_string(&meta)?);
    let bytes = bytes.with_context(|| path.display().to_string()).needed()?;
    atomic::write(out, &bytes)?;
    print(&format!("{}: {} parameters, {} bytes\n", out.display(), stored.unet.parameter_count(), bytes.len()));
    Ok(())
}
