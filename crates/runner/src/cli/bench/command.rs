//! `ddpm bench`: how fast this machine trains and samples, and in how much memory.

use super::device::{self, MeasuredStep};
use super::measure::{BenchResult, Timing};
use super::subject::{StepKind, Subject, diffusion};
use super::{images, operations};
use crate::base::data::{Cache, Dataset};
use crate::base::device::Device;
use crate::base::error::ConfigError;
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::cli::cache::CacheArgs;
use crate::experiment::{Base, Config, Shelf, paths};
use anyhow::Result;
use clap::{Args, ValueEnum};
use ddpm_kernels::device::counted::Counted;
use ddpm_model::Precision;
use ddpm_model::network::{Downsample, ImageShape, Network, Skips, TimeEmbedding, Upsample};

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
    /// Batch size [default: the base's, or 8]
    #[arg(long)]
    batch: Option<usize>,
    /// Precision of the arithmetic: f32, bf16, or on a GPU tf32 [default: the base's, or f32]
    #[arg(long, value_parser = precision)]
    precision: Option<Precision>,
    /// The device: auto, cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Train on the base's own images and not on noise, and say how long steps wait for them; on the processor
    #[arg(long, requires = "base", conflicts_with_all = ["plan", "algorithms"])]
    images: bool,
    #[command(flatten)]
    cache: CacheArgs,
    /// Train on the bound with a learned variance (L and learned Sigma of Table 2) and not on L_simple
    #[arg(long)]
    bound: bool,
    /// Steps that are timed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Warm-up steps, which are not timed
    #[arg(long, default_value_t = 2)]
    warmup: u32,
    /// Say where the time goes
    #[arg(long, conflicts_with_all = ["plan", "algorithms"])]
    breakdown: bool,
    /// Count what a step would execute on a GPU, by operation, without running it; needs no GPU
    #[arg(long, conflicts_with = "algorithms")]
    plan: bool,
    /// List the algorithms that the GPU's library offers for each convolution, with their times; * marks the one in use
    #[arg(long)]
    algorithms: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Work {
    /// Noise, forward, loss, backward, clipping, Adam and moving average
    TrainStep,
    /// The network alone, as in sampling
    Forward,
    /// The images of a base alone, in the order in which a training reads them
    Images,
}

fn precision(name: &str) -> Result<Precision, String> {
    Precision::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| "expected f32, tf32 or bf16".into())
}

impl Bench {
    pub fn run(self) -> Result<Exit> {
        self.device.check()?;
        let mut subject = self.subject()?;
        subject.network.check(subject.image).map_err(|e| ConfigError::new("ddpm bench", "", e.to_string()))?;
        if subject.batch == 0 {
            return Err(ConfigError::new("--batch", "", "expected at least 1, got 0").into());
        }
        if self.plan || self.algorithms {
            return self.look(&subject);
        }
        if self.images || self.work == Work::Images {
            subject.data = Some(self.data()?);
        }
        let Bench { device, warmup, steps, breakdown, .. } = self;
        let Some(work) = self.step() else {
            let measured = images::measure(subject.data.as_ref().expect("just loaded"), subject.batch, warmup, steps)?;
            match self.json {
                true => print(&format!("{}\n", serde_json::to_string(&measured)?)),
                false => images::say(&measured),
            }
            return Ok(Exit::Ok);
        };
        let measured = Timing { work, device, warmup, steps, breakdown }.measure(&subject, &diffusion(self.bound)?)?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string(&measured)?));
            return Ok(Exit::Ok);
        }
        say(measured);
        Ok(Exit::Ok)
    }

    /// The step that is measured; none where there is none.
    fn step(&self) -> Option<StepKind> {
        match self.work {
            Work::TrainStep => Some(StepKind::TrainStep),
            Work::Forward => Some(StepKind::Forward),
            Work::Images => None,
        }
    }

    /// The base's images.
    fn data(&self) -> Result<Dataset> {
        let missing = |what: &str| ConfigError::new("ddpm bench", "", format!("expected {what}"));
        let base = self.base.as_ref().ok_or_else(|| missing("--base, whose images are read"))?;
        match self.work {
            Work::TrainStep if self.device == Device::Cpu => {}
            Work::TrainStep | Work::Forward => return Err(missing("train-step on the processor for --images").into()),
            Work::Images if self.breakdown || self.bound || self.precision.is_some() || self.device != Device::Cpu => {
                return Err(missing("none of --breakdown, --bound, --precision and --device for images alone").into());
            }
            Work::Images => {}
        }
        base_config(base)?.data.load(&self.cache.or(Cache::default()))
    }

    /// What a step asks of a device, without running it, or what the device's library offers.
    fn look(&self, subject: &Subject) -> Result<Exit> {
        let device = if self.plan { Some(Box::new(Counted::default()) as _) } else { self.device.open()? };
        let Some(device) = device else {
            return Err(ConfigError::new("--device", "", "expected a GPU for --algorithms, got cpu").into());
        };
        let diffusion = diffusion(self.bound)?;
        let unet = subject.unet(&diffusion)?;
        let Some(work) = self.step() else {
            return Err(ConfigError::new("ddpm bench", "", "expected train-step or forward for --plan and --algorithms").into());
        };
        let mut step = MeasuredStep::new(device, work, &device::Subject::new(subject, &unet, &diffusion))?;
        if self.algorithms {
            step.look(|device, program| Ok(device.algorithms(program)?))?.iter().for_each(|line| print(&format!("{line}\n")));
            return Ok(Exit::Ok);
        }
        let parts = step.look(|device, program| Ok(operations::parts(device.program(program), None)))?;
        let text = if self.json { format!("{}\n", serde_json::to_string(&parts)?) } else { operations::table(&parts) };
        print(&text);
        Ok(Exit::Ok)
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
                downsample: Downsample::Conv,
                upsample: Upsample::NearestConv,
            };
            let image = ImageShape { height: self.side, width: self.side, channels: self.colours };
            let precision = self.precision.unwrap_or(Precision::F32);
            return Ok(Subject { network, image, batch: self.batch.unwrap_or(8), precision, data: None });
        };
        let config = base_config(base)?;
        let image = config.data.image()?;
        let t = &config.training;
        Ok(Subject {
            network: config.network.clone(),
            image,
            batch: self.batch.unwrap_or(t.batch),
            precision: self.precision.unwrap_or(t.precision),
            data: None,
        })
    }
}

/// The configuration of a base, by its name or file.
fn base_config(base: &str) -> Result<Config> {
    let Base { tree, origin, .. } = Base::read(&Shelf::Bases.find(base, None)?)?;
    Ok(Config::checked(&paths::normalised(&tree), &origin)?)
}

/// In words.
fn say(m: BenchResult) {
    print(&format!(
        "{:.1} M parameters, batch {}, {}, {}, {} threads\n",
        m.parameters as f64 / 1e6,
        m.batch,
        m.precision.name(),
        m.kernels,
        m.threads
    ));
    print(&format!("median     {:.4} s a step, {:.1} images/s (minimum {:.4} s, {} steps)\n", m.s_median, m.img_per_s, m.s_min, m.steps));
    let of_what = if m.device_mib.is_some() { "in one large product" } else { "in cache" };
    let share = m
        .peak_flop_per_s
        .map_or(String::new(), |peak| format!(", {:.0}% of {:.0} {of_what}", 100.0 * m.executed_flop_per_s / peak, peak / 1e9));
    let saved = match m.executed_flop_per_s < m.flop_per_s {
        true => format!(", {:.0} of them executed", m.executed_flop_per_s / 1e9),
        false => String::new(),
    };
    print(&format!("speed      {:.0} GFLOP/s{saved}{share}\n", m.flop_per_s / 1e9));
    if let Some(mib) = m.device_mib {
        print(&format!("memory     {mib:.0} MiB of the device's\n"));
    }
    if let Some(mib) = m.peak_mib {
        print(&format!("memory     {mib:.0} MiB at most\n"));
    }
    if let Some(waited) = m.waited_s {
        print(&format!("images     waited for during {:.2} ms a step, {:.2}% of it\n", 1e3 * waited, 100.0 * waited / m.s_median));
    }
    for (name, seconds) in m.breakdown.unwrap_or_default() {
        print(&format!("{name:<40} {:>8.1} ms {:>5.1}%\n", seconds * 1e3, 100.0 * seconds / m.s_median));
    }
    if let Some(parts) = m.operations {
        print(&operations::table(&parts));
    }
}
