//! Tar shards as WebDataset writes them: files whose names are equal up to the first dot are one sample, the image with its `.cls`, the
//! number of its class as text.

use super::decode::is_image;
use super::entries::{Beside, Content, Entry, See, files, kind};
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::interop::foreign;
use flate2::read::MultiGzDecoder;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use tar::{Archive, EntryType};

/// How shards end.
pub const ENDINGS: [&str; 3] = [".tar", ".tar.gz", ".tgz"];

/// An archive's unit; it ends with two of zeros.
const BLOCK: u64 = 512;

/// The largest image file that is believed.
const LARGEST: u64 = 1 << 30;

/// Shows the images of an archive, or of those in a folder by name, in the archives' order.
pub fn each(path: &Path, see: &mut See) -> Result<Beside> {
    let mut beside = Beside::default();
    for shard in files(path, &ENDINGS, &mut beside.left_out)? {
        archive(&shard, &mut beside.left_out, see).with_context(|| shard.display().to_string())?;
    }
    Ok(beside)
}

/// What has been read of a sample: names up to the first dot are its key.
#[derive(Default)]
struct Sample {
    key: String,
    class: Option<usize>,
    images: Vec<(String, Vec<u8>)>,
}

impl Sample {
    /// Shows its image, if it has one.
    fn show(mut self, origin: &str, see: &mut See) -> Result<()> {
        let Some((name, bytes)) = self.images.pop() else { return Ok(()) };
        if let Some((other, _)) = self.images.pop() {
            bail!("{}: expected one image of each sample, got {other} and {name}", self.key);
        }
        see(Entry { place: format!("{origin}: {name}"), name, class: self.class, content: Content::Encoded(bytes) })
    }
}

fn archive(shard: &Path, left_out: &mut BTreeMap<String, usize>, see: &mut See) -> Result<()> {
    let origin = shard.display().to_string();
    let mut archive = Archive::new(Ending { inner: unpacked(shard)?, zeros: 0 });
    let mut sample = Sample::default();
    for file in archive.entries()? {
        let mut file = file.context("is no tar archive, or is damaged")?;
        if file.header().entry_type() != EntryType::Regular {
            continue;
        }
        let path = file.path().context("is damaged: it holds a file without a name")?.into_owned();
        let name = path.to_string_lossy().into_owned();
        let base = path.file_name().unwrap_or_default().to_string_lossy();
        let key = name[..name.len() - base.len()].to_string() + base.split('.').next().unwrap_or_default();
        if key != sample.key {
            std::mem::replace(&mut sample, Sample { key, ..Sample::default() }).show(&origin, see)?;
        }
        let is_class = base.ends_with(".cls");
        if base.starts_with('.') || !(is_class || is_image(&path)) {
            *left_out.entry(kind(&path)).or_default() += 1;
            continue;
        }
        let size = file.size();
        ensure!(size <= LARGEST, "{name}: expected at most {LARGEST} bytes, got {size}");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| name.clone())?;
        ensure!(bytes.len() as u64 == size, "{name}: is cut short: expected {size} bytes, got {}", bytes.len());
        if is_class {
            let text = String::from_utf8_lossy(&bytes).trim().to_string();
            sample.class = Some(text.parse().with_context(|| format!("{name}: expected the number of a class, got {text:.20}"))?);
        } else {
            sample.images.push((name, bytes));
        }
    }
    sample.show(&origin, see)?;
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).context("is damaged")?;
    ensure!(rest.zeros >= BLOCK, "is cut short: it has no end");
    Ok(())
}

/// The archive's bytes, without their compression.
fn unpacked(shard: &Path) -> Result<Box<dyn Read>> {
    let mut start = Vec::new();
    File::open(shard).and_then(|file| file.take(64).read_to_end(&mut start)).context("cannot be read")?;
    if let Some(what) = foreign(&start) {
        bail!(what);
    }
    let file = BufReader::with_capacity(1 << 20, File::open(shard).context("cannot be read")?);
    Ok(if start.starts_with(&[0x1f, 0x8b]) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Counts the zeros that what has been read ends with.
struct Ending {
    inner: Box<dyn Read>,
    zeros: u64,
}

impl Read for Ending {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let zeros = buffer[..n].iter().rev().take_while(|byte| **byte == 0).count() as u64;
        self.zeros = if zeros == n as u64 { self.zeros + zeros } else { zeros };
        Ok(n)
    }
}
