//! Typed errors: their types determine the exit code and whether a retry may succeed ([`super::cause`]). They are created where they
//! arise; any other error is a bug or a damaged file.

use std::fmt;

/// What is wrong in a configuration. Shown as `file: key.path: problem`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// File or flag that the value came from.
    pub origin: String,
    /// The key's path in it, empty for the file as a whole.
    pub path: String,
    /// What was expected and what came.
    pub problem: String,
}

impl ConfigError {
    /// From its parts.
    pub fn new(origin: &str, path: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError { origin: origin.into(), path: path.into(), problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => write!(f, "{}: {}", self.origin, self.problem),
            false => write!(f, "{}: {}: {}", self.origin, self.path, self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

/// An error other than a configuration error, classified by its meaning.
#[derive(Debug)]
pub enum RunError {
    /// Something that is needed is missing or unusable: a file, a folder, weights, a device.
    Environment(anyhow::Error),
    /// What was computed cannot be written: no space, no permission.
    Storage(anyhow::Error),
    /// Stopped on request. Progress so far is kept.
    Interrupted,
    /// Another process is running the job; which.
    Busy(String),
}

impl RunError {
    /// The outermost one in an error, if there is one.
    pub fn of(error: &anyhow::Error) -> Option<&RunError> {
        error.chain().find_map(|part| part.downcast_ref())
    }

    /// The error that it was made of.
    pub fn inner(&self) -> Option<&anyhow::Error> {
        match self {
            RunError::Environment(error) | RunError::Storage(error) => Some(error),
            RunError::Interrupted | RunError::Busy(_) => None,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Environment(error) | RunError::Storage(error) => error.fmt(f),
            RunError::Interrupted => f.write_str("stopped as asked; run the same command again to resume"),
            RunError::Busy(who) => write!(f, "{who} is running this job already"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner().and_then(|error| error.source())
    }
}

/// Classifies an error where it arises.
pub trait Meaning<T> {
    /// Something that is needed is missing or unusable.
    fn needed(self) -> anyhow::Result<T>;
    /// Something cannot be written.
    fn stored(self) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Meaning<T> for Result<T, E> {
    fn needed(self) -> anyhow::Result<T> {
        self.map_err(|error| meant(error.into(), RunError::Environment))
    }

    fn stored(self) -> anyhow::Result<T> {
        self.map_err(|error| meant(error.into(), RunError::Storage))
    }
}

/// An error that is already classified stays as it is: more was known where it arose.
fn meant(error: anyhow::Error, meaning: impl FnOnce(anyhow::Error) -> RunError) -> anyhow::Error {
    match error.chain().any(|part| part.is::<RunError>() || part.is::<ConfigError>()) {
        true => error,
        false => meaning(error).into(),
    }
}
