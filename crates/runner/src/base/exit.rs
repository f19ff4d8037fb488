//! Exit codes: part of the command line's contract.

use super::cause::Cause;
use super::error::RunError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is there.
    Ok = 0,
    /// A bug, or an error that none of the others covers.
    Failure = 1,
    /// Some jobs failed, the others are done; or a claim that was required is not supported. (2 is clap's: a command line that cannot be read.)
    SomeJobsFailed = 3,
    /// The configuration is wrong; nothing was run or written.
    BadConfig = 4,
    /// A file, folder or device that is needed is missing or unusable, or there is no space.
    Environment = 5,
    /// Another process is running this job.
    Busy = 6,
    /// Stopped on request, by Ctrl-C or a signal; the same command resumes from there.
    Interrupted = 130,
}

impl Exit {
    /// The exit code for an unhandled error.
    pub fn of(error: &anyhow::Error) -> Exit {
        match (RunError::of(error), Cause::of(error)) {
            (Some(RunError::Interrupted), _) => Exit::Interrupted,
            (Some(RunError::Busy(_)), _) => Exit::Busy,
            (_, Cause::Config) => Exit::BadConfig,
            (_, Cause::Missing | Cause::Storage | Cause::Device | Cause::Memory) => Exit::Environment,
            (_, Cause::Killed | Cause::Program) => Exit::Failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::{ConfigError, Meaning};
    use super::*;
    use anyhow::{Context, Error, anyhow};

    #[test]
    fn an_exit_code_follows_from_the_type() {
        for (error, exit) in [
            (RunError::Interrupted.into(), Exit::Interrupted),
            (RunError::Busy("process 1 on h".into()).into(), Exit::Busy),
            (Error::from(ConfigError::new("f", "k", "p")), Exit::BadConfig),
            (Err::<(), _>(anyhow!("x: is not there")).needed().unwrap_err(), Exit::Environment),
            (Err::<(), _>(anyhow!("x: cannot be written")).stored().unwrap_err(), Exit::Environment),
            (anyhow!("x"), Exit::Failure),
        ] {
            let error = Err::<(), _>(error).context("more").unwrap_err();
            assert_eq!(Exit::of(&error), exit, "{error:#}");
        }
    }
}
