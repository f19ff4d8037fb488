//! Files of other programs.

pub mod diffusers;
pub mod features;
pub mod given;
pub mod statistics;
