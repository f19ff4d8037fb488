//! Where images come from.

use super::cache::{self, Cache};
use super::decode::KINDS;
use super::entries::{Beside, Fit, See, Unfit, pattern};
use super::gather::{About, Gathered};
use super::images::{Dataset, DatasetInfo};
use super::mixture::Mixture2d;
use super::set::Origin;
use super::split::HeldOut;
use super::transform::{Channels, Transform};
use super::{arrays, cifar10, fashion, folder, lmdb, mixture, parquet, tar};
use crate::base::error::Meaning;
use anyhow::{Result, anyhow, bail};
use ddpm_model::network::ImageShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Shows the images of a file or folder.
type Each<'a> = dyn Fn(&Path, &mut See) -> Result<Beside> + 'a;

/// How a set is read.
enum Reading<'a> {
    /// One whose files are known.
    Known(Box<dyn Fn() -> Result<Dataset> + 'a>),
    /// Any other: its files, what decides beside them which images there are, and who shows these.
    Files(Files, serde_json::Value, Box<Each<'a>>),
}

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
    /// Points of the plane from a mixture of Gaussians, as images of one pixel with two channels: the score and the law of samples are known
    /// exactly.
    #[serde(rename = "mixture-2d")]
    Mixture2d(Mixture2d),
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
    /// The file, or the folder of several, which are taken by name; of tar and NumPy, `FOLDER/train-*` is those whose names fit.
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
    /// The file, or the folder of several, which are taken by name; `FOLDER/train-*` is those whose names fit.
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
    /// The set, read and verified whole; from its prepared files where it is large and has some, which are made where it has none. Errors name
    /// the file and what is wrong with it.
    pub fn load(&self, cache: &Cache) -> Result<Dataset> {
        let (files, of, each) = match self.reading() {
            Reading::Known(load) => return load().needed(),
            Reading::Files(files, of, each) => (files, of, each),
        };
        let all = |path: &Path, held_out: &HeldOut| {
            cache::load(cache, &Origin { path, of: of.clone(), endings: self.endings(), each: &*each }, files.fit(), held_out).needed()
        };
        let (mut found, part) = all(&files.path, &files.held_out)?;
        let mut parts = vec![part];
        if let Some(path) = files.held_out.elsewhere() {
            let (others, part) = all(path, &HeldOut::NONE)?;
            found.hold_out(others, &files.path, path).needed()?;
            parts.push(part);
        }
        let Gathered { train, held_out, about: About { classes, left_out, .. } } = found;
        let digest = cache::digest_once(&train, &held_out, &parts, &files.held_out)?;
        // Of some files of a folder, the folder's.
        let named = pattern(&files.path).map_or(&*files.path, |(folder, ..)| folder);
        let name = named.file_name().map_or_else(|| self.kind().into(), |n| n.to_string_lossy().into_owned());
        let info = DatasetInfo { name, shape: train.shape, train: train.len(), held_out: held_out.len(), classes, digest };
        Ok(Dataset { info, train, held_out, left_out })
    }

    /// How it is read.
    fn reading(&self) -> Reading<'_> {
        let (files, each): (&Files, Box<Each>) = match self {
            DataSource::FashionMnist {} => return Reading::Known(Box::new(fashion::load)),
            DataSource::Cifar10 { path } => return Reading::Known(Box::new(|| cifar10::load(path))),
            DataSource::Mixture2d(mixture) => return Reading::Known(Box::new(|| mixture.load())),
            DataSource::Folder(files) => (files, Box::new(folder::each)),
            DataSource::Lmdb(files) => (files, Box::new(lmdb::each)),
            DataSource::Tar(files) => (files, Box::new(tar::each)),
            DataSource::Numpy(files) => (files, Box::new(arrays::each)),
            DataSource::Parquet(ParquetFiles { path, held_out, column, label, transform, channels, unfit }) => {
                let (path, held_out) = (path.clone(), held_out.clone());
                let files = Files { path, held_out, transform: *transform, channels: *channels, unfit: *unfit };
                let each = |path: &Path, see: &mut See| parquet::each(path, column.as_deref(), label.as_deref(), see);
                return Reading::Files(files, json!([self.kind(), column, label]), Box::new(each));
            }
        };
        Reading::Files(files.clone(), json!(self.kind()), each)
    }

    /// How its files end; none where each image is a file of its own.
    fn endings(&self) -> Option<&'static [&'static str]> {
        match self {
            DataSource::Folder(_) | DataSource::FashionMnist {} | DataSource::Cifar10 { .. } | DataSource::Mixture2d(_) => None,
            DataSource::Parquet(_) => Some(&parquet::ENDINGS),
            DataSource::Lmdb(_) => Some(&lmdb::ENDINGS),
            DataSource::Tar(_) => Some(&tar::ENDINGS),
            DataSource::Numpy(_) => Some(&arrays::ENDINGS),
        }
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
            DataSource::Mixture2d(_) => Some(mixture::SHAPE),
            _ => None,
        }
    }

    /// The shape of its images; files are read for it up to the first image that fits.
    pub fn image(&self) -> Result<ImageShape> {
        let (files, each) = match self.reading() {
            Reading::Known(load) => return Ok(load().needed()?.info.shape),
            Reading::Files(files, _, each) => (files, each),
        };
        let (mut shape, fit) = (None, files.fit());
        let shown = each(&files.path, &mut |entry| {
            match fit.picture(&entry) {
                Ok((found, _)) => shape = Some(found),
                Err(error) if fit.unfit == Unfit::Refuse => return Err(error.context(entry.place)),
                Err(_) => return Ok(()),
            }
            Err(anyhow!("the first is enough"))
        });
        match shape {
            Some(shape) => Ok(shape),
            None => shown.and_then(|_| bail!("{}: expected {KINDS} images, found none", files.path.display())).needed(),
        }
    }

    /// What does not fit in itself, as (key, problem).
    pub fn check(&self) -> Result<(), (String, String)> {
        match self {
            DataSource::Mixture2d(mixture) => mixture.check(),
            _ => Ok(()),
        }
    }

    /// The mixture that its points are of, where it is one.
    pub fn mixture(&self) -> Option<&Mixture2d> {
        match self {
            DataSource::Mixture2d(mixture) => Some(mixture),
            _ => None,
        }
    }

    /// Its kind's name in a configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            DataSource::FashionMnist {} => "fashion-mnist",
            DataSource::Cifar10 { .. } => "cifar10",
            DataSource::Mixture2d(_) => "mixture-2d",
            DataSource::Folder(_) => "folder",
            DataSource::Parquet(_) => "parquet",
            DataSource::Lmdb(_) => "lmdb",
            DataSource::Tar(_) => "tar",
            DataSource::Numpy(_) => "numpy",
        }
    }
}
