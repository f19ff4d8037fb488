//! `ddpm data`: what a data set holds, and whether it is whole.

use super::cache::CacheArgs;
use super::experiment::ExperimentArgs;
use crate::base::data::fetch::{self, Known};
use crate::base::data::split::HeldOut;
use crate::base::data::transform::{Channels, Transform};
use crate::base::data::{Cache, DataSource, Dataset, DatasetInfo, Files, Form, Mixture2d, ParquetFiles, Unfit, prepared};
use crate::base::error::Meaning;
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::base::{atomic, picture, stop};
use crate::experiment::yaml;
use crate::metrics::features::{INCEPTION_BYTES, INCEPTION_PATH, INCEPTION_SHA256, INCEPTION_URL};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Data {
    #[command(subcommand)]
    what: What,
    /// Also write a PNG of the first 100 training images, or 10,000 points
    #[arg(long, short, global = true, value_parser = picture::png_path)]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Decode the images of an experiment once, into files that all its jobs read
    Prepare {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// How images are kept [default: bytes where there is room for them]
        #[arg(long, value_enum)]
        form: Option<Form>,
    },
    /// Read every prepared set, and say which are as they were written, of images that are still the same
    Verify {
        /// Where they are
        #[arg(default_value = "results/data")]
        folder: PathBuf,
    },
    #[command(flatten)]
    Source(Source),
}

#[derive(Debug, Subcommand)]
enum Source {
    /// The embedded images
    FashionMnist,
    /// Points of the plane from the usual mixture of Gaussians
    #[command(name = "mixture-2d")]
    Mixture2d,
    /// CIFAR-10: the binary version, the python version, or Hugging Face's Parquet
    Cifar10 {
        /// The folder with data_batch_1.bin, data_batch_1, or Parquet files
        path: PathBuf,
    },
    /// The weights of InceptionV3 (2015-12-05) for FID: fetched unless they are there, and verified
    Inception {
        /// Where they are kept
        #[arg(default_value = INCEPTION_PATH)]
        path: PathBuf,
    },
    /// A folder of PNG, JPEG, WebP or BMP images
    Folder(Of),
    /// Parquet with an image file in each row, as Hugging Face's data sets have it
    Parquet {
        #[command(flatten)]
        of: Of,
        /// The column of images; where absent, the only one that can be
        #[arg(long)]
        column: Option<String>,
        /// The column of the classes' numbers; where absent, `label`, if there is one
        #[arg(long)]
        label: Option<String>,
    },
    /// LMDB with an image file under each key, as LSUN has it
    Lmdb(Of),
    /// Tar shards of WebDataset
    Tar(Of),
    /// NumPy's .npz (`arr_0`, or downsampled ImageNet's `data`) or .npy of bytes
    Numpy(Of),
}

#[derive(Debug, Args)]
struct Of {
    /// The file, or the folder of several
    path: PathBuf,
    /// Images held out: a number (from each class in proportion, the last ones), '{fraction: 0.01}' or '{listed: FILE}' by their names, or
    /// '{path: PATH}', another file or folder of the kind
    #[arg(long, value_name = "YAML", value_parser = held_out, default_value = "0")]
    held_out: HeldOut,
    /// Leave out images that cannot be read or have another size than the first, instead of refusing the set
    #[arg(long)]
    leave_out: bool,
    /// How images get their size: none, '{kind: guided-diffusion, side: 64}' or '{kind: resize, side: 64, filter: lanczos}'
    #[arg(long, value_name = "YAML", value_parser = transform, default_value = "none")]
    transform: Transform,
    /// The channels that images are given: grey or colour; those that they have where absent
    #[arg(long, value_parser = channels)]
    channels: Option<Channels>,
    #[command(flatten)]
    cache: CacheArgs,
}

/// As it stands in a configuration, as the two below.
fn held_out(text: &str) -> Result<HeldOut, String> {
    let tree = yaml::parse(text, "").map_err(|e| e.to_string())?;
    serde_json::from_value(tree).map_err(|_| "expected a number, {fraction: SHARE}, {listed: FILE} or {path: PATH}".to_string())
}

fn transform(text: &str) -> Result<Transform, String> {
    let tree = yaml::parse(text, "").map_err(|e| e.to_string())?;
    let tree = tree.as_str().map_or(tree.clone(), |kind| json!({ "kind": kind }));
    serde_json::from_value(tree).map_err(|e| e.to_string())
}

fn channels(word: &str) -> Result<Channels, String> {
    serde_json::from_value(json!(word)).map_err(|e| e.to_string())
}

impl Of {
    fn files(self) -> Files {
        let unfit = if self.leave_out { Unfit::LeaveOut } else { Unfit::Refuse };
        Files { path: self.path, held_out: self.held_out, transform: self.transform, channels: self.channels, unfit }
    }
}

impl Source {
    /// The files of a set that may lie anywhere.
    fn of(&self) -> Option<&Of> {
        match self {
            Source::Folder(of) | Source::Parquet { of, .. } | Source::Lmdb(of) | Source::Tar(of) | Source::Numpy(of) => Some(of),
            Source::FashionMnist | Source::Mixture2d | Source::Cifar10 { .. } | Source::Inception { .. } => None,
        }
    }
}

impl Data {
    pub fn run(self) -> Result<Exit> {
        let Data { what, out } = self;
        let source = match what {
            What::Prepare { experiment, form } => {
                stop::listen()?;
                return show(&experiment.prepare(form)?, out.as_deref());
            }
            What::Verify { folder } => return verify(&folder),
            What::Source(source) => source,
        };
        let cache = source.of().map_or(Cache::default(), |of| of.cache.or(Cache::default()));
        let source = match source {
            Source::FashionMnist => DataSource::FashionMnist {},
            Source::Mixture2d => DataSource::Mixture2d(Mixture2d::default()),
            Source::Cifar10 { path } => DataSource::Cifar10 { path },
            Source::Folder(of) => DataSource::Folder(of.files()),
            Source::Lmdb(of) => DataSource::Lmdb(of.files()),
            Source::Tar(of) => DataSource::Tar(of.files()),
            Source::Numpy(of) => DataSource::Numpy(of.files()),
            Source::Parquet { of, column, label } => DataSource::Parquet(ParquetFiles { column, label, ..ParquetFiles::of(of.files()) }),
            Source::Inception { path } => return inception(&path),
        };
        stop::listen()?;
        show(&source.load(&cache)?, out.as_deref())
    }
}

/// What there is, and in `out` a picture of it.
fn show(data: &Dataset, out: Option<&Path>) -> Result<Exit> {
    describe(data);
    if let Some(out) = out {
        let shown = data.train.bytes(0..data.train.len().min(if picture::is_plane(data.info.shape) { 10_000 } else { 100 }))?;
        atomic::write(out, &picture::png(&picture::shown(&shown, data.info.shape, 10, 2))?)?;
        print(&format!("  {}\n", out.display()));
    }
    Ok(Exit::Ok)
}

fn describe(data: &Dataset) {
    let DatasetInfo { name, shape, train, held_out, classes, digest } = &data.info;
    print(&format!("{name}: {}x{}, {} channels\n", shape.height, shape.width, shape.channels));
    let images = if *train == 1 { "image" } else { "images" };
    print(&format!("  {train} training {images}, {held_out} held out, digest {}\n", &digest[..16]));
    if !classes.is_empty() {
        print(&format!("  classes: {}\n", classes.join(", ")));
    }
    if !data.left_out.is_empty() {
        print(&format!("  left out: {}\n", data.left_out.join(", ")));
    }
    print(&format!("  {}\n", data.train.place()));
}

fn verify(folder: &Path) -> Result<Exit> {
    stop::listen()?;
    let sets = prepared::sets(folder).with_context(|| format!("{}: cannot be listed", folder.display())).needed()?;
    let mut good = true;
    for dir in &sets {
        let (whole, found) = prepared::verified(dir)?;
        good &= whole;
        print(&format!("{}\n    {found}\n", dir.display()));
    }
    print(&format!("{} prepared set{}\n", sets.len(), if sets.len() == 1 { "" } else { "s" }));
    Ok(if good { Exit::Ok } else { Exit::Environment })
}

fn inception(path: &Path) -> Result<Exit> {
    let known = Known { url: INCEPTION_URL, bytes: INCEPTION_BYTES, sha256: INCEPTION_SHA256 };
    let mut told = 0;
    let tell = |bytes: u64| {
        if bytes >> 20 > told {
            told = bytes >> 20;
            eprint!("\r{told} of {} MiB", INCEPTION_BYTES >> 20);
        }
    };
    fetch::fetch(&known, path, tell)?;
    print(&format!("{}: whole, SHA-256 {INCEPTION_SHA256}\n", path.display()));
    Ok(Exit::Ok)
}
