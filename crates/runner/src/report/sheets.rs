//! Contact sheets: the pictures of all cells on one page, under their names.

use super::entry::Entry;
use super::figures::Drawn;
use super::plot::{said, shortened, with_font};
use crate::base::{atomic, picture};
use crate::store::Store;
use anyhow::{Context, Result};
use image::RgbImage;
use plotters::prelude::*;
use std::path::Path;

/// Height of a caption, and space around pictures, in pixels.
const CAPTION: u32 = 26;
const SPACE: u32 = 14;

pub fn samples(dir: &Path, entries: &[Entry], store: &Store) -> Result<Drawn> {
    sheet(dir, entries, store, "samples", 3, |e| e.cell.label(), "Samples, not chosen: the first 64 of each cell, all from the same noise.")
}

pub fn progressive(dir: &Path, entries: &[Entry], store: &Store) -> Result<Drawn> {
    let caption = |e: &Entry| {
        let steps = &e.record.progressive;
        format!("{}: t = {}", e.cell.label(), steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    let about =
        "The predicted x₀ along the reverse process, left to right (the paper's Figure 6), for the first eight samples of each cell.";
    sheet(dir, entries, store, "progressive", 2, caption, about)
}

/// `NAME.png` of each cell's first replicate, in rows of `columns`.
fn sheet(
    dir: &Path,
    entries: &[Entry],
    store: &Store,
    name: &str,
    columns: u32,
    caption: impl Fn(&Entry) -> String,
    about: &str,
) -> Result<Drawn> {
    let mut pictures: Vec<(String, RgbImage)> = Vec::new();
    let mut seen = Vec::new();
    for entry in entries {
        let path = store.run(&entry.record.id).join(format!("{name}.png"));
        if seen.contains(&entry.cell_index) || !path.exists() {
            continue;
        }
        seen.push(entry.cell_index);
        let opened = image::open(&path).with_context(|| format!("{}: is not a picture", path.display()))?;
        pictures.push((caption(entry), opened.to_rgb8()));
    }
    let Some(whole) = beside(&pictures, columns)? else { return Ok(Vec::new()) };
    let path = format!("figures/{name}.png");
    atomic::write(&dir.join(&path), &picture::png(&whole)?)?;
    Ok(vec![(path, about.to_string())])
}

/// Pictures in rows of `columns`, each under its caption; none of none.
pub fn beside(pictures: &[(String, RgbImage)], columns: u32) -> Result<Option<RgbImage>> {
    let Some((w, h)) = pictures.iter().map(|(_, p)| p.dimensions()).reduce(|(a, b), (c, d)| (a.max(c), b.max(d))) else { return Ok(None) };
    with_font();
    let columns = columns.min(pictures.len() as u32);
    let rows = (pictures.len() as u32).div_ceil(columns);
    let size = (columns * (w + SPACE) + SPACE, rows * (h + CAPTION + SPACE) + SPACE);
    let mut pixels = vec![255; (size.0 * size.1 * 3) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        for (i, (caption, picture)) in pictures.iter().enumerate() {
            let (x, y) = (SPACE + i as u32 % columns * (w + SPACE), SPACE + i as u32 / columns * (h + CAPTION + SPACE));
            // About seven pixels for a character of this size.
            let text = shortened(caption, w as usize / 7);
            root.draw(&Text::new(text, (x as i32, y as i32 + 4), ("sans-serif", 15))).map_err(said)?;
            let image = BitMapElement::with_ref((x as i32, (y + CAPTION) as i32), picture.dimensions(), picture.as_raw());
            root.draw(&image.context("a picture of its own size")?).map_err(said)?;
        }
        root.present().map_err(said)?;
    }
    Ok(Some(RgbImage::from_raw(size.0, size.1, pixels).expect("a buffer of that size")))
}
