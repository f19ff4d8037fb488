//! A folder of PNG or JPEG images.

use super::images::{Dataset, Images};
use anyhow::{Context, Result, ensure};
use ddpm_model::network::ImageShape;
use image::{ColorType, ImageReader};
use std::fs;
use std::path::{Path, PathBuf};

/// Loads the images of a folder in the order of their file names; the last `held_out` are held out.
pub fn load(path: &Path, held_out: usize) -> Result<Dataset> {
    let mut files: Vec<PathBuf> = fs::read_dir(path)
        .with_context(|| format!("{}: cannot be listed; expected a folder of PNG or JPEG images", path.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|f| f.extension().and_then(|e| e.to_str()).is_some_and(|e| ["png", "jpg", "jpeg"].contains(&e.to_lowercase().as_str())));
    files.sort();
    ensure!(files.len() > held_out, "{}: expected more than the {held_out} images to hold out, found {}", path.display(), files.len());
    let mut shape: Option<ImageShape> = None;
    let mut images: Vec<Vec<u8>> = Vec::with_capacity(files.len());
    for file in &files {
        let picture = ImageReader::open(file)
            .and_then(|reader| reader.with_guessed_format())
            .with_context(|| format!("{}: cannot be read", file.display()))?
            .decode()
            .with_context(|| format!("{}: not a PNG or JPEG image", file.display()))?;
        let grey = matches!(picture.color(), ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16);
        let found = ImageShape { height: picture.height() as usize, width: picture.width() as usize, channels: if grey { 1 } else { 3 } };
        let expected = *shape.get_or_insert(found);
        ensure!(
            found == expected,
            "{}: expected {}x{} with {} channels as {} has, got {}x{} with {}",
            file.display(),
            expected.height,
            expected.width,
            expected.channels,
            files[0].display(),
            found.height,
            found.width,
            found.channels
        );
        images.push(if grey { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() });
    }
    let kept = images.len() - held_out;
    let shape = shape.expect("at least one image");
    let split = |part: &[Vec<u8>]| Images { pixels: part.concat(), ..Images::none(shape) };
    let name = path.file_name().map_or_else(|| "folder".into(), |n| n.to_string_lossy().into_owned());
    Ok(Dataset::new(&name, split(&images[..kept]), split(&images[kept..]), Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(dir: &Path, name: &str, width: u32, value: u8) {
        image::GrayImage::from_fn(width, 4, |x, y| image::Luma([if (x, y) == (1, 2) { value } else { 0 }])).save(dir.join(name)).unwrap();
    }

    #[test]
    fn images_are_taken_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in [("b.png", 2), ("a.png", 1), ("c.png", 3)] {
            picture(dir.path(), name, 3, value);
        }
        fs::write(dir.path().join("notes.txt"), "no image").unwrap();
        let data = load(dir.path(), 1).unwrap();
        assert_eq!((data.info.shape.height, data.info.shape.width, data.info.shape.channels), (4, 3, 1));
        assert_eq!((data.train.len(), data.held_out.len()), (2, 1));
        assert_eq!((data.train.pixels[7], data.train.pixels[12 + 7], data.held_out.pixels[7]), (1, 2, 3));
    }

    #[test]
    fn wrong_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        picture(dir.path(), "a.png", 3, 1);
        let error = |held_out| format!("{:#}", load(dir.path(), held_out).unwrap_err());
        assert!(error(1).contains("expected more than the 1 images"));
        picture(dir.path(), "b.png", 5, 1);
        assert!(error(0).contains("b.png: expected 4x3 with 1 channels"));
        fs::write(dir.path().join("b.png"), b"\x89PNG\r\n\x1a\nrubbish").unwrap();
        assert!(error(0).contains("b.png: not a PNG or JPEG image"));
        assert!(format!("{:#}", load(&dir.path().join("none"), 0).unwrap_err()).contains("cannot be listed"));
    }
}
