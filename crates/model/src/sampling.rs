//! Walking from noise to images: core's step rules on tensors.

use crate::diffusion::Diffusion;
use crate::engine::Engine;
use crate::engine::device::{DeviceBackend, Walker};
use crate::error::Result;
use candle_core::{Device, Tensor};
use ddpm_core::sampler::{Noise, Step};
use ddpm_core::{Linear, Sampler};
use ddpm_kernels::random::{Random, Stream};

/// A tensor as a state of a sampler.
struct SamplerState(Tensor);

impl Linear for SamplerState {
    type Error = candle_core::Error;

    fn combine(terms: &[(f64, &Self)]) -> candle_core::Result<Self> {
        // A factor of 0 leaves its term out: 0 times an infinite prediction is not a number.
        let mut used = terms.iter().filter(|(c, _)| *c != 0.0).map(|(c, v)| v.0.affine(*c, 0.0));
        let first = used.next().unwrap_or_else(|| terms[0].1.0.zeros_like())?;
        Ok(SamplerState(used.try_fold(first, |sum, term| sum + term?)?))
    }
}

/// A sampler for one trained network.
pub struct Walk<'a> {
    engine: &'a mut Engine,
    diffusion: &'a Diffusion,
    steps: Vec<Step>,
    clips: bool,
    /// The walk on a device, from its first use on.
    walker: Option<Walker>,
}

/// The result of a walk.
pub struct Walked {
    /// The images, `[B, H, W, C]`, without a final clip.
    pub x0: Tensor,
    /// The x_0 predicted at each requested step, in the order of the walk, clipped if the sampler clips.
    pub predictions: Vec<(usize, Tensor)>,
}

impl<'a> Walk<'a> {
    /// Errors where the sampler does not fit the set-up.
    pub fn new(engine: &'a mut Engine, diffusion: &'a Diffusion, sampler: &Sampler) -> Result<Walk<'a>> {
        let steps = diffusion.setup.sampling_plan(&diffusion.process, sampler)?;
        Ok(Walk { engine, diffusion, steps, clips: sampler.clips(), walker: None })
    }

    /// Network evaluations for one image.
    pub fn nfe(&self) -> usize {
        self.steps.len()
    }

    /// The steps in sampling order; other methods refer to a step by its index in this list.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The first index whose step is at most `t`.
    pub fn index_at(&self, t: usize) -> usize {
        self.steps.iter().position(|step| step.t <= t).unwrap_or(self.steps.len())
    }

    /// The first visited step at or below `t`; the network is never evaluated at other steps. 0 if there is none.
    pub fn visited(&self, t: usize) -> usize {
        self.steps.get(self.index_at(t)).map_or(0, |step| step.t)
    }

    /// The noise that images `first..first + count` of `seed` start from (no `index`) or that is added at an index: `[count, H, W, C]`.
    /// It does not depend on an image's batch.
    pub fn noise(&self, seed: u64, index: Option<usize>, first: usize, count: usize) -> Result<Tensor> {
        let image = self.engine.unet().image();
        // Noise number i + 1 belongs to place i of the walk, so Langevin's repeated levels get fresh noise.
        let numbers = Random::new(seed, Stream::Sample).normals(index.map_or(0, |i| i as u64 + 1), first, count, image.len());
        Ok(Tensor::from_vec(numbers, (count, image.height, image.width, image.channels), &Device::Cpu)?)
    }

    /// Images `first..first + count` of `seed`. `keep` lists steps whose predicted x_0 is wanted.
    pub fn run(&mut self, seed: u64, first: usize, count: usize, keep: &[usize]) -> Result<Walked> {
        if let Some(walked) = self.run_on_device(seed, first, count, keep)? {
            return Ok(walked);
        }
        let start = self.noise(seed, None, first, count)?;
        let mut predictions = Vec::new();
        let end = self.steps.len();
        let x0 = self.walk(start, 0..end, &|walk, index| walk.noise(seed, Some(index), first, count), &mut |seen| {
            if keep.contains(&seen.t) {
                predictions.push((seen.t, seen.x0.clone()));
            }
        })?;
        Ok(Walked { x0, predictions })
    }

    /// The walk on a device, and the device, where the network is on one that can make all of a walk.
    fn walker(&mut self, seed: u64, count: usize) -> Result<Option<(&mut Walker, &mut DeviceBackend)>> {
        let can = Walker::can(self.engine.unet());
        let Some((remote, weights)) = self.engine.on_device().filter(|_| can) else { return Ok(None) };
        if !self.walker.as_ref().is_some_and(|walker| walker.fits(remote, seed, count)) {
            self.walker = Some(Walker::new(remote, weights, self.diffusion, (&self.steps, self.clips), (seed, count))?);
        }
        Ok(self.walker.as_mut().map(|walker| (walker, remote)))
    }

    /// For benchmarking, the device that a walk of `count` images runs on and the program of one step there; none on the host.
    pub fn program(&mut self, count: usize) -> Result<Option<(&mut dyn ddpm_kernels::device::Device, usize)>> {
        match self.walker(0, count)? {
            Some((walker, remote)) => walker.program(remote).map(Some),
            None => Ok(None),
        }
    }

    /// The same where the network is on a device that can make all of a walk.
    fn run_on_device(&mut self, seed: u64, first: usize, count: usize, keep: &[usize]) -> Result<Option<Walked>> {
        let image = self.engine.unet().image();
        let Some((walker, remote)) = self.walker(seed, count)? else { return Ok(None) };
        let images = |numbers: Vec<f32>| -> Result<Tensor> {
            Ok(Tensor::from_vec(numbers, (count, image.height, image.width, image.channels), &Device::Cpu)?)
        };
        let mut predictions = Vec::new();
        let x0 = walker.run(remote, (first, count), keep, &mut |t, x0| {
            predictions.push((t, images(x0)?));
            Ok(())
        })?;
        Ok(Some(Walked { x0: images(x0)?, predictions }))
    }

    /// Walks from `x` through the steps at `indices`. `noise` returns the noise for an index, where there is any; `see` gets every step.
    pub fn walk(
        &mut self,
        x: Tensor,
        indices: std::ops::Range<usize>,
        noise: &dyn Fn(&Walk, usize) -> Result<Tensor>,
        see: &mut dyn FnMut(&WalkStep),
    ) -> Result<Tensor> {
        let image = self.engine.unet().image();
        let count = x.dim(0)?;
        let mut x = SamplerState(x);
        let mut before = None;
        for index in indices {
            let step = self.steps[index];
            let output = self.engine.forward(&x.0, &vec![step.t; count])?;
            let (reading, second) = self.diffusion.split(&output, image.channels)?;
            let reading = SamplerState(reading);
            let mut x0 = self.diffusion.setup.prediction.to_x0(&self.diffusion.process, step.t).apply(&x, &reading)?;
            if self.clips {
                x0 = SamplerState(x0.0.clamp(-1.0, 1.0)?);
            }
            see(&WalkStep { t: step.t, xt: &x.0, output: &output, x0: &x0.0 });
            x = step.mean(&x, &x0, before.as_ref(), &reading)?;
            before = Some(x0);
            match (step.noise, second) {
                (Noise::Fixed(0.0), _) => {}
                (Noise::Learned(_), Some(r)) => {
                    let sigma = r.flatten_all()?.to_vec1::<f32>()?.iter().map(|r| step.noise.sigma(*r as f64) as f32).collect();
                    x = SamplerState((x.0 + (Tensor::from_vec(sigma, r.dims(), &Device::Cpu)? * noise(self, index)?)?)?);
                }
                (fixed, _) => x = SamplerState((x.0 + noise(self, index)?.affine(fixed.sigma(0.0), 0.0)?)?),
            }
        }
        Ok(x.0)
    }
}

/// One step of a walk.
pub struct WalkStep<'a> {
    /// The step.
    pub t: usize,
    /// The image that the network saw.
    pub xt: &'a Tensor,
    /// The network's output.
    pub output: &'a Tensor,
    /// The x_0 that it implies, clipped where the sampler clips.
    pub x0: &'a Tensor,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(numbers: &[f64]) -> SamplerState {
        SamplerState(Tensor::new(numbers, &Device::Cpu).unwrap())
    }

    /// Also where an infinite prediction has no part in the next image.
    #[test]
    fn states_are_combined_by_number() {
        let (a, b, endless) = (state(&[1.0, -2.0]), state(&[10.0, 4.0]), state(&[f64::INFINITY, f64::NAN]));
        let combined = |terms: &[(f64, &SamplerState)]| SamplerState::combine(terms).unwrap().0.to_vec1::<f64>().unwrap();
        assert_eq!(combined(&[(2.0, &a), (0.5, &b)]), [7.0, -2.0]);
        assert_eq!(combined(&[(0.0, &endless), (1.0, &a), (-1.0, &b)]), [-9.0, -6.0]);
        assert_eq!(combined(&[(3.0, &a), (0.0, &endless)]), [3.0, -6.0]);
        assert_eq!(combined(&[(0.0, &endless), (0.0, &a)]), [0.0, 0.0]);
    }
}
