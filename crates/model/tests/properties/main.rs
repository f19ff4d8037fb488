//! The tensors against the mathematics: counts of the authors' network, gradients against differences, losses against core's numbers.

mod anatomy;
mod common;
mod curve;

mod checkpoint;
#[cfg(any(feature = "cuda", feature = "emulation"))]
mod device;
mod engine;
mod loss;
mod process_group;
mod sampling;
mod training;
mod unet;
