//! Steps, timed.

use super::operations::{self, OperationTime};
use super::subject::{StepKind, Subject, optimiser};
use super::{device, images};
use crate::base::data;
use crate::base::device::Device;
use anyhow::Result;
use ddpm_core::{Objective, ReverseVariance};
use ddpm_kernels::device::Device as Programs;
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::gemm::{Bf16, F32, peak};
use ddpm_kernels::random::{Random, Stream};
use ddpm_kernels::simd::Isa;
use ddpm_model::optimiser::Training;
use ddpm_model::tensor::{self, Tensor};
use ddpm_model::{Arithmetic, Diffusion, Engine, Precision, UNet};
use serde::Serialize;
use std::time::Instant;

/// How it is measured.
pub struct Timing {
    pub work: StepKind,
    pub device: Device,
    /// Steps before those that count.
    pub warmup: u32,
    pub steps: u32,
    /// Whether it is said where the time goes.
    pub breakdown: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct BenchResult {
    pub program: &'static str,
    pub commit: &'static str,
    pub work: StepKind,
    pub precision: Precision,
    pub batch: usize,
    pub objective: Objective,
    pub variance: ReverseVariance,
    pub parameters: usize,
    /// As a network is counted: every tap of every convolution.
    pub flops_per_image: f64,
    /// As the engine computes it: convolutions may get by with fewer.
    pub executed_flops_per_image: f64,
    pub device: String,
    pub kernels: &'static str,
    pub convolutions: &'static str,
    pub threads: usize,
    pub steps: u32,
    pub s_median: f64,
    pub s_min: f64,
    pub img_per_s: f64,
    pub flop_per_s: f64,
    pub executed_flop_per_s: f64,
    /// Of products in this precision with everything in the first-level cache; on a GPU of one product of large matrices.
    pub peak_flop_per_s: Option<f64>,
    /// Of what is executed, in bf16 on a CPU with the weight gradients that are computed in f32.
    pub share_of_peak: Option<f64>,
    /// Peak resident set of the whole process, where the system tells.
    pub peak_mib: Option<f64>,
    /// Of the device's own memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_mib: Option<f64>,
    /// Seconds per step for which its images were waited for, where it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_s: Option<f64>,
    /// Seconds per step, where asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breakdown: Option<Vec<(String, f64)>>,
    /// The same on a device: a step's operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<OperationTime>>,
}

/// What steps took.
#[derive(Default)]
struct Steps {
    /// Seconds of each that counts.
    times: Vec<f64>,
    /// Seconds of all of them together, by part.
    parts: Vec<(String, f64)>,
    device_mib: Option<f64>,
    operations: Option<Vec<OperationTime>>,
    /// Floating-point operations of an image, where the engine knows them.
    executed: Option<f64>,
    /// Seconds of all of them together that images were waited for.
    waited: Option<f64>,
}

impl Steps {
    fn add(&mut self, name: &str, seconds: f64) {
        match self.parts.iter_mut().find(|part| part.0 == name) {
            Some(part) => part.1 += seconds,
            None => self.parts.push((name.to_string(), seconds)),
        }
    }
}

impl Timing {
    /// Measures it.
    pub fn measure(&self, subject: &Subject, diffusion: &Diffusion) -> Result<BenchResult> {
        let (batch, precision) = (subject.batch, subject.precision);
        let unet = subject.unet(diffusion)?;
        let mut steps = match (self.work, self.device.open()?) {
            (_, Some(device)) => self.on_device(device, subject, &unet, diffusion)?,
            (StepKind::TrainStep, None) => self.training(subject, &unet, diffusion)?,
            (StepKind::Forward, None) => self.forward(subject, &unet)?,
        };
        let Steps { times, parts, executed, .. } = &mut steps;
        times.sort_by(f64::total_cmp);
        let s_median = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0;
        let flops_per_image = self.work.flops(&unet);
        let executed_flops = executed.unwrap_or(flops_per_image);
        let per_s = |flops: f64| flops * batch as f64 / s_median;
        // Before the peak is measured: its matrices are not the network's memory.
        let peak_mib = peak_mib();
        let arithmetic = precision.arithmetic(unet.network());
        let peak_flop_per_s = self.peak(precision, arithmetic)?;
        parts.iter_mut().for_each(|part| part.1 /= self.steps as f64);
        parts.retain(|part| part.1 > 0.0);
        Ok(BenchResult {
            program: env!("CARGO_PKG_VERSION"),
            commit: env!("DDPM_COMMIT"),
            work: self.work,
            precision,
            batch,
            objective: diffusion.setup.objective,
            variance: diffusion.setup.variance,
            parameters: unet.parameter_count(),
            flops_per_image,
            executed_flops_per_image: executed_flops,
            device: self.device.description(),
            kernels: Isa::active().name(),
            convolutions: arithmetic.algorithm().name(),
            threads: rayon::current_num_threads(),
            steps: self.steps,
            s_median,
            s_min: times[0],
            img_per_s: batch as f64 / s_median,
            flop_per_s: per_s(flops_per_image),
            executed_flop_per_s: per_s(executed_flops),
            peak_flop_per_s,
            share_of_peak: peak_flop_per_s.map(|peak| per_s(executed_flops) / peak),
            peak_mib,
            device_mib: steps.device_mib,
            waited_s: steps.waited.map(|s| s / self.steps as f64),
            breakdown: (self.breakdown && steps.operations.is_none()).then_some(steps.parts),
            operations: steps.operations,
        })
    }

    fn on_device(&self, device: Box<dyn Programs>, subject: &Subject, unet: &UNet, diffusion: &Diffusion) -> Result<Steps> {
        let mut step = device::MeasuredStep::new(device, self.work, &device::Subject::new(subject, unet, diffusion))?;
        let mut steps = Steps::default();
        if self.breakdown {
            let timed = |device: &mut dyn Programs, program| {
                let seconds = device.time(program)?;
                Ok(operations::parts(device.program(program), Some(&seconds)))
            };
            // The first time libraries and memory are cold.
            step.look(timed)?;
            steps.operations = Some(step.look(timed)?);
        }
        steps.times = step.run(self.warmup + self.steps)?.split_off(self.warmup as usize);
        steps.device_mib = Some(step.bytes() as f64 / (1 << 20) as f64);
        Ok(steps)
    }

    fn training(&self, subject: &Subject, unet: &UNet, diffusion: &Diffusion) -> Result<Steps> {
        let (batch, uniform) = (subject.batch, noise_images(subject)?);
        let all_steps = u64::from(self.warmup + self.steps);
        let mut loader = subject.data.as_ref().map(|data| images::loader(data, batch, all_steps));
        let mut training = Training::new(unet.parameters(), optimiser(), 0, Stream::Init);
        let mut engine = Engine::new(unet, subject.precision)?;
        let mut steps = Steps { executed: Some(engine.executed_flops()[1]), ..Steps::default() };
        for step in 0..all_steps {
            engine.breakdown();
            let start = Instant::now();
            let x0 = match &mut loader {
                Some(loader) => {
                    let pixels = loader.portion(step)?;
                    if step >= u64::from(self.warmup) {
                        *steps.waited.get_or_insert_default() += start.elapsed().as_secs_f64();
                    }
                    data::tensor(&pixels, subject.image, |_| false)?
                }
                None => uniform.clone(),
            };
            let timesteps = Random::new(0, Stream::Timestep);
            let t: Vec<usize> = (0..batch).map(|i| 1 + timesteps.below(step, i as u64, 1000)).collect();
            let noise = Random::new(0, Stream::TrainNoise).normals(step, 0, batch, subject.image.len());
            let made = diffusion.batch(x0.clone(), Tensor::from_vec(noise, x0.dims(), &tensor::Device::Cpu)?, t)?;
            let drawn = start.elapsed().as_secs_f64();
            let mut inside = 0.0;
            training.update(|weights, _, gradient| {
                let begun = Instant::now();
                let loss = |y: &Tensor| Ok(diffusion.loss(y, &made)?.mean);
                engine.gradient(weights, &made.xt, &made.t, Some((Dropout::new(0, 0), step)), loss, gradient)?;
                inside = begun.elapsed().as_secs_f64();
                Ok(())
            })?;
            let all = start.elapsed().as_secs_f64();
            if step >= self.warmup as u64 {
                steps.times.push(all);
                steps.add("noise and noisy images", drawn);
                engine.breakdown().into_iter().for_each(|(name, s)| steps.add(name, s));
                steps.add("clipping, Adam and average", all - drawn - inside);
            }
        }
        Ok(steps)
    }

    fn forward(&self, subject: &Subject, unet: &UNet) -> Result<Steps> {
        let x0 = noise_images(subject)?;
        let weights = Training::new(unet.parameters(), optimiser(), 0, Stream::Init).weights().to_vec();
        let mut engine = Engine::with_weights(unet, subject.precision, weights)?;
        let mut steps = Steps { executed: Some(engine.executed_flops()[0]), ..Steps::default() };
        for step in 0..self.warmup + self.steps {
            engine.breakdown();
            let start = Instant::now();
            engine.forward(&x0, &vec![500; subject.batch])?;
            if step >= self.warmup {
                steps.times.push(start.elapsed().as_secs_f64());
                engine.breakdown().into_iter().for_each(|(name, s)| steps.add(name, s));
            }
        }
        Ok(steps)
    }

    /// Peak performance of the device; none if it is emulated.
    fn peak(&self, precision: Precision, arithmetic: Arithmetic) -> Result<Option<f64>> {
        Ok(match (self.device, precision) {
            (Device::Cpu, _) => Some(match arithmetic {
                Arithmetic::F32 => peak::<F32>(),
                Arithmetic::Bf16 => peak::<Bf16>(),
                // Three products for one.
                Arithmetic::SplitBf16 => peak::<Bf16>() / 3.0,
            }),
            (Device::Cuda(_), _) => self.device.open()?.map(|device| device::peak(device, precision.numbers())).transpose()?,
            #[cfg(feature = "emulation")]
            (Device::Emulated, _) => None,
        })
    }
}

/// A batch of images, uniform in [-1, 1].
fn noise_images(subject: &Subject) -> Result<Tensor> {
    let (batch, image, random) = (subject.batch, subject.image, Random::new(0, Stream::Evaluation));
    let uniform: Vec<f32> = (0..batch * image.len()).map(|i| (2.0 * random.uniform(0, i as u64) - 1.0) as f32).collect();
    Ok(Tensor::from_vec(uniform, (batch, image.height, image.width, image.channels), &tensor::Device::Cpu)?)
}

/// The process's largest resident set so far; none where the system does not say.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}
