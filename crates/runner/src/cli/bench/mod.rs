//! `ddpm bench`: how fast this machine trains and samples, and in how much memory.

mod command;
mod device;
mod images;
mod measure;
mod operations;
mod subject;

pub use command::Bench;
#[cfg(feature = "emulation")]
pub use subject::optimiser;
