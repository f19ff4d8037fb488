//! Walking from noise to images: core's step rules on tensors.

use crate::diffusion::Diffusion;
use crate::engine::Engine;
use crate::error::Result;
use candle_core::{Device, Tensor};
use ddpm_core::sampler::{Noise, Step};
use ddpm_core::{Linear, Sampler};
use ddpm_kernels::random::{Random, Stream};

/// A tensor as a state of a sampler.
struct State(Tensor);

impl Linear for State {
    type Error = candle_core::Error;

    fn combine(terms: &[(f64, &Self)]) -> candle_core::Result<Self> {
        // A factor of 0 leaves its term out: 0 times an infinite prediction is not a number.
        let mut used = terms.iter().filter(|(c, _)| *c != 0.0).map(|(c, v)| v.0.affine(*c, 0.0));
        let first = used.next().unwrap_or_else(|| terms[0].1.0.zeros_like())?;
        Ok(State(used.try_fold(first, |sum, term| sum + term?)?))
    }
}

/// A sampler for one trained network.
pub struct Walk<'a> {
    engine: &'a mut Engine,
    diffusion: &'a Diffusion,
    steps: Vec<Step>,
    clips: bool,
}

/// What a walk leaves.
pub struct Walked {
    /// The images, `[B, H, W, C]`: not clipped at the end.
    pub x0: Tensor,
    /// The x_0 predicted at each step that was asked for, in the order of the walk, clipped where the sampler clips.
    pub predictions: Vec<(usize, Tensor)>,
}

impl<'a> Walk<'a> {
    /// Errors where the sampler does not fit the set-up.
    pub fn new(engine: &'a mut Engine, diffusion: &'a Diffusion, sampler: &Sampler) -> Result<Walk<'a>> {
        let steps = diffusion.setup.sampling_plan(&diffusion.process, sampler)?;
        Ok(Walk { engine, diffusion, steps, clips: sampler.clips() })
    }

    /// Network evaluations for one image.
    pub fn evaluations(&self) -> usize {
        self.steps.len()
    }

    /// Images `first..first + count` of `seed`. The noise of an image does not depend on the batch that it is made in.
    /// `keep` lists steps whose predicted x_0 is wanted.
    pub fn run(&mut self, seed: u64, first: usize, count: usize, keep: &[usize]) -> Result<Walked> {
        let image = self.engine.unet().image();
        let random = Random::new(seed, Stream::Sample);
        let noise = |step: u64| {
            let numbers = random.normals(step, first, count, image.len());
            Tensor::from_vec(numbers, (count, image.height, image.width, image.channels), &Device::Cpu)
        };
        let mut x = State(noise(0)?);
        let mut predictions = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            let output = self.engine.forward(&x.0, &vec![step.t; count])?;
            let (reading, second) = self.diffusion.split(&output, image.channels)?;
            let reading = State(reading);
            let mut x0 = self.diffusion.setup.prediction.to_x0(&self.diffusion.process, step.t).apply(&x, &reading)?;
            if self.clips {
                x0 = State(x0.0.clamp(-1.0, 1.0)?);
            }
            if keep.contains(&step.t) {
                predictions.push((step.t, x0.0.clone()));
            }
            x = step.mean(&x, &x0, &reading)?;
            // Noise number i + 1 belongs to place i of the walk, so Langevin's repeated levels get fresh noise.
            match (step.noise, second) {
                (Noise::Fixed(0.0), _) => {}
                (Noise::Learned(log_sigma2), Some(r)) => {
                    let sigma = (r.affine(0.5 * log_sigma2.scale, 0.5 * log_sigma2.offset))?.exp()?;
                    x = State((x.0 + (sigma * noise(i as u64 + 1)?)?)?);
                }
                (fixed, _) => x = State((x.0 + noise(i as u64 + 1)?.affine(fixed.sigma(0.0), 0.0)?)?),
            }
        }
        Ok(Walked { x0: x.0, predictions })
    }
}
