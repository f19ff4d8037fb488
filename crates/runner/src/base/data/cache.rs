//! Sets that are prepared once and read by all commands and jobs: where they lie, and which are.

use super::entries::{Fit, pattern};
use super::gather::{self, Gathered};
use super::images::{Images, digest};
use super::prepared::{Form, State};
use super::set::{Origin, Part, Set, rule_key};
use super::split::HeldOut;
use crate::base::bar::Bar;
use crate::base::error::Meaning;
use crate::base::lock::Lock;
use crate::base::text::file_name;
use crate::base::{sealed, stop};
use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Sets of more pixels than this, in bytes, are prepared; smaller ones are decoded by each process.
const IN_MEMORY: u64 = 64 << 20;

/// Where prepared sets lie, and which sets are prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    dir: PathBuf,
    /// Sets up to this many bytes of pixels are not.
    in_memory: u64,
    /// How images are kept; by what there is room for where absent.
    form: Option<Form>,
}

impl Default for Cache {
    /// In the results where they are by default.
    fn default() -> Cache {
        Cache::beside(Path::new("results"))
    }
}

impl Cache {
    /// In `data` in a folder of results, large sets only.
    pub fn beside(results: &Path) -> Cache {
        Cache { dir: results.join("data"), in_memory: IN_MEMORY, form: None }
    }

    /// In a folder of its own, every set.
    pub fn at(dir: &Path) -> Cache {
        Cache { dir: dir.into(), in_memory: 0, form: None }
    }

    /// No set is prepared, and none that is is looked for.
    pub fn none() -> Cache {
        Cache { in_memory: u64::MAX, ..Cache::default() }
    }

    /// Every set, in this form where one is given.
    pub fn every(self, form: Option<Form>) -> Cache {
        Cache { in_memory: 0, form, ..self }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder where it is one that was asked for.
    pub fn asked(&self) -> Option<&Path> {
        (self.in_memory == 0).then_some(&self.dir)
    }
}

/// The images of a source, split: prepared ones where there are some or where there have to be, else in memory.
pub fn load(cache: &Cache, origin: &Origin, fit: Fit, held_out: &HeldOut) -> Result<(Gathered, Option<Part>)> {
    let in_memory = |most: u64| gather::in_memory(&origin.name(), fit, held_out, most, &|see| (origin.each)(origin.path, see));
    let whole = match pattern(origin.path) {
        Some((folder, ..)) => folder.canonicalize().map(|folder| folder.join(origin.path.file_name().unwrap_or_default())),
        None => origin.path.canonicalize(),
    };
    let path = match whole {
        Ok(path) if cache.in_memory < u64::MAX => path,
        // Where there is none, its source says better what is missing.
        _ => return Ok((in_memory(u64::MAX)?.context("no set is larger")?, None)),
    };
    let of = json!({ "path": path.to_string_lossy(), "source": origin.of, "fit": fit });
    let key = blake3::hash(&[path.as_os_str().as_encoded_bytes(), of.to_string().as_bytes()].concat()).to_hex();
    let name = file_name(&path.file_name().unwrap_or_default().to_string_lossy().replace('*', ""), 100);
    let dir = cache.dir.join(format!("{name}-{}", &key[..16]));
    let is_begun = State::read(&dir).ok().flatten().is_some();
    let set = Set { origin, path, fit, held_out, form: cache.form, dir, of };
    if let Some((found, part)) = set.opened()? {
        return Ok((found, Some(part)));
    }
    if cache.in_memory > 0
        && !is_begun
        && let Some(found) = in_memory(cache.in_memory)?
    {
        return Ok((found, None));
    }
    if origin.endings.is_none() && resolved(&cache.dir)?.starts_with(&set.path) {
        let (dir, images) = (cache.dir.display(), origin.name());
        return Err(anyhow!("{dir}: lies in the folder of the images, {images}; --cache names another one")).needed();
    }
    let (found, part) = set.prepared()?;
    Ok((found, Some(part)))
}

/// The whole path of a folder that may not be there yet.
fn resolved(dir: &Path) -> Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    let there = dir.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, resolved)) = there else { return Ok(dir) };
    Ok(resolved.join(dir.strip_prefix(above).unwrap_or(Path::new(""))))
}

/// A digest that was taken of a set as it is split.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DigestFile {
    digest: String,
    train: usize,
    held_out: usize,
}

/// The digest of both, taken once where they are prepared: of one set that `rule` splits, or of two.
pub fn digest_once(train: &Images, held_out: &Images, parts: &[Option<Part>], rule: &HeldOut) -> Result<String> {
    let Some(first) = parts.iter().flatten().next() else { return digest(train, held_out, |_| stop::check()) };
    let mut key = blake3::Hasher::new();
    for (part, images) in parts.iter().zip([train, held_out]) {
        match part {
            Some(part) => key.update(part.identity.as_bytes()),
            None => key.update(&images.all()?),
        };
    }
    key.update(&rule_key(rule)?);
    let path = first.dir.join(format!("digest-{}.json", &key.finalize().to_hex()[..16]));
    let known = || {
        let found = sealed::read::<DigestFile>(&path).ok()??;
        ((found.train, found.held_out) == (train.len(), held_out.len())).then_some(found.digest)
    };
    if let Some(digest) = known() {
        return Ok(digest);
    }
    // Others wait for it; where they cannot, since nothing can be written here, each takes it for itself.
    let lock = Lock::wait(&first.dir);
    stop::check()?;
    if let Some(digest) = known() {
        return Ok(digest);
    }
    let mut bar = Bar::new("digested", (train.len() + held_out.len()) as u64);
    let digest = digest(train, held_out, |done| {
        bar.tell(done as u64);
        stop::check()
    })?;
    drop(bar);
    let written = sealed::write(&path, &DigestFile { digest: digest.clone(), train: train.len(), held_out: held_out.len() });
    if let Err(why) = written {
        eprintln!("{why:#}; the digest is taken again at the next start");
    }
    drop(lock);
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::data::Unfit;
    use crate::base::data::entries::{Beside, Content, Entry, See};
    use crate::base::data::split::Rule;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::fs;

    /// Image `i` of a set, as a file.
    fn file(i: usize, width: u32) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let value = |x: u32, y: u32| (i * 7) as u8 ^ (x * 16 + y) as u8;
        image::GrayImage::from_fn(width, 4, |x, y| image::Luma([value(x, y)])).write_to(&mut bytes, image::ImageFormat::Bmp).unwrap();
        bytes.into_inner()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Wherever it stops and however often, what has been done is not done again, and the set is what it is in memory.
        #[test]
        fn it_goes_on_from_where_it_stopped(
            n in 1usize..3000, stops in prop::collection::vec(any::<prop::sample::Index>(), 0..4), compressed in any::<bool>(),
            share in prop::option::of(0.0..0.9f64),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("source");
            fs::write(&path, "a source").unwrap();
            let form = if compressed { Form::Compressed } else { Form::Bytes };
            let cache = Cache::at(&dir.path().join("cache")).every(Some(form));
            let rule = share.map_or(HeldOut::Last(n / 3), |share| HeldOut::By(Rule::Fraction(share)));
            let fit = Fit { unfit: Unfit::LeaveOut, ..Fit::default() };
            // Showing breaks off before image `stop`; of those before `done` there is nothing left to decode.
            let (stop, done, shown) = (Cell::new(usize::MAX), Cell::new(0), Cell::new(0));
            let each = |_: &Path, see: &mut See| {
                shown.set(shown.get() + 1);
                for i in 0..n {
                    // The first showing counts.
                    if shown.get() > 1 && i == stop.get() {
                        anyhow::bail!("broken off");
                    }
                    let bytes = match i {
                        _ if i < done.get() || i % 11 == 5 => b"nothing".to_vec(),
                        _ if i % 13 == 7 => file(i, 3),
                        _ => file(i, 4),
                    };
                    let content = Content::Encoded(bytes);
                    see(Entry { place: format!("image {i}"), name: format!("{i}"), class: Some(i % 3), content })?;
                }
                Ok(Beside::default())
            };
            let origin = Origin { path: &path, of: json!("test"), endings: Some(&[""]), each: &each };
            let load = |cache: &Cache| load(cache, &origin, fit, &rule).map(|(found, _)| found);
            let Ok(expected) = load(&Cache::none()) else { return Ok(()) };
            shown.set(0);
            let mut stops: Vec<usize> = stops.iter().map(|stop| stop.index(n)).collect();
            stops.sort();
            for at in stops {
                stop.set(at);
                prop_assert_eq!(load(&cache).unwrap_err().to_string(), "broken off");
                done.set(at / gather::CHUNK * gather::CHUNK);
            }
            stop.set(usize::MAX);
            let found = load(&cache).unwrap();
            // Once it is there, nothing is shown.
            let shows = shown.get();
            let again = load(&cache).unwrap();
            prop_assert_eq!(shown.get(), shows);
            for found in [found, again] {
                prop_assert_eq!(&found.about, &expected.about);
                for (a, b) in [(&found.train, &expected.train), (&found.held_out, &expected.held_out)] {
                    prop_assert_eq!(&a.labels, &b.labels);
                    prop_assert_eq!(a.all().unwrap(), b.all().unwrap());
                    prop_assert!((0..a.len()).all(|i| a.image(i).unwrap() == b.image(i).unwrap()));
                }
            }
        }
    }
}
