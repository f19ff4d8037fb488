//! Images one after another, as a source has them, and their way into memory.

use super::decode::{KINDS, decode};
use super::images::Images;
use super::split::{HeldOut, Split};
use super::transform::{Channels, Transform, with_channels};
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::network::ImageShape;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How many images are decoded together: enough for every core, few beside a set.
const CHUNK: usize = 512;

/// Most classes: labels are bytes.
const CLASSES: usize = 256;

/// An image as its source has it.
pub struct Entry {
    /// By which a person finds it: a path, a key, a row of a file.
    pub place: String,
    /// Its name in its set, wherever that lies: the path in a folder or an archive, the key, `FILE:ROW`.
    pub name: String,
    /// The number of its class, where the source has classes.
    pub class: Option<usize>,
    /// What there is of it.
    pub content: Content,
}

impl Entry {
    /// The image's shape and its pixels.
    pub fn pixels(&self) -> Result<(ImageShape, Vec<u8>)> {
        match &self.content {
            Content::File(path) => decode(&fs::read(path).context("cannot be read")?),
            Content::Encoded(bytes) => decode(bytes),
            Content::Pixels(shape, pixels) => Ok((*shape, pixels.clone())),
        }
    }
}

/// What a source has of an image.
pub enum Content {
    /// A file of its own.
    File(PathBuf),
    /// The bytes of such a file.
    Encoded(Vec<u8>),
    /// Its pixels `[H, W, C]`.
    Pixels(ImageShape, Vec<u8>),
}

/// What a source says once its images have been seen.
#[derive(Debug, Default)]
pub struct Beside {
    /// The classes' names by their numbers, where it knows them.
    pub classes: Vec<String>,
    /// How many of which kind lie beside the images and are not read, for a person.
    pub left_out: BTreeMap<String, usize>,
}

/// Who is shown a source's images, one after another, in an order that is always the same. An error ends the showing.
pub type See<'a> = dyn FnMut(Entry) -> Result<()> + 'a;

/// What happens where an image cannot be read, or has another shape than the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unfit {
    /// Nothing is read; the error names the image.
    #[default]
    Refuse,
    /// It is left out, and counted.
    LeaveOut,
}

/// What is done to images so that they are all alike, and where they are not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fit {
    /// How they get their size.
    pub transform: Transform,
    /// The channels that they are given; as many as they have where absent.
    pub channels: Option<Channels>,
    /// What happens to others.
    pub unfit: Unfit,
}

impl Fit {
    fn picture(&self, entry: &Entry) -> Result<(ImageShape, Vec<u8>)> {
        let picture = entry.pixels()?;
        let picture = match self.channels {
            Some(channels) => with_channels(picture, channels.into()),
            None => picture,
        };
        self.transform.apply(picture)
    }
}

/// A source's images in memory, split.
#[derive(Debug)]
pub struct Gathered {
    /// Images to train on.
    pub train: Images,
    /// Images never trained on.
    pub held_out: Images,
    /// The classes' names, where there are any.
    pub classes: Vec<String>,
    /// Whether the source knows these names; else they are numbers.
    named: bool,
    /// What is not among them, for a person.
    pub left_out: Vec<String>,
}

impl Gathered {
    /// With the images of another set held out; `here` and `there` are where both were found.
    pub fn hold_out(&mut self, others: Gathered, here: &Path, there: &Path) -> Result<()> {
        let (shape, other) = (self.train.shape, others.train.shape);
        ensure!(other == shape, "{}: expected {shape}, as {} has, got {other}", there.display(), here.display());
        if self.named || others.named || self.classes.is_empty() != others.classes.is_empty() {
            let words = |classes: &[String]| if classes.is_empty() { "none".into() } else { classes.join(", ") };
            let (expected, got) = (words(&self.classes), words(&others.classes));
            ensure!(expected == got, "{}: expected the classes of {}, {expected}, got {got}", there.display(), here.display());
        } else if others.classes.len() > self.classes.len() {
            self.classes = others.classes;
        }
        self.held_out = others.train;
        self.left_out.extend(others.left_out);
        Ok(())
    }
}

/// Decodes all images that `show` shows, and splits them. Errors of the set as a whole begin with `origin`.
pub fn gather(origin: &str, fit: Fit, held_out: &HeldOut, show: impl FnOnce(&mut See) -> Result<Beside>) -> Result<Gathered> {
    let split = Split::of(held_out)?;
    let (pixels, labels, held, unread) = Default::default();
    let mut decoder = Decoder { fit, split, first: None, pixels, labels, held, unread };
    let mut chunk = Vec::with_capacity(CHUNK);
    let beside = show(&mut |entry| {
        chunk.push(entry);
        if chunk.len() == CHUNK { decoder.decode(&mut chunk) } else { Ok(()) }
    })?;
    decoder.decode(&mut chunk)?;
    let Decoder { split, first, mut pixels, labels, held, unread, .. } = decoder;
    let mut left_out: Vec<String> = beside.left_out.into_iter().chain(unread).map(|(what, n)| format!("{n} {what}")).collect();
    let Some((shape, _)) = first else {
        let beside = if left_out.is_empty() { String::new() } else { format!(" (there are: {})", left_out.join(", ")) };
        bail!("{origin}: expected {KINDS} images, found none{beside}");
    };
    let n = labels.len();
    // Where an image has no class, none is kept.
    let without = labels.iter().filter(|label| label.is_none()).count();
    if (1..n).contains(&without) {
        left_out.push(format!("the classes, which {without} of {n} images do not have"));
    }
    let numbers = labels.into_iter().collect::<Option<Vec<usize>>>();
    let count = numbers.as_ref().and_then(|labels| labels.iter().max()).map_or(0, |last| last.saturating_add(1));
    let known = beside.classes.len();
    ensure!(
        known == 0 || count <= known,
        "{origin}: expected classes below {known}, the number of their names, got {}",
        count.wrapping_sub(1)
    );
    let held = split.end(held, &numbers.clone().unwrap_or_else(|| vec![0; n]), origin)?;
    let kept = numbers.filter(|_| count <= CLASSES);
    if count > CLASSES {
        left_out.push(format!("the names of {count} classes, of which at most {CLASSES} are kept"));
    }
    // In place: there may be no room for a copy.
    let (len, mut apart, mut trained) = (shape.len(), Vec::new(), 0);
    for (i, held) in held.iter().enumerate() {
        if *held {
            apart.extend_from_slice(&pixels[i * len..(i + 1) * len]);
        } else {
            pixels.copy_within(i * len..(i + 1) * len, trained * len);
            trained += 1;
        }
    }
    pixels.truncate(trained * len);
    let labels = |wanted: bool| {
        let of =
            |labels: &Vec<usize>| labels.iter().zip(&held).filter(|(_, held)| **held == wanted).map(|(label, _)| *label as u8).collect();
        kept.as_ref().map_or_else(Vec::new, of)
    };
    let (train, held_out) = (Images { shape, pixels, labels: labels(false) }, Images { shape, pixels: apart, labels: labels(true) });
    let named = !beside.classes.is_empty();
    let classes = match &kept {
        Some(_) if !named => (0..count).map(|class| class.to_string()).collect(),
        Some(_) => beside.classes,
        None => Vec::new(),
    };
    Ok(Gathered { train, held_out, classes, named, left_out })
}

/// Images on their way into memory.
struct Decoder {
    fit: Fit,
    split: Split,
    /// The first image's shape and name.
    first: Option<(ImageShape, String)>,
    pixels: Vec<u8>,
    labels: Vec<Option<usize>>,
    held: Vec<bool>,
    /// How many images are left out, and why.
    unread: BTreeMap<String, usize>,
}

impl Decoder {
    fn decode(&mut self, chunk: &mut Vec<Entry>) -> Result<()> {
        let decoded: Vec<Result<(ImageShape, Vec<u8>)>> = chunk.par_iter().map(|entry| self.fit.picture(entry)).collect();
        for (entry, decoded) in chunk.drain(..).zip(decoded) {
            // Of those that are left out too: a list may name them.
            let held = self.split.holds(&entry.name);
            let (shape, image) = match decoded {
                Ok(decoded) => decoded,
                Err(_) if self.fit.unfit == Unfit::LeaveOut => {
                    *self.unread.entry("that cannot be read".into()).or_default() += 1;
                    continue;
                }
                Err(error) => return Err(error.context(entry.place)),
            };
            let (expected, whose) = self.first.get_or_insert_with(|| (shape, entry.place.clone()));
            if shape == *expected {
                self.pixels.extend(image);
                self.labels.push(entry.class);
                self.held.push(held);
            } else if self.fit.unfit == Unfit::LeaveOut {
                *self.unread.entry(format!("of a shape other than {expected}")).or_default() += 1;
            } else {
                bail!("{}: expected {expected}, as {whose} has, got {shape}", entry.place);
            }
        }
        Ok(())
    }
}

/// The files of a set that may come in several: `path` itself, or those of a folder that end in one of `endings`, by name. What else lies
/// there is counted in `left_out`.
pub fn files(path: &Path, endings: &[&str], left_out: &mut BTreeMap<String, usize>) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        ensure!(path.exists(), "{}: is not there", path.display());
        return Ok(vec![path.to_path_buf()]);
    }
    let list = || format!("{}: cannot be listed", path.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(list)? {
        let file = entry.with_context(list)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        match endings.iter().any(|ending| name.ends_with(ending)) && !name.starts_with('.') {
            true => found.push(file),
            false => *left_out.entry(kind(&file)).or_default() += 1,
        }
    }
    ensure!(!found.is_empty(), "{}: expected files that end in {}, found none", path.display(), endings.join(" or "));
    found.sort();
    Ok(found)
}

/// What file managers leave, and hidden files, are counted as: macOS's `._a.png` has the name of an image and is none.
pub const HIDDEN: &str = "of the file manager's, or hidden";

/// What a file that is no image is counted as.
pub fn kind(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with('.') || name.eq_ignore_ascii_case("Thumbs.db") || name.eq_ignore_ascii_case("desktop.ini") {
        return HIDDEN.into();
    }
    path.extension().map_or_else(|| "without an extension".into(), |e| format!(".{}", e.to_string_lossy()))
}
