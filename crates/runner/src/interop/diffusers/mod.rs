//! Folders of the Python library diffusers: `config.json`, the weights, `scheduler_config.json`.
//!
//! Their configurations have many keys; [`contract`] says what each means here, and what makes another network or another diffusion is an
//! error, with what was expected.

pub mod contract;
mod network;
mod reader;
mod scheduler;
mod weights;

pub use network::{Found, config, network};
pub use scheduler::{Scheduler, scheduler, scheduler_config};
pub use weights::{WEIGHTS, weights};
