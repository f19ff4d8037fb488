//! `ddpm doctor --operations`: each operation of training and sampling on a device beside its emulation.

use super::libraries::opened;
use crate::base::device::Device;
use crate::base::exit::Exit;
use crate::base::text::print;
use anyhow::Result;
use ddpm_core::{BetaScale, Objective, Prediction, ReverseVariance, Sampler, Schedule, Setup};
use ddpm_kernels::device::Device as Programs;
use ddpm_kernels::device::compared::{Compared, Comparisons};
use ddpm_kernels::device::emulated::Emulated;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::engine::device::{Held, TrainInputs, Trainer};
use ddpm_model::network::{Downsample, ImageShape, Network, Skips, TimeEmbedding, Upsample};
use ddpm_model::optimiser::Training;
use ddpm_model::sampling::Walk;
use ddpm_model::{Diffusion, Engine, Precision, UNet};

/// Every kind of layer, with these to halve and to double, in widths at which the libraries' fast kernels begin.
fn network(downsample: Downsample, upsample: Upsample) -> Network {
    Network {
        channels: 16,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        dropout: 0.1,
        groups: 4,
        block_size: 1,
        skips: Skips::All,
        time_embedding: TimeEmbedding::EveryBlock,
        downsample,
        upsample,
    }
}

fn setup(variance: ReverseVariance, objective: Objective) -> Setup {
    Setup {
        timesteps: 20,
        schedule: Schedule::Linear { beta_start: 0.01, beta_end: 0.3 },
        beta_scale: BetaScale::AsGiven,
        prediction: Prediction::Eps,
        variance,
        objective,
    }
}

/// The device compared with its emulation, and what is found.
fn pair(device: Device) -> Result<(Compared, Comparisons)> {
    let fault = std::env::var("DDPM_FAULT").ok();
    let broken = fault.as_deref().and_then(|asked| asked.strip_prefix("operation "));
    let tested: Box<dyn Programs> = match (device, broken) {
        (Device::Emulated, Some(name)) => Box::new(Emulated::breaking(name)),
        _ => opened(device)?,
    };
    Ok(Compared::new(tested, Box::new(Emulated::default())))
}

/// Each operation beside its emulation. `DDPM_FAULT="operation NAME"` breaks the one of that name where the device is emulated too.
pub fn operations(device: Device) -> Result<Exit> {
    let image = ImageShape { height: 8, width: 8, channels: 3 };
    let mut failed = false;
    let works = [
        (Precision::F32, network(Downsample::Conv, Upsample::NearestConv), ReverseVariance::FixedLarge, Objective::Simple {}),
        (Precision::Tf32, network(Downsample::AveragePool, Upsample::TransposedConv), ReverseVariance::FixedLarge, Objective::Simple {}),
        (Precision::Bf16, network(Downsample::MaxPool, Upsample::TransposedConv), ReverseVariance::LearnedRange, Objective::Vlb {}),
    ];
    for (precision, network, variance, objective) in works {
        let diffusion = Diffusion::new(setup(variance, objective))?;
        let unet = UNet::new(&network, image, diffusion.out_channels(image.channels))?;
        let start = || Training::new(unet.parameters(), crate::cli::bench::optimiser(), 0, Stream::Init);
        let images: Vec<u8> = (0..16 * image.len()).map(|i| Random::new(0, Stream::Evaluation).word(0, i as u64) as u8).collect();
        let (compared, findings) = pair(device)?;
        let inputs = TrainInputs { held: Held::All(16), seed: 0, batch: 4, flip: true, rates: &[1e-3; 2] };
        let trained = Trainer::new(Box::new(compared), precision.numbers(), &unet, &diffusion, &start(), inputs)
            .and_then(|mut trainer| trainer.bring(0, &images).and_then(|()| trainer.run(1)));
        failed |= tell("training", precision, trained.map(|_| ()), &findings);
        let (compared, findings) = pair(device)?;
        let mut engine = Engine::remote(&unet, Box::new(compared), precision.numbers())?.load(start().weights().to_vec());
        let walked = Walk::new(&mut engine, &diffusion, &Sampler::Ancestral { clip: true, steps: Some(2) })
            .and_then(|mut walk| walk.run(0, 0, 4, &[]));
        failed |= tell("sampling", precision, walked.map(|_| ()), &findings);
    }
    Ok(if failed { Exit::Failure } else { Exit::Ok })
}

/// Prints what was found; whether something is wrong.
fn tell(work: &str, precision: Precision, done: Result<(), ddpm_model::Error>, findings: &Comparisons) -> bool {
    let findings = findings.borrow();
    let (runs, worst) =
        (findings.values().map(|seen| seen.runs).sum::<usize>(), findings.iter().max_by(|a, b| a.1.worst.total_cmp(&b.1.worst)));
    match (&done, worst) {
        (Ok(()), Some((name, seen))) => print(&format!(
            "{work} in {}: {runs} operations agree; the largest error is {:.3} of what is allowed, of {name}\n",
            precision.name(),
            seen.worst
        )),
        (Ok(()), None) => print(&format!("{work} in {}: FAILED, nothing ran\n", precision.name())),
        // candle adds a backtrace where the environment asks for one.
        (Err(why), _) => {
            let why = why.to_string();
            print(&format!("{work} in {}: FAILED at {}\n", precision.name(), why.lines().next().unwrap_or_default()))
        }
    }
    for (name, seen) in findings.iter() {
        if let Some(wrong) = &seen.wrong {
            print(&format!("  {name}: {} runs, first wrong in {wrong}\n", seen.runs));
        }
    }
    done.is_err() || findings.is_empty()
}
