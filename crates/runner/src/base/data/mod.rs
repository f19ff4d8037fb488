//! Data sets: 8-bit images of one shape, split into those that are trained on and those that are held out.

pub mod arrays;
mod cache;
mod cifar10;
pub mod decode;
mod entries;
mod fashion;
pub mod fetch;
mod folder;
mod gather;
mod images;
mod lmdb;
mod loader;
mod mixture;
mod parquet;
pub mod prepared;
mod preparing;
pub mod resample;
mod set;
mod source;
pub mod split;
mod tar;
mod traces;
pub mod transform;

pub use cache::Cache;
pub use entries::Unfit;
#[cfg(test)]
pub(crate) use images::few;
pub use images::{Dataset, DatasetInfo, Images, sha256, tensor};
pub use loader::{Loader, Portions};
pub use mixture::{Mixture2d, Mode2d};
pub use prepared::Form;
pub use source::{DataSource, Files, ParquetFiles};
