//! Images one after another, as a source has them.

use super::decode::decode;
use super::resample::Picture;
use super::transform::{Channels, Transform, with_channels};
use anyhow::{Context, Result, ensure};
use ddpm_model::network::ImageShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

/// The shape of all images, and where the first of them is.
pub type First = (ImageShape, String);

/// What a source has of an image.
pub enum Content {
    /// A file of its own.
    File(PathBuf),
    /// The bytes of such a file.
    Encoded(Vec<u8>),
    /// Its pixels `[H, W, C]`.
    Pixels(ImageShape, Vec<u8>),
}

impl Content {
    /// Whether there are only pixels.
    pub fn is_pixels(&self) -> bool {
        matches!(self, Content::Pixels(..))
    }

    /// The bytes of its file; none where there are only pixels.
    pub fn file(&self) -> Result<Option<Cow<'_, [u8]>>> {
        match self {
            Content::File(path) => Ok(Some(Cow::Owned(fs::read(path).context("cannot be read")?))),
            Content::Encoded(bytes) => Ok(Some(Cow::Borrowed(bytes))),
            Content::Pixels(..) => Ok(None),
        }
    }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// How they get their size.
    pub transform: Transform,
    /// The channels that they are given; as many as they have where absent.
    pub channels: Option<Channels>,
    /// What happens to others.
    pub unfit: Unfit,
}

impl Fit {
    /// An image's shape and its pixels.
    pub fn picture(&self, entry: &Entry) -> Result<Picture> {
        match &entry.content {
            Content::Pixels(shape, pixels) => self.fitted((*shape, pixels.clone())),
            content => self.decoded(&content.file()?.context("has no file")?),
        }
    }

    /// Those of an image file.
    pub fn decoded(&self, file: &[u8]) -> Result<Picture> {
        self.fitted(decode(file)?)
    }

    fn fitted(&self, picture: Picture) -> Result<Picture> {
        let picture = match self.channels {
            Some(channels) => with_channels(picture, channels.into()),
            None => picture,
        };
        self.transform.apply(picture)
    }
}

/// A folder, and how the names of some of its files begin and end: for a path that does not exist and whose last component has one `*`.
pub fn pattern(path: &Path) -> Option<(&Path, &str, &str)> {
    let (begin, end) = path.file_name()?.to_str()?.split_once('*').filter(|(_, end)| !end.contains('*'))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (!path.exists()).then_some((folder, begin, end))
}

/// The files of a set that may come in several: `path` itself, or those of a folder that end in one of `endings`, by name, all or those of a
/// [`pattern`]. What else lies there, or fits the pattern, is counted in `left_out`.
pub fn files(path: &Path, endings: &[&str], left_out: &mut BTreeMap<String, usize>) -> Result<Vec<PathBuf>> {
    let (folder, begin, end) = match pattern(path) {
        Some(pattern) => {
            ensure!(pattern.0.is_dir(), "{}: is not there", pattern.0.display());
            pattern
        }
        None if path.is_dir() => (path, "", ""),
        None => {
            ensure!(path.exists(), "{}: is not there", path.display());
            return Ok(vec![path.to_path_buf()]);
        }
    };
    let list = || format!("{}: cannot be listed", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(list)? {
        let file = entry.with_context(list)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)) {
            continue;
        }
        let name = name.to_lowercase();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// All files of a folder or those that fit a pattern, by name; one whose name has a star is itself.
    #[test]
    fn files_are_those_that_are_meant() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["train-1.tar", "train-0.tar", "train-.txt", "test-0.tar", "train", ".train-9.tar", "odd*.tar"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        let found = |path: &str| -> Result<Vec<String>> {
            let found = files(&dir.path().join(path), &[".tar"], &mut BTreeMap::new())?;
            Ok(found.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect())
        };
        assert_eq!(found("").unwrap(), ["odd*.tar", "test-0.tar", "train-0.tar", "train-1.tar"]);
        assert_eq!(found("train-*").unwrap(), ["train-0.tar", "train-1.tar"]);
        assert_eq!(found("*-0.tar").unwrap(), ["test-0.tar", "train-0.tar"]);
        assert_eq!(found("train-0*0.tar").unwrap_err().to_string().split(": ").nth(1), Some("expected files that end in .tar, found none"));
        assert_eq!(found("odd*.tar").unwrap(), ["odd*.tar"]);
        assert_eq!(found("train-1.tar").unwrap(), ["train-1.tar"]);
        for path in ["t*-*", "train-2.tar", "elsewhere/train-*"] {
            assert!(found(path).unwrap_err().to_string().ends_with("is not there"), "{path}");
        }
        let mut left_out = BTreeMap::new();
        files(&dir.path().join("train-*"), &[".tar"], &mut left_out).unwrap();
        assert_eq!(left_out.into_iter().collect::<Vec<_>>(), [(".txt".to_string(), 1)]);
    }
}
