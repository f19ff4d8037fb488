//! Atomic file writes: a file is either complete or absent.

use super::error::Meaning;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

/// How unfinished files begin. They are left behind by crashes only.
pub const PART: &str = ".part-";

/// Writes `bytes` beside `path`, syncs them, and renames: a reader, or a crash, sees the old file or the new one.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| Ok(file.write_all(bytes)?))
}

/// The same with a file that `make` fills. It is given the open file and not a path: a writer that opens its own file may put another one in
/// its place, and what is synced would be a file that nobody sees.
pub fn write_with(path: &Path, make: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    write_before(path, make, || Ok(()))
}

/// The same, doing `before` when the new file is on the disk and does not have its name yet.
pub fn write_before(path: &Path, make: impl FnOnce(&mut File) -> Result<()>, before: impl FnOnce() -> io::Result<()>) -> Result<()> {
    let dir = folder(path);
    let attempt = || -> Result<()> {
        make_dir(dir)?;
        let mut file = readable(tempfile::Builder::new().prefix(PART)).tempfile_in(dir)?;
        make(file.as_file_mut())?;
        file.as_file().sync_all()?;
        before()?;
        file.persist(path)?;
        Ok(sync_dir(dir)?)
    };
    attempt().with_context(|| format!("{}: cannot be written", path.display())).stored()
}

/// Gives a file that is on the disk its name, for good.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_dir(folder(to))
}

/// The folder that a file lies in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a folder and those above it. A file is no safer than the names that lead to it, so each of them is on the disk afterwards, whoever
/// made it: another process may have made one a moment ago and not have synced it yet.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    static SETTLED: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
    let settled = || SETTLED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_there = dir.is_dir();
    if dir == folder(dir) || dir == Path::new("/") || is_there && settled().contains(dir) {
        return Ok(());
    }
    make_dir(folder(dir))?;
    if !is_there {
        match fs::create_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => return Err(e),
            _ => {}
        }
    }
    // Folders that were there, and far above, may not be ours to open.
    match sync_dir(folder(dir)) {
        Err(e) if !is_there => return Err(e),
        _ => settled().insert(dir.into()),
    };
    Ok(())
}

/// Puts a folder's names on the disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Results are files like any other, of which the user's mask says who may read them; temporary files by default are for their owner alone.
#[cfg(unix)]
fn readable<'a, 'b>(builder: &'a mut tempfile::Builder<'b, 'b>) -> &'a mut tempfile::Builder<'b, 'b> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn readable<'a, 'b>(builder: &'a mut tempfile::Builder<'b, 'b>) -> &'a mut tempfile::Builder<'b, 'b> {
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// What is filled, synced and renamed is one file; everyone may read it; nothing else is left, and nothing at all where making it fails.
    #[test]
    fn the_file_that_was_filled_gets_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        let mut filled = 0;
        let make = |file: &mut File| {
            filled = file.metadata()?.ino();
            Ok(file.write_all(b"whole")?)
        };
        write_with(&path, make).unwrap();
        let is = fs::metadata(&path).unwrap();
        File::create(dir.path().join("another")).unwrap();
        let another = fs::metadata(dir.path().join("another")).unwrap().permissions().mode();
        assert_eq!((is.ino(), is.permissions().mode(), fs::read(&path).unwrap()), (filled, another, b"whole".to_vec()));
        let fails = |file: &mut File| {
            file.write_all(b"half")?;
            anyhow::bail!("no more")
        };
        assert!(write_with(&path, fails).is_err());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error_that_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), b"").unwrap();
        let why = format!("{:#}", write(&dir.path().join("a/b/c"), b"").unwrap_err());
        assert!(why.contains("a/b/c: cannot be written"), "{why}");
    }
}
