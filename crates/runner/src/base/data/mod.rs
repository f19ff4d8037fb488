//! Data sets: 8-bit images of one shape, split into those that are trained on and those that are held out.

pub mod arrays;
mod cifar10;
pub mod decode;
mod entries;
mod fashion;
pub mod fetch;
mod folder;
mod images;
mod lmdb;
mod parquet;
pub mod resample;
mod source;
pub mod split;
mod tar;
pub mod transform;

pub use entries::Unfit;
#[cfg(test)]
pub(crate) use images::few;
pub use images::{Dataset, DatasetInfo, Images, sha256};
pub use source::{DataSource, Files, ParquetFiles};
