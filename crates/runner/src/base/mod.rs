//! What every part stands on: errors and how the program ends, devices, images, files that are whole or absent, words on a terminal.

pub mod atomic;
pub mod cause;
pub mod data;
pub mod device;
pub mod error;
pub mod exit;
pub mod json;
pub mod picture;
pub mod stop;
pub mod text;
