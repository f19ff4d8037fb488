//! Line charts and bar charts, drawn once and written as SVG and PNG.

use crate::base::atomic;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::path::Path;
use std::sync::Once;

/// Colours that colour-blind readers can tell apart (Okabe & Ito 2008), and grey.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
    RGBColor(160, 130, 30),
];

/// Colour number `i`.
pub fn colour(i: usize) -> RGBColor {
    COLOURS[i % COLOURS.len()]
}

const WIDTH: u32 = 960;
const HEIGHT: u32 = 480;

/// One line of a chart.
pub struct Line {
    pub label: String,
    pub points: Vec<(f64, f64)>,
}

/// An axis.
pub struct Axis<'a> {
    pub label: &'a str,
    pub log: bool,
}

/// A chart of lines with a legend beside it.
pub struct Chart<'a> {
    pub title: &'a str,
    pub x: Axis<'a>,
    pub y: Axis<'a>,
    pub lines: Vec<Line>,
}

/// The embedded font under the name that drawing code asks for, once.
pub fn with_font() {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        let bytes = include_bytes!("../../assets/font/DejaVuSans.ttf");
        assert!(register_font("sans-serif", FontStyle::Normal, bytes).is_ok(), "the embedded font is a font");
    });
}

/// Draws the same picture into `DIR/figures/NAME.svg` and `.png`; returns the PNG's path from `DIR`.
pub fn both(dir: &Path, name: &str, size: (u32, u32), draw: impl DrawBoth) -> Result<String> {
    with_font();
    let mut svg = String::new();
    draw.draw(SVGBackend::with_string(&mut svg, size).into_drawing_area())?;
    atomic::write(&dir.join(format!("figures/{name}.svg")), svg.as_bytes())?;
    let mut pixels = vec![0; (size.0 * size.1 * 3) as usize];
    draw.draw(BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area())?;
    let picture = image::RgbImage::from_raw(size.0, size.1, pixels).expect("a buffer of that size");
    atomic::write(&dir.join(format!("figures/{name}.png")), &crate::base::picture::png(&picture)?)?;
    Ok(format!("figures/{name}.png"))
}

/// A picture that can be drawn on any backend.
pub trait DrawBoth {
    fn draw<DB: DrawingBackend>(&self, root: DrawingArea<DB, Shift>) -> Result<()>;
}

/// plotters' errors borrow the backend: their text is kept.
pub fn said<E: std::fmt::Display>(e: E) -> anyhow::Error {
    anyhow!("drawing failed: {e}")
}

impl Chart<'_> {
    /// Writes the chart; none where there is nothing to draw.
    pub fn write(mut self, dir: &Path, name: &str) -> Result<Option<String>> {
        let fits = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && (!self.x.log || *x > 0.0) && (!self.y.log || *y > 0.0);
        self.lines.iter_mut().for_each(|line| line.points.retain(|p| fits(p)));
        self.lines.retain(|line| !line.points.is_empty());
        match self.lines.is_empty() {
            true => Ok(None),
            false => {
                // The legend may need more room than the lines.
                let height = HEIGHT.max(80 + 22 * self.lines.len() as u32);
                both(dir, name, (WIDTH, height), self).map(Some)
            }
        }
    }

    fn range(&self, log: bool, pick: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
        let values = self.lines.iter().flat_map(|l| l.points.iter().map(&pick));
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        match log {
            true => (low / 1.15, high * 1.15),
            false => {
                let margin = if high > low { 0.03 * (high - low) } else { 0.5 };
                (low - margin, high + margin)
            }
        }
    }

    fn lines_on<DB, X, Y>(&self, area: &DrawingArea<DB, Shift>, x: X, y: Y) -> Result<()>
    where
        DB: DrawingBackend,
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(74)
            .build_cartesian_2d(x, y)
            .map_err(said)?;
        chart
            .configure_mesh()
            .x_desc(self.x.label)
            .y_desc(self.y.label)
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 14))
            .light_line_style(RGBColor(240, 240, 240))
            .bold_line_style(RGBColor(215, 215, 215))
            .x_labels(9)
            .y_labels(8)
            .x_label_formatter(&|v| tick(*v))
            .y_label_formatter(&|v| tick(*v))
            .draw()
            .map_err(said)?;
        for (i, line) in self.lines.iter().enumerate() {
            let style = colour(i).stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style)).map_err(said)?;
        }
        Ok(())
    }
}

impl DrawBoth for Chart<'_> {
    fn draw<DB: DrawingBackend>(&self, root: DrawingArea<DB, Shift>) -> Result<()> {
        root.fill(&WHITE).map_err(said)?;
        let (area, legend) = root.split_horizontally((WIDTH - 270) as i32);
        let ((x0, x1), (y0, y1)) = (self.range(self.x.log, |p| p.0), self.range(self.y.log, |p| p.1));
        match (self.x.log, self.y.log) {
            (false, false) => self.lines_on(&area, x0..x1, y0..y1)?,
            (false, true) => self.lines_on(&area, x0..x1, (y0..y1).log_scale())?,
            (true, false) => self.lines_on(&area, (x0..x1).log_scale(), y0..y1)?,
            (true, true) => self.lines_on(&area, (x0..x1).log_scale(), (y0..y1).log_scale())?,
        }
        for (i, line) in self.lines.iter().enumerate() {
            let y = 56 + 22 * i as i32;
            legend.draw(&Rectangle::new([(2, y + 5), (22, y + 8)], colour(i).filled())).map_err(said)?;
            legend.draw(&Text::new(shortened(&line.label, 32), (28, y), ("sans-serif", 14))).map_err(said)?;
        }
        root.present().map_err(said)
    }
}

/// A number for an axis: short, and exact for the round numbers that axes have.
pub fn tick(v: f64) -> String {
    match v.abs() {
        0.0 => "0".into(),
        a if !(1e-3..1e5).contains(&a) => format!("{v:.0e}"),
        a if a < 1.0 => format!("{v:.3}").trim_end_matches('0').trim_end_matches('.').to_string(),
        a if a < 100.0 => format!("{v:.2}").trim_end_matches('0').trim_end_matches('.').to_string(),
        _ => format!("{v:.0}"),
    }
}

/// At most `n` characters.
pub fn shortened(text: &str, n: usize) -> String {
    if text.chars().count() <= n { text.into() } else { text.chars().take(n - 1).chain(['…']).collect() }
}

/// Bars with error bars, a panel for each metric, side by side.
pub struct Bars {
    pub panels: Vec<Panel>,
    pub labels: Vec<String>,
}

/// The bars of one metric.
pub struct Panel {
    pub heading: String,
    /// For each label the value and its uncertainty, where it was measured.
    pub bars: Vec<Option<(f64, Option<f64>)>>,
    pub digits: usize,
}

impl Bars {
    /// The size that its panels need.
    pub fn size(&self) -> (u32, u32) {
        (330 * self.panels.len() as u32, 380 + 20 * self.labels.len() as u32)
    }
}

impl DrawBoth for Bars {
    fn draw<DB: DrawingBackend>(&self, root: DrawingArea<DB, Shift>) -> Result<()> {
        root.fill(&WHITE).map_err(said)?;
        let (above, legend) = root.split_vertically(360);
        for (Panel { heading, bars, digits }, area) in self.panels.iter().zip(above.split_evenly((1, self.panels.len()))) {
            let top = bars.iter().flatten().map(|(v, e)| v + e.unwrap_or(0.0)).fold(0.0, f64::max).max(1e-9) * 1.15;
            let n = bars.len() as f64;
            let mut chart = ChartBuilder::on(&area)
                .caption(heading, ("sans-serif", 18))
                .margin(10)
                .y_label_area_size(52)
                .x_label_area_size(8)
                .build_cartesian_2d(0.0..n, 0.0..top)
                .map_err(said)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .x_labels(0)
                .y_labels(6)
                .light_line_style(RGBColor(240, 240, 240))
                .label_style(("sans-serif", 13))
                .y_label_formatter(&|v| tick(*v))
                .draw()
                .map_err(said)?;
            for (i, bar) in bars.iter().enumerate() {
                let (left, right, middle) = (i as f64 + 0.12, i as f64 + 0.88, i as f64 + 0.5);
                let Some((value, error)) = bar else {
                    chart.draw_series([Text::new("–", (i as f64 + 0.4, top * 0.06), ("sans-serif", 18))]).map_err(said)?;
                    continue;
                };
                chart.draw_series([Rectangle::new([(left, 0.0), (right, *value)], colour(i).mix(0.85).filled())]).map_err(said)?;
                if let Some(e) = error {
                    chart
                        .draw_series([PathElement::new([(middle, value - e), (middle, value + e)], BLACK.stroke_width(2))])
                        .map_err(said)?;
                }
                let place = (i as f64 + 0.14, value + error.unwrap_or(0.0) + top * 0.055);
                chart.draw_series([Text::new(format!("{value:.digits$}"), place, ("sans-serif", 12))]).map_err(said)?;
            }
        }
        for (i, label) in self.labels.iter().enumerate() {
            let y = 6 + 20 * i as i32;
            legend.draw(&Rectangle::new([(56, y + 2), (70, y + 14)], colour(i).mix(0.85).filled())).map_err(said)?;
            legend.draw(&Text::new(label.clone(), (78, y), ("sans-serif", 14))).map_err(said)?;
        }
        root.present().map_err(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short_and_exact() {
        let numbers = [0.0, 1e-4, 1e-3, 0.25, 1.0, 12.5, 99.75, 100.0, 1250.0, 1e5, -0.125, -2e6];
        let said = ["0", "1e-4", "0.001", "0.25", "1", "12.5", "99.75", "100", "1250", "1e5", "-0.125", "-2e6"];
        assert_eq!(numbers.map(tick), said);
        // Two digits after the point from 1 on.
        assert_eq!([0.1234, 1.2345].map(tick), ["0.123", "1.23"]);
        assert_eq!((shortened("abcd", 4), shortened("abcde", 4)), ("abcd".into(), "abc…".into()));
    }

    fn drawn(points: &[(f64, f64)], log: (bool, bool)) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let line = |points: &[(f64, f64)]| Line { label: "a line".into(), points: points.to_vec() };
        let (x, y) = (Axis { label: "x", log: log.0 }, Axis { label: "y", log: log.1 });
        // A line of which nothing is left is not in the legend either.
        let chart = Chart { title: "t", x, y, lines: vec![line(points), line(&[(f64::NAN, 1.0)])] };
        let path = chart.write(dir.path(), "c").unwrap()?;
        assert!(dir.path().join(path).exists());
        Some(std::fs::read_to_string(dir.path().join("figures/c.svg")).unwrap())
    }

    /// What has no place on an axis is left out, and only that.
    #[test]
    fn charts_show_what_can_be_shown() {
        let good = [(1.0, 2.0), (10.0, 3.0), (100.0, 20.0)];
        for log in [(false, false), (false, true), (true, false), (true, true)] {
            let expected = drawn(&good, log).unwrap();
            assert_eq!(expected.matches("a line").count(), 1);
            let mut strange = vec![(f64::NAN, 2.0), (3.0, f64::NAN), (f64::INFINITY, 2.0), (3.0, f64::NEG_INFINITY)];
            strange.extend([(0.0, 2.0), (-1.0, 2.0)].into_iter().filter(|_| log.0));
            strange.extend([(2.0, 0.0), (2.0, -1.0)].into_iter().filter(|_| log.1));
            assert_eq!(drawn(&[&strange[..], &good].concat(), log).unwrap(), expected, "{log:?}");
            assert_eq!(drawn(&strange, log), None);
            // On an axis that is not logarithmic 0 and less are numbers.
            for (point, shown) in [((-1.0, 2.0), !log.0), ((2.0, -1.0), !log.1)] {
                assert_eq!(drawn(&[&[point], &good[..]].concat(), log).unwrap() != expected, shown, "{point:?} {log:?}");
            }
        }
    }
}
