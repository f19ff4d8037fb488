//! Reading a checkpoint that a command names.

use crate::base::data::{Cache, Dataset};
use crate::base::device::Device;
use crate::base::error::Meaning;
use crate::experiment::{Config, paths};
use crate::store::{CheckpointMeta, checkpoints, pretrained};
use anyhow::{Context, Result, anyhow};
use ddpm_model::interop::foreign;
use ddpm_model::network::ImageShape;
use ddpm_model::optimiser::Optimiser;
use ddpm_model::{Engine, UNet, checkpoint};
use std::borrow::Cow;
use std::path::Path;

/// A checkpoint, ready to be used.
pub struct Opened {
    pub meta: CheckpointMeta,
    pub shape: ImageShape,
    /// With the moving average of the weights.
    pub engine: Engine,
}

/// A checkpoint as it was read: a training's, of [`checkpoint::average_bytes`], or one that comes with the program.
pub struct Stored {
    pub meta: CheckpointMeta,
    pub shape: ImageShape,
    pub unet: UNet,
    /// As it was trained, whatever `meta` was told to use of it.
    trained: Optimiser,
    origin: String,
    bytes: Cow<'static, [u8]>,
}

/// Reads a checkpoint, with `sets` overriding its configuration.
pub fn read(path: &Path, sets: &[String]) -> Result<Stored> {
    let origin = path.display().to_string();
    let bytes = match pretrained(path)? {
        Some(bytes) => Cow::Borrowed(bytes),
        None => Cow::Owned(std::fs::read(path).with_context(|| format!("{origin}: cannot be read")).needed()?),
    };
    if let Some(what) = foreign(&bytes) {
        return Err(anyhow!("{origin}: {what}")).needed();
    }
    let mut meta = checkpoints::describe(&bytes).context(origin.clone()).needed()?;
    let trained = meta.config.training.optimiser.clone();
    let mut tree = serde_json::to_value(&meta.config)?;
    for flag in sets {
        let (path, value) = paths::flag(flag)?;
        paths::set(&mut tree, &path, value, &format!("--set {flag}"))?;
    }
    meta.config = Config::checked(&tree, &origin)?;
    let shape = meta.image.map_or_else(|| meta.config.data.image(), Ok)?;
    meta.config.check_network(&origin, shape)?;
    let unet = meta.config.unet(shape);
    Ok(Stored { meta, shape, unet, trained, origin, bytes })
}

impl Stored {
    /// The moving average of the weights, of the decay that its configuration asks for.
    pub fn average(&self) -> Result<Vec<f32>> {
        let used = self.meta.config.training.optimiser.ema_decay;
        let average = self.average_of(used)?;
        if self.trained.kept().len() > 1 && used == self.trained.ema_decay {
            let (origin, kept) = (&self.origin, in_words(&self.trained));
            eprintln!(
                "{origin}: keeps averages of decays {kept}; that of {used} is used (sample, eval and export take another: --set ema_decay=…)"
            );
        }
        Ok(average)
    }

    /// The weights as trained.
    pub fn weights(&self) -> Result<Vec<f32>> {
        self.average_of(0.0)
    }

    /// The moving average of a decay; of 0 it is the weights as trained. A file of one average alone has no other.
    fn average_of(&self, decay: f64) -> Result<Vec<f32>> {
        let (parameters, origin, trained) = (self.unet.parameters(), &self.origin, &self.trained);
        let alone = checkpoint::read_average(&self.bytes, parameters).with_context(|| origin.clone()).needed()?;
        if let Some(average) = alone {
            let [there, wanted] = [trained.ema_decay, decay].map(of_decay);
            return match decay == trained.ema_decay {
                true => Ok(average),
                false => Err(anyhow!("{origin}: holds {there} alone, and not {wanted}; leave out --raw, or what sets another")).needed(),
            };
        }
        let state = checkpoint::read_state(&self.bytes, parameters, trained.kept()).with_context(|| origin.clone()).needed()?;
        let found = state.average(decay).with_context(|| {
            let kept = in_words(trained);
            format!(
                "{origin}: training.optimiser.ema_decay: expected one that was kept ({kept}), or 0 for the weights as trained, got {decay}"
            )
        });
        Ok(found.needed()?.to_vec())
    }
}

/// The decays of the averages that are kept.
fn in_words(optimiser: &Optimiser) -> String {
    optimiser.kept().iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

/// The average of a decay in words.
fn of_decay(decay: f64) -> String {
    if decay == 0.0 { "the weights as trained".into() } else { format!("the weights' moving average of decay {decay}") }
}

/// Where data sets are prepared for the results that a checkpoint lies in: `RESULTS/training/ID/FILE`; for the usual ones where it lies
/// elsewhere.
pub fn cache_of(checkpoint: &Path) -> Cache {
    let training = checkpoint.parent().and_then(Path::parent);
    match training.filter(|folder| folder.ends_with("training")).and_then(Path::parent) {
        Some(results) => Cache::beside(results),
        None => Cache::default(),
    }
}

/// Reads a checkpoint and makes its network ready.
pub fn open(path: &Path, sets: &[String]) -> Result<Opened> {
    let stored = read(path, sets)?;
    let average = stored.average()?;
    let Stored { meta, shape, unet, .. } = stored;
    let engine = Device::here().engine(&unet, meta.config.training.precision)?.load(average);
    Ok(Opened { meta, shape, engine })
}

impl Opened {
    /// The images that it was trained on, where it says which; else those that its configuration names.
    pub fn data(&self, path: &Path, cache: &Cache) -> Result<Dataset> {
        let origin = path.display().to_string();
        let advice = "name its images with --set data='{kind: folder, path: FOLDER, held_out: NUMBER}'";
        let data = match self.meta.config.data.load(cache) {
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
