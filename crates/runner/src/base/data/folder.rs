//! A folder of images.

use super::decode::{KINDS, decode, is_image};
use super::images::{Dataset, Images};
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::network::ImageShape;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep folders may lie in each other; one that leads back to itself by a link is deeper.
const DEEPEST: usize = 16;

/// Most classes: labels are bytes.
const CLASSES: usize = 256;

/// Loads the images of a folder and of those in it, in the order of their paths. Where all lie in subfolders, those of the first level are
/// classes, of which there may be 256; of more, none is kept, which is said. `held_out` of them are held out, from each class in proportion, the last ones by name.
pub fn load(path: &Path, held_out: usize) -> Result<Dataset> {
    let mut found = Found::default();
    found.look(path, 0)?;
    let Found { mut images, left_out } = found;
    images.sort();
    let mut left_out: Vec<String> = left_out.into_iter().map(|(what, n)| format!("{n} {what}")).collect();
    if images.is_empty() {
        let beside = if left_out.is_empty() { String::new() } else { format!(" (there are: {})", left_out.join(", ")) };
        bail!("{}: expected {KINDS} images, found none{beside}", path.display());
    }
    let n = images.len();
    ensure!(n > held_out, "{}: expected more images than the {held_out} to hold out, found {n}", path.display());
    let decoded: Vec<(ImageShape, Vec<u8>)> = images.par_iter().map(|file| decode(file)).collect::<Result<_>>()?;
    let shape = decoded[0].0;
    if let Some(other) = decoded.iter().position(|(found, _)| *found != shape) {
        bail!("{}: expected {shape}, as {} has, got {}", images[other].display(), images[0].display(), decoded[other].0);
    }
    let (classes, labels) = classes(path, &images);
    let subfolders = labels.iter().max().map_or(0, |last| last + 1);
    if subfolders > CLASSES {
        left_out.push(format!("the names of {subfolders} subfolders, of which at most {CLASSES} can be classes"));
    }
    let held = held(&labels, n, held_out);
    let split = |wanted: bool| {
        let of = || (0..n).filter(|i| held[*i] == wanted);
        let labels = if classes.is_empty() { Vec::new() } else { of().map(|i| labels[i] as u8).collect() };
        Images { shape, pixels: of().flat_map(|i| &decoded[i].1).copied().collect(), labels }
    };
    let name = path.file_name().map_or_else(|| "folder".into(), |n| n.to_string_lossy().into_owned());
    Ok(Dataset { left_out, ..Dataset::new(&name, split(false), split(true), classes) })
}

/// What lies in a folder.
#[derive(Default)]
struct Found {
    images: Vec<PathBuf>,
    /// How many files of each kind are not read.
    left_out: BTreeMap<String, usize>,
}

impl Found {
    fn look(&mut self, dir: &Path, depth: usize) -> Result<()> {
        ensure!(depth < DEEPEST, "{}: expected folders at most {DEEPEST} deep; does a link lead back?", dir.display());
        let list = || format!("{}: cannot be listed; expected a folder of {KINDS} images", dir.display());
        for entry in fs::read_dir(dir).with_context(list)? {
            let path = entry.with_context(list)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // What file managers leave: macOS's `._a.png` has the name of an image and is none.
            if name.starts_with('.') || name.eq_ignore_ascii_case("Thumbs.db") || name.eq_ignore_ascii_case("desktop.ini") {
                *self.left_out.entry("of the file manager's, or hidden".into()).or_default() += 1;
            } else if path.is_dir() {
                self.look(&path, depth + 1)?;
            } else if is_image(&path) {
                self.images.push(path);
            } else {
                let kind = path.extension().map_or_else(|| "without an extension".into(), |e| format!(".{}", e.to_string_lossy()));
                *self.left_out.entry(kind).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// The names of the classes, and each image's; no names where some image lies in the folder itself or where there are too many.
fn classes(root: &Path, images: &[PathBuf]) -> (Vec<String>, Vec<usize>) {
    let folder = |file: &PathBuf| {
        let inner = file.strip_prefix(root).ok()?.parent()?;
        Some(inner.components().next()?.as_os_str().to_string_lossy().into_owned())
    };
    let Some(folders) = images.iter().map(folder).collect::<Option<Vec<String>>>() else { return (Vec::new(), vec![0; images.len()]) };
    let mut names = folders.clone();
    names.sort();
    names.dedup();
    let labels = folders.iter().map(|name| names.binary_search(name).expect("one of them")).collect();
    (if names.len() > CLASSES { Vec::new() } else { names }, labels)
}

/// Which of `n` images are held out: of each class its share of `held_out`, the last ones. Where shares are not whole, the classes with the
/// largest fractions give one more.
fn held(labels: &[usize], n: usize, held_out: usize) -> Vec<bool> {
    let mut sizes = vec![0; labels.iter().max().map_or(0, |last| last + 1)];
    labels.iter().for_each(|label| sizes[*label] += 1);
    let mut shares: Vec<usize> = sizes.iter().map(|size| size * held_out / n).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|class| std::cmp::Reverse(sizes[*class] * held_out % n));
    let rest = held_out - shares.iter().sum::<usize>();
    order[..rest].iter().for_each(|class| shares[*class] += 1);
    let mut held = vec![false; n];
    for i in (0..n).rev() {
        let share = &mut shares[labels[i]];
        held[i] = *share > 0;
        *share = share.saturating_sub(1);
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(dir: &Path, name: &str, width: u32, value: u8) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_fn(width, 4, |x, y| image::Luma([if (x, y) == (1, 2) { value } else { 0 }])).save(path).unwrap();
    }

    /// The one pixel of each image by which it is known.
    fn values(images: &Images) -> Vec<u8> {
        (0..images.len()).map(|i| images.image(i)[7]).collect()
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
        assert_eq!((data.info.shape.height, data.info.shape.width, data.info.shape.channels), (4, 3, 1));
        assert_eq!((values(&data.train), values(&data.held_out)), (vec![1, 2], vec![3]));
        assert_eq!(data.left_out, ["2 .txt", "3 of the file manager's, or hidden", "1 without an extension"]);
        assert!(data.info.classes.is_empty() && data.train.labels.is_empty());
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
        assert_eq!(data.info.classes, ["cat", "dog"]);
        // In the order of their paths: cat/2, cat/3, cat/a/1, cat/b/0, dog/0, dog/1.
        assert_eq!((values(&data.train), &data.train.labels[..]), (vec![3, 4, 5], &[0, 0, 1][..]));
        assert_eq!((values(&data.held_out), &data.held_out.labels[..]), (vec![1, 2, 6], &[0, 0, 1][..]));
        picture(dir.path(), "0.png", 3, 7);
        let data = load(dir.path(), 3).unwrap();
        assert!(data.info.classes.is_empty() && data.train.labels.is_empty());
        assert_eq!((values(&data.train), values(&data.held_out)), (vec![7, 3, 4, 1], vec![2, 5, 6]));
        // One class more than labels have room for.
        let many = tempfile::tempdir().unwrap();
        (0..=CLASSES).for_each(|class| picture(many.path(), &format!("{class:03}/0.png"), 3, class as u8));
        let data = load(many.path(), 0).unwrap();
        assert!(data.info.classes.is_empty() && data.train.labels.is_empty() && data.train.len() == 257);
        assert_eq!(data.left_out, ["the names of 257 subfolders, of which at most 256 can be classes"]);
        std::fs::remove_dir_all(many.path().join("256")).unwrap();
        let data = load(many.path(), 0).unwrap();
        assert_eq!((data.info.classes.len(), data.train.labels[255], data.left_out.len()), (256, 255, 0));
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

    proptest! {
        /// As many as asked, from each class its share to within one, and of one class the last.
        #[test]
        fn classes_are_held_out_in_proportion(sizes in prop::collection::vec(1usize..30, 1..8), share in 0.0..1.0f64) {
            let labels: Vec<usize> = sizes.iter().enumerate().flat_map(|(class, size)| vec![class; *size]).collect();
            let n = labels.len();
            let held_out = (share * n as f64) as usize;
            let held = held(&labels, n, held_out);
            prop_assert_eq!(held.iter().filter(|h| **h).count(), held_out);
            let mut first = 0;
            for size in &sizes {
                let of_class = &held[first..first + size];
                let count = of_class.iter().filter(|h| **h).count();
                prop_assert!((count as f64 - (size * held_out) as f64 / n as f64).abs() < 1.0);
                prop_assert!(of_class[size - count..].iter().all(|h| *h));
                first += size;
            }
        }
    }
}
