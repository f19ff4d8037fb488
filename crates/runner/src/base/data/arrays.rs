//! Images as NumPy's arrays of bytes: `[n, H, W, C]` or `[n, H, W]` in an `.npy` or as `arr_0` of an `.npz`, as guided-diffusion writes them,
//! or `data` `[n, 3 * H * W]` of an `.npz`, square and one colour after another, as downsampled ImageNet is published.

use super::entries::{Beside, Content, Entry, See, files};
use crate::base::npy::npy_rows;
use crate::base::npz::Npz;
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
        let file_name = part.file_name().unwrap_or_default().to_string_lossy();
        let mut show = |shape: ImageShape, i: usize, class: Option<usize>, pixels: Vec<u8>| {
            let content = Content::Pixels(shape, pixels);
            see(Entry { place: format!("{}: image {i}", named()), name: format!("{file_name}:{i}"), class, content })
        };
        if part.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")) {
            let mut see = |shape: &ImageShape, i: usize, row: &[u8]| show(*shape, i, None, row.to_vec());
            npy_rows(&part, images, &mut see).with_context(named)??;
        } else {
            in_archive(&mut Npz::open(&part).with_context(named)?, &mut show).with_context(named)??;
        }
    }
    Ok(beside)
}

/// Who is shown an image: its shape, its number, its class and its pixels.
type Show<'a> = dyn FnMut(ImageShape, usize, Option<usize>, Vec<u8>) -> Result<()> + 'a;

/// Shows those of an open file. The outer error is of the file, the inner one of `show`.
fn in_archive(file: &mut Npz, show: &mut Show) -> Result<Result<()>> {
    let labels = labels(file)?;
    let labelled = |n: usize| -> Result<()> {
        ensure!(labels.is_empty() || labels.len() == n, "expected a label for each of {n} images, got {}", labels.len());
        Ok(())
    };
    let class = |i: usize| labels.get(i).copied().flatten();
    if file.has(ARRAY) || !file.has(PLANES) {
        let begin = |shape: &[usize]| labelled(shape.first().copied().unwrap_or(0)).and_then(|()| images(shape));
        return file.rows(ARRAY, begin, &mut |shape, i, row| show(*shape, i, class(i), row.to_vec()));
    }
    let begin = |shape: &[usize]| {
        let side = (shape.last().copied().unwrap_or(0) as f64 / 3.0).sqrt() as usize;
        ensure!(shape.len() == 2 && side > 0 && shape[1] == 3 * side * side, "expected square images [n, 3 * H * W], got {shape:?}");
        labelled(shape[0])?;
        Ok(ImageShape { height: side, width: side, channels: 3 })
    };
    file.rows(PLANES, begin, &mut |shape, i, row| {
        let pixels = shape.height * shape.width;
        show(*shape, i, class(i), (0..3 * pixels).map(|i| row[i % 3 * pixels + i / 3]).collect())
    })
}

/// The shape of the images that an array of these dimensions holds.
fn images(shape: &[usize]) -> Result<ImageShape> {
    match shape[..] {
        [n, height, width, channels] if n * height * width > 0 && (channels == 1 || channels == 3) => {
            Ok(ImageShape { height, width, channels })
        }
        [n, height, width] if n * height * width > 0 => Ok(ImageShape { height, width, channels: 1 }),
        _ => bail!("expected images [n, H, W], [n, H, W, 1] or [n, H, W, 3], got {shape:?}"),
    }
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
        let read = || {
            let mut seen = Vec::new();
            let mut show = |shape, i, class, pixels| {
                seen.push((shape, i, class, pixels));
                Ok(())
            };
            in_archive(&mut Npz::open(&path).unwrap(), &mut show).map(|shown| shown.unwrap())?;
            Ok::<_, anyhow::Error>(seen)
        };
        let shape = ImageShape { height: 2, width: 3, channels: 1 };
        assert_eq!(read().unwrap(), [(shape, 0, None, (0..6).collect()), (shape, 1, None, (6..12).collect::<Vec<u8>>())]);
        put("other", &[2, 2, 3, 1]);
        assert!(!are_in(&Npz::open(&path).unwrap()));
        for shape in [&[12][..], &[3, 4], &[0, 2, 2, 3], &[1, 3, 2, 2], &[1, 2, 3, 1, 2]] {
            put(ARRAY, shape);
            let why = format!("{:#}", read().unwrap_err());
            assert!(why.contains("arr_0: expected images"), "{why}");
        }
        // What the one who is shown says comes as it is.
        put(ARRAY, &[2, 2, 3, 1]);
        let stop = |_: ImageShape, i: usize, _: Option<usize>, _: Vec<u8>| if i == 1 { bail!("enough") } else { Ok(()) };
        let stopped = in_archive(&mut Npz::open(&path).unwrap(), &mut { stop }).unwrap();
        assert_eq!(format!("{:#}", stopped.unwrap_err()), "enough");
    }
}
