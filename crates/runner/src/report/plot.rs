//! Line charts, written as SVG and PNG.

use super::chart::Chart;
use crate::base::atomic;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::path::Path;
use std::sync::Once;

/// Colours that colour-blind readers can tell apart (Okabe & Ito 2008), and grey; each can be seen on white and on black.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(160, 130, 30),
];

/// Colour number `i`.
pub fn colour(i: usize) -> RGBColor {
    COLOURS[i % COLOURS.len()]
}

/// Lengths of dash and space of cell number `i`, where its colour is another's already; none of a whole line.
pub fn dash(i: usize) -> Option<(u32, u32)> {
    const DASHES: [(u32, u32); 3] = [(9, 4), (2, 4), (16, 3)];
    (i / COLOURS.len()).checked_sub(1).map(|again| DASHES[again % DASHES.len()])
}

const WIDTH: u32 = 960;
const HEIGHT: u32 = 480;

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

/// Draws a chart; returns the PNG's path from `dir`.
pub fn draw(chart: &Chart, dir: &Path) -> Result<String> {
    // The legend may need more room than the lines.
    let height = HEIGHT.max(80 + 22 * chart.lines.len() as u32);
    both(dir, &chart.name, (WIDTH, height), LineChart(chart))
}

/// A chart that is to be drawn.
struct LineChart<'a>(&'a Chart);

impl LineChart<'_> {
    fn range(log: bool, values: impl Iterator<Item = f64>) -> (f64, f64) {
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
            .caption(&self.0.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(74)
            .build_cartesian_2d(x, y)
            .map_err(said)?;
        chart
            .configure_mesh()
            .x_desc(&self.0.x.label)
            .y_desc(&self.0.y.label)
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
        for line in &self.0.lines {
            let of = |(point, y): (&(f64, f64), f64)| (point.0, y);
            let low = line.points.iter().zip(line.band.iter().map(|band| band.0)).map(of);
            let high = line.points.iter().zip(line.band.iter().map(|band| band.1)).map(of);
            let outline: Vec<(f64, f64)> = low.chain(high.rev()).collect();
            chart.draw_series([Polygon::new(outline, colour(line.cells[0]).mix(0.15).filled())]).map_err(said)?;
        }
        if let Some((level, what)) = &self.0.level {
            let (x0, x1) = Self::range(self.0.x.log, self.0.lines.iter().flat_map(|line| line.points.iter().map(|point| point.0)));
            let ends = [(x0, *level), (x1, *level)];
            chart.draw_series([PathElement::new(ends, BLACK.stroke_width(1))]).map_err(said)?;
            chart.draw_series([Text::new(what.clone(), (x0, *level), ("sans-serif", 13))]).map_err(said)?;
        }
        for line in &self.0.lines {
            let (style, points) = (colour(line.cells[0]).stroke_width(2), line.points.iter().copied());
            if let Some((dash, space)) = dash(line.cells[0]) {
                chart.draw_series(DashedLineSeries::new(line.points.clone(), dash, space, style)).map_err(said)?;
            } else {
                chart.draw_series(LineSeries::new(points, style)).map_err(said)?;
            }
        }
        Ok(())
    }
}

impl DrawBoth for LineChart<'_> {
    fn draw<DB: DrawingBackend>(&self, root: DrawingArea<DB, Shift>) -> Result<()> {
        root.fill(&WHITE).map_err(said)?;
        let (area, legend) = root.split_horizontally((WIDTH - 270) as i32);
        let Chart { x, y, lines, level, .. } = self.0;
        let (x0, x1) = Self::range(x.log, lines.iter().flat_map(|line| line.points.iter().map(|point| point.0)));
        let heights = lines.iter().flat_map(|line| {
            let points = line.points.iter().map(|point| point.1);
            points.chain(line.band.iter().flat_map(|(low, high)| [*low, *high]))
        });
        let (y0, y1) = Self::range(y.log, heights.chain(level.iter().map(|level| level.0)));
        match (x.log, y.log) {
            (false, false) => self.lines_on(&area, x0..x1, y0..y1)?,
            (false, true) => self.lines_on(&area, x0..x1, (y0..y1).log_scale())?,
            (true, false) => self.lines_on(&area, (x0..x1).log_scale(), y0..y1)?,
            (true, true) => self.lines_on(&area, (x0..x1).log_scale(), (y0..y1).log_scale())?,
        }
        for (i, line) in lines.iter().enumerate() {
            let y = 56 + 22 * i as i32;
            let (dash, space) = dash(line.cells[0]).map_or((20, 1), |(dash, space)| (dash as i32, space as i32));
            for left in (2..22).step_by((dash + space) as usize) {
                let right = (left + dash).min(22);
                legend.draw(&Rectangle::new([(left, y + 5), (right, y + 8)], colour(line.cells[0]).filled())).map_err(said)?;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::report::chart::{Line, tests::chart};

    #[test]
    fn ticks_are_short_and_exact() {
        let numbers = [0.0, 1e-4, 1e-3, 0.25, 1.0, 12.5, 99.75, 100.0, 1250.0, 1e5, -0.125, -2e6];
        let said = ["0", "1e-4", "0.001", "0.25", "1", "12.5", "99.75", "100", "1250", "1e5", "-0.125", "-2e6"];
        assert_eq!(numbers.map(tick), said);
        // Two digits after the point from 1 on.
        assert_eq!([0.1234, 1.2345].map(tick), ["0.123", "1.23"]);
        assert_eq!((shortened("abcd", 4), shortened("abcde", 4)), ("abcd".into(), "abc…".into()));
    }

    /// A line in its cell's colour whatever its place, its band under it, and the level that it is compared with.
    #[test]
    fn a_chart_is_drawn_in_the_cells_colours() {
        let dir = tempfile::tempdir().unwrap();
        let points = vec![(1.0, 2.0), (10.0, 3.0), (100.0, 20.0)];
        let plain = Line::single(vec![3], "a line".into(), points.clone());
        let with_band = Line { band: points.iter().map(|(_, y)| (0.5 * y, 2.0 * y)).collect(), ..plain.clone() };
        for log in [(false, false), (false, true), (true, false), (true, true)] {
            let svg = |line: &Line, level| {
                let chart = Chart { level, ..chart(vec![line.clone()], log) };
                assert!(dir.path().join(draw(&chart, dir.path()).unwrap()).exists());
                std::fs::read_to_string(dir.path().join("figures/c.svg")).unwrap()
            };
            let RGBColor(r, g, b) = colour(3);
            let found = svg(&plain, None);
            assert!(found.contains(&format!("#{r:02X}{g:02X}{b:02X}")) && found.matches("a line").count() == 1, "{found}");
            assert!(svg(&with_band, None).contains("<polygon"));
            // The same colour again is dashed.
            let again = Line { cells: vec![3 + COLOURS.len()], ..plain.clone() };
            assert!(svg(&again, None).matches("<polyline").count() > found.matches("<polyline").count());
            assert!(svg(&plain, Some((1.0, "a level".into()))).contains("a level"));
        }
    }
}
