//! How images stand in the network's first and last feature maps.

use super::launch::{Argument, u32};
use super::maps::PACK;

/// An image of h x w pixels of c channels whose blocks of `block` x `block` pixels are one pixel of a feature map: its channels are row in
/// the block, column in the block, output, channel, and behind them channels of 0 up to a whole pack, which is what the fast kernels of
/// libraries ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceToDepth {
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub block: usize,
}

impl SpaceToDepth {
    /// Numbers of an image.
    pub fn len(self) -> usize {
        self.h * self.w * self.c
    }

    /// Never: an image has pixels.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Channels of the feature map of `outputs` numbers for each of the image's.
    pub fn channels(self, outputs: usize) -> usize {
        (self.block * self.block * outputs * self.c).next_multiple_of(PACK)
    }

    /// Numbers of one image in that feature map.
    pub fn map_len(self, outputs: usize) -> usize {
        self.h / self.block * (self.w / self.block) * self.channels(outputs)
    }

    /// As kernels are given it.
    pub(super) fn arguments(self) -> [Argument; 4] {
        assert!(self.len().is_multiple_of(4), "{self:?}: a thread takes 4 numbers");
        [self.h, self.w, self.c, self.block].map(u32)
    }
}
