//! `ddpm doctor --device`: whether a device computes what it should, part by part, so that a wrong result of a whole network need not be
//! searched for.

use crate::base::device::Device;
use crate::base::error::ConfigError;
use crate::base::exit::Exit;
use crate::base::text::print;
use anyhow::Result;
use ddpm_kernels::device::Device as Programs;
#[cfg(feature = "emulation")]
use ddpm_kernels::device::compared::{Compared, Comparisons};
use ddpm_kernels::device::probe::probe;
#[cfg(feature = "emulation")]
use ddpm_model::Precision;

fn opened(device: Device) -> Result<Box<dyn Programs>> {
    device.check()?;
    let none = || ConfigError::new("--device", "", "expected a GPU, got cpu");
    Ok(device.open()?.ok_or_else(none)?)
}

/// What the device is, and each kind of convolution and product on whole numbers, whose result is known to the last bit.
pub fn libraries(device: Device) -> Result<Exit> {
    let mut programs = opened(device)?;
    print(&format!("device      {device}: {}\n", programs.name()));
    for (word, value) in programs.about()? {
        print(&format!("{word:<11} {value}\n"));
    }
    let tried = probe(&mut *programs);
    for one in &tried {
        let outcome = one.result.as_ref().map_or_else(|why| format!("FAILED: {why}"), |()| "ok".into());
        print(&format!("{}: {outcome}\n", one.what));
    }
    let failed = tried.iter().filter(|one| one.result.is_err()).count();
    print(&format!("{} of {} are right\n", tried.len() - failed, tried.len()));
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failure })
}

/// Each operation beside its emulation. `DDPM_FAULT="operation NAME"` breaks the one of that name where the device is emulated too.
#[cfg(feature = "emulation")]
pub fn operations(device: Device) -> Result<Exit> {
    use ddpm_core::{BetaScale, Objective, Prediction, ReverseVariance, Sampler, Schedule, Setup};
    use ddpm_kernels::device::emulated::Emulated;
    use ddpm_kernels::random::{Random, Stream};
    use ddpm_model::engine::device::{TrainInputs, Trainer};
    use ddpm_model::network::{ImageShape, Network, Skips, TimeEmbedding};
    use ddpm_model::optimiser::Training;
    use ddpm_model::sampling::Walk;
    use ddpm_model::{Diffusion, Engine, UNet};

    // Every kind of layer, in widths at which the libraries' fast kernels begin.
    let network = Network {
        channels: 16,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        dropout: 0.1,
        groups: 4,
        block_size: 1,
        skips: Skips::All,
        time_embedding: TimeEmbedding::EveryBlock,
    };
    let image = ImageShape { height: 8, width: 8, channels: 3 };
    let setup = |variance, objective| Setup {
        timesteps: 20,
        schedule: Schedule::Linear { beta_start: 0.01, beta_end: 0.3 },
        beta_scale: BetaScale::AsGiven,
        prediction: Prediction::Eps,
        variance,
        objective,
    };
    let pair = || -> Result<_> {
        let fault = std::env::var("DDPM_FAULT").ok();
        let broken = fault.as_deref().and_then(|asked| asked.strip_prefix("operation "));
        let tested: Box<dyn Programs> = match (device, broken) {
            (Device::Emulated, Some(name)) => Box::new(Emulated::breaking(name)),
            _ => opened(device)?,
        };
        Ok(Compared::new(tested, Box::new(Emulated::default())))
    };
    let mut failed = false;
    let works = [
        (Precision::F32, ReverseVariance::FixedLarge, Objective::Simple {}),
        (Precision::Tf32, ReverseVariance::FixedLarge, Objective::Simple {}),
        (Precision::Bf16, ReverseVariance::LearnedRange, Objective::Vlb {}),
    ];
    for (precision, variance, objective) in works {
        let diffusion = Diffusion::new(setup(variance, objective))?;
        let unet = UNet::new(&network, image, diffusion.out_channels(image.channels))?;
        let start = || Training::new(unet.parameters(), super::bench::optimiser(), 0, Stream::Init);
        let images: Vec<u8> = (0..16 * image.len()).map(|i| Random::new(0, Stream::Evaluation).word(0, i as u64) as u8).collect();
        let (compared, findings) = pair()?;
        let inputs = TrainInputs { images: &images, seed: 0, batch: 4, flip: true, rates: &[1e-3; 2] };
        let trained = Trainer::new(Box::new(compared), precision.numbers(), &unet, &diffusion, &start(), inputs)
            .and_then(|mut trainer| trainer.run(1));
        failed |= tell("training", precision, trained.map(|_| ()), &findings);
        let (compared, findings) = pair()?;
        let mut engine = Engine::remote(&unet, Box::new(compared), precision.numbers())?.load(start().into_ema());
        let walked = Walk::new(&mut engine, &diffusion, &Sampler::Ancestral { clip: true, steps: Some(2) })
            .and_then(|mut walk| walk.run(0, 0, 4, &[]));
        failed |= tell("sampling", precision, walked.map(|_| ()), &findings);
    }
    Ok(if failed { Exit::Failure } else { Exit::Ok })
}

/// Prints what was found; whether something is wrong.
#[cfg(feature = "emulation")]
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
