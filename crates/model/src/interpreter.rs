//! The few operations that make up a U-Net. The network is described once, to an interpreter: one evaluates it eagerly, another
//! records it for the engine.

use crate::error::Result;
use crate::layers::{Conv, Dense, Norm};
use ddpm_kernels::pool::BlockPool;

/// A call of one or more convolutions on one input, with what is fused before and after them. Their results are concatenated.
pub struct ConvCall<'a, I, V> {
    /// The convolutions.
    pub convs: &'a [&'a Conv],
    /// Feature maps of one size, \[B, H, W, Ci\], concatenated along the channels.
    pub input: &'a [I],
    /// Applied to the input first.
    pub norm: Option<Normalise<'a>>,
    /// The dropout layer after that.
    pub dropout: Option<u64>,
    /// \[B, Co\], added to every pixel of its image: the time embedding.
    pub shift: Option<&'a V>,
    /// Feature maps of the result's size, concatenated along the channels and added to it.
    pub residual: &'a [I],
}

impl<'a, I, V> ConvCall<'a, I, V> {
    /// The convolutions alone.
    pub fn of(convs: &'a [&'a Conv], input: &'a [I]) -> ConvCall<'a, I, V> {
        ConvCall { convs, input, norm: None, dropout: None, shift: None, residual: &[] }
    }
}

/// A group normalisation, with or without SiLU after it.
#[derive(Clone, Copy)]
pub struct Normalise<'a> {
    /// The normalisation.
    pub norm: &'a Norm,
    /// Whether SiLU follows.
    pub silu: bool,
}

/// Interprets a network: computes it, or records what it would compute.
pub trait Interpreter {
    /// A feature map, \[B, H, W, C\].
    type Image: Clone;
    /// A vector for each image, \[B, n\].
    type Vector: Clone;

    /// The timestep's embedding through two dense layers, SiLU after each.
    fn time(&mut self, first: &Dense, second: &Dense) -> Result<Self::Vector>;

    /// The same for the way up, where `time` is what the way down was told. Only an interpreter that tells them different steps has to do
    /// anything here.
    fn time_up(&mut self, _first: &Dense, _second: &Dense, time: &Self::Vector) -> Result<Self::Vector> {
        Ok(time.clone())
    }

    /// What skip connection number `place` carries; the first one is that of the first layer.
    fn skip(&mut self, _place: usize, features: &Self::Image) -> Result<Self::Image> {
        Ok(features.clone())
    }

    /// A dense layer.
    fn dense(&mut self, dense: &Dense, x: &Self::Vector) -> Result<Self::Vector>;

    /// Convolutions: \[B, H', W', Co\] of all together.
    fn conv(&mut self, call: ConvCall<Self::Image, Self::Vector>) -> Result<Self::Image>;

    /// One number for each block of 2x2: \[B, H/2, W/2, C\].
    fn pool(&mut self, kind: BlockPool, x: &Self::Image) -> Result<Self::Image>;

    /// Single-head attention over the pixels; q, k and v are concatenated along the channels.
    fn attend(&mut self, qkv: &Self::Image) -> Result<Self::Image>;
}
