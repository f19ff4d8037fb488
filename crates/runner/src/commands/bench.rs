//! `ddpm bench`: how fast this machine trains and samples, and in how much memory.

use super::operations::{self, Part};
use super::{gpu, print};
use crate::config::{Config, ConfigError, paths, yaml};
use crate::device::Device;
use crate::exit::Exit;
use crate::grid::base_file;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ddpm_core::{BetaScale, Objective, Prediction, ReverseVariance, Schedule, Setup};
use ddpm_kernels::device::counted::Counted;
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::gemm::{Bf16, F32, peak};
use ddpm_kernels::random::{Random, Stream};
use ddpm_kernels::simd::Isa;
use ddpm_model::network::{ImageShape, Network, Skips, TimeEmbedding};
use ddpm_model::optimiser::{Optimiser, Training};
use ddpm_model::tensor::{self, Tensor};
use ddpm_model::{Diffusion, Engine, Precision, UNet};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

#[derive(Debug, Args)]
pub struct Bench {
    /// What is measured
    #[arg(value_enum)]
    work: Work,
    /// Take network, images and batch from a base: a name among experiments/bases, or a file
    #[arg(long, conflicts_with_all = ["channels", "mult", "blocks", "attention", "groups", "dropout", "side", "colours"])]
    base: Option<String>,
    /// Channels of the first level
    #[arg(long, default_value_t = 128)]
    channels: usize,
    /// Channels of each level as multiples
    #[arg(long, value_delimiter = ',', default_value = "1,2,2,2")]
    mult: Vec<usize>,
    /// Residual blocks per level
    #[arg(long, default_value_t = 2)]
    blocks: usize,
    /// Resolutions with attention
    #[arg(long, value_delimiter = ',', default_value = "16")]
    attention: Vec<usize>,
    /// Groups of the normalisations
    #[arg(long, default_value_t = 32)]
    groups: usize,
    /// Dropout probability
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
    /// Height and width of the images
    #[arg(long, default_value_t = 32)]
    side: usize,
    /// Channels of the images
    #[arg(long, default_value_t = 3)]
    colours: usize,
    /// Images in a step; the base's, or 8
    #[arg(long)]
    batch: Option<usize>,
    /// What products are computed in: f32, bf16, or on a GPU tf32; the base's, or f32
    #[arg(long, value_parser = precision)]
    precision: Option<Precision>,
    /// Where
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Train on the bound with a learned variance (L and learned Sigma of Table 2) and not on L_simple
    #[arg(long)]
    bound: bool,
    /// Steps that are timed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before them
    #[arg(long, default_value_t = 2)]
    warmup: u32,
    /// Say where the time goes
    #[arg(long, conflicts_with_all = ["plan", "algorithms"])]
    breakdown: bool,
    /// Count what a step asks of a GPU, by operation, and run nothing; needs none
    #[arg(long, conflicts_with = "algorithms")]
    plan: bool,
    /// List what the GPU's library offers for each convolution, with times; * is what is used
    #[arg(long)]
    algorithms: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    /// Noise, forward, loss, backward, clipping, Adam and moving average
    TrainStep,
    /// The network alone, as in sampling
    Forward,
}

fn precision(name: &str) -> Result<Precision, String> {
    Precision::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| "expected f32, tf32 or bf16".into())
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    program: &'static str,
    commit: &'static str,
    work: Work,
    precision: Precision,
    batch: usize,
    objective: Objective,
    variance: ReverseVariance,
    parameters: usize,
    flops_per_image: f64,
    device: String,
    kernels: &'static str,
    threads: usize,
    steps: u32,
    s_median: f64,
    s_min: f64,
    img_per_s: f64,
    flop_per_s: f64,
    /// Of the same products with everything in the first-level cache; on a GPU of one product of large matrices.
    peak_flop_per_s: Option<f64>,
    share_of_peak: Option<f64>,
    /// Peak resident set of the whole process, where the system tells.
    peak_mib: Option<f64>,
    /// Of the device's own memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_mib: Option<f64>,
    /// Seconds per step, where asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    breakdown: Option<Vec<(String, f64)>>,
    /// The same on a device: a step's operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    operations: Option<Vec<Part>>,
}

/// The network that is measured, and on what.
pub(super) struct Subject {
    network: Network,
    image: ImageShape,
    pub batch: usize,
    pub precision: Precision,
}

impl Subject {
    fn unet(&self, diffusion: &Diffusion) -> Result<UNet> {
        Ok(UNet::new(&self.network, self.image, diffusion.out_channels(self.image.channels))?)
    }
}

impl Bench {
    pub fn run(self) -> Result<Exit> {
        self.device.check().context(super::Unusable)?;
        let subject = self.subject()?;
        subject.network.check(subject.image).map_err(|e| ConfigError::new("ddpm bench", "", e.to_string()))?;
        if subject.batch == 0 {
            return Err(ConfigError::new("--batch", "", "expected at least 1, got 0").into());
        }
        if self.plan || self.algorithms {
            return self.look(&subject);
        }
        let measured = self.measure(&subject)?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string(&measured)?));
            return Ok(Exit::Ok);
        }
        let m = measured;
        print(&format!(
            "{:.1} M parameters, batch {}, {}, {}, {} threads\n",
            m.parameters as f64 / 1e6,
            m.batch,
            m.precision.name(),
            m.kernels,
            m.threads
        ));
        print(&format!(
            "median     {:.4} s a step, {:.1} images/s (minimum {:.4} s, {} steps)\n",
            m.s_median, m.img_per_s, m.s_min, m.steps
        ));
        let of_what = if m.device_mib.is_some() { "in one large product" } else { "in cache" };
        let share =
            m.peak_flop_per_s.map_or(String::new(), |peak| format!(", {:.0}% of {:.0} {of_what}", 100.0 * m.flop_per_s / peak, peak / 1e9));
        print(&format!("speed      {:.0} GFLOP/s{share}\n", m.flop_per_s / 1e9));
        if let Some(mib) = m.device_mib {
            print(&format!("memory     {mib:.0} MiB of the device's\n"));
        }
        if let Some(mib) = m.peak_mib {
            print(&format!("memory     {mib:.0} MiB at most\n"));
        }
        for (name, seconds) in m.breakdown.unwrap_or_default() {
            print(&format!("{name:<40} {:>8.1} ms {:>5.1}%\n", seconds * 1e3, 100.0 * seconds / m.s_median));
        }
        if let Some(parts) = m.operations {
            print(&operations::table(&parts));
        }
        Ok(Exit::Ok)
    }

    /// What a step asks of a device, without running it, or what the device's library offers.
    fn look(&self, subject: &Subject) -> Result<Exit> {
        let device = if self.plan { Some(Box::new(Counted::default()) as _) } else { self.device.open()? };
        let Some(device) = device else {
            return Err(ConfigError::new("--device", "", "expected a GPU for --algorithms, got cpu").into());
        };
        let diffusion = self.diffusion()?;
        let unet = subject.unet(&diffusion)?;
        let mut step = gpu::Step::new(device, self.work, &gpu::Subject::new(subject, &unet, &diffusion))?;
        if self.algorithms {
            step.look(|device, program| Ok(device.algorithms(program)?))?.iter().for_each(|line| print(&format!("{line}\n")));
            return Ok(Exit::Ok);
        }
        let parts = step.look(|device, program| Ok(operations::parts(device.program(program), None)))?;
        let text = if self.json { format!("{}\n", serde_json::to_string(&parts)?) } else { operations::table(&parts) };
        print(&text);
        Ok(Exit::Ok)
    }

    /// The paper's.
    fn diffusion(&self) -> Result<Diffusion> {
        let (variance, objective) = match self.bound {
            true => (ReverseVariance::Learned, Objective::Vlb {}),
            false => (ReverseVariance::FixedLarge, Objective::Simple {}),
        };
        Ok(Diffusion::new(Setup {
            timesteps: 1000,
            schedule: Schedule::Linear { beta_start: 1e-4, beta_end: 0.02 },
            beta_scale: BetaScale::AsGiven,
            prediction: Prediction::Eps,
            variance,
            objective,
        })?)
    }

    fn subject(&self) -> Result<Subject> {
        let Some(base) = &self.base else {
            let network = Network {
                channels: self.channels,
                multipliers: self.mult.clone(),
                blocks: self.blocks,
                attention: self.attention.clone(),
                dropout: self.dropout,
                groups: self.groups,
                block_size: 1,
                skips: Skips::All,
                time_embedding: TimeEmbedding::EveryBlock,
            };
            let image = ImageShape { height: self.side, width: self.side, channels: self.colours };
            return Ok(Subject { network, image, batch: self.batch.unwrap_or(8), precision: self.precision.unwrap_or(Precision::F32) });
        };
        let path = base_file(base, Path::new("experiments/grids"))?;
        let origin = path.display().to_string();
        let config = Config::checked(&paths::normalised(&yaml::read(&path)?), &origin)?;
        let image = config.data.image().context(super::Unusable)?;
        let t = config.training;
        Ok(Subject {
            network: config.network,
            image,
            batch: self.batch.unwrap_or(t.batch),
            precision: self.precision.unwrap_or(t.precision),
        })
    }

    fn measure(&self, subject: &Subject) -> Result<Measured> {
        let (image, batch, precision) = (subject.image, subject.batch, subject.precision);
        let diffusion = self.diffusion()?;
        let unet = subject.unet(&diffusion)?;
        let optimiser = optimiser();
        let dims = (batch, image.height, image.width, image.channels);
        let uniform: Vec<f32> = {
            let random = Random::new(0, Stream::Evaluation);
            (0..batch * image.len()).map(|i| (2.0 * random.uniform(0, i as u64) - 1.0) as f32).collect()
        };
        let x0 = Tensor::from_vec(uniform, dims, &tensor::Device::Cpu)?;
        let mut times = Vec::new();
        let mut parts: Vec<(String, f64)> = Vec::new();
        let add = |parts: &mut Vec<(String, f64)>, name: &str, seconds: f64| match parts.iter_mut().find(|p| p.0 == name) {
            Some(part) => part.1 += seconds,
            None => parts.push((name.to_string(), seconds)),
        };
        let total = self.warmup + self.steps;
        let (mut device_mib, mut operations) = (None, None);
        let remote = self.device.open()?;
        match (self.work, remote) {
            (work, Some(device)) => {
                let mut step = gpu::Step::new(device, work, &gpu::Subject::new(subject, &unet, &diffusion))?;
                if self.breakdown {
                    let timed = |device: &mut dyn ddpm_kernels::device::Device, program| {
                        let seconds = device.time(program)?;
                        Ok(operations::parts(device.program(program), Some(&seconds)))
                    };
                    // The first time libraries and memory are cold.
                    step.look(timed)?;
                    operations = Some(step.look(timed)?);
                }
                times = step.run(total)?.split_off(self.warmup as usize);
                device_mib = Some(step.bytes() as f64 / (1 << 20) as f64);
            }
            (Work::TrainStep, None) => {
                let mut training = Training::new(unet.parameters(), optimiser, 0, Stream::Init);
                let mut engine = Engine::new(&unet, precision)?;
                for step in 0..total as u64 {
                    engine.breakdown();
                    let start = Instant::now();
                    let timesteps = Random::new(0, Stream::Timestep);
                    let t: Vec<usize> = (0..batch).map(|i| 1 + timesteps.below(step, i as u64, 1000)).collect();
                    let noise = Random::new(0, Stream::TrainNoise).normals(step, 0, batch, image.len());
                    let made = diffusion.batch(x0.clone(), Tensor::from_vec(noise, dims, &tensor::Device::Cpu)?, t)?;
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
                        times.push(all);
                        add(&mut parts, "noise and noisy images", drawn);
                        engine.breakdown().into_iter().for_each(|(name, s)| add(&mut parts, name, s));
                        add(&mut parts, "clipping, Adam and average", all - drawn - inside);
                    }
                }
            }
            (Work::Forward, None) => {
                let weights = Training::new(unet.parameters(), optimiser, 0, Stream::Init).into_average();
                let mut engine = Engine::with_weights(&unet, precision, weights)?;
                for step in 0..total {
                    engine.breakdown();
                    let start = Instant::now();
                    engine.forward(&x0, &vec![500; batch])?;
                    if step >= self.warmup {
                        times.push(start.elapsed().as_secs_f64());
                        engine.breakdown().into_iter().for_each(|(name, s)| add(&mut parts, name, s));
                    }
                }
            }
        }
        times.sort_by(f64::total_cmp);
        let s_median = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0;
        let passes = if self.work == Work::TrainStep { 3.0 } else { 1.0 };
        let flops_per_image = passes * 2.0 * unet.macs() as f64;
        let flop_per_s = flops_per_image * batch as f64 / s_median;
        let peak_mib = peak_mib();
        let peak_flop_per_s = match (self.device, precision) {
            (Device::Cpu, Precision::Bf16) => Some(peak::<Bf16>()),
            (Device::Cpu, _) => Some(peak::<F32>()),
            (Device::Cuda(_), _) => self.device.open()?.map(|device| gpu::peak(device, precision.numbers())).transpose()?,
            // Nobody's speed.
            #[cfg(feature = "emulation")]
            (Device::Emulated, _) => None,
        };
        parts.iter_mut().for_each(|p| p.1 /= self.steps as f64);
        parts.retain(|p| p.1 > 0.0);
        Ok(Measured {
            program: env!("CARGO_PKG_VERSION"),
            commit: env!("DDPM_COMMIT"),
            work: self.work,
            precision,
            batch,
            objective: diffusion.setup.objective,
            variance: diffusion.setup.variance,
            parameters: unet.parameter_count(),
            flops_per_image,
            device: self.device.words(),
            kernels: Isa::active().name(),
            threads: rayon::current_num_threads(),
            steps: self.steps,
            s_median,
            s_min: times[0],
            img_per_s: batch as f64 / s_median,
            flop_per_s,
            peak_flop_per_s,
            share_of_peak: peak_flop_per_s.map(|peak| flop_per_s / peak),
            peak_mib,
            device_mib,
            breakdown: (self.breakdown && operations.is_none()).then_some(parts),
            operations,
        })
    }
}

/// The paper's optimiser for CIFAR-10, at its full rate.
pub(super) fn optimiser() -> Optimiser {
    serde_json::from_str(r#"{"learning_rate": 2e-4, "warmup_steps": 0, "clip_norm": 1.0, "ema_decay": 0.9999}"#).expect("an optimiser")
}

/// The process's largest resident set so far; none where the system does not say.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}
