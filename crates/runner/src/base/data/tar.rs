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

/// An archive's unit; it ends with one of zeros at least.
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
    let mut archive = Archive::new(Counting { inner: unpacked(shard)?, read: 0 });
    let mut sample = Sample::default();
    // Where the mark of the archive's end has to be.
    let mut end = 0;
    for file in archive.entries()? {
        let mut file = file.context("is no tar archive, or is damaged")?;
        let kind_of_file = file.header().entry_type();
        let is_file = matches!(kind_of_file, EntryType::Regular | EntryType::Continuous);
        let size = if is_file { file.size() } else { file.header().entry_size()? };
        end = file.raw_file_position() + size.next_multiple_of(BLOCK);
        let name = String::from_utf8_lossy(&file.path_bytes()).into_owned();
        let is_folder = kind_of_file.is_dir() || name.ends_with('/');
        if is_folder && size == 0 || kind_of_file.is_pax_global_extensions() {
            continue;
        }
        if !is_file || is_folder {
            *left_out.entry("links, or other special files".into()).or_default() += 1;
            continue;
        }
        let path = Path::new(&name);
        let (folder, base) = name.rsplit_once('/').unwrap_or(("", &name));
        let key = format!("{folder}/{}", base.split('.').next().unwrap_or_default());
        if key != sample.key {
            std::mem::replace(&mut sample, Sample { key, ..Sample::default() }).show(&origin, see)?;
        }
        let is_class = base.ends_with(".cls");
        if base.starts_with('.') || !(is_class || is_image(path)) {
            *left_out.entry(kind(path)).or_default() += 1;
            continue;
        }
        ensure!(size <= LARGEST, "{name}: expected at most {LARGEST} bytes, got {size}");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| name.clone())?;
        ensure!(bytes.len() as u64 == size, "{name}: is cut short: expected {size} bytes, got {}", bytes.len());
        if is_class {
            let text = String::from_utf8_lossy(&bytes).trim().to_string();
            let class: i64 = text.parse().with_context(|| format!("{name}: expected the number of a class, got {text:.20}"))?;
            sample.class = usize::try_from(class).ok();
        } else {
            sample.images.push((name, bytes));
        }
    }
    sample.show(&origin, see)?;
    let mut rest = archive.into_inner();
    ensure!(rest.read >= end + BLOCK, "is cut short: it has no end");
    let mut block = [0; BLOCK as usize];
    loop {
        match rest.read(&mut block).context("is damaged")? {
            0 => return Ok(()),
            n => {
                ensure!(block[..n].iter().all(|byte| *byte == 0), "goes on behind its end: it is damaged, or several archives in one file")
            }
        }
    }
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

/// Counts what has been read.
struct Counting {
    inner: Box<dyn Read>,
    read: u64,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read += n as u64;
        Ok(n)
    }
}
