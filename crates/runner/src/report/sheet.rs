//! Images in rows and columns with names around them, several such panels beside each other.

use super::canvas::{Area, centred, largest, lines, pixels, px, said, svg, width};
use crate::store::Labels;
use anyhow::Result;
use image::imageops::{crop_imm, replace};
use image::{Rgb, RgbImage};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Sizes of a title's lines, and of labels and notes at most; the least that can be read; space between panels. In pixels.
const TITLE: u32 = 28;
const LABEL: u32 = 22;
const NOTE: u32 = 16;
const LEAST: u32 = 8;
const SPACE: u32 = 18;

/// A picture of images laid in rows and columns, with a line between them.
pub struct Panel {
    /// The lines above it.
    title: Vec<String>,
    images: RgbImage,
    labels: Labels,
}

/// The measures of a panel, in pixels.
struct Layout {
    /// A column and a row of the images.
    pitch: (u32, u32),
    /// Sizes of labels and notes.
    label: u32,
    note: u32,
    /// Room before the images, above them, and under each row.
    left: u32,
    top: u32,
    under: u32,
}

impl Panel {
    /// Each part of the title begins a line. Labels that are not of so many rows and columns are left out: they are of another picture.
    pub fn new(title: &[String], images: RgbImage, labels: &Labels) -> Panel {
        let divides = |n: usize, length: u32| n == 0 || (length - 1).is_multiple_of(n as u32);
        let all_noted = labels.notes.is_empty() || labels.notes.len() == labels.rows.len() * labels.columns.len();
        let fit = divides(labels.columns.len(), images.width()) && divides(labels.rows.len(), images.height()) && all_noted;
        let mut panel = Panel { title: Vec::new(), images, labels: if fit { labels.clone() } else { Labels::default() } };
        let room = panel.size().0;
        panel.title = title.iter().flat_map(|part| lines(part, TITLE, room)).collect();
        panel
    }

    /// With empty lines before its title, so that it has so many.
    fn with_lines(mut self, n: usize) -> Panel {
        while self.title.len() < n {
            self.title.insert(0, String::new());
        }
        self
    }

    fn rows(&self) -> u32 {
        self.labels.rows.len().max(1) as u32
    }

    fn columns(&self) -> u32 {
        self.labels.columns.len().max(1) as u32
    }

    fn layout(&self) -> Layout {
        let Labels { corner, columns, rows, notes } = &self.labels;
        let pitch = ((self.images.width() - 1) / self.columns(), (self.images.height() - 1) / self.rows());
        // Each has room over its column, if that is possible.
        let fitting = |texts: &[String], most: u32| largest(texts, pitch.0.saturating_sub(6), LEAST..=most);
        let names = rows.iter().chain([corner]).map(|text| width(text, LABEL)).max().unwrap_or(0);
        let (label, note) = (fitting(columns, LABEL), fitting(notes, NOTE));
        Layout {
            pitch,
            label,
            note,
            left: if names > 0 { names + 12 } else { 0 },
            top: self.title.len() as u32 * (TITLE + 8) + if columns.is_empty() { 0 } else { label + 12 },
            under: if notes.is_empty() { 0 } else { note + 8 },
        }
    }

    fn size(&self) -> (u32, u32) {
        let layout = self.layout();
        (layout.left + self.images.width(), layout.top + self.images.height() + layout.under * self.rows())
    }

    /// Writes what stands around the images.
    fn write(&self, area: &Area) -> Result<()> {
        let (layout, Labels { corner, columns, rows, notes }) = (self.layout(), &self.labels);
        let text = |words: &str, size: u32, (x, y): (u32, u32), side: HPos| {
            let style = centred(size, side).pos(Pos::new(side, VPos::Top));
            area.draw(&Text::new(words.to_string(), (px(x) as i32, px(y) as i32), style)).map_err(said)
        };
        for (i, line) in (0..).zip(&self.title) {
            text(line, TITLE, (0, i * (TITLE + 8)), HPos::Left)?;
        }
        let middle = |column: u32| layout.left + column * layout.pitch.0 + layout.pitch.0 / 2;
        let over = layout.top - if columns.is_empty() { 0 } else { layout.label + 8 };
        text(corner, LABEL, (0, over), HPos::Left)?;
        // Over narrow images there is room for some of the names only.
        let widest = columns.iter().map(|words| width(words, layout.label) + 4).max().unwrap_or(0);
        for (i, words) in (0..).zip(columns).step_by(widest.div_ceil(layout.pitch.0).max(1) as usize) {
            text(words, layout.label, (middle(i), over), HPos::Center)?;
        }
        let row = |i: u32| layout.top + i * (layout.pitch.1 + layout.under);
        for (i, words) in (0..).zip(rows) {
            let place = (0, px(row(i) + layout.pitch.1 / 2) as i32);
            area.draw(&Text::new(words.clone(), place, centred(LABEL, HPos::Left))).map_err(said)?;
        }
        for (i, words) in (0..).zip(notes) {
            let (column, i) = (i % self.columns(), i / self.columns());
            text(words, layout.note, (middle(column), row(i) + layout.pitch.1 + 4), HPos::Center)?;
        }
        Ok(())
    }

    /// The whole panel.
    fn drawn(&self) -> Result<RgbImage> {
        let layout = self.layout();
        let mut picture = pixels(&svg(self.size(), |area| self.write(area))?, 1)?;
        for i in 0..self.rows() {
            let strip = crop_imm(&self.images, 0, i * layout.pitch.1, self.images.width(), layout.pitch.1 + 1).to_image();
            let top = layout.top + i * (layout.pitch.1 + layout.under);
            replace(&mut picture, &strip, layout.left as i64, top as i64);
        }
        Ok(picture)
    }
}

/// Panels in rows of `columns`, and one that stands at the end of the first row; none of none.
pub fn sheet(panels: Vec<Panel>, columns: usize, aside: Option<Panel>) -> Result<Option<RgbImage>> {
    let n = panels.len();
    if n == 0 {
        return Ok(None);
    }
    let columns = columns.clamp(1, n);
    // Images of a row begin at one height.
    let lines = panels.iter().chain(&aside).map(|panel| panel.title.len()).max().unwrap_or(0);
    let panels: Vec<Panel> = panels.into_iter().chain(aside).map(|panel| panel.with_lines(lines)).collect();
    let sizes: Vec<(u32, u32)> = panels.iter().map(Panel::size).collect();
    let pitch = (sizes.iter().map(|size| size.0 + SPACE).max().unwrap_or(0), sizes.iter().map(|size| size.1 + SPACE).max().unwrap_or(0));
    let at = |column: usize, row: usize| (SPACE + column as u32 * pitch.0, SPACE + row as u32 * pitch.1);
    let (width, height) = at(columns + panels.len() - n, n.div_ceil(columns));
    let mut picture = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    // One after another: all texts at once would need a drawing as large as the sheet.
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = if i < n { at(i % columns, i / columns) } else { at(columns, 0) };
        replace(&mut picture, &panel.drawn()?, x as i64, y as i64);
    }
    Ok(Some(picture))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::picture::grid;
    use ddpm_model::network::ImageShape;

    /// Six images of 40x40 in one grey each, in two rows, and names for all of them.
    fn panel(title: &[&str], labels: &Labels) -> Panel {
        let shape = ImageShape { height: 40, width: 40, channels: 1 };
        let bytes: Vec<u8> = (0..6u8).flat_map(|i| vec![20 * (i + 1); 1600]).collect();
        Panel::new(&title.iter().map(ToString::to_string).collect::<Vec<_>>(), grid(&bytes, shape, 3, 1), labels)
    }

    fn labels() -> Labels {
        let of = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Labels { corner: "t =".into(), columns: of(&["9", "5", "1"]), rows: of(&["a", "b"]), notes: of(&["1", "2", "3", "4", "5", "6"]) }
    }

    /// Where each of the six greys is seen: the corner of its image.
    fn corners(picture: &RgbImage) -> [Option<(u32, u32)>; 6] {
        [1, 2, 3, 4, 5, 6].map(|i| {
            let solid = |x: u32, y: u32| (0..40).all(|d| picture.get_pixel(x + d, y + d).0 == [20 * i; 3]);
            let all = (0..picture.height() - 40).flat_map(|y| (0..picture.width() - 40).map(move |x| (x, y)));
            all.into_iter().find(|(x, y)| solid(*x, *y))
        })
    }

    /// Every image is whole and in its row and column, whatever stands around; with notes the rows are further apart.
    #[test]
    fn images_are_where_their_names_are() {
        let plain = sheet(vec![panel(&[], &Labels::default())], 1, None).unwrap().unwrap();
        let named = sheet(vec![panel(&["a title", "and more"], &labels())], 1, None).unwrap().unwrap();
        let (bare, found) = (corners(&plain).map(Option::unwrap), corners(&named).map(Option::unwrap));
        assert_eq!(bare[0], (SPACE + 1, SPACE + 1));
        for corners in [bare, found] {
            assert!((0..6).all(|i| corners[i].0 == corners[0].0 + 41 * (i as u32 % 3)), "{corners:?}");
            assert!((0..6).all(|i| corners[i].1 == corners[i / 3 * 3].1), "{corners:?}");
        }
        assert!(bare[3].1 - bare[0].1 == 41 && found[3].1 - found[0].1 > 41 + LEAST);
        assert!(found[0].1 > bare[0].1 + 2 * TITLE + LEAST && found[0].0 > bare[0].0);
    }

    /// Labels of another number of rows or columns than there are would name the wrong images.
    #[test]
    fn labels_of_another_picture_are_left_out() {
        let of = |labels: &Labels| panel(&[], labels).labels;
        assert_eq!(of(&labels()), labels());
        let many = |n: usize| vec!["x".to_string(); n];
        // Without notes, whose number would be wrong as well.
        let plain = || Labels { notes: Vec::new(), ..labels() };
        assert_eq!(of(&plain()), plain());
        for wrong in [Labels { columns: many(5), ..plain() }, Labels { rows: many(7), ..plain() }, Labels { notes: many(5), ..labels() }] {
            assert!(of(&wrong).is_empty());
        }
    }

    /// Panels follow each other in rows; the one aside is at the end of the first.
    #[test]
    fn panels_are_in_rows() {
        let panels = |n: usize| (0..n).map(|_| panel(&["t"], &Labels::default())).collect::<Vec<Panel>>();
        let (width, height) = panels(1)[0].size();
        let size = |n: usize, columns: usize, aside: usize| {
            sheet(panels(n), columns, panels(aside).pop()).unwrap().map(|picture| picture.dimensions())
        };
        let of = |columns: u32, rows: u32| Some((SPACE + columns * (width + SPACE), SPACE + rows * (height + SPACE)));
        assert_eq!([size(5, 3, 0), size(5, 3, 1), size(1, 3, 1), size(0, 3, 0)], [of(3, 2), of(4, 2), of(2, 1), None]);
    }

    /// A long title is whole, in more lines, and the images beside it begin where its own do.
    #[test]
    fn titles_are_whole() {
        let long = "one two three four five";
        let named = panel(&[long], &Labels::default());
        assert!(named.title.len() > 1 && named.title.join(" ") == long, "{:?}", named.title);
        let both = sheet(vec![named, panel(&["t"], &Labels::default())], 2, None).unwrap().unwrap();
        let solid = |x: u32, y: u32| (0..40).all(|d| both.get_pixel(x + d, y + d).0 == [20; 3]);
        let firsts: Vec<(u32, u32)> =
            (0..both.height() - 40).flat_map(|y| (0..both.width() - 40).map(move |x| (x, y))).filter(|(x, y)| solid(*x, *y)).collect();
        assert!(firsts.len() == 2 && firsts[0].1 == firsts[1].1, "{firsts:?}");
    }
}
