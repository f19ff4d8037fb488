//! Reading a checkpoint that a command names.

use crate::base::data::Dataset;
use crate::base::device::Device;
use crate::base::error::Meaning;
use crate::experiment::{Config, paths};
use crate::store::{CheckpointMeta, checkpoints};
use anyhow::{Context, Result, anyhow};
use ddpm_model::interop::foreign;
use ddpm_model::network::ImageShape;
use ddpm_model::train_state::TrainState;
use ddpm_model::{Engine, checkpoint};
use std::path::Path;

/// A checkpoint, ready to be used.
pub struct Opened {
    pub meta: CheckpointMeta,
    pub shape: ImageShape,
    /// With the moving average of the weights.
    pub engine: Engine,
}

/// Reads a checkpoint, with `sets` overriding its configuration: its metadata, the shape of its images, and the training state.
pub fn read(path: &Path, sets: &[String]) -> Result<(CheckpointMeta, ImageShape, TrainState)> {
    let origin = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| format!("{origin}: cannot be read")).needed()?;
    if let Some(what) = foreign(&bytes) {
        return Err(anyhow!("{origin}: {what}")).needed();
    }
    let mut meta = checkpoints::describe(&bytes).context(origin.clone()).needed()?;
    let mut tree = serde_json::to_value(&meta.config)?;
    for flag in sets {
        let (path, value) = paths::flag(flag)?;
        paths::set(&mut tree, &path, value, &format!("--set {flag}"))?;
    }
    meta.config = Config::checked(&tree, &origin)?;
    let shape = meta.image.map_or_else(|| meta.config.data.image(), Ok)?;
    meta.config.check_network(&origin, shape)?;
    let unet = meta.config.unet(shape);
    let state = checkpoint::read_state(&bytes, unet.parameters()).with_context(|| origin.clone()).needed()?;
    Ok((meta, shape, state))
}

/// Reads a checkpoint and makes its network ready.
pub fn open(path: &Path, sets: &[String]) -> Result<Opened> {
    let (meta, shape, state) = read(path, sets)?;
    let engine = Device::here().engine(&meta.config.unet(shape), meta.config.training.precision)?.load(state.ema);
    Ok(Opened { meta, shape, engine })
}

impl Opened {
    /// The images that it was trained on, where it says which; else those that its configuration names.
    pub fn data(&self, path: &Path) -> Result<Dataset> {
        let origin = path.display().to_string();
        let advice = "name its images with --set data='{kind: folder, path: FOLDER, held_out: NUMBER}'";
        let data = match self.meta.config.data.load() {
            // Weights from elsewhere come without a data set: the configuration's is only a base's.
            Err(error) if self.meta.data.is_none() => return Err(error.context(format!("{origin}: needs images; {advice}"))),
            data => data?,
        };
        let (name, found) = (&data.info.name, data.info.shape);
        if found != self.shape {
            return Err(anyhow!("{origin}: is for images of {}, those of {name} are {found}; {advice}", self.shape)).needed();
        }
        self.meta.check_data(&data.info).with_context(|| origin.clone()).needed()?;
        self.meta.config.check_shape(&origin, self.shape)?;
        Ok(data)
    }
}
