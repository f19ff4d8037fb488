//! Where images come from.

use super::images::Dataset;
use super::{cifar10, fashion, folder};
use crate::base::error::Meaning;
use anyhow::Result;
use ddpm_model::network::ImageShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataSource {
    /// The embedded 10,000 images of Fashion-MNIST's test file: 28x28, grey, 9,000 to train on, 1,000 held out.
    FashionMnist {},
    /// CIFAR-10 in its official binary layout: 32x32, colour, 50,000 and 10,000.
    Cifar10 {
        /// The folder that holds `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.
        path: PathBuf,
    },
    /// Any folder of PNG, JPEG, WebP or BMP images of one size; where all lie in subfolders, these are the classes.
    Folder {
        /// The folder; its images are taken in the order of their paths.
        path: PathBuf,
        /// Images held out: from each class in proportion, the last ones by name.
        held_out: usize,
    },
}

impl DataSource {
    /// Reads and verifies the whole set. Errors name the file and what is wrong with it.
    pub fn load(&self) -> Result<Dataset> {
        let read = match self {
            DataSource::FashionMnist {} => fashion::load(),
            DataSource::Cifar10 { path } => cifar10::load(path),
            DataSource::Folder { path, held_out } => folder::load(path, *held_out),
        };
        read.needed()
    }

    /// The shape of its images, where that is known without them.
    pub fn shape(&self) -> Option<ImageShape> {
        match self {
            DataSource::FashionMnist {} => Some(fashion::SHAPE),
            DataSource::Cifar10 { .. } => Some(cifar10::SHAPE),
            DataSource::Folder { .. } => None,
        }
    }

    /// The shape of its images; a folder has to be read for it.
    pub fn image(&self) -> Result<ImageShape> {
        self.shape().map_or_else(|| Ok(self.load()?.info.shape), Ok)
    }

    /// Its kind's name in a configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            DataSource::FashionMnist {} => "fashion-mnist",
            DataSource::Cifar10 { .. } => "cifar10",
            DataSource::Folder { .. } => "folder",
        }
    }
}
