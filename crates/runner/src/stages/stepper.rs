//! What runs the training steps: this process, or a device that runs many steps before it is queried.

use super::batches::Batches;
use super::feed::Feed;
use super::ranks;
use crate::base::cause;
use crate::base::data::{Cache, Dataset};
use crate::base::device::Device;
use crate::experiment::Job;
use crate::store::Delivery;
use anyhow::Result;
use ddpm_model::engine::device::{self, Trainer};
use ddpm_model::optimiser::Training;
use ddpm_model::process_group::ProcessGroup;
use ddpm_model::{Diffusion, Engine, UNet};
use std::time::Duration;

/// A loss beyond this has left every range that a bound or an error can have.
const LARGEST_LOSS: f64 = 1e9;

/// What makes the steps.
pub enum Stepper<'a> {
    /// This process, perhaps with others.
    Host(Box<Engine>, Box<Batches<'a>>, Box<dyn ProcessGroup>, &'a Job),
    /// A device that has everything it needs, or is brought images.
    Device(Box<Trainer>, Feed, &'a Job),
}

impl<'a> Stepper<'a> {
    /// From `training` on, up to a step of the job's.
    pub fn begin(
        (job, until): (&'a Job, u64),
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
            let feed = Feed::choose(&*device, job, data)?;
            let inputs =
                device::TrainInputs { held: feed.held(data), seed: job.seed, batch: config.batch, flip: config.flip, rates: &rates };
            let mut trainer = Trainer::new(device, config.precision.numbers(), unet, diffusion, training, inputs)?;
            feed.begin(&mut trainer, data)?;
            return Ok(Stepper::Device(Box::new(trainer), feed, job));
        }
        let engine = Box::new(Device::here().engine(unet, config.precision)?);
        let group = ranks::lead(ranks, (job, until), training, cache)?;
        let batches = Box::new(Batches::new(data, diffusion, job, group.share(config.optimiser.clip_shards)));
        Ok(Stepper::Host(engine, batches, group, job))
    }

    /// Some steps from `step` on, one at least and none from `until` on: the loss and the gradient's norm of each.
    pub fn go_on(&mut self, training: &mut Training, step: u64, until: u64) -> Result<Vec<(f64, f64)>> {
        match self {
            Stepper::Host(engine, batches, group, job) => {
                cause::injected(&job.training_id, step)?;
                let config = &job.config.training;
                training.scale_rate(config.decay.share(step, config.steps));
                Ok(vec![batches.step(engine, training, &mut **group, step)?])
            }
            Stepper::Device(trainer, feed, job) => {
                let left = until - step;
                (step..step + feed.coming(step, left)).try_for_each(|step| cause::injected(&job.training_id, step))?;
                feed.run(trainer, left)
            }
        }
    }

    /// How images come to where steps are made, and how long they have been waited for.
    pub fn loading(&self) -> (Delivery, Duration) {
        match self {
            Stepper::Host(_, batches, ..) => (Delivery::Host, batches.waited()),
            Stepper::Device(_, feed, _) => (feed.delivery(), feed.waited()),
        }
    }

    /// Brings `training` up to the last step.
    pub fn fetch(&mut self, training: &mut Training) -> Result<()> {
        if let Stepper::Device(trainer, ..) = self
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
