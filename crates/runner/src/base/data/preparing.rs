//! A set on its way into its folder.

use super::entries::First;
use super::gather::{Fate, Seen, Sink};
use super::prepared::{ENDS, FATES, Form, IMAGES, STATE, State, digest};
use super::traces::Traces;
use crate::base::error::Meaning;
use crate::base::lock::Lock;
use crate::base::{atomic, sealed};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often what has been done is put on the disk.
const SAVE: Duration = Duration::from_secs(10);

/// A set on its way into its folder. Only who holds the folder's lock writes.
pub struct Preparing<'a> {
    dir: &'a Path,
    state: State,
    known: Vec<Fate>,
    images: File,
    ends: File,
    fates: File,
    saved: Instant,
    lock: &'a Lock,
    tell: &'a mut (dyn FnMut(u64) + Send),
}

impl<'a> Preparing<'a> {
    /// Goes on from where the folder's state is, or begins with `state`. `tell` hears how many images of the source are done.
    pub fn open(dir: &'a Path, lock: &'a Lock, state: State, tell: &'a mut (dyn FnMut(u64) + Send)) -> Result<Preparing<'a>> {
        let open = |name: &str, length: u64| -> Result<File> {
            let path = dir.join(name);
            let attempt = || -> std::io::Result<File> {
                let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
                if file.metadata()?.len() > length {
                    // What lies behind was not finished.
                    file.set_len(length)?;
                }
                file.seek(SeekFrom::Start(length))?;
                Ok(file)
            };
            attempt().with_context(|| format!("{}: cannot be written", path.display())).stored()
        };
        let [images, ends, fates] = [(IMAGES, state.bytes), (ENDS, 8 * state.ends()), (FATES, state.entries)].map(|(n, l)| open(n, l));
        let (images, ends, fates) = (images?, ends?, fates?);
        // Their names are there before anything is said of them.
        atomic::sync_dir(dir).with_context(|| format!("{}: cannot be written", dir.display())).stored()?;
        let mut bytes = vec![0; state.entries as usize];
        fates.read_exact_at(&mut bytes, 0).with_context(|| format!("{}: cannot be read", dir.join(FATES).display()))?;
        let fate = |byte: &u8| match byte {
            0 => Ok(Fate::Kept),
            1 => Ok(Fate::Unreadable),
            2 => Ok(Fate::Unequal),
            byte => bail!("{}: is damaged: has {byte}; remove the folder, and it is prepared anew", dir.join(FATES).display()),
        };
        let known = bytes.iter().map(fate).collect::<Result<_>>()?;
        Ok(Preparing { dir, state, known, images, ends, fates, saved: Instant::now(), lock, tell })
    }

    /// How many images are there.
    pub fn images(&self) -> u64 {
        self.state.images
    }

    /// What they are made from.
    pub fn traces(&self) -> &Traces {
        &self.state.traces
    }

    /// Puts on the disk what there is.
    pub fn save(&mut self) -> Result<()> {
        for (file, name) in [(&self.images, IMAGES), (&self.ends, ENDS), (&self.fates, FATES)] {
            file.sync_data().with_context(|| format!("{}: cannot be written", self.dir.join(name).display())).stored()?;
        }
        self.saved = Instant::now();
        self.lock.check()?;
        sealed::write(&self.dir.join(STATE), &self.state)
    }

    /// The same after an error, with the room that an unfinished part has taken given back: it may be all that there is.
    pub fn keep(&mut self) -> Result<()> {
        self.lock.check()?;
        let state = &self.state;
        for (file, length) in [(&self.images, state.bytes), (&self.ends, 8 * state.ends()), (&self.fates, state.entries)] {
            file.set_len(length).stored()?;
        }
        self.save()
    }

    /// All images are there.
    pub fn end(mut self) -> Result<State> {
        if self.state.whole {
            return Ok(self.state);
        }
        self.state.whole = true;
        self.state.blake3 =
            [IMAGES, ENDS, FATES].into_iter().map(|name| Ok((name.into(), digest(&self.dir.join(name))?))).collect::<Result<_>>()?;
        self.save()?;
        Ok(self.state)
    }
}

impl Sink for Preparing<'_> {
    fn known(&self) -> (&[Fate], Option<First>) {
        (&self.known, self.state.first.clone())
    }

    fn take(&mut self, seen: Vec<Seen>, first: Option<&First>) -> Result<()> {
        let (mut data, mut ends, mut images) = (Vec::new(), Vec::new(), 0);
        for Seen { entry, fate, pixels } in seen.iter().filter(|seen| seen.fate == Fate::Kept) {
            match self.state.form {
                Form::Bytes => data.extend_from_slice(pixels),
                Form::Compressed => {
                    let file =
                        entry.content.file().with_context(|| entry.place.clone())?.with_context(|| format!("{fate:?}: has no file"))?;
                    data.extend_from_slice(&file);
                    ends.extend_from_slice(&(self.state.bytes + data.len() as u64).to_le_bytes());
                }
            }
            images += 1;
        }
        let fates: Vec<u8> = seen.iter().map(|seen| seen.fate as u8).collect();
        let state = &mut self.state;
        for (file, name, bytes) in [(&mut self.images, IMAGES, &data), (&mut self.ends, ENDS, &ends), (&mut self.fates, FATES, &fates)] {
            file.write_all(bytes).with_context(|| format!("{}: cannot be written", self.dir.join(name).display())).stored()?;
        }
        state.bytes += data.len() as u64;
        state.images += images;
        state.entries += fates.len() as u64;
        state.first = first.cloned();
        (self.tell)(state.entries);
        if self.saved.elapsed() >= SAVE { self.save() } else { Ok(()) }
    }
}
