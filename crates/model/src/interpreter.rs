//! The few things that a U-Net is made of. The network is described once, to an interpreter: one computes it tensor by tensor, one
//! records it for the engine.

use crate::error::Result;
use crate::layers::{Conv, Dense, Norm};

/// What a convolution reads.
pub struct Operand<'a, I> {
    /// Feature maps of one size, side by side by their channels.
    pub parts: &'a [I],
    /// A normalisation before the convolution, and whether SiLU follows it.
    pub norm: Option<(&'a Norm, bool)>,
    /// The dropout layer after that.
    pub dropout: Option<u64>,
}

impl<'a, I> Operand<'a, I> {
    /// As it is.
    pub fn plain(parts: &'a [I]) -> Operand<'a, I> {
        Operand { parts, norm: None, dropout: None }
    }

    /// Normalised.
    pub fn normal(parts: &'a [I], norm: &'a Norm, silu: bool) -> Operand<'a, I> {
        Operand { parts, norm: Some((norm, silu)), dropout: None }
    }
}

/// Interprets a network: computes it, or records what it would compute.
pub trait Interpreter {
    /// A feature map, \[B, H, W, C\].
    type Image: Clone;
    /// A vector for each image, \[B, n\].
    type Vector: Clone;

    /// The timestep's embedding through two dense layers, SiLU after each.
    fn time(&mut self, first: &Dense, second: &Dense) -> Result<Self::Vector>;

    /// A dense layer.
    fn dense(&mut self, dense: &Dense, x: &Self::Vector) -> Result<Self::Vector>;

    /// Convolutions of one operand, results side by side. `shift` \[B, out\] is added to every pixel of its image, the parts of `plus`
    /// (side by side, as many channels as the result) to the result.
    fn conv(
        &mut self,
        convs: &[&Conv],
        from: Operand<Self::Image>,
        shift: Option<&Self::Vector>,
        plus: &[Self::Image],
    ) -> Result<Self::Image>;

    /// Attention of one head over the pixels of q, k and v, which stand side by side.
    fn attend(&mut self, qkv: &Self::Image) -> Result<Self::Image>;
}
