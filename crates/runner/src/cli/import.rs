//! `ddpm import`: a checkpoint from one of diffusers.

use crate::base::atomic;
use crate::base::data::sha256;
use crate::base::error::{ConfigError, Meaning};
use crate::base::exit::Exit;
use crate::base::text::{print, unmarked, wrapped};
use crate::experiment::{Base, Config, RawConfig, Shelf, yaml};
use crate::interop::diffusers as theirs;
use crate::store::{CheckpointMeta, FORMAT};
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use ddpm_model::interop::foreign;
use ddpm_model::train_state::TrainState;
use ddpm_model::{checkpoint, diffusers};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a folder does not say where no base is named: that of the paper's settings.
const PAPER: &str = include_str!("../../../../experiments/bases/cifar10-paper.yaml");

#[derive(Debug, Args)]
pub struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// A folder with config.json and diffusion_pytorch_model.safetensors (or .bin) of UNet2DModel, or a pipeline's folder
    Diffusers {
        /// The folder
        dir: PathBuf,
        /// The checkpoint to write
        #[arg(long, short, default_value = "imported.safetensors")]
        out: PathBuf,
        /// The base that gives what the folder does not say: data set, training, evaluation [default: the paper's settings]
        #[arg(long)]
        base: Option<String>,
    },
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display())).needed()?;
    if let Some(what) = foreign(text.as_bytes()) {
        return Err(anyhow!("{}: {what}", path.display())).needed();
    }
    Ok(serde_json::from_str(unmarked(&text)).map_err(|e| ConfigError::new(&path.display().to_string(), "", format!("is not JSON: {e}")))?)
}

/// The folder of the network itself, which in a pipeline's folder is `unet`.
fn network_folder(dir: &Path) -> Result<PathBuf> {
    let places = [dir.to_path_buf(), dir.join("unet")];
    match places.iter().find(|place| place.join("config.json").exists()) {
        Some(place) => Ok(place.clone()),
        None => bail!("{}: expected config.json, or unet/config.json in a pipeline's folder, found neither", dir.display()),
    }
}

impl Import {
    pub fn run(self) -> Result<Exit> {
        let From::Diffusers { dir, out, base } = self.from;
        let dir = network_folder(&dir).needed()?;
        let origin = dir.join("config.json");
        let theirs::Found { network, image, out_channels, idle } = theirs::network(&read(&origin)?, &origin.display().to_string())?;
        let Base { tree, origin: base, .. } = match base {
            Some(name) => Base::read(&Shelf::Bases.find(&name, None)?)?,
            None => Base::of(yaml::parse(PAPER, "the paper's settings")?, "the paper's settings".into())?,
        };
        let mut typed = RawConfig::typed(&tree, &base)?;
        typed.network = network;
        let mut notes = if idle.is_empty() { Vec::new() } else { vec![format!("{}: passed over: {}", origin.display(), idle.join(", "))] };
        let places = ["scheduler_config.json", "scheduler/scheduler_config.json", "../scheduler/scheduler_config.json"];
        match places.iter().map(|place| dir.join(place)).find(|path| path.exists()) {
            Some(path) => {
                let place = path.display().to_string();
                let found = theirs::scheduler(&read(&path)?, &place, &typed.diffusion)?;
                notes.extend(found.notes.iter().map(|note| format!("{place}: {note}")));
                (typed.diffusion, typed.sampling.sampler) = (found.setup, found.sampler);
            }
            None => notes.push(format!("{}: no scheduler_config.json: diffusion and sampler are those of {base}", dir.display())),
        }
        let config = Config::new(typed, &dir.display().to_string())?;
        let expected = config.diffusion().out_channels(image.channels);
        if out_channels != expected {
            let variance = serde_json::to_value(config.diffusion.variance)?;
            let problem = format!("expected {expected} where the variance is {variance}, got {out_channels}");
            return Err(ConfigError::new(&origin.display().to_string(), "out_channels", problem).into());
        }
        let unet = config.unet(image);
        let (tensors, files) = theirs::weights(&dir).needed()?;
        let named = || files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        let numbers = diffusers::import(&config.network, unet.parameters(), tensors).with_context(named).needed()?;
        let digest = sha256(&numbers.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        let state = TrainState::new(numbers, config.training.optimiser.kept());
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
            clipped: None,
            wall_s: 0.0,
            waited_s: 0.0,
        };
        let text = serde_json::to_string(&meta)?;
        atomic::write_with(&out, |file| Ok(checkpoint::write_state(file, unet.parameters(), &state, &text)?))?;
        notes.iter().for_each(|note| eprint!("{}", wrapped(note)));
        print(&format!("{}: {} parameters from {}, {}\n", out.display(), unet.parameter_count(), named(), meta.training_id));
        Ok(Exit::Ok)
    }
}
