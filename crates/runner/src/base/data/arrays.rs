//! Images as NumPy's arrays of bytes: `[n, H, W, C]` or `[n, H, W]` in an `.npy` or as `arr_0` of an `.npz`, as guided-diffusion writes them,
//! or `data` `[n, 3 * H * W]` of an `.npz`, square and one colour after another, as downsampled ImageNet is published.

use super::entries::{Beside, Content, Entry, See, files};
use super::images::Images;
use crate::base::npz::{Array, Npz, npy_bytes};
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::network::ImageShape;
use std::path::Path;

/// How files end.
pub const ENDINGS: [&str; 2] = [".npz", ".npy"];

/// The name that NumPy gives to an array without one.
const ARRAY: &str = "arr_0";

/// Downsampled ImageNet's.
const PLANES: &str = "data";

/// Where the numbers of classes stand, if they do.
const LABELS: [&str; 2] = ["arr_1", "labels"];

/// Whether a file holds such images.
pub fn are_in(file: &Npz) -> bool {
    file.has(ARRAY) || file.has(PLANES)
}

/// Shows the images of a file, or of those in a folder by name.
pub fn each(path: &Path, see: &mut See) -> Result<Beside> {
    let mut beside = Beside::default();
    for part in files(path, &ENDINGS, &mut beside.left_out)? {
        let named = || part.display().to_string();
        let (images, labels) = if part.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")) {
            (shaped(npy_bytes(&part).with_context(named)?, "the array").with_context(named)?, Vec::new())
        } else {
            let mut file = Npz::open(&part).with_context(named)?;
            (images(&mut file).with_context(named)?, labels(&mut file).with_context(named)?)
        };
        ensure!(labels.is_empty() || labels.len() == images.len(), "{}: expected a label for each image, got {}", named(), labels.len());
        for i in 0..images.len() {
            let content = Content::Pixels(images.shape, images.image(i)?.into_owned());
            let name = format!("{}:{i}", part.file_name().unwrap_or_default().to_string_lossy());
            see(Entry { place: format!("{}: image {i}", named()), name, class: labels.get(i).copied().flatten(), content })?;
        }
    }
    Ok(beside)
}

/// Those of an open file. Errors name what is wrong.
fn images(file: &mut Npz) -> Result<Images> {
    if file.has(ARRAY) || !file.has(PLANES) {
        return shaped(file.bytes(ARRAY)?, ARRAY);
    }
    let Array { shape, numbers } = file.bytes(PLANES)?;
    let side = (shape.last().copied().unwrap_or(0) as f64 / 3.0).sqrt() as usize;
    let pixels = side * side;
    ensure!(shape.len() == 2 && pixels > 0 && shape[1] == 3 * pixels, "{PLANES}: expected square images [n, 3 * H * W], got {shape:?}");
    let turned = |image: &[u8]| (0..3 * pixels).map(|i| image[i % 3 * pixels + i / 3]).collect::<Vec<u8>>();
    let pixels = numbers.chunks(3 * pixels).flat_map(turned).collect();
    Ok(Images::new(ImageShape { height: side, width: side, channels: 3 }, pixels, Vec::new()))
}

fn shaped(array: Array<u8>, name: &str) -> Result<Images> {
    let shape = match array.shape[..] {
        [n, height, width, channels] if n * height * width > 0 && (channels == 1 || channels == 3) => {
            ImageShape { height, width, channels }
        }
        [n, height, width] if n * height * width > 0 => ImageShape { height, width, channels: 1 },
        _ => bail!("{name}: expected images [n, H, W], [n, H, W, 1] or [n, H, W, 3], got {:?}", array.shape),
    };
    Ok(Images::new(shape, array.numbers, Vec::new()))
}

/// The number of each image's class, none below zero; nothing where the file has no labels.
fn labels(file: &mut Npz) -> Result<Vec<Option<usize>>> {
    let Some(name) = LABELS.into_iter().find(|name| file.has(name)) else { return Ok(Vec::new()) };
    let numbers = file.numbers(name)?.numbers;
    ensure!(numbers.iter().all(|v| v.fract() == 0.0), "{name}: expected the numbers of classes");
    Ok(numbers.into_iter().map(|v| (v >= 0.0).then_some(v as usize)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::atomic;
    use crate::base::npz::Writer;

    #[test]
    fn images_are_bytes_of_four_dimensions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples_2x2x3x1.npz");
        let put = |name: &str, shape: &[usize]| {
            let pixels: Vec<u8> = (0..shape.iter().product::<usize>()).map(|i| i as u8).collect();
            let write = |file: &mut std::fs::File| {
                let mut writer = Writer::new(file);
                writer.add(name, shape, &pixels)?;
                writer.finish()
            };
            atomic::write_with(&path, write).unwrap();
        };
        put(ARRAY, &[2, 2, 3, 1]);
        let read = || images(&mut Npz::open(&path).unwrap());
        let images = read().unwrap();
        assert_eq!(
            (images.len(), images.shape, &images.image(1).unwrap()[..]),
            (2, ImageShape { height: 2, width: 3, channels: 1 }, &[6, 7, 8, 9, 10, 11][..])
        );
        put("other", &[2, 2, 3, 1]);
        assert!(!are_in(&Npz::open(&path).unwrap()));
        for shape in [&[12][..], &[3, 4], &[0, 2, 2, 3], &[1, 3, 2, 2], &[1, 2, 3, 1, 2]] {
            put(ARRAY, shape);
            let why = format!("{:#}", read().unwrap_err());
            assert!(why.contains("arr_0: expected images"), "{why}");
        }
    }
}
