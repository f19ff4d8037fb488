//! The table as a picture: a strip for each metric, in it a row for each cell with a dot and an interval.

use super::axis::tick;
use super::canvas::{Area, SANS, centred, fitted, px, said};
use super::palette::{PALE, colour};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Width of the picture and of the names on its left; height of a cell's row and of what a strip has beside its rows, in pixels.
const WIDTH: u32 = 960;
const NAMES: u32 = 290;
const ROW: u32 = 22;
const AROUND: u32 = 76;

/// Dots in strips, one under another.
pub struct Dots {
    pub strips: Vec<Strip>,
    /// The cells' names.
    pub labels: Vec<String>,
}

/// The dots of one metric.
pub struct Strip {
    pub heading: String,
    /// For each cell, where it was measured.
    pub dots: Vec<Option<Dot>>,
    /// What real images score, where that was measured, and what they are called.
    pub real: Option<(f64, &'static str)>,
}

/// A number.
pub struct Dot {
    pub value: f64,
    pub error: Option<f64>,
    /// What is written beside it.
    pub text: String,
}

impl Dots {
    /// The size that its strips need.
    pub fn size(&self) -> (u32, u32) {
        (WIDTH, self.strips.len() as u32 * self.strip_height())
    }

    fn strip_height(&self) -> u32 {
        AROUND + ROW * self.labels.len() as u32
    }
}

impl Strip {
    /// From the least to the most that is drawn, with some room.
    fn range(&self) -> (f64, f64) {
        let ends = |dot: &Dot| [dot.value - dot.error.unwrap_or(0.0), dot.value + dot.error.unwrap_or(0.0)];
        let all = self.dots.iter().flatten().flat_map(ends).chain(self.real.map(|(real, _)| real));
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        // On the right there is room for a number.
        let width = if high > low { high - low } else { high.abs().max(1e-9) };
        (low - 0.04 * width, high + 0.16 * width)
    }
}

impl Dots {
    pub fn draw(&self, root: &Area) -> Result<()> {
        root.fill(&WHITE).map_err(said)?;
        for (strip, area) in self.strips.iter().zip(root.split_evenly((self.strips.len(), 1))) {
            let (low, high) = strip.range();
            let n = self.labels.len();
            let (names, dots) = area.split_horizontally(px(NAMES) as i32);
            let mut chart = ChartBuilder::on(&dots)
                .caption(&strip.heading, (SANS, px(18)))
                .margin(px(8))
                .x_label_area_size(px(26))
                .build_cartesian_2d(low..high, n as f64..0.0)
                .map_err(said)?;
            let mut mesh = chart.configure_mesh();
            mesh.disable_y_mesh().y_labels(0).x_labels(8).label_style((SANS, px(13))).x_label_formatter(&|v| tick(*v));
            mesh.light_line_style(RGBColor(240, 240, 240).stroke_width(px(1))).bold_line_style(RGBColor(215, 215, 215).stroke_width(px(1)));
            mesh.axis_style(BLACK.stroke_width(px(1))).set_all_tick_mark_size(px(5)).draw().map_err(said)?;
            if let Some((real, what)) = strip.real {
                let line = [(real, 0.0), (real, n as f64)];
                chart.draw_series([PathElement::new(line, PALE.stroke_width(px(1)))]).map_err(said)?;
                chart.draw_series([Text::new(what, (real, 0.0), (SANS, px(11)))]).map_err(said)?;
            }
            for (i, dot) in strip.dots.iter().enumerate() {
                let middle = i as f64 + 0.5;
                let Some(Dot { value, error, text }) = dot else {
                    chart.draw_series([Text::new("–", (low, middle), centred(14, HPos::Left))]).map_err(said)?;
                    continue;
                };
                if let Some(error) = error {
                    let interval = [(value - error, middle), (value + error, middle)];
                    chart.draw_series([PathElement::new(interval, colour(i).stroke_width(px(2)))]).map_err(said)?;
                }
                chart.draw_series([Circle::new((*value, middle), px(5), colour(i).filled())]).map_err(said)?;
                let place = (value + error.unwrap_or(0.0) + 0.015 * (high - low), middle);
                chart.draw_series([Text::new(text.clone(), place, centred(12, HPos::Left))]).map_err(said)?;
            }
            let top = chart.plotting_area().get_pixel_range().1.start - names.get_pixel_range().1.start;
            let height = chart.plotting_area().get_pixel_range().1.len() as f64 / n as f64;
            for (i, label) in self.labels.iter().enumerate() {
                let y = top + (height * (i as f64 + 0.5)) as i32;
                let label = fitted(label, 14, NAMES - 20);
                names.draw(&Text::new(label, (px(12) as i32, y), centred(14, HPos::Left))).map_err(said)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::report::canvas::leave;
    use crate::report::palette::hex;

    #[test]
    fn a_strip_has_room_for_what_is_in_it() {
        let strip = |dots, real| Strip { heading: "FID ↓".into(), dots, real };
        let dot = |value, error| Some(Dot { value, error, text: String::new() });
        assert_eq!(strip(vec![dot(1.0, Some(1.0)), None, dot(10.0, None)], None).range(), (-0.4, 11.6));
        let (low, high) = strip(vec![dot(2.0, None)], None).range();
        assert!(low < 2.0 && 2.0 < high);
        assert!(strip(vec![dot(2.0, None)], Some((0.5, "real images"))).range().0 < 0.5);
    }

    /// Every cell is named in every strip, a blank is a dash, and the dots have the cells' colours.
    #[test]
    fn every_cell_has_its_row() {
        let dot = || Dot { value: 1.25, error: Some(0.5), text: "1.25".into() };
        let strip = || Strip { heading: "FID ↓".into(), dots: vec![Some(dot()), None], real: Some((0.5, "real images")) };
        let dots = Dots { strips: vec![strip(), strip()], labels: vec!["one".into(), "other".into()] };
        let dir = tempfile::tempdir().unwrap();
        leave(dir.path(), "metrics", dots.size(), |root| dots.draw(root)).unwrap();
        let svg = std::fs::read_to_string(dir.path().join("figures/metrics.svg")).unwrap();
        let count = |text: &str| svg.lines().filter(|line| line.trim() == text).count();
        assert_eq!([count("one"), count("other"), count("–"), count("1.25"), count("real images")], [2; 5]);
        assert!(svg.matches("<circle").count() == 2 && svg.contains(&hex(colour(0))));
    }
}
