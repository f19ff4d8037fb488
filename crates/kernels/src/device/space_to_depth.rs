//! Layout of images in the network's first and last feature maps.

use super::launch::{Argument, u32};
use super::maps::PACK;

/// Each `block` x `block` block of an h x w image of c channels becomes one pixel of a feature map. Its channels are ordered by row in the
/// block, column in the block, output and channel, and padded with zeros to a whole pack, as the fast kernels of libraries require.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceToDepth {
    /// Height of the image in pixels, a multiple of `block`.
    pub h: usize,
    /// Width of the image in pixels, a multiple of `block`.
    pub w: usize,
    /// Number of channels of the image.
    pub c: usize,
    /// Side of a block in pixels.
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
