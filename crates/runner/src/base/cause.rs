//! Why something failed, and whether it can be tried again.

use super::error::{ConfigError, RunError};
use ddpm_kernels::device::fault::Fault;
use serde::{Deserialize, Serialize};
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
    /// Killed from outside; on a cluster by the scheduler.
    Killed,
    /// Anything else: a mistake of the program, a damaged file.
    Program,
}

impl Cause {
    /// The cause of an error, determined by the types in its chain.
    pub fn of(error: &anyhow::Error) -> Cause {
        error.chain().find_map(Cause::of_part).unwrap_or(Cause::Program)
    }

    fn of_part(part: &(dyn std::error::Error + 'static)) -> Option<Cause> {
        if let Some(meant) = part.downcast_ref::<RunError>() {
            return match meant {
                // The inner error may be more specific: out of memory on a device that exists.
                RunError::Environment(error) => Some(error.chain().find_map(Cause::of_part).unwrap_or(Cause::Missing)),
                RunError::Storage(error) => Some(error.chain().find_map(Cause::of_part).unwrap_or(Cause::Storage)),
                RunError::Interrupted | RunError::Busy(_) => None,
            };
        }
        if part.is::<ConfigError>() {
            return Some(Cause::Config);
        }
        match part.downcast_ref::<Fault>() {
            Some(Fault::Memory) => return Some(Cause::Memory),
            Some(Fault::Lost) => return Some(Cause::Device),
            None => {}
        }
        match part.downcast_ref::<ddpm_model::Error>() {
            // One of the processes of a training has gone.
            Some(ddpm_model::Error::Rank { .. }) => return Some(Cause::Killed),
            // A precision or a width that the device does not support.
            Some(ddpm_model::Error::InvalidKey { .. }) => return Some(Cause::Config),
            _ => {}
        }
        match part.downcast_ref::<std::io::Error>()?.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem => Some(Cause::Storage),
            ErrorKind::OutOfMemory => Some(Cause::Memory),
            _ => None,
        }
    }

    /// Whether the same job may succeed a little later.
    pub fn is_transient(self) -> bool {
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

/// Fault injection: if the environment variable `DDPM_FAULT` is `WHAT STEP TRAINING`, every training run whose name contains `TRAINING`
/// fails before that step. `device-lost` returns an error, `out-of-memory` tries to allocate more memory than there is.
pub fn injected(training_id: &str, step: u64) -> anyhow::Result<()> {
    let Ok(asked) = std::env::var("DDPM_FAULT") else { return Ok(()) };
    let words: Vec<&str> = asked.split(' ').collect();
    let [what, at, of] = words[..] else { return Ok(()) };
    if at.parse() != Ok(step) || !training_id.contains(of) {
        return Ok(());
    }
    match what {
        "device-lost" => Err(anyhow::Error::new(Fault::Lost).context(format!("asked for by DDPM_FAULT={asked}"))),
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
    use super::super::error::Meaning;
    use super::*;
    use anyhow::{Context, Error, anyhow};
    use ddpm_kernels::device::fault::DeviceError;

    fn io(kind: ErrorKind) -> Error {
        Error::from(std::io::Error::from(kind))
    }

    /// By type, below any number of contexts and above any number of sources.
    #[test]
    fn causes_follow_from_types() {
        let device = |fault| {
            let error = DeviceError { words: "cuDNN: CUDNN_STATUS_EXECUTION_FAILED, CUDA_ERROR_OUT_OF_MEMORY".into(), fault };
            Error::from(ddpm_model::Error::from(ddpm_model::tensor::Error::from(error)))
        };
        let key = || ddpm_model::Error::InvalidKey { key: "channels", expected: "8".into(), got: "7".into() };
        let shape = ddpm_model::Error::Shape { what: "images", expected: "8".into(), got: "7".into() };
        let rank = ddpm_model::Error::Rank { rank: 1, error: std::io::Error::from(ErrorKind::BrokenPipe) };
        for (error, cause) in [
            (Error::from(ConfigError::new("f", "k", "p")), Cause::Config),
            (Error::from(key()), Cause::Config),
            (Error::from(shape), Cause::Program),
            (Error::from(rank), Cause::Killed),
            (device(Some(Fault::Lost)), Cause::Device),
            (device(Some(Fault::Memory)), Cause::Memory),
            // Whatever it says.
            (device(None), Cause::Program),
            (io(ErrorKind::StorageFull), Cause::Storage),
            (io(ErrorKind::OutOfMemory), Cause::Memory),
            (io(ErrorKind::NotFound), Cause::Program),
            (anyhow!("x"), Cause::Program),
            (Err::<(), _>(io(ErrorKind::NotFound)).needed().unwrap_err(), Cause::Missing),
            (Err::<(), _>(io(ErrorKind::PermissionDenied)).stored().unwrap_err(), Cause::Storage),
            (Err::<(), _>(io(ErrorKind::StorageFull)).needed().unwrap_err(), Cause::Storage),
            (Err::<(), _>(device(Some(Fault::Memory))).needed().unwrap_err(), Cause::Memory),
            (Err::<(), _>(Error::from(ConfigError::new("f", "k", "p"))).needed().unwrap_err(), Cause::Config),
            (Err::<(), _>(anyhow!("x")).stored().needed().unwrap_err(), Cause::Storage),
            (RunError::Interrupted.into(), Cause::Program),
        ] {
            let error = error.context("a: cannot be written").context("more");
            assert_eq!(Cause::of(&error), cause, "{error:#}");
        }
    }

    /// What an error means changes nothing in what it says.
    #[test]
    fn a_meaning_has_no_words() {
        let error = || io(ErrorKind::NotFound).context("a.yaml: cannot be read").context("the base");
        let plain = format!("{:#}", error());
        assert_eq!(format!("{:#}", Err::<(), _>(error()).needed().unwrap_err()), plain);
        assert_eq!(format!("{:#}", Err::<(), _>(error()).stored().context("more").unwrap_err()), format!("more: {plain}"));
        assert_eq!(
            format!("{:#}", Error::from(RunError::Busy("process 7 on host h".into()))),
            "process 7 on host h is running this job already"
        );
    }
}
