//! Exit codes: part of the command line's contract.

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is there.
    Ok = 0,
    /// A bug, or an error that none of the others covers.
    Failure = 1,
    /// Some jobs failed; the others are done. (2 is clap's: a command line that cannot be read.)
    SomeJobsFailed = 3,
    /// The configuration is wrong; nothing was run or written.
    BadConfig = 4,
    /// A file, folder or device that is needed is missing or unusable, or there is no space.
    Environment = 5,
    /// Another process is at this job.
    Busy = 6,
    /// Stopped as asked, by Ctrl-C or a signal; the same command goes on from there.
    Interrupted = 130,
}
