//! The report as one HTML page that works without a network: everything that it shows stands in it.

mod content;
mod document;
mod images;
mod overview;

pub use document::page;
pub use images::pictures;
pub use overview::{Brief, overview};
