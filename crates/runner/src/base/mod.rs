//! What everything else builds on: errors and exit codes, devices, images, atomic file writes, terminal output.

pub mod atomic;
pub mod bar;
pub mod cause;
pub mod data;
pub mod device;
pub mod error;
pub mod exit;
pub mod json;
pub mod lock;
pub mod npy;
pub mod npz;
pub mod picture;
pub mod sealed;
pub mod stop;
pub mod text;
