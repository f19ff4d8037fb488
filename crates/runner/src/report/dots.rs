//! The table as a picture: a panel for each metric, in it a row for each cell with a dot and an interval.

use super::plot::{DrawBoth, colour, said, shortened, tick};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

/// Width of the picture and of the names on its left; height of a cell's row and of what a panel has beside its rows, in pixels.
const WIDTH: u32 = 960;
const NAMES: u32 = 290;
const ROW: u32 = 22;
const AROUND: u32 = 76;

/// Dots in panels, one under another.
pub struct Dots {
    pub panels: Vec<Panel>,
    /// The cells' names.
    pub labels: Vec<String>,
}

/// The dots of one metric.
pub struct Panel {
    pub heading: String,
    /// For each cell the value and its uncertainty, where it was measured.
    pub dots: Vec<Option<(f64, Option<f64>)>>,
    /// What real images score, where that was measured.
    pub real: Option<f64>,
    pub digits: usize,
}

impl Dots {
    /// The size that its panels need.
    pub fn size(&self) -> (u32, u32) {
        (WIDTH, self.panels.len() as u32 * self.panel_height())
    }

    fn panel_height(&self) -> u32 {
        AROUND + ROW * self.labels.len() as u32
    }
}

impl Panel {
    /// From the least to the most that is drawn, with some room.
    fn range(&self) -> (f64, f64) {
        let ends = |(value, error): &(f64, Option<f64>)| [value - error.unwrap_or(0.0), value + error.unwrap_or(0.0)];
        let all = self.dots.iter().flatten().flat_map(ends).chain(self.real);
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        // On the right there is room for a number.
        let width = if high > low { high - low } else { high.abs().max(1e-9) };
        (low - 0.04 * width, high + 0.16 * width)
    }
}

impl DrawBoth for Dots {
    fn draw<DB: DrawingBackend>(&self, root: DrawingArea<DB, Shift>) -> Result<()> {
        root.fill(&WHITE).map_err(said)?;
        for (panel, area) in self.panels.iter().zip(root.split_evenly((self.panels.len(), 1))) {
            let (low, high) = panel.range();
            let n = self.labels.len();
            let (names, dots) = area.split_horizontally(NAMES as i32);
            let mut chart = ChartBuilder::on(&dots)
                .caption(&panel.heading, ("sans-serif", 18))
                .margin(8)
                .x_label_area_size(26)
                .build_cartesian_2d(low..high, n as f64..0.0)
                .map_err(said)?;
            let mut mesh = chart.configure_mesh();
            mesh.disable_y_mesh().y_labels(0).x_labels(8).light_line_style(RGBColor(240, 240, 240)).label_style(("sans-serif", 13));
            mesh.x_label_formatter(&|v| tick(*v)).draw().map_err(said)?;
            if let Some(real) = panel.real {
                let line = [(real, 0.0), (real, n as f64)];
                chart.draw_series([PathElement::new(line, RGBColor(120, 120, 120).stroke_width(1))]).map_err(said)?;
                chart.draw_series([Text::new("real images", (real, 0.0), ("sans-serif", 11))]).map_err(said)?;
            }
            let digits = panel.digits;
            for (i, dot) in panel.dots.iter().enumerate() {
                let middle = i as f64 + 0.5;
                let Some((value, error)) = dot else {
                    chart.draw_series([Text::new("–", (low, middle - 0.3), ("sans-serif", 14))]).map_err(said)?;
                    continue;
                };
                if let Some(error) = error {
                    let interval = [(value - error, middle), (value + error, middle)];
                    chart.draw_series([PathElement::new(interval, colour(i).stroke_width(2))]).map_err(said)?;
                }
                chart.draw_series([Circle::new((*value, middle), 5, colour(i).filled())]).map_err(said)?;
                let place = (value + error.unwrap_or(0.0) + 0.015 * (high - low), middle - 0.25);
                chart.draw_series([Text::new(format!("{value:.digits$}"), place, ("sans-serif", 12))]).map_err(said)?;
            }
            let top = chart.plotting_area().get_pixel_range().1.start - names.get_pixel_range().1.start;
            let height = chart.plotting_area().get_pixel_range().1.len() as f64 / n as f64;
            for (i, label) in self.labels.iter().enumerate() {
                let y = top + (height * (i as f64 + 0.5)) as i32 - 3;
                names.draw(&Text::new(shortened(label, 38), (12, y), ("sans-serif", 14))).map_err(said)?;
            }
        }
        root.present().map_err(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::report::plot::both;

    #[test]
    fn a_panel_has_room_for_what_is_in_it() {
        let panel = |dots, real| Panel { heading: "FID ↓".into(), dots, real, digits: 2 };
        assert_eq!(panel(vec![Some((1.0, Some(1.0))), None, Some((10.0, None))], None).range(), (-0.4, 11.6));
        let (low, high) = panel(vec![Some((2.0, None))], None).range();
        assert!(low < 2.0 && 2.0 < high);
        assert!(panel(vec![Some((2.0, None))], Some(0.5)).range().0 < 0.5);
    }

    /// Every cell is named in every panel, a blank is a dash, and the dots have the cells' colours.
    #[test]
    fn every_cell_has_its_row() {
        let panel = || Panel { heading: "FID ↓".into(), dots: vec![Some((1.25, Some(0.5))), None], real: Some(0.5), digits: 2 };
        let dots = Dots { panels: vec![panel(), panel()], labels: vec!["one".into(), "other".into()] };
        let dir = tempfile::tempdir().unwrap();
        let size = dots.size();
        both(dir.path(), "metrics", size, dots).unwrap();
        let svg = std::fs::read_to_string(dir.path().join("figures/metrics.svg")).unwrap();
        let count = |text: &str| svg.lines().filter(|line| line.trim() == text).count();
        assert_eq!([count("one"), count("other"), count("–"), count("1.25"), count("real images")], [2; 5]);
        let RGBColor(r, g, b) = colour(0);
        assert!(svg.matches("<circle").count() == 2 && svg.contains(&format!("#{r:02X}{g:02X}{b:02X}")));
    }
}
