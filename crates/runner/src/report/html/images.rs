//! Samples along the reverse process and real images, as the page's program lays them out.

use super::super::entry::Entry;
use super::super::sheets::real_images;
use crate::base::data::DatasetInfo;
use crate::base::picture::{self, COLUMNS, SHOWN};
use crate::experiment::Experiment;
use crate::store::{REVERSE, Store};
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ddpm_model::network::ImageShape;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Bytes of pixels on a page, about: it is to be sent by mail.
const PIXELS: usize = 3_500_000;
/// Width and height of an image on it at most; larger ones are shown smaller.
const SIDE: usize = 64;

/// What is seen of samples.
#[derive(Serialize)]
pub struct Pictures {
    width: usize,
    height: usize,
    columns: usize,
    /// Images of a sheet.
    count: usize,
    /// Whether they are shown smaller than they are.
    smaller: bool,
    /// The seed that the cells' noise comes of.
    seed: u64,
    /// For each cell; absent where it left none.
    cells: Vec<Option<Sheets>>,
    /// The data set's name, and a sheet of its first images.
    real: Option<(String, String)>,
}

/// Sheets of a cell under each other.
#[derive(Serialize)]
struct Sheets {
    /// The steps at which the predicted x_0 is shown, falling; the last sheet is of the samples themselves, and no step.
    steps: Vec<usize>,
    /// A PNG, as a data URI.
    src: String,
}

/// Of the first seed, from files that jobs and the experiment left. What is not there, or cannot be read, is left out.
pub fn pictures(experiment: &Experiment, entries: &[Entry], store: &Store, data: &DatasetInfo) -> Result<Pictures> {
    let seed = experiment.file.seeds[0];
    let trajectories: Vec<Option<Trajectories>> = (0..experiment.cells.len())
        .map(|cell_index| {
            let entry = entries.iter().find(|entry| entry.cell_index == cell_index && entry.record.seed == seed)?;
            Trajectories::of(store.run(&entry.record.id).join(REVERSE), &entry.record.progressive, data.shape)
        })
        .collect();
    let there: Vec<&Trajectories> = trajectories.iter().flatten().collect();
    let stops: Vec<usize> = there.iter().map(|trajectories| trajectories.steps.len()).collect();
    let mut room = Room::of(&stops, data.shape);
    room.count = there.iter().map(|trajectories| trajectories.count).min().unwrap_or(SHOWN).min(room.count);
    // Points of a plane are seen all together, and not each by itself.
    let real = real_images(&store.report(&experiment.name), data).filter(|_| !picture::is_plane(data.shape));
    let real = real.map(|images| images.into_iter().take(room.count).collect::<Vec<_>>());
    Ok(Pictures {
        width: room.shape.width,
        height: room.shape.height,
        columns: COLUMNS,
        count: room.count,
        smaller: room.shape != data.shape,
        seed,
        cells: trajectories
            .into_iter()
            .map(|trajectories| trajectories.map_or(Ok(None), |trajectories| trajectories.sheets(&room, data.shape)))
            .collect::<Result<_>>()?,
        real: real.map(|images| Ok::<_, anyhow::Error>((data.name.clone(), room.uri(images, data.shape)?))).transpose()?,
    })
}

/// A tiled picture's images; none where it is not there, or none of them.
fn opened(path: &Path, shape: ImageShape) -> Option<Vec<Vec<u8>>> {
    picture::untiled(&image::open(path).ok()?.to_rgb8(), shape)
}

/// A job's picture of its samples' trajectories: a row for each, the predictions at its steps and the sample itself.
struct Trajectories {
    path: PathBuf,
    steps: Vec<usize>,
    /// How many samples.
    count: usize,
}

impl Trajectories {
    fn of(path: PathBuf, steps: &[usize], shape: ImageShape) -> Option<Trajectories> {
        let (width, height) = image::image_dimensions(&path).ok()?;
        let count = height as usize / shape.height;
        (width as usize == (steps.len() + 1) * shape.width && count > 0).then(|| Trajectories { path, steps: steps.to_vec(), count })
    }

    /// Sheets of what there is room for.
    fn sheets(&self, room: &Room, shape: ImageShape) -> Result<Option<Sheets>> {
        let kept = room.kept(self.steps.len());
        let columns = self.steps.len() + 1;
        let Some(images) = opened(&self.path, shape) else { return Ok(None) };
        let blank = vec![u8::MAX; shape.len()];
        let at = |stop: usize, i: usize| images.get(i * columns + stop).filter(|_| i < room.count).unwrap_or(&blank).clone();
        let sheet = |stop: usize| (0..room.count.next_multiple_of(COLUMNS)).map(move |i| (stop, i));
        let all = kept.iter().copied().chain([self.steps.len()]).flat_map(sheet).map(|(stop, i)| at(stop, i));
        Ok(Some(Sheets { steps: kept.iter().map(|stop| self.steps[*stop]).collect(), src: room.uri(all.collect(), shape)? }))
    }
}

/// What a page has room for.
#[derive(Debug, PartialEq)]
struct Room {
    /// The shape that images are shown in.
    shape: ImageShape,
    /// Images of a sheet: whole rows of them.
    count: usize,
    /// Stops of a cell, at most.
    stops: usize,
}

impl Room {
    /// For cells with so many stops each: large images are made smaller, then there are fewer of them, then fewer stops.
    fn of(stops: &[usize], shape: ImageShape) -> Room {
        let larger = shape.width.max(shape.height).div_ceil(SIDE);
        let shape = ImageShape { width: (shape.width / larger).max(1), height: (shape.height / larger).max(1), ..shape };
        let most = stops.iter().copied().max().unwrap_or(0);
        let frames = |most: usize| stops.iter().map(|stops| (*stops).min(most) + 1).sum::<usize>().max(1);
        let fits = |most: usize| PIXELS / (frames(most) * shape.len());
        let stops = (1..=most).rev().find(|most| fits(*most) >= COLUMNS).unwrap_or(most.min(1));
        Room { shape, count: (fits(stops) / COLUMNS * COLUMNS).clamp(COLUMNS, SHOWN), stops }
    }

    /// Which of so many stops are shown: the first, the last, and evenly between them.
    fn kept(&self, stops: usize) -> Vec<usize> {
        let n = self.stops.min(stops);
        (0..n).map(|k| if n == 1 { 0 } else { k * (stops - 1) / (n - 1) }).collect()
    }

    /// Images of `shape`, in rows, as a data URI.
    fn uri(&self, images: Vec<Vec<u8>>, shape: ImageShape) -> Result<String> {
        let smaller = |image: Vec<u8>| {
            let whole = picture::tiled(&image, shape, 1);
            let (width, height) = (self.shape.width as u32, self.shape.height as u32);
            let small = image::imageops::resize(&whole, width, height, image::imageops::FilterType::Triangle);
            picture::untiled(&small, self.shape).unwrap_or_default().concat()
        };
        let bytes = if shape == self.shape { images.concat() } else { images.into_iter().flat_map(smaller).collect() };
        uri(&bytes, self.shape)
    }
}

/// Images in rows as a data URI of a PNG.
fn uri(bytes: &[u8], shape: ImageShape) -> Result<String> {
    Ok(embedded(&picture::png(&picture::tiled(bytes, shape, COLUMNS))?))
}

/// A PNG as a data URI.
pub fn embedded(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_room_for_what_can_be_sent() {
        let of = |stops: &[usize], side, channels| {
            let Room { shape, count, stops } = Room::of(stops, ImageShape { height: side, width: side, channels });
            (shape.height, count, stops)
        };
        // Table 2 with ten stops, on Fashion-MNIST and on CIFAR-10; nine cells of large images; nothing; more cells than there is room for.
        assert_eq!([of(&[10; 6], 28, 1), of(&[10; 6], 32, 3), of(&[10; 9], 256, 3)], [(28, 64, 10), (32, 16, 10), (64, 8, 2)]);
        assert_eq!([of(&[], 28, 1), of(&[10; 100], 256, 3)], [(28, 64, 0), (64, 8, 1)]);
        let kept = |stops: usize, of: usize| Room { shape: ImageShape { height: 1, width: 1, channels: 1 }, count: 8, stops }.kept(of);
        assert_eq!([kept(10, 4), kept(3, 10), kept(1, 10), kept(2, 0)], [vec![0, 1, 2, 3], vec![0, 4, 9], vec![0], vec![]]);
    }

    /// A sheet for each stop and one of the samples: of three samples with two stops, the second one's pixels at each.
    #[test]
    fn every_stop_has_a_sheet() {
        let (dir, shape) = (tempfile::tempdir().unwrap(), ImageShape { height: 1, width: 2, channels: 1 });
        let bytes: Vec<u8> = (0..3 * 3 * 2).collect();
        let path = dir.path().join("reverse.png");
        picture::tiled(&bytes, shape, 3).save(&path).unwrap();
        let trajectories = Trajectories::of(path.clone(), &[7, 3], shape).unwrap();
        assert_eq!((trajectories.count, Trajectories::of(path, &[7], shape).is_none()), (3, true));
        let Sheets { steps, src } = trajectories.sheets(&Room { shape, count: 3, stops: 2 }, shape).unwrap().unwrap();
        let png = STANDARD.decode(src.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let seen = picture::untiled(&image::load_from_memory(&png).unwrap().to_rgb8(), shape).unwrap();
        assert_eq!((steps, seen.len()), (vec![7, 3], 3 * COLUMNS));
        let second = [0, 1, 2].map(|stop| seen[stop * COLUMNS + 1].clone());
        assert_eq!(second, [[6, 7], [8, 9], [10, 11]]);
        assert!(seen[3] == [255, 255], "there is no fourth sample");
    }
}
