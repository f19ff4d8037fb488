//! A folder of images.

use super::decode::{KINDS, is_image};
use super::entries::{Beside, Content, Entry, HIDDEN, See, kind};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep folders may lie in each other; one that leads back to itself by a link is deeper.
const DEEPEST: usize = 16;

/// Shows the images of a folder and of those in it, in the order of their paths. Where all lie in subfolders, those of the first level are
/// classes.
pub fn each(path: &Path, see: &mut See) -> Result<Beside> {
    let mut found = Found::default();
    found.look(path, 0)?;
    let Found { mut images, left_out, .. } = found;
    images.sort();
    let (classes, labels) = classes(path, &images);
    for (file, class) in images.into_iter().zip(labels) {
        let name = file.strip_prefix(path).unwrap_or(&file).to_string_lossy().into_owned();
        see(Entry { place: file.display().to_string(), name, class, content: Content::File(file) })?;
    }
    Ok(Beside { classes, left_out })
}

/// The folders in which images are looked for, and the images, by their paths.
pub fn parts(path: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let mut found = Found::default();
    found.look(path, 0)?;
    found.folders.sort();
    found.images.sort();
    Ok((found.folders, found.images))
}

/// What lies in a folder.
#[derive(Default)]
struct Found {
    folders: Vec<PathBuf>,
    images: Vec<PathBuf>,
    /// How many files of each kind are not read.
    left_out: BTreeMap<String, usize>,
}

impl Found {
    fn look(&mut self, dir: &Path, depth: usize) -> Result<()> {
        ensure!(depth < DEEPEST, "{}: expected folders at most {DEEPEST} deep; does a link lead back?", dir.display());
        let list = || format!("{}: cannot be listed; expected a folder of {KINDS} images", dir.display());
        self.folders.push(dir.into());
        for entry in fs::read_dir(dir).with_context(list)? {
            let path = entry.with_context(list)?.path();
            let kind = kind(&path);
            if kind != HIDDEN && path.is_dir() {
                self.look(&path, depth + 1)?;
            } else if kind != HIDDEN && is_image(&path) {
                self.images.push(path);
            } else {
                *self.left_out.entry(kind).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// The names of the classes, and each image's; none where some image lies in the folder itself.
fn classes(root: &Path, images: &[PathBuf]) -> (Vec<String>, Vec<Option<usize>>) {
    let folder = |file: &PathBuf| {
        let inner = file.strip_prefix(root).ok()?.parent()?;
        Some(inner.components().next()?.as_os_str().to_string_lossy().into_owned())
    };
    let Some(folders) = images.iter().map(folder).collect::<Option<Vec<String>>>() else { return (Vec::new(), vec![None; images.len()]) };
    let mut names = folders.clone();
    names.sort();
    names.dedup();
    let labels = folders.iter().map(|name| names.binary_search(name).ok()).collect();
    (names, labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::data::entries::Fit;
    use crate::base::data::gather::{Gathered, in_memory};
    use crate::base::data::images::Images;
    use crate::base::data::split::HeldOut;

    fn load(path: &Path, held_out: usize) -> Result<Gathered> {
        let (origin, held_out) = (path.display().to_string(), HeldOut::Last(held_out));
        Ok(in_memory(&origin, Fit::default(), &held_out, u64::MAX, &|see| each(path, see))?.unwrap())
    }

    fn picture(dir: &Path, name: &str, width: u32, value: u8) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_fn(width, 4, |x, y| image::Luma([if (x, y) == (1, 2) { value } else { 0 }])).save(path).unwrap();
    }

    /// The one pixel of each image by which it is known.
    fn values(images: &Images) -> Vec<u8> {
        (0..images.len()).map(|i| images.image(i).unwrap()[7]).collect()
    }

    #[test]
    fn images_are_taken_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in [("b.png", 2), ("a.jpe.png", 1), ("c.PNG", 3)] {
            picture(dir.path(), name, 3, value);
        }
        for (name, bytes) in
            [("notes.txt", "x"), ("more.txt", "x"), ("README", "x"), ("._a.png", "x"), (".DS_Store", "x"), ("Thumbs.db", "x")]
        {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let data = load(dir.path(), 1).unwrap();
        assert_eq!((data.train.shape.height, data.train.shape.width, data.train.shape.channels), (4, 3, 1));
        assert_eq!((values(&data.train), values(&data.held_out)), (vec![1, 2], vec![3]));
        assert_eq!(data.about.left_out, ["2 .txt", "3 of the file manager's, or hidden", "1 without an extension"]);
        assert!(data.about.classes.is_empty() && data.train.labels.is_empty());
    }

    /// Subfolders are classes, and images are held out from each; folders in them are not; an image beside them leaves no classes.
    #[test]
    fn subfolders_are_classes() {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in
            [("dog/0.png", 5), ("cat/a/1.png", 1), ("cat/2.png", 3), ("cat/b/0.png", 2), ("cat/3.png", 4), ("dog/1.png", 6)]
        {
            picture(dir.path(), name, 3, value);
        }
        let data = load(dir.path(), 3).unwrap();
        assert_eq!(data.about.classes, ["cat", "dog"]);
        // In the order of their paths: cat/2, cat/3, cat/a/1, cat/b/0, dog/0, dog/1.
        assert_eq!((values(&data.train), &data.train.labels[..]), (vec![3, 4, 5], &[0, 0, 1][..]));
        assert_eq!((values(&data.held_out), &data.held_out.labels[..]), (vec![1, 2, 6], &[0, 0, 1][..]));
        picture(dir.path(), "0.png", 3, 7);
        let data = load(dir.path(), 3).unwrap();
        assert!(data.about.classes.is_empty() && data.train.labels.is_empty());
        assert_eq!((values(&data.train), values(&data.held_out)), (vec![7, 3, 4, 1], vec![2, 5, 6]));
        // One class more than labels have room for.
        let many = tempfile::tempdir().unwrap();
        (0..257).for_each(|class| picture(many.path(), &format!("{class:03}/0.png"), 3, class as u8));
        let data = load(many.path(), 0).unwrap();
        assert!(data.about.classes.is_empty() && data.train.labels.is_empty() && data.train.len() == 257);
        assert_eq!(data.about.left_out, ["the names of 257 classes, of which at most 256 are kept"]);
        std::fs::remove_dir_all(many.path().join("256")).unwrap();
        let data = load(many.path(), 0).unwrap();
        assert_eq!((data.about.classes.len(), data.train.labels[255], data.about.left_out.len()), (256, 255, 0));
        std::os::unix::fs::symlink(dir.path(), dir.path().join("cat/back")).unwrap();
        assert!(load(dir.path(), 3).unwrap_err().to_string().contains("does a link lead back?"));
    }

    #[test]
    fn wrong_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |held_out| format!("{:#}", load(dir.path(), held_out).unwrap_err());
        assert!(error(0).ends_with(": expected PNG, JPEG, WebP or BMP images, found none"), "{}", error(0));
        fs::write(dir.path().join("a.gif"), b"GIF89a").unwrap();
        assert!(error(0).ends_with("found none (there are: 1 .gif)"), "{}", error(0));
        picture(dir.path(), "a.png", 3, 1);
        assert!(error(1).ends_with("expected more images than the 1 to hold out, found 1"), "{}", error(1));
        picture(dir.path(), "b.png", 5, 1);
        assert!(error(0).contains("b.png: expected 4x3x1, as "), "{}", error(0));
        fs::write(dir.path().join("b.png"), b"\x89PNG\r\n\x1a\nrubbish").unwrap();
        assert!(error(0).contains("b.png: is not a PNG, JPEG, WebP or BMP image, or is damaged"));
        assert!(format!("{:#}", load(&dir.path().join("none"), 0).unwrap_err()).contains("cannot be listed"));
    }
}
