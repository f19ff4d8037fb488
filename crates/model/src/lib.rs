//! Tensors: the U-Net of "Denoising Diffusion Probabilistic Models" (Ho, Jain, Abbeel 2020), what trains it and what walks back with it.
//!
//! Images are `[B, H, W, C]` in [-1, 1]. A network is a description ([`unet::UNet`], [`classifier::Classifier`]) that names its
//! parameters in a fixed order, and a list of numbers ([`parameters::Weights`]) in that order: the same description runs on the
//! weights in training, on their moving average, and on a checkpoint. Whatever is random comes from a named stream.

#![forbid(unsafe_code)]

pub mod bound;
pub mod checkpoint;
pub mod classifier;
pub mod diffusers;
pub mod diffusion;
mod eager;
pub mod engine;
pub mod error;
pub mod inception;
pub mod interop;
mod interpreter;
pub mod layers;
pub mod network;
pub mod optimiser;
pub mod parameters;
pub mod process_group;
pub mod sampling;
pub mod train_state;
pub mod unet;

/// The tensors that this crate's functions take and return, so that callers need not depend on candle themselves.
pub mod tensor {
    pub use candle_core::safetensors::load;
    pub use candle_core::{D, DType, Device, Error, Result, Tensor};
}

pub use diffusion::Diffusion;
pub use eager::PassOptions;
pub use engine::{Arithmetic, Engine, Precision};
pub use error::Error;
pub use network::Network;
pub use unet::UNet;
