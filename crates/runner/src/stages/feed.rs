//! How a device gets the images that a training sees: all of them once, where they fit, else a window of steps at a time beside the steps.

use crate::base::data::{Dataset, Images, Loader, Portions};
use crate::base::error::ConfigError;
use crate::experiment::Job;
use crate::store::Delivery;
use anyhow::Result;
use ddpm_kernels::device::Device;
use ddpm_model::engine::device::{Held, Trainer};
use std::time::Duration;

/// Steps that a device runs between checks of the clock and of stop requests.
const AT_ONCE: u64 = 32;

/// Most bytes of a window of images, unless one step's are more.
const LARGEST_WINDOW: u64 = 256 << 20;

/// The images of one training.
pub enum Feed {
    /// All of them are in the device's memory.
    Resident,
    /// The images of this many steps at a time; those of the next ones come meanwhile.
    Streamed { loader: Box<Loader>, steps: u64 },
}

impl Feed {
    /// What `DDPM_IMAGES` says, `resident` or `streamed`; where it says nothing, resident images take at most a quarter of the device's free memory: the
    /// network needs some too.
    pub fn choose(device: &dyn Device, job: &Job, data: &Dataset) -> Result<Feed> {
        let bytes = data.train.len() as u64 * data.info.shape.len() as u64;
        let asked = std::env::var("DDPM_IMAGES").unwrap_or_default();
        let resident = match asked.as_str() {
            "" => device.free().is_none_or(|free| bytes <= free as u64 / 4),
            "resident" => true,
            "streamed" => false,
            other => return Err(ConfigError::new("DDPM_IMAGES", "", format!("expected resident or streamed, got {other}")).into()),
        };
        let t = &job.config.training;
        Ok(if resident { Feed::Resident } else { Feed::streamed(&data.train, job.seed, t.batch, t.steps) })
    }

    /// Of a training of so many steps.
    fn streamed(images: &Images, seed: u64, batch: usize, steps: u64) -> Feed {
        let bytes = (batch * images.shape.len()) as u64;
        let window = (LARGEST_WINDOW / bytes).clamp(1, AT_ONCE);
        let (batch, places) = (batch as u64, window * batch as u64);
        let portions = Portions { every: places, first: 0, len: places, end: steps * batch };
        Feed::Streamed { loader: Box::new(Loader::new(images, seed, portions)), steps: window }
    }

    /// What the device holds.
    pub fn held(&self, data: &Dataset) -> Held {
        match self {
            Feed::Resident => Held::All(data.train.len()),
            Feed::Streamed { steps, .. } => Held::Windows(*steps),
        }
    }

    /// Brings what has to be there before the first step.
    pub fn begin(&self, trainer: &mut Trainer, data: &Dataset) -> Result<()> {
        if let Feed::Streamed { .. } = self {
            return Ok(());
        }
        let n = data.train.at_once();
        for (i, part) in data.train.chunks(n).enumerate() {
            trainer.bring(i * n, &part?)?;
        }
        Ok(())
    }

    /// How many steps are made next, of a training that has made `step` and has `left` to make.
    pub fn coming(&self, step: u64, left: u64) -> u64 {
        match self {
            Feed::Resident => left.min(AT_ONCE),
            Feed::Streamed { steps, .. } => left.min(steps - step % steps),
        }
    }

    /// Makes them: the loss and the gradient's norm of each.
    pub fn run(&mut self, trainer: &mut Trainer, left: u64) -> Result<Vec<(f64, f64)>> {
        let some = self.coming(trainer.step(), left);
        let Feed::Streamed { loader, steps } = self else { return Ok(trainer.run(some)?) };
        let window = trainer.step() / *steps;
        if !trainer.has_window(window) {
            trainer.bring_window(window, &loader.portion(window)?)?;
        }
        trainer.begin(some)?;
        // What is not ready by now is waited for once the device has nothing left to do.
        if some < left
            && !trainer.has_window(window + 1)
            && let Some(pixels) = loader.ready(window + 1)?
        {
            trainer.bring_window(window + 1, &pixels)?;
        }
        Ok(trainer.end()?)
    }

    /// How images get there, in a word.
    pub fn delivery(&self) -> Delivery {
        match self {
            Feed::Resident => Delivery::Resident,
            Feed::Streamed { .. } => Delivery::Streamed,
        }
    }

    /// How long images have been waited for.
    pub fn waited(&self) -> Duration {
        match self {
            Feed::Resident => Duration::ZERO,
            Feed::Streamed { loader, .. } => loader.waited(),
        }
    }
}
