//! A set's images in files of its own: all decoded to bytes, or as the files that they came as.
//!
//! A folder holds `set.json`, which says how far it is, and beside it `images` (pixels or files, one after another), `ends` (where each of
//! these files ends, where they are files) and `fates` (what became of each image of the source). Data are on the disk before `set.json`
//! says so, so that after a crash all that it says is true; what lies behind is written again. Files of a set that is whole are never
//! changed, only replaced, so those who read them on the same machine need no lock. They are read, not mapped: a file that is cut short
//! under a reader is then an error and not the end of the process, and the pages are shared by all processes either way.

use super::entries::{First, Fit};
use super::traces::Traces;
use crate::base::error::{Meaning, RunError};
use crate::base::text::size;
use crate::base::{sealed, stop};
use anyhow::{Context, Result, ensure};
use ddpm_model::network::ImageShape;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Of `set.json` and the files beside it.
const FORMAT: u32 = 1;

/// Which says what the others hold.
pub(super) const STATE: &str = "set.json";
pub(super) const IMAGES: &str = "images";
pub(super) const ENDS: &str = "ends";
pub(super) const FATES: &str = "fates";

/// How images are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Their pixels.
    Bytes,
    /// The files that they came as, decoded each time that they are read: where there is no room for pixels.
    Compressed,
}

impl Form {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Form::Bytes => "bytes",
            Form::Compressed => "compressed",
        }
    }
}

/// How far a set has been prepared, and from what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u32,
    /// What was asked for, for a person.
    pub of: serde_json::Value,
    /// The files and folders that it is made from, as they were.
    pub traces: Traces,
    /// How its images are kept.
    pub form: Form,
    /// What is done to images.
    pub fit: Fit,
    /// Whether all images are there.
    pub whole: bool,
    /// Images that the source has.
    pub total: u64,
    /// Images of the source so far.
    pub entries: u64,
    /// Those of them that are kept.
    pub images: u64,
    /// The bytes that these take.
    pub bytes: u64,
    /// Their shape, and where the first of them was found.
    pub first: Option<First>,
    /// BLAKE3 of the files, by name, once all images are there.
    pub blake3: BTreeMap<String, String>,
}

impl State {
    /// Nothing yet.
    pub fn begin(of: serde_json::Value, traces: Traces, form: Form, fit: Fit, total: u64) -> State {
        State {
            format: FORMAT,
            of,
            traces,
            form,
            fit,
            whole: false,
            total,
            entries: 0,
            images: 0,
            bytes: 0,
            first: None,
            blake3: BTreeMap::new(),
        }
    }

    /// What a folder says; none where it says nothing, or something of another version.
    pub fn read(dir: &Path) -> Result<Option<State>> {
        Ok(sealed::read::<State>(&dir.join(STATE))?.filter(|state| state.format == FORMAT))
    }

    /// Whether the files beside it are as long as it says; longer ones may be gone on with, where something is missing yet.
    pub fn is_backed(&self, dir: &Path) -> bool {
        let files = [(IMAGES, self.bytes), (ENDS, 8 * self.ends()), (FATES, self.entries)];
        let backed = |is: fs::Metadata, length| is.len() == length || !self.whole && is.len() > length;
        files.into_iter().all(|(name, length)| fs::metadata(dir.join(name)).is_ok_and(|is| backed(is, length)))
            && (!self.whole || Pictures::open(dir, self).is_ok())
    }

    /// By which two sets are told apart.
    pub fn identity(&self) -> Result<String> {
        Ok(blake3::hash(&serde_json::to_vec(self)?).to_hex().to_string())
    }

    /// Reads the files of a set that is whole, and compares them with what was written.
    pub fn verify(&self, dir: &Path) -> Result<()> {
        for (name, expected) in &self.blake3 {
            let path = dir.join(name);
            let found = digest(&path)?;
            ensure!(found == *expected, "{}: is damaged: BLAKE3 is {found}, expected {expected}", path.display());
        }
        Ok(())
    }

    /// How far it is, for a person.
    pub fn description(&self) -> String {
        let shape = self.first.as_ref().map_or(String::new(), |(shape, _)| format!(" of {shape}"));
        let (images, form, bytes) = (self.images, self.form.name(), size(self.bytes));
        match self.whole {
            true => format!("{images} images{shape} as {form}, {bytes}"),
            false => format!("unfinished: {} of {} images{shape} as {form}, {bytes}", self.entries, self.total),
        }
    }

    /// How many ends of files there are.
    pub(super) fn ends(&self) -> u64 {
        if self.form == Form::Compressed { self.images } else { 0 }
    }
}

/// The images of a set that is whole.
#[derive(Debug)]
pub struct Pictures {
    shape: ImageShape,
    form: Form,
    fit: Fit,
    path: PathBuf,
    file: File,
    /// Where each file ends, where they are files.
    ends: Vec<u64>,
}

impl Pictures {
    /// Those of a folder with this state.
    pub fn open(dir: &Path, state: &State) -> Result<Pictures> {
        let path = dir.join(IMAGES);
        let named = || format!("{}: cannot be read", path.display());
        let file = File::open(&path).with_context(named)?;
        let (shape, _) = state.first.clone().context("a set that is whole has images")?;
        let ends = if state.form == Form::Compressed { ends(dir, state)? } else { Vec::new() };
        Ok(Pictures { shape, form: state.form, fit: state.fit, path, file, ends })
    }

    /// The shape of each.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// How they are kept.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The folder that they are in.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The pixels of one.
    pub fn read(&self, row: usize, out: &mut [u8]) -> Result<()> {
        let read = |out: &mut [u8], at: u64| {
            self.file.read_exact_at(out, at).with_context(|| format!("{}: cannot be read at byte {at}", self.path.display())).needed()
        };
        if self.form == Form::Bytes {
            return read(out, row as u64 * self.shape.len() as u64);
        }
        let from = if row == 0 { 0 } else { self.ends[row - 1] };
        let mut file = vec![0; (self.ends[row] - from) as usize];
        read(&mut file, from)?;
        let damaged = || format!("{}: image {row} is not what it was", self.path.display());
        let (shape, pixels) = self.fit.decoded(&file).with_context(damaged).needed()?;
        ensure!(shape == self.shape, "{}: image {row} is {shape}", self.path.display());
        out.copy_from_slice(&pixels);
        Ok(())
    }

    /// The pixels of some; what has to be decoded is, on all cores.
    pub fn read_all(&self, rows: &[u32], out: &mut [u8]) -> Result<()> {
        let len = self.shape.len();
        if self.form == Form::Compressed {
            return rows.par_iter().zip(out.par_chunks_exact_mut(len)).try_for_each(|(row, out)| self.read(*row as usize, out));
        }
        // As few reads as there are gaps.
        let mut done = 0;
        for run in rows.chunk_by(|a, b| a + 1 == *b) {
            self.read(run[0] as usize, &mut out[done * len..(done + run.len()) * len])?;
            done += run.len();
        }
        Ok(())
    }
}

/// BLAKE3 of a file.
pub(super) fn digest(path: &Path) -> Result<String> {
    let named = || format!("{}: cannot be read", path.display());
    let (mut hash, mut part) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    let mut file = File::open(path).with_context(named)?;
    loop {
        stop::check()?;
        match file.read(&mut part).with_context(named)? {
            0 => return Ok(hash.finalize().to_hex().to_string()),
            n => hash.update(&part[..n]),
        };
    }
}

/// Where each file ends, checked.
fn ends(dir: &Path, state: &State) -> Result<Vec<u64>> {
    let path = dir.join(ENDS);
    let bytes = fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let ends: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|end| u64::from_le_bytes(*end)).collect();
    let whole = bytes.len() as u64 == 8 * state.images && ends.is_sorted() && ends.last() == Some(&state.bytes);
    ensure!(whole, "{}: is damaged: expected {} ends of files that take {} bytes", path.display(), state.images, state.bytes);
    Ok(ends)
}

/// The folders of prepared sets in a cache, by name.
pub fn sets(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

/// Whether a prepared set is as it was written and made from files that are still the same, read through; and what there is, for a person.
/// One that is not finished is as it should be.
pub fn verified(dir: &Path) -> Result<(bool, String)> {
    let state = match State::read(dir) {
        Ok(Some(state)) => state,
        Ok(None) => return Ok((true, "nothing that is finished; the command that prepares it goes on".into())),
        Err(why) => return Ok((false, format!("{why:#}; the next command prepares it anew"))),
    };
    let of = state.of["path"].as_str().unwrap_or_default().to_string();
    let about = format!("{of}: {}", state.description());
    if !state.whole {
        return Ok((true, about));
    }
    let advice = "remove the folder, and the next command prepares it anew";
    match state.verify(dir) {
        Err(why) if RunError::of(&why).is_some() => Err(why),
        Err(why) => Ok((false, format!("{about}\n    {why:#}; {advice}"))),
        Ok(()) => match state.traces.hold() {
            Ok(true) => Ok((true, format!("{about}, as it was written"))),
            Ok(false) => Ok((false, format!("{about}\n    the images that it was made from have changed; {advice}"))),
            Err(why) if RunError::of(&why).is_some() => Err(why),
            Err(why) => Ok((true, format!("{about}, as it was written; the images that it was made from: {why:#}"))),
        },
    }
}
