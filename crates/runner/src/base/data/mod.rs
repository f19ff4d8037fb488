//! Data sets: 8-bit images of one shape, split into those that are trained on and those that are held out.

mod cifar10;
pub mod decode;
mod fashion;
pub mod fetch;
pub mod folder;
mod images;
mod source;

#[cfg(test)]
pub(crate) use images::few;
pub use images::{Dataset, DatasetInfo, Images, sha256};
pub use source::DataSource;
