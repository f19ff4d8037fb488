//! Devices that jobs run on.

use anyhow::{Result, bail};
use std::fmt;
use std::str::FromStr;

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// This machine's processor.
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;
    fn from_str(text: &str) -> Result<Device, String> {
        match text.strip_prefix("cuda:").map(usize::from_str) {
            None if text == "cpu" => Ok(Device::Cpu),
            Some(Ok(n)) => Ok(Device::Cuda(n)),
            _ => Err(format!("expected auto, cpu or cuda:N, got {text}")),
        }
    }
}

impl Device {
    /// An error where this program cannot use it.
    pub fn check(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(_) => bail!("{self}: this program has no CUDA side yet; use --devices cpu"),
        }
    }
}

/// A list of devices as typed; `auto` is all that this program can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(pub Vec<Device>);

impl FromStr for Devices {
    type Err = String;
    fn from_str(text: &str) -> Result<Devices, String> {
        if text == "auto" {
            return Ok(Devices(vec![Device::Cpu]));
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
        assert_eq!("auto".parse(), Ok(Devices(vec![Device::Cpu])));
        for (text, part) in [("", "got "), ("cpu,cpu", "twice"), ("cuda", "got cuda"), ("cuda:x", "cuda:x"), ("gpu:0", "gpu:0")] {
            assert!(text.parse::<Devices>().unwrap_err().contains(part), "{text}");
        }
    }
}
