//! What runs the training steps: this process, or a device that runs many steps before it is queried.

use super::batches::Batches;
use super::ranks;
use crate::base::cause;
use crate::base::data::{Cache, Dataset};
use crate::base::device::Device;
use crate::base::error::Meaning;
use crate::base::text::size;
use crate::experiment::Job;
use anyhow::{Result, anyhow};
use ddpm_model::engine::device::{self, Trainer};
use ddpm_model::optimiser::Training;
use ddpm_model::process_group::ProcessGroup;
use ddpm_model::{Diffusion, Engine, UNet};

/// Steps that a device runs between checks of the clock and of stop requests.
const AT_ONCE: u64 = 32;

/// Most bytes of images that are brought to a device.
const MOST_ON_A_DEVICE: u64 = 64 << 30;

/// A loss beyond this has left every range that a bound or an error can have.
const LARGEST_LOSS: f64 = 1e9;

/// What makes the steps.
pub enum Stepper<'a> {
    /// This process, perhaps with others.
    Host(Box<Engine>, Batches<'a>, Box<dyn ProcessGroup>, &'a Job),
    /// A device that has everything it needs.
    Device(Box<Trainer>, &'a Job),
}

impl<'a> Stepper<'a> {
    /// From `training` on.
    pub fn begin(
        job: &'a Job,
        data: &'a Dataset,
        diffusion: &'a Diffusion,
        unet: &UNet,
        training: &Training,
        ranks: usize,
        cache: &Cache,
    ) -> Result<Stepper<'a>> {
        let config = &job.config.training;
        if ranks == 1
            && Trainer::can(unet)
            && let Some(device) = Device::here().open()?
        {
            let rate = |step| config.optimiser.rate(step) * config.decay.share(step, config.steps);
            let rates: Vec<f64> = (0..config.steps).map(rate).collect();
            let bytes = data.train.len() as u64 * data.info.shape.len() as u64;
            if bytes > MOST_ON_A_DEVICE {
                let (found, most) = (size(bytes), size(MOST_ON_A_DEVICE));
                let what =
                    anyhow!("data set {}: a device keeps its images in its memory: expected at most {most}, got {found}", data.info.name);
                return Err(what).needed();
            }
            let images = &data.train.all()?;
            let inputs = device::TrainInputs { images, seed: job.seed, batch: config.batch, flip: config.flip, rates: &rates };
            let trainer = Trainer::new(device, config.precision.numbers(), unet, diffusion, training, inputs)?;
            return Ok(Stepper::Device(Box::new(trainer), job));
        }
        let engine = Box::new(Device::here().engine(unet, config.precision)?);
        Ok(Stepper::Host(engine, Batches::new(data, diffusion, job), ranks::lead(ranks, job, training, cache)?, job))
    }

    /// Some steps from `step` on, one at least: the loss and the gradient's norm of each.
    pub fn go_on(&mut self, training: &mut Training, step: u64) -> Result<Vec<(f64, f64)>> {
        match self {
            Stepper::Host(engine, batches, group, job) => {
                cause::injected(&job.training_id, step)?;
                let config = &job.config.training;
                training.scale_rate(config.decay.share(step, config.steps));
                Ok(vec![batches.step(engine, training, &mut **group, step)?])
            }
            Stepper::Device(trainer, job) => {
                let some = AT_ONCE.min(job.config.training.steps - step);
                (step..step + some).try_for_each(|step| cause::injected(&job.training_id, step))?;
                Ok(trainer.run(some)?)
            }
        }
    }

    /// Brings `training` up to the last step.
    pub fn fetch(&mut self, training: &mut Training) -> Result<()> {
        if let Stepper::Device(trainer, _) = self
            && training.step() != trainer.step()
        {
            training.replace(trainer.state()?, trainer.step());
        }
        Ok(())
    }
}

/// Whether a step has left the range of what training can give.
pub fn diverged(loss: f64, norm: f64) -> bool {
    !(loss.is_finite() && norm.is_finite() && loss < LARGEST_LOSS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_its_range_has_diverged() {
        assert!(!diverged(1e8, 1e30) && diverged(1e10, 1.0) && diverged(f64::NAN, 1.0) && diverged(1.0, f64::INFINITY));
    }
}
