//! `ddpm doctor --device`: whether a device computes what it should, part by part, so that a wrong result of a whole network need not be
//! searched for.

mod libraries;
#[cfg(feature = "emulation")]
mod operations;

pub use libraries::libraries;
#[cfg(feature = "emulation")]
pub use operations::operations;
