//! The U-Net of "Denoising Diffusion Probabilistic Models" (Ho, Jain, Abbeel 2020) on tensors, with its training and sampling.
//!
//! Images are `[B, H, W, C]` in [-1, 1]. A network is a description ([`unet::UNet`], [`classifier::Classifier`]) that names its
//! parameters in a fixed order, and a list of numbers ([`parameters::Weights`]) in that order: the same description runs on the
//! weights in training, on their moving average, and on a checkpoint. Whatever is random comes from a named stream.
//!
//! The paper's U-Net, smaller, as it begins: its last layer is all but 0, and so is what it predicts.
//!
//! ```
//! use ddpm_kernels::random::Stream;
//! use ddpm_model::network::ImageShape;
//! use ddpm_model::parameters::Weights;
//! use ddpm_model::tensor::{DType, Device, Tensor};
//! use ddpm_model::{Network, PassOptions, UNet};
//!
//! let network = Network { channels: 32, multipliers: vec![1, 2], blocks: 1, attention: vec![8], ..Network::cifar10() };
//! let unet = UNet::new(&network, ImageShape { height: 16, width: 16, channels: 3 }, 3)?;
//! let weights = Weights::initial(unet.parameters(), 0, Stream::Init, DType::F32)?;
//! let xt = Tensor::randn(0f32, 1.0, (2, 16, 16, 3), &Device::Cpu)?; // [B, H, W, C]
//! let eps = unet.forward(&weights, &xt, &[1, 1000], PassOptions::default())?; // a step for each image
//! assert_eq!(eps.dims(), xt.dims());
//! assert!(eps.abs()?.max_all()?.to_scalar::<f32>()? < 1e-3);
//! # Ok::<(), ddpm_model::Error>(())
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod anatomy;
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
mod space_to_depth;
pub mod train_state;
pub mod unet;

/// The tensors that this crate's functions take and return, so that callers need not depend on candle themselves.
pub mod tensor {
    pub use candle_core::safetensors::load;
    pub use candle_core::{D, DType, Device, Error, Result, Tensor};
}

pub use diffusion::Diffusion;
pub use eager::PassOptions;
pub use engine::{Arithmetic, Engine, Precision, SPLIT_CHANNELS};
pub use error::Error;
pub use network::Network;
pub use unet::UNet;
