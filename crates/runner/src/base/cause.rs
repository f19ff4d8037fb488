//! Why something failed, and whether it can be tried again.

use crate::base::error::{ConfigError, Unusable};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::ErrorKind;

/// Why a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The configuration.
    Config,
    /// Data, weights or a device that the job needs are not there.
    Missing,
    /// The store cannot be written: no space, no permission.
    Storage,
    /// No memory, of the machine or the device.
    Memory,
    /// The device did not answer.
    Device,
    /// Killed from outside; on a cluster by the scheduler, on Linux perhaps for lack of memory.
    Killed,
    /// Anything else: a mistake of the program, a damaged file.
    Program,
}

impl Cause {
    /// Of an error, from what lies at the bottom of it.
    pub fn of(error: &anyhow::Error) -> Cause {
        for part in error.chain() {
            if part.downcast_ref::<DeviceLost>().is_some() {
                return Cause::Device;
            }
            // One of the processes of a training has gone.
            if let Some(ddpm_model::Error::Rank { .. }) = part.downcast_ref() {
                return Cause::Killed;
            }
            // A precision or a width that the device has not.
            if part.downcast_ref::<ConfigError>().is_some() || matches!(part.downcast_ref(), Some(ddpm_model::Error::Network { .. })) {
                return Cause::Config;
            }
            let kind = part.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            if let Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem) = kind {
                return Cause::Storage;
            }
            if kind == Some(ErrorKind::OutOfMemory) {
                return Cause::Memory;
            }
        }
        let words = format!("{error:#}");
        let says = |what: &[&str]| what.iter().any(|what| words.contains(what));
        if says(&["CUDA_ERROR_OUT_OF_MEMORY", "_STATUS_ALLOC_FAILED", "DEVICE_ALLOCATION_FAILED"]) {
            return Cause::Memory;
        }
        // A library's call is often the first to meet what an earlier kernel did.
        if says(&["CUDA_ERROR_", "CUBLAS_STATUS_EXECUTION_FAILED", "CUDNN_STATUS_EXECUTION_FAILED", "_STATUS_INTERNAL_ERROR"]) {
            return Cause::Device;
        }
        if error.downcast_ref::<Unusable>().is_some() { Cause::Missing } else { Cause::Program }
    }

    /// Whether the same job may succeed a little later.
    pub fn passes(self) -> bool {
        matches!(self, Cause::Memory | Cause::Device | Cause::Killed)
    }
}

/// What a job's process says of its failure, as its last line on stdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// What kind of reason.
    pub cause: Cause,
    /// In words.
    pub reason: String,
}

/// A device that stopped answering.
#[derive(Clone, Debug)]
pub struct DeviceLost(pub String);

impl fmt::Display for DeviceLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the device was lost: {}", self.0)
    }
}

impl std::error::Error for DeviceLost {}

/// A fault that is asked for, to see what becomes of it: the environment variable `DDPM_FAULT` is `WHAT STEP TRAINING`, and the training
/// of that name (or a part of it) meets it before that step. `device-lost` is an error, `out-of-memory` asks for more than there is.
pub fn injected(training_id: &str, step: u64) -> anyhow::Result<()> {
    let Ok(asked) = std::env::var("DDPM_FAULT") else { return Ok(()) };
    let words: Vec<&str> = asked.split(' ').collect();
    let [what, at, of] = words[..] else { return Ok(()) };
    if at.parse() != Ok(step) || !training_id.contains(of) {
        return Ok(());
    }
    match what {
        "device-lost" => Err(DeviceLost(format!("asked for by DDPM_FAULT={asked}")).into()),
        "out-of-memory" => {
            // A real refusal, by the allocator: the process ends as it would anywhere else.
            drop(std::hint::black_box(vec![1u8; 1 << 46]));
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_found_below_any_number_of_contexts() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let error = Err::<(), _>(full).context("a: cannot be written").context("more").unwrap_err();
        assert_eq!(Cause::of(&error), Cause::Storage);
        assert_eq!(Cause::of(&anyhow::Error::from(DeviceLost("x".into())).context("y")), Cause::Device);
        assert_eq!(Cause::of(&anyhow::Error::from(ConfigError::new("f", "k", "p"))), Cause::Config);
        assert_eq!(Cause::of(&anyhow::anyhow!("x").context(Unusable)), Cause::Missing);
        assert_eq!(Cause::of(&anyhow::anyhow!("x")), Cause::Program);
        for (words, cause) in [
            ("the GPU: DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)", Cause::Device),
            ("cuBLAS: CublasError(CUBLAS_STATUS_EXECUTION_FAILED)", Cause::Device),
            ("cuDNN: CudnnError(CUDNN_STATUS_INTERNAL_ERROR)", Cause::Device),
            ("8 MiB on the GPU: DriverError(CUDA_ERROR_OUT_OF_MEMORY)", Cause::Memory),
            ("cuBLAS: CublasError(CUBLAS_STATUS_ALLOC_FAILED)", Cause::Memory),
            ("cuDNN: CudnnError(CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)", Cause::Memory),
            ("cuDNN: CudnnError(CUDNN_STATUS_NOT_SUPPORTED)", Cause::Program),
        ] {
            assert_eq!(Cause::of(&anyhow::anyhow!(words).context("a job")), cause, "{words}");
        }
    }
}
