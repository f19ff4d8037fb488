//! Devices that jobs run on.

use super::error::Meaning;
use anyhow::{Result, anyhow, ensure};
use ddpm_kernels::conv2d::algorithm::Algorithm;
use ddpm_kernels::device::Device as Programs;
use ddpm_kernels::gemm::F32;
use ddpm_kernels::simd::Isa;
use ddpm_model::{Engine, Precision, UNet};
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// This machine's processor.
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
    /// The GPU's kernels on the processor: slow, for tests.
    #[cfg(feature = "emulation")]
    Emulated,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
            #[cfg(feature = "emulation")]
            Device::Emulated => f.write_str("emulated"),
        }
    }
}

impl FromStr for Device {
    type Err = String;
    fn from_str(text: &str) -> Result<Device, String> {
        match text.strip_prefix("cuda:").map(usize::from_str) {
            None if text == "cpu" => Ok(Device::Cpu),
            None if text == "auto" => Ok(Device::best()[0]),
            #[cfg(feature = "emulation")]
            None if text == "emulated" => Ok(Device::Emulated),
            Some(Ok(n)) => Ok(Device::Cuda(n)),
            _ => Err(format!("expected auto, cpu or cuda:N, got {text}")),
        }
    }
}

/// The device of this process, once one was chosen.
static HERE: OnceLock<Device> = OnceLock::new();

/// What its GPU is called, which every sign of progress says: asked of the driver once.
static NAME: OnceLock<String> = OnceLock::new();

impl Device {
    /// The best that this machine has: its GPUs, or its processor.
    fn best() -> Vec<Device> {
        match gpus() {
            Ok(n) if n > 0 => (0..n).map(Device::Cuda).collect(),
            _ => vec![Device::Cpu],
        }
    }

    /// An error where this program cannot use it.
    pub fn check(self) -> Result<()> {
        let Device::Cuda(number) = self else { return Ok(()) };
        let found = match gpus() {
            Ok(n) if number < n => Ok(()),
            Ok(n) => Err(anyhow!("{self}: expected a GPU number below {n}, the number of GPUs on this machine")),
            Err(why) => Err(anyhow!("{self}: {why}")),
        };
        found.needed()
    }

    /// Makes it the one that this process works on. Only the first choice counts: a process has one device.
    pub fn choose(self) -> Result<()> {
        self.check()?;
        let chosen = *HERE.get_or_init(|| self);
        ensure!(chosen == self, "{self}: this process works on {chosen} already");
        Ok(())
    }

    /// The one that this process works on.
    pub fn here() -> Device {
        HERE.get().copied().unwrap_or(Device::Cpu)
    }

    /// The device's own memory and kernels, for work that never leaves it; none for the processor, which needs no such thing.
    pub fn open(self) -> Result<Option<Box<dyn Programs>>> {
        match self {
            Device::Cpu => Ok(None),
            #[cfg(feature = "emulation")]
            Device::Emulated => Ok(Some(Box::new(ddpm_kernels::device::emulated::Emulated::default()))),
            Device::Cuda(number) => open_gpu(number).map(Some),
        }
    }

    /// A network on it, without weights.
    pub fn engine(self, unet: &UNet, precision: Precision) -> Result<Engine> {
        Ok(match self.open()? {
            None => Engine::new(unet, precision)?,
            Some(device) => Engine::remote(unet, device, precision.numbers())?,
        })
    }

    /// What it is called in records.
    pub fn description(self) -> String {
        match self {
            Device::Cpu => format!("cpu {} {}", Isa::active().name(), Algorithm::active::<F32>().name()),
            #[cfg(feature = "emulation")]
            Device::Emulated => self.to_string(),
            Device::Cuda(number) => NAME.get_or_init(|| gpu_name(number)).clone(),
        }
    }
}

/// What was found, in words.
pub fn found() -> String {
    match gpus() {
        Ok(0) => "cpu; no GPU".into(),
        Ok(n) => (0..n).fold("cpu".into(), |all, i| format!("{all}, cuda:{i} ({})", gpu_name(i))),
        Err(why) => format!("cpu; no GPU: {why}"),
    }
}

#[cfg(feature = "cuda")]
fn gpus() -> Result<usize, String> {
    ddpm_kernels::device::cuda::count()
}

#[cfg(feature = "cuda")]
fn open_gpu(number: usize) -> Result<Box<dyn Programs>> {
    Ok(Box::new(ddpm_kernels::device::cuda::Cuda::new(number).needed()?))
}

#[cfg(feature = "cuda")]
fn gpu_name(number: usize) -> String {
    ddpm_kernels::device::cuda::name(number).unwrap_or_else(|_| format!("cuda:{number}"))
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> Result<usize, String> {
    Err("this program was built without its CUDA side (feature cuda); use cpu".into())
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(number: usize) -> Result<Box<dyn Programs>> {
    Device::Cuda(number).check()?;
    unreachable!("no GPU passes the check of a program without CUDA")
}

#[cfg(not(feature = "cuda"))]
fn gpu_name(number: usize) -> String {
    format!("cuda:{number}")
}

/// A list of devices as typed; `auto` is the best that this machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(pub Vec<Device>);

impl FromStr for Devices {
    type Err = String;
    fn from_str(text: &str) -> Result<Devices, String> {
        if text == "auto" {
            return Ok(Devices(Device::best()));
        }
        let devices = text.split(',').map(Device::from_str).collect::<Result<Vec<_>, _>>()?;
        match (1..devices.len()).find(|i| devices[..*i].contains(&devices[*i])) {
            Some(twice) => Err(format!("{} stands twice", devices[twice])),
            None => Ok(Devices(devices)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_wrong_ones_named() {
        assert_eq!("cpu,cuda:1".parse(), Ok(Devices(vec![Device::Cpu, Device::Cuda(1)])));
        assert!(!"auto".parse::<Devices>().unwrap().0.is_empty());
        for (text, part) in [("", "got "), ("cpu,cpu", "twice"), ("cuda", "got cuda"), ("cuda:x", "cuda:x"), ("gpu:0", "gpu:0")] {
            assert!(text.parse::<Devices>().unwrap_err().contains(part), "{text}");
        }
    }
}
