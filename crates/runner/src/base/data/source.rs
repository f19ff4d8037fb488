//! Where images come from.

use super::entries::{Beside, Fit, Gathered, See, Unfit, gather};
use super::images::Dataset;
use super::split::HeldOut;
use super::transform::{Channels, Transform};
use super::{arrays, cifar10, fashion, folder, lmdb, parquet, tar};
use crate::base::error::Meaning;
use anyhow::Result;
use ddpm_model::network::ImageShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Shows the images of a file or folder.
type Show<'a> = dyn Fn(&Path, &mut See) -> Result<Beside> + 'a;

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataSource {
    /// The embedded 10,000 images of Fashion-MNIST's test file: 28x28, grey, 9,000 to train on, 1,000 held out.
    FashionMnist {},
    /// CIFAR-10: 32x32, colour, 50,000 and 10,000.
    Cifar10 {
        /// The folder of the binary version (`data_batch_1.bin` and so on), of the python version (`data_batch_1`), or of Hugging Face's
        /// Parquet files. All give the same images in the same order.
        path: PathBuf,
    },
    /// Any folder of PNG, JPEG, WebP or BMP images of one size; where all lie in subfolders, these are the classes.
    Folder(Files),
    /// Parquet with an image file in each row, as Hugging Face's data sets have it.
    Parquet(ParquetFiles),
    /// LMDB with an image file under each key, as LSUN has it.
    Lmdb(Files),
    /// Tar shards of WebDataset: images, and their classes in `.cls` files of the same name.
    Tar(Files),
    /// NumPy's `.npz` or `.npy` of bytes: `arr_0` `[n, H, W, C]` as guided-diffusion has it, or `data` `[n, 3 * H * W]` as downsampled
    /// ImageNet has it.
    Numpy(Files),
}

/// Files of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The file, or the folder of several, which are taken by name.
    pub path: PathBuf,
    /// Images held out: a number (from each class in proportion, the last ones), `{fraction: 0.01}` or `{listed: FILE}` by their names, or
    /// `{path: PATH}`, another file or folder of the kind.
    pub held_out: HeldOut,
    /// How they get their size: `none`, or `{kind: guided-diffusion, side}` or `{kind: resize, side, filter}`.
    #[serde(default)]
    pub transform: Transform,
    /// The channels that they are given, `grey` or `colour`; those that they have where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// Images that cannot be read, or have another shape than the first.
    #[serde(default)]
    pub unfit: Unfit,
}

/// Parquet files of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetFiles {
    /// The file, or the folder of several, which are taken by name.
    pub path: PathBuf,
    /// Images held out: a number (from each class in proportion, the last ones), `{fraction: 0.01}` or `{listed: FILE}` by their names, or
    /// `{path: PATH}`, another file or folder of the kind.
    pub held_out: HeldOut,
    /// The column of images; where absent, the only one that can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The column of the classes' numbers; where absent, `label`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How they get their size: `none`, or `{kind: guided-diffusion, side}` or `{kind: resize, side, filter}`.
    #[serde(default)]
    pub transform: Transform,
    /// The channels that they are given, `grey` or `colour`; those that they have where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// Images that cannot be read, or have another shape than the first.
    #[serde(default)]
    pub unfit: Unfit,
}

impl ParquetFiles {
    /// With the columns that are found.
    pub fn of(files: Files) -> ParquetFiles {
        let Files { path, held_out, transform, channels, unfit } = files;
        ParquetFiles { path, held_out, column: None, label: None, transform, channels, unfit }
    }
}

impl Files {
    /// All images as they are, none held out.
    pub fn all(path: &Path) -> Files {
        Files { path: path.into(), held_out: HeldOut::NONE, transform: Transform::default(), channels: None, unfit: Unfit::default() }
    }

    fn fit(&self) -> Fit {
        Fit { transform: self.transform, channels: self.channels, unfit: self.unfit }
    }
}

impl DataSource {
    /// Reads and verifies the whole set. Errors name the file and what is wrong with it.
    pub fn load(&self) -> Result<Dataset> {
        let (files, each): (_, &Show) = match self {
            DataSource::FashionMnist {} => return fashion::load().needed(),
            DataSource::Cifar10 { path } => return cifar10::load(path).needed(),
            DataSource::Folder(files) => (files.clone(), &folder::each),
            DataSource::Lmdb(files) => (files.clone(), &lmdb::each),
            DataSource::Tar(files) => (files.clone(), &tar::each),
            DataSource::Numpy(files) => (files.clone(), &arrays::each),
            DataSource::Parquet(ParquetFiles { path, held_out, column, label, transform, channels, unfit }) => {
                let files =
                    Files { path: path.clone(), held_out: held_out.clone(), transform: *transform, channels: *channels, unfit: *unfit };
                (files, &|path: &Path, see: &mut See| parquet::each(path, column.as_deref(), label.as_deref(), see))
            }
        };
        let all =
            |path: &Path, held_out: &HeldOut| gather(&path.display().to_string(), files.fit(), held_out, |see| each(path, see)).needed();
        let mut found = all(&files.path, &files.held_out)?;
        if let Some(path) = files.held_out.elsewhere() {
            found.hold_out(all(path, &HeldOut::NONE)?, &files.path, path).needed()?;
        }
        let Gathered { train, held_out, classes, left_out, .. } = found;
        let name = files.path.file_name().map_or_else(|| self.kind().into(), |n| n.to_string_lossy().into_owned());
        Ok(Dataset { left_out, ..Dataset::new(&name, train, held_out, classes) })
    }

    /// The images of a folder, or of a file whose name says what it holds, of which none is held out; none where it does not say so.
    pub fn at(path: &Path) -> Option<DataSource> {
        let files = Files::all(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        match () {
            () if path.is_dir() => Some(DataSource::Folder(files)),
            () if ends(&parquet::ENDINGS) => Some(DataSource::Parquet(ParquetFiles::of(files))),
            () if ends(&tar::ENDINGS) => Some(DataSource::Tar(files)),
            () if ends(&arrays::ENDINGS) => Some(DataSource::Numpy(files)),
            () if ends(&[".mdb"]) => Some(DataSource::Lmdb(files)),
            () => None,
        }
    }

    /// The shape of its images, where that is known without them.
    pub fn shape(&self) -> Option<ImageShape> {
        match self {
            DataSource::FashionMnist {} => Some(fashion::SHAPE),
            DataSource::Cifar10 { .. } => Some(cifar10::SHAPE),
            _ => None,
        }
    }

    /// The shape of its images; files have to be read for it.
    pub fn image(&self) -> Result<ImageShape> {
        self.shape().map_or_else(|| Ok(self.load()?.info.shape), Ok)
    }

    /// Its kind's name in a configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            DataSource::FashionMnist {} => "fashion-mnist",
            DataSource::Cifar10 { .. } => "cifar10",
            DataSource::Folder(_) => "folder",
            DataSource::Parquet(_) => "parquet",
            DataSource::Lmdb(_) => "lmdb",
            DataSource::Tar(_) => "tar",
            DataSource::Numpy(_) => "numpy",
        }
    }
}
