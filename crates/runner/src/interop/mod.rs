//! Files of other programs.

pub mod diffusers;
pub mod features;
pub mod given;
pub mod npz;
pub mod samples;
pub mod statistics;
