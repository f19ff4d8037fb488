//! Files as they were when they were read, by which it is seen that they have changed.

use super::{entries, folder};
use crate::base::stop;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A set's files and folders as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// The file or folder that the set is.
    root: PathBuf,
    /// How files end that are read; none where each image is a file of its own.
    endings: Option<Vec<String>>,
    /// The files that are read; where each image is one, the folders that they are in.
    at: Vec<Trace>,
    /// Where each image is a file: BLAKE3 of all their names, sizes and times.
    images: Option<String>,
}

/// A file or a folder as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trace {
    path: PathBuf,
    /// None of a folder.
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: i128,
}

impl Trace {
    fn of(path: &Path) -> Result<Trace> {
        let is = fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let modified = i128::from(is.mtime()) * 1_000_000_000 + i128::from(is.mtime_nsec());
        Ok(Trace { path: path.into(), bytes: if is.is_dir() { 0 } else { is.len() }, modified })
    }
}

impl Traces {
    /// Of a set as it is. It is read by the rules by which its images are.
    pub fn of(root: &Path, endings: Option<&[&str]>) -> Result<Traces> {
        let (at, images) = match endings {
            Some(endings) => (entries::files(root, endings, &mut Default::default())?, None),
            None => {
                let (folders, images) = folder::parts(root)?;
                let mut hash = blake3::Hasher::new();
                for image in images {
                    stop::check()?;
                    let Trace { path, bytes, modified } = Trace::of(&image)?;
                    let name = path.as_os_str().as_encoded_bytes();
                    hash.update(&(name.len() as u64).to_le_bytes()).update(name);
                    hash.update(&bytes.to_le_bytes()).update(&modified.to_le_bytes());
                }
                (folders, Some(hash.finalize().to_hex().to_string()))
            }
        };
        let at = at.iter().map(|path| Trace::of(path)).collect::<Result<_>>()?;
        let endings = endings.map(|endings| endings.iter().map(|ending| ending.to_string()).collect());
        Ok(Traces { root: root.into(), endings, at, images })
    }

    /// Whether all of it is still so.
    pub fn hold(&self) -> Result<bool> {
        let endings: Option<Vec<&str>> = self.endings.as_ref().map(|endings| endings.iter().map(String::as_str).collect());
        Ok(Traces::of(&self.root, endings.as_deref())? == *self)
    }

    /// The same in a moment: of images that are files each, only whether some have come or gone.
    pub fn seem_to_hold(&self) -> bool {
        match self.endings {
            Some(_) => self.hold().unwrap_or(false),
            None => self.at.iter().all(|trace| Trace::of(&trace.path).is_ok_and(|now| now == *trace)),
        }
    }
}
