//! `ddpm data`: what a data set holds, and whether it is whole.

use crate::base::data::fetch::{self, Known};
use crate::base::data::{DataSource, DatasetInfo};
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::base::{atomic, picture};
use crate::metrics::features::{INCEPTION_BYTES, INCEPTION_PATH, INCEPTION_SHA256, INCEPTION_URL};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Data {
    #[command(subcommand)]
    source: Source,
    /// Also write a PNG of the first 100 training images
    #[arg(long, short, global = true, value_parser = picture::png_path)]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// The embedded images
    FashionMnist,
    /// CIFAR-10's official binary version
    Cifar10 {
        /// The folder with data_batch_1.bin and the others
        path: PathBuf,
    },
    /// The weights of InceptionV3 (2015-12-05) for FID: fetched unless they are there, and verified
    Inception {
        /// Where they are kept
        #[arg(default_value = INCEPTION_PATH)]
        path: PathBuf,
    },
    /// A folder of PNG, JPEG, WebP or BMP images
    Folder {
        /// The folder
        path: PathBuf,
        /// Images held out: from each class in proportion, the last ones by name
        #[arg(long, default_value_t = 0)]
        held_out: usize,
    },
}

impl Data {
    pub fn run(self) -> Result<Exit> {
        let source = match self.source {
            Source::FashionMnist => DataSource::FashionMnist {},
            Source::Cifar10 { path } => DataSource::Cifar10 { path },
            Source::Folder { path, held_out } => DataSource::Folder { path, held_out },
            Source::Inception { path } => return inception(&path),
        };
        let data = source.load()?;
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
        if let Some(out) = self.out {
            let shown = &data.train.pixels[..data.train.pixels.len().min(100 * shape.len())];
            atomic::write(&out, &picture::png(&picture::grid(shown, *shape, 10, 2))?)?;
            print(&format!("  {}\n", out.display()));
        }
        Ok(Exit::Ok)
    }
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
