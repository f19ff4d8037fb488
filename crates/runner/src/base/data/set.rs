//! One set that is prepared: opened where it is, else made as far as it is not.

use super::entries::{Beside, Entry, Fit, See, Unfit};
use super::gather::{self, About, Gathered, Sorted};
use super::images::Images;
use super::prepared::{ENDS, FATES, Form, IMAGES, Pictures, STATE, State};
use super::preparing::Preparing;
use super::split::HeldOut;
use super::traces::Traces;
use crate::base::bar::Bar;
use crate::base::error::{Meaning, RunError};
use crate::base::lock::Lock;
use crate::base::text::size;
use crate::base::{atomic, sealed, stop};
use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Room that is left on a disk.
const RESERVE: u64 = 1 << 30;

/// A source's files, and how they are read.
pub struct Origin<'a> {
    /// The file or folder, as a person names it.
    pub path: &'a Path,
    /// Its kind and what else decides what is read, images' fit aside.
    pub of: serde_json::Value,
    /// How its files end; none where each image is a file of its own.
    pub endings: Option<&'a [&'a str]>,
    /// Shows its images.
    pub each: &'a dyn Fn(&Path, &mut See) -> Result<Beside>,
}

impl Origin<'_> {
    /// For a person.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// A set that is or will be prepared.
pub struct Set<'a> {
    /// Where it comes from.
    pub origin: &'a Origin<'a>,
    /// The whole path of that.
    pub path: PathBuf,
    /// What is done to images.
    pub fit: Fit,
    /// How it is split.
    pub held_out: &'a HeldOut,
    /// How images have to be kept, if that is asked for.
    pub form: Option<Form>,
    /// Where it lies.
    pub dir: PathBuf,
    /// What it is of, for a person.
    pub of: serde_json::Value,
}

/// What is known of a prepared set that was opened.
#[derive(Debug)]
pub struct Part {
    /// Where it lies.
    pub dir: PathBuf,
    /// By which it is told from others, and from what it may be later.
    pub identity: String,
}

/// How a prepared set is split: what stands in a file of its own, since one set may be split in several ways.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitFile {
    about: About,
    /// Whether the classes' numbers stand beside it.
    classes: bool,
    /// Of the file beside it: a byte for each image that is 1 where it is held out, then a byte for each image's class.
    blake3_beside: String,
}

/// What tells two splits apart: the rule, and what the file says that it names.
pub fn rule_key(rule: &HeldOut) -> Result<Vec<u8>> {
    let mut key = serde_json::to_vec(rule)?;
    if let Some(file) = rule.list() {
        key.extend(fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?);
    }
    Ok(key)
}

impl Set<'_> {
    /// The set, where it is whole and what it was made from seems not to have changed.
    pub fn opened(&self) -> Result<Option<(Gathered, Part)>> {
        let Ok(Some(state)) = State::read(&self.dir) else { return Ok(None) };
        if !(state.whole && self.has_form(&state) && state.is_backed(&self.dir) && state.traces.seem_to_hold()) {
            return Ok(None);
        }
        let path = self.split_file()?;
        let Ok(Some(split)) = sealed::read::<SplitFile>(&path) else { return Ok(None) };
        let Ok(beside) = fs::read(path.with_extension("")) else { return Ok(None) };
        let n = state.images as usize;
        if blake3::hash(&beside).to_hex().as_str() != split.blake3_beside || beside.len() != if split.classes { 2 * n } else { n } {
            return Ok(None);
        }
        let held = beside[..n].iter().map(|byte| *byte == 1).collect();
        self.gathered(&state, &Sorted { held, labels: beside[n..].to_vec(), about: split.about }).map(Some)
    }

    /// The set, prepared as far as it is not yet, by this process or another one.
    pub fn prepared(&self) -> Result<(Gathered, Part)> {
        let lock = self.lock()?;
        if let Some(found) = self.opened()? {
            // Another process did it meanwhile.
            return Ok(found);
        }
        let show = |see: &mut See| (self.origin.each)(self.origin.path, see);
        let traces = Traces::of(&self.path, self.origin.endings)?;
        let state = match State::read(&self.dir) {
            Ok(Some(state)) if state.traces == traces && self.has_form(&state) && state.is_backed(&self.dir) => state,
            _ => {
                self.clear(&lock)?;
                let (images, shape, files) = self.count()?;
                let form = self.form_for(images.saturating_mul(shape as u64), files)?;
                eprintln!("{}: {images} images are prepared in {} as {}", self.origin.name(), self.dir.display(), form.name());
                State::begin(self.of.clone(), traces, form, self.fit, images)
            }
        };
        let mut bar = Bar::new("prepared", state.total);
        let mut tell = |done| bar.tell(done);
        let mut preparing = Preparing::open(&self.dir, &lock, state, &mut tell)?;
        let sorted = match gather::gather(&self.origin.name(), self.fit, self.held_out, &mut preparing, &show) {
            Ok((sorted, _)) => sorted,
            Err(error) => {
                // What there is remains, as far as that can be written.
                let _ = preparing.keep();
                return Err(error);
            }
        };
        if sorted.held.len() as u64 != preparing.images() || !preparing.traces().hold()? {
            self.clear(&lock)?;
            return Err(anyhow!("{}: has changed while it was read; run the same command again", self.origin.name())).needed();
        }
        let state = preparing.end()?;
        drop(bar);
        let path = self.split_file()?;
        let beside: Vec<u8> = sorted.held.iter().map(|held| u8::from(*held)).chain(sorted.labels.iter().copied()).collect();
        lock.check()?;
        atomic::write(&path.with_extension(""), &beside)?;
        let blake3_beside = blake3::hash(&beside).to_hex().to_string();
        sealed::write(&path, &SplitFile { about: sorted.about.clone(), classes: !sorted.labels.is_empty(), blake3_beside })?;
        self.gathered(&state, &sorted)
    }

    /// Where it says how it is split; the file beside it has no extension.
    fn split_file(&self) -> Result<PathBuf> {
        Ok(self.dir.join(format!("{SPLIT}{}.json", &blake3::hash(&rule_key(self.held_out)?).to_hex()[..16])))
    }

    fn has_form(&self, state: &State) -> bool {
        self.form.is_none_or(|form| form == state.form)
    }

    fn gathered(&self, state: &State, sorted: &Sorted) -> Result<(Gathered, Part)> {
        let pictures = Arc::new(Pictures::open(&self.dir, state).needed()?);
        let images = |held| {
            let (rows, labels) = sorted.part(held);
            Images::prepared(pictures.clone(), rows, labels)
        };
        let part = Part { dir: self.dir.clone(), identity: state.identity()? };
        Ok((Gathered { train: images(false), held_out: images(true), about: sorted.about.clone() }, part))
    }

    fn lock(&self) -> Result<Lock> {
        let lock = match Lock::attempt(&self.dir) {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(holder)) => {
                eprintln!("{}: is being prepared by {}", self.origin.name(), holder.description());
                Lock::wait(&self.dir)
            }
            Err(error) => Err(error),
        };
        lock.with_context(|| format!("{}: cannot be prepared; --cache names another place", self.origin.name()))
    }

    /// Removes what was made from other files. Those on this machine who read it go on reading it.
    fn clear(&self, lock: &Lock) -> Result<()> {
        lock.check()?;
        let list = || format!("{}: cannot be listed", self.dir.display());
        let mut names: Vec<String> = [STATE, IMAGES, ENDS, FATES].map(String::from).into();
        for entry in fs::read_dir(&self.dir).with_context(list)? {
            let name = entry.with_context(list)?.file_name().to_string_lossy().into_owned();
            if [SPLIT, "digest-", atomic::PART].iter().any(|prefix| name.starts_with(prefix)) {
                names.push(name);
            }
        }
        // First what says what the others hold, for good: after a crash it would say it of what is written next.
        for name in names {
            let path = self.dir.join(&name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("{}: cannot be removed", path.display())).stored();
                }
                _ if name == STATE => atomic::sync_dir(&self.dir).with_context(list).stored()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// How many images the source has, the bytes of one's pixels, and whether all of them are files.
    fn count(&self) -> Result<(u64, usize, bool)> {
        let (mut n, mut shape, mut files, mut bar) = (0, None, true, Bar::new("counted", 0));
        (self.origin.each)(self.origin.path, &mut |entry: Entry| {
            if shape.is_none() {
                shape = match self.fit.picture(&entry) {
                    Ok((shape, _)) => Some(shape),
                    Err(error) if self.fit.unfit == Unfit::Refuse => return Err(error.context(entry.place)),
                    Err(_) => None,
                };
            }
            n += 1;
            bar.tell(n);
            files &= !entry.content.is_pixels();
            stop::check()
        })?;
        // Where there is none, gathering says so.
        Ok((n, shape.map_or(0, |shape| shape.len()), files))
    }

    /// How images are kept of which all pixels take `bytes`.
    fn form_for(&self, bytes: u64, files: bool) -> Result<Form> {
        let dir = self.dir.display();
        let free = rustix::fs::statvfs(&self.dir).with_context(|| format!("{dir}: its disk says nothing of its room"))?;
        let free = free.f_bavail * free.f_frsize;
        match self.form {
            Some(Form::Compressed) if !files => {
                Err(anyhow!("{}: expected bytes: its images are pixels, and no files", self.origin.name())).needed()
            }
            Some(form) => Ok(form),
            None if bytes.saturating_add(RESERVE) <= free => Ok(Form::Bytes),
            None if files => Ok(Form::Compressed),
            None => {
                let (bytes, free) = (size(bytes), size(free));
                let what = anyhow!("{dir}: expected room for {bytes} and 1 GiB, got {free}; --cache names another place");
                Err(RunError::Storage(what).into())
            }
        }
    }
}

/// How files begin that say how a set is split.
const SPLIT: &str = "split-";
