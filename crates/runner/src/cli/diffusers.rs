//! `ddpm import` and `ddpm export`: checkpoints of diffusers.

use crate::base::data::sha256;
use crate::base::error::{ConfigError, Meaning};
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::base::{atomic, json};
use crate::experiment::{Config, RawConfig, base_file, yaml};
use crate::interop::diffusers::{self as theirs, WEIGHTS};
use crate::store::{CheckpointMeta, FORMAT};
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use ddpm_model::interop::Tensors;
use ddpm_model::train_state::TrainState;
use ddpm_model::{checkpoint, diffusers};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// A folder with config.json and diffusion_pytorch_model.safetensors (or .bin) of UNet2DModel
    Diffusers {
        /// The folder
        dir: PathBuf,
        /// The checkpoint to write
        #[arg(long, short, default_value = "imported.safetensors")]
        out: PathBuf,
        /// The base that gives what the folder does not say: data set, sampler, evaluation
        #[arg(long, default_value = "cifar10-paper")]
        base: String,
    },
}

#[derive(Debug, Args)]
pub struct Export {
    #[command(subcommand)]
    to: To,
}

#[derive(Debug, Subcommand)]
enum To {
    /// A folder with config.json, scheduler_config.json and diffusion_pytorch_model.safetensors of UNet2DModel
    Diffusers {
        /// The checkpoint
        checkpoint: PathBuf,
        /// The folder to make
        dir: PathBuf,
        /// The weights as trained instead of their moving average
        #[arg(long)]
        raw: bool,
    },
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display())).needed()?;
    Ok(serde_json::from_str(&text).map_err(|e| ConfigError::new(&path.display().to_string(), "", format!("is not JSON: {e}")))?)
}

impl Import {
    pub fn run(self) -> Result<Exit> {
        let From::Diffusers { dir, out, base } = self.from;
        let origin = dir.join("config.json");
        let (network, image, out_channels) = theirs::network(&read(&origin)?, &origin.display().to_string())?;
        let base = base_file(&base, Path::new("experiments/grids"))?;
        let mut typed = RawConfig::typed(&yaml::read(&base)?, &base.display().to_string())?;
        typed.network = network;
        for place in ["scheduler_config.json", "scheduler/scheduler_config.json", "../scheduler/scheduler_config.json"] {
            let path = dir.join(place);
            if path.exists() {
                typed.diffusion = theirs::scheduler(&read(&path)?, &path.display().to_string(), &typed.diffusion)?;
                break;
            }
        }
        // A learned variance must be one that the objective could have trained.
        let config = Config::new(typed, &dir.display().to_string())?;
        let expected = config.diffusion().out_channels(image.channels);
        let wrong = |key, problem: String| ConfigError::new(&origin.display().to_string(), key, problem);
        if out_channels != expected {
            let problem = format!("expected {expected} with variance {:?}, got {out_channels}", config.diffusion.variance);
            return Err(wrong("out_channels", problem).into());
        }
        // A folder of images is compared when they are needed.
        if let Some(there) = config.data.shape()
            && there != image
        {
            return Err(wrong("sample_size", format!("is for images of {image}, the base's data set has {there}")).into());
        }
        let unet = config.unet(image);
        let weights = WEIGHTS.iter().map(|name| dir.join(name)).find(|path| path.exists());
        let weights = weights.with_context(|| format!("{}: holds neither {} nor {}", dir.display(), WEIGHTS[0], WEIGHTS[1])).needed()?;
        let tensors = Tensors::read(&weights).needed()?;
        let numbers =
            diffusers::import(&config.network, unet.parameters(), tensors).with_context(|| weights.display().to_string()).needed()?;
        let digest = sha256(&numbers.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        let state = TrainState::new(numbers);
        let meta = CheckpointMeta {
            format: FORMAT,
            training_id: format!("imported-{}", &digest[..8]),
            config,
            seed: 0,
            data: None,
            image: Some(image),
            step: 0,
            curve: Vec::new(),
            open: (0.0, 0.0, 0),
            wall_s: 0.0,
        };
        let text = serde_json::to_string(&meta)?;
        atomic::write_with(&out, |part| Ok(checkpoint::write_state(part, unet.parameters(), &state, &text)?))?;
        print(&format!("{}: {} parameters, {}\n", out.display(), unet.parameter_count(), meta.training_id));
        Ok(Exit::Ok)
    }
}

impl Export {
    pub fn run(self) -> Result<Exit> {
        let To::Diffusers { checkpoint: path, dir, raw } = self.to;
        let (meta, shape, state) = super::checkpoint::read(&path, &[])?;
        let (config, unet) = (&meta.config, meta.config.unet(shape));
        ensure!(
            shape.height == shape.width,
            "{}: diffusers has square images only, these are {}x{}",
            path.display(),
            shape.height,
            shape.width
        );
        let tensors = diffusers::export(&config.network, unet.parameters(), if raw { &state.theta } else { &state.ema })
            .with_context(|| path.display().to_string())?;
        fs::create_dir_all(&dir).with_context(|| format!("{}: cannot be made", dir.display())).stored()?;
        let out_channels = config.diffusion().out_channels(shape.channels);
        json::write(&dir.join("config.json"), &theirs::config(&config.network, shape, out_channels))?;
        match theirs::scheduler_config(&config.diffusion, config.sampling.sampler.clips()) {
            Some(scheduler) => json::write(&dir.join("scheduler_config.json"), &scheduler)?,
            None => eprintln!("no scheduler_config.json: diffusers cannot express this diffusion"),
        }
        atomic::write(&dir.join(WEIGHTS[0]), &checkpoint::plain_bytes(&tensors)?)?;
        print(&format!("{}: {} tensors, {} parameters\n", dir.display(), tensors.len(), unet.parameter_count()));
        Ok(Exit::Ok)
    }
}
