//! Kinds of device failure, from which the caller decides whether retrying the same work a little later may succeed.

use std::fmt;

/// What is the matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has no memory left for what was asked.
    Memory,
    /// It stopped responding or aborted its work; its memory contents are lost.
    Lost,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Memory => "the device has no memory left",
            Fault::Lost => "the device was lost",
        })
    }
}

impl std::error::Error for Fault {}

/// An error of a device's driver or library. Its source is a [`Fault`], where it is known what is the matter.
#[derive(Clone, Debug)]
pub struct DeviceError {
    /// What was being done, and what the library says.
    pub words: String,
    /// What is the matter.
    pub fault: Option<Fault>,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for DeviceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.fault.as_ref().map(|fault| fault as _)
    }
}

impl From<DeviceError> for candle_core::Error {
    fn from(error: DeviceError) -> candle_core::Error {
        candle_core::Error::Cuda(Box::new(error))
    }
}

/// `error` with its message rewritten by `words`. The fault is kept.
pub fn reworded(error: candle_core::Error, words: impl FnOnce(&str) -> String) -> candle_core::Error {
    let fault = match &error {
        candle_core::Error::Cuda(inner) => inner.downcast_ref::<DeviceError>().and_then(|error| error.fault),
        _ => None,
    };
    DeviceError { words: words(&error.to_string()), fault }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    /// The fault survives any rewording of the message.
    #[test]
    fn other_words_keep_what_is_the_matter() {
        for fault in [None, Some(Fault::Memory), Some(Fault::Lost)] {
            let error = candle_core::Error::from(DeviceError { words: "cuDNN: no".into(), fault });
            let error = reworded(error, |words| format!("convolution: {words}"));
            assert_eq!(error.to_string(), "convolution: cuDNN: no");
            assert_eq!(error.source().and_then(|source| source.downcast_ref::<Fault>()).copied(), fault);
        }
        assert!(reworded(candle_core::Error::Msg("x".into()), |words| format!("{words}, y")).to_string().starts_with("x, y"));
    }
}
