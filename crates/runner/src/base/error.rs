//! Errors: of a configuration, with the file, the key and what was expected; and of what is needed beside it.

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

/// Marks an error of the environment rather than of the configuration.
#[derive(Debug)]
pub struct Unusable;

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("something that is needed is missing or unusable")
    }
}

/// An error and what led to it, in one line.
pub fn in_words(error: &anyhow::Error) -> String {
    let environment = error.downcast_ref::<Unusable>().is_some();
    let chain: Vec<String> = error.chain().map(ToString::to_string).skip(usize::from(environment)).collect();
    chain.join(": ")
}
