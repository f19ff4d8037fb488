//! Atomic file writes: a file is either complete or absent.

use super::error::Meaning;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// How unfinished files begin. They are left behind by crashes only.
pub const PART: &str = ".part-";

/// Writes `bytes` beside `path`, syncs them, and renames: a reader, or a crash, sees the old file or the new one.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |part| Ok(File::create(part)?.write_all(bytes)?))
}

/// The same with a file that `make` fills, given its path.
pub fn write_with(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    write_before(path, make, || Ok(()))
}

/// The same, doing `before` when the new file is on the disk and does not have its name yet.
pub fn write_before(path: &Path, make: impl FnOnce(&Path) -> Result<()>, before: impl FnOnce() -> std::io::Result<()>) -> Result<()> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let attempt = || -> Result<()> {
        fs::create_dir_all(dir)?;
        let file = readable(tempfile::Builder::new().prefix(PART)).tempfile_in(dir)?;
        make(file.path())?;
        file.as_file().sync_all()?;
        before()?;
        file.persist(path)?;
        Ok(File::open(dir)?.sync_all()?)
    };
    attempt().with_context(|| format!("{}: cannot be written", path.display())).stored()
}

/// Results are for everyone to read, where temporary files by default are not.
#[cfg(unix)]
fn readable<'a, 'b>(builder: &'a mut tempfile::Builder<'b, 'b>) -> &'a mut tempfile::Builder<'b, 'b> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable<'a, 'b>(builder: &'a mut tempfile::Builder<'b, 'b>) -> &'a mut tempfile::Builder<'b, 'b> {
    builder
}
