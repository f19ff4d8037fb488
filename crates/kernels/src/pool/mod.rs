//! Pooling, one image at a time on slices: blocks of 2x2 that halve a feature map, with their gradient, and the windows of 3x3 that
//! InceptionV3 has between its convolutions.

mod block;
mod reference;
mod window;

pub use block::BlockPool;
pub use reference::pool;
pub use window::Pool;
