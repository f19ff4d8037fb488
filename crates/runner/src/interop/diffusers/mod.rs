//! Folders of the Python library diffusers: `config.json`, `diffusion_pytorch_model.safetensors` (or `.bin`), `scheduler_config.json`.
//!
//! Their configuration has many keys; those that make another network than the authors' are errors, with what was expected.

mod network;
mod reader;
mod scheduler;

pub use network::{config, network};
pub use scheduler::{scheduler, scheduler_config};

/// Files of a folder, in the order in which they are looked for.
pub const WEIGHTS: [&str; 2] = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];
