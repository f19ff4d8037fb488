//! The sheets of a report: samples, the reverse process, and what studies showed.

use super::anatomy;
use super::canvas::{Drawn, Picture};
use super::entry::Entry;
use super::score_field;
use super::sheet::{Panel, sheet};
use super::tables::Frames;
use crate::base::data::DatasetInfo;
use crate::base::text::{file_name, number};
use crate::base::{atomic, picture};
use crate::experiment::Experiment;
use crate::metrics::Metric;
use crate::store::{Labels, REAL, Store};
use anyhow::{Context, Result};
use image::RgbImage;
use std::fs;
use std::path::Path;

/// What the sheets of an experiment are made of.
pub struct Gallery<'a> {
    pub dir: &'a Path,
    pub experiment: &'a Experiment,
    pub entries: &'a [Entry<'a>],
    pub frames: &'a Frames,
    pub data: &'a DatasetInfo,
    pub store: &'a Store,
}

/// A picture that is drawn once, as the report shows it.
pub struct Still {
    /// From the report's folder.
    pub path: String,
    pub caption: String,
    pub png: Vec<u8>,
}

impl Gallery<'_> {
    /// The samples of each cell under their scores, real images beside them.
    pub fn samples(&self) -> Result<Drawn> {
        let all: Vec<Metric> = Metric::of_samples().filter(|metric| self.experiment.file.metrics.contains(metric)).collect();
        let scored = all.iter().find(|metric| **metric == Metric::Fid).or(all.first()).copied();
        let panels = self.panels("samples", |entry| {
            let mut title = vec![entry.cell.label()];
            if let Some(metric) = scored
                && let Some(mean) = self.frames.mean(entry.cell_index, metric)?
            {
                title.push(format!("{} {}", metric.title(), mean.text(metric)));
            }
            Ok((title, Labels::default()))
        })?;
        let real = self.real(scored);
        let beside = real.as_ref().map_or_else(String::new, |_| format!("; on the right, {}", self.originals()));
        let (seeds, first) = (&self.experiment.file.seeds, self.seed());
        let score = scored.filter(|_| seeds.len() > 1).map_or_else(String::new, |metric| format!(" {} is of all seeds.", metric.title()));
        let what = match picture::is_plane(self.data.shape) {
            true => format!("Samples of seed {first}: all of each cell, darker where there are several"),
            false => format!("Uncurated samples of seed {first}: the first of each cell, at most 64"),
        };
        let about = format!("{what}, all from the same noise{beside}.{score}");
        self.leave("samples", sheet(panels, 3, real)?, about)
    }

    /// The predicted x_0 on the way, for each cell.
    pub fn progressive(&self) -> Result<Drawn> {
        let panels = self.panels("progressive", |entry| {
            let columns = entry.record.progressive.iter().map(ToString::to_string).collect();
            Ok((vec![entry.cell.label()], Labels { corner: "t =".into(), columns, ..Labels::default() }))
        })?;
        let (first, columns) = if picture::is_plane(self.data.shape) { ("64", 1) } else { ("eight", 2) };
        let about = format!(
            "The predicted x₀ along the reverse process, left to right (the paper's Figure 6), for the first {first} samples of each cell."
        );
        self.leave("progressive", sheet(panels, columns, None)?, about)
    }

    /// What samples are to be like.
    fn originals(&self) -> &'static str {
        if picture::is_plane(self.data.shape) { "real points" } else { "real images" }
    }

    /// The seed whose samples are shown: all cells' have the same noise.
    fn seed(&self) -> u64 {
        self.experiment.file.seeds[0]
    }

    fn leave(&self, name: &str, whole: Option<RgbImage>, about: String) -> Result<Drawn> {
        let Some(whole) = whole else { return Ok(Vec::new()) };
        let path = format!("figures/{name}.png");
        atomic::write(&self.dir.join(&path), &picture::png(&whole)?)?;
        Ok(vec![(path, about)])
    }

    /// `NAME.png` of each cell, where it has left one.
    fn panels(&self, name: &str, about: impl Fn(&Entry) -> Result<(Vec<String>, Labels)>) -> Result<Vec<Panel>> {
        let mut panels = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.record.seed == self.seed()) {
            let path = self.store.run(&entry.record.id).join(format!("{name}.png"));
            if path.exists() {
                let picture = image::open(&path).with_context(|| format!("{}: is not a picture", path.display()))?.to_rgb8();
                let (title, labels) = about(entry)?;
                panels.push(Panel::new(&title, picture, &labels));
            }
        }
        Ok(panels)
    }

    /// Real images, laid as samples are, where the experiment has left some.
    fn real(&self, scored: Option<Metric>) -> Option<Panel> {
        let bytes = real_images(self.dir, self.data)?.concat();
        let images = picture::shown(&bytes, self.data.shape, picture::COLUMNS, picture::scale_for(self.data.shape));
        let score = scored.and_then(|metric| {
            let real = self.entries.iter().find_map(|entry| entry.record.real.get(&metric))?;
            Some(format!("{} {}", metric.title(), number(real.value, real.std_err, metric.digits())))
        });
        let title: Vec<String> = [Some(self.originals().into()), score].into_iter().flatten().collect();
        Some(Panel::new(&title, images, &Labels::default()))
    }
}

/// The real images that an experiment left in its folder, where it did.
pub fn real_images(dir: &Path, data: &DatasetInfo) -> Option<Vec<Vec<u8>>> {
    let mut images = picture::untiled(&image::open(dir.join(REAL)).ok()?.to_rgb8(), data.shape)?;
    // Their picture is filled up to a whole row.
    images.truncate(if data.held_out > 0 { data.held_out } else { data.train });
    (!images.is_empty()).then_some(images)
}

/// The pictures of all studies with their rows and columns named; one that is gone or no picture is left out.
pub fn studies(studies: &[Entry], store: &Store) -> Result<Vec<Still>> {
    let mut pictures: Vec<Still> = Vec::new();
    for entry in studies {
        let Some(findings) = &entry.record.findings else { continue };
        let mut all: Vec<(String, String, Vec<u8>)> = Vec::new();
        for shown in &findings.pictures {
            let png = named(&store.run(&entry.record.id).join(&shown.file), &shown.labels)?;
            all.extend(png.map(|png| (shown.file.clone(), shown.caption.clone(), png)));
        }
        let mut drawn: Vec<Picture> = Vec::new();
        if let Some(found) = &findings.anatomy {
            drawn.extend(anatomy::pictures(found)?);
        }
        if let Some(found) = &findings.score_field {
            drawn.extend(score_field::pictures(found)?);
        }
        all.extend(drawn.into_iter().map(|picture| (format!("{}.png", picture.name), picture.caption, picture.png)));
        for (file, caption, png) in all {
            let stem = file_name(&entry.cell.label().replace(", ", "-").replace(' ', "-"), 150);
            // A cell may have several studies of a kind.
            let path = |n: usize| match n {
                1 => format!("figures/{stem}-{file}"),
                n => format!("figures/{stem}-{n}-{file}"),
            };
            let is_free = |path: &String| pictures.iter().all(|other| other.path != *path);
            let path = (1..).map(path).find(is_free).unwrap_or_default();
            pictures.push(Still { path, caption: format!("{}: {caption}", entry.cell.label()), png });
        }
    }
    Ok(pictures)
}

/// A picture with its rows and columns named, as PNG.
fn named(file: &Path, labels: &Labels) -> Result<Option<Vec<u8>>> {
    if labels.is_empty() {
        return Ok(fs::read(file).ok());
    }
    let Ok(picture) = image::open(file) else { return Ok(None) };
    let whole = sheet(vec![Panel::new(&[], picture.to_rgb8(), labels)], 1, None)?;
    whole.map(|whole| picture::png(&whole)).transpose()
}

/// Pictures beside each other, each under its name.
pub fn beside(pictures: Vec<(String, RgbImage)>, columns: usize) -> Result<Option<RgbImage>> {
    let panel = |(name, picture)| Panel::new(&[name], picture, &Labels::default());
    sheet(pictures.into_iter().map(panel).collect(), columns, None)
}
