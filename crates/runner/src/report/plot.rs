//! Charts beside each other in one picture, with one legend under them.

use super::axis::{log_lines, range, tick};
use super::canvas::{Area, SANS, fitted, largest, leave, px, said, width};
use super::chart::{Chart, Points};
use super::palette::{PALE, colour, dash};
use anyhow::Result;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::path::Path;

const WIDTH: u32 = 960;
/// Height of a row of one, two and three charts.
const HEIGHTS: [u32; 3] = [400, 330, 290];
/// Height of the legend's rows, its texts' size, and the room for a line before them.
const ROW: u32 = 20;
const TEXT: u32 = 13;
const SWATCH: u32 = 30;
/// A line of fewer points than that has them marked.
const FEW: usize = 12;

/// Draws charts; returns the PNG's path from `dir`.
pub fn draw(name: &str, charts: &[Chart], dir: &Path) -> Result<String> {
    let columns = match charts.len() {
        4 => 2,
        n => n.clamp(1, HEIGHTS.len()),
    };
    let rows = charts.len().div_ceil(columns);
    let (height, legend) = (rows as u32 * HEIGHTS[columns - 1], Legend::of(charts));
    leave(dir, name, (WIDTH, height + legend.height()), |root| {
        root.fill(&WHITE).map_err(said)?;
        let (panels, below) = root.split_vertically(px(height) as i32);
        for (chart, area) in charts.iter().zip(panels.split_evenly((rows, columns))) {
            Plot { chart, columns }.draw(&area)?;
        }
        legend.draw(&below)
    })
}

/// What a legend says: the lines of all charts, each once, and what is no cell's.
struct Legend<'a> {
    entries: Vec<(Sign, &'a str)>,
}

/// How something is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    /// As lines of a cell are.
    Line(usize),
    /// As a level.
    Level,
    /// As published points.
    Ring,
}

impl Legend<'_> {
    fn of(charts: &[Chart]) -> Legend<'_> {
        let mut entries = Vec::new();
        for chart in charts {
            let lines = chart.lines.iter().map(|line| (Sign::Line(line.cells[0]), &line.label[..]));
            let level = chart.level.iter().map(|(_, label)| (Sign::Level, &label[..]));
            let published = chart.published.iter().map(|(label, _)| (Sign::Ring, &label[..]));
            for entry in lines.chain(level).chain(published) {
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
        }
        entries.sort_by_key(|entry| entry.0);
        Legend { entries }
    }

    /// Rows, columns and the width of a column: no more columns than have room, and no row much shorter than another.
    fn layout(&self) -> (u32, u32, u32) {
        let n = self.entries.len().max(1) as u32;
        let widest = self.entries.iter().map(|entry| width(entry.1, TEXT)).max().unwrap_or(0);
        let most = ((WIDTH - 20) / (widest + SWATCH + 20)).clamp(1, n);
        let rows = n.div_ceil(most);
        let columns = n.div_ceil(rows);
        (rows, columns, (WIDTH - 20) / columns)
    }

    fn height(&self) -> u32 {
        self.layout().0 * ROW + 12
    }

    fn draw(&self, area: &Area) -> Result<()> {
        let (_, columns, column) = self.layout();
        let at = |x: u32, y: u32| (px(x) as i32, px(y) as i32);
        for (i, (sign, label)) in (0..).zip(&self.entries) {
            let (x, y) = (20 + i % columns * column, i / columns * ROW + 2);
            match sign {
                Sign::Line(cell) => {
                    let (length, space) = dash(*cell).unwrap_or((22, 1));
                    for left in (0..22).step_by((length + space) as usize) {
                        let ends = [at(x + left, y + 6), at(x + (left + length).min(22), y + 9)];
                        area.draw(&Rectangle::new(ends, colour(*cell).filled())).map_err(said)?;
                    }
                }
                Sign::Level => area.draw(&Rectangle::new([at(x, y + 7), at(x + 22, y + 8)], BLACK.filled())).map_err(said)?,
                Sign::Ring => area.draw(&Circle::new(at(x + 11, y + 7), px(4), BLACK.stroke_width(px(1)))).map_err(said)?,
            }
            let label = fitted(label, TEXT, column - SWATCH - 4);
            area.draw(&Text::new(label, at(x + SWATCH, y), (SANS, px(TEXT)))).map_err(said)?;
        }
        Ok(())
    }
}

/// A chart in a row of so many.
struct Plot<'a> {
    chart: &'a Chart,
    columns: usize,
}

impl Plot<'_> {
    fn draw(&self, area: &Area) -> Result<()> {
        let Chart { x, y, lines, level, published, .. } = self.chart;
        let points = || {
            let of_lines = lines.iter().flat_map(|line| line.points.iter());
            of_lines.chain(published.iter().flat_map(|published| published.1.iter()))
        };
        let (x0, x1) = range(x.log, points().map(|point| point.0));
        let bands = lines.iter().flat_map(|line| line.band.iter().flat_map(|(low, high)| [*low, *high]));
        let (y0, y1) = range(y.log, points().map(|point| point.1).chain(bands).chain(level.iter().map(|level| level.0)));
        let (xs, ys) = (log_lines((x0, x1)), log_lines((y0, y1)));
        let log_x = || (x0..x1).log_scale().with_key_points(xs.0.clone()).with_light_points(xs.1.clone());
        let log_y = || (y0..y1).log_scale().with_key_points(ys.0.clone()).with_light_points(ys.1.clone());
        match (x.log, y.log) {
            (false, false) => self.on(area, x0..x1, y0..y1, (x0, x1)),
            (false, true) => self.on(area, x0..x1, log_y(), (x0, x1)),
            (true, false) => self.on(area, log_x(), y0..y1, (x0, x1)),
            (true, true) => self.on(area, log_x(), log_y(), (x0, x1)),
        }
    }

    fn on<X, Y>(&self, area: &Area, x: X, y: Y, (x0, x1): (f64, f64)) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let Chart { lines, level, published, threads, title, .. } = self.chart;
        let narrow = self.columns == HEIGHTS.len();
        let room = WIDTH / self.columns as u32 - 20;
        let size = largest(&[title], room, 11..=16);
        let title = fitted(title, size, room);
        let mut chart = ChartBuilder::on(area)
            .caption(title, (SANS, px(size)))
            .margin(px(10))
            .x_label_area_size(px(42))
            .y_label_area_size(px(62))
            .build_cartesian_2d(x, y)
            .map_err(said)?;
        chart
            .configure_mesh()
            .x_desc(&self.chart.x.label)
            .y_desc(&self.chart.y.label)
            .axis_desc_style((SANS, px(14)))
            .label_style((SANS, px(12)))
            .light_line_style(RGBColor(240, 240, 240).stroke_width(px(1)))
            .bold_line_style(RGBColor(215, 215, 215).stroke_width(px(1)))
            .axis_style(BLACK.stroke_width(px(1)))
            .set_all_tick_mark_size(px(5))
            .x_labels(if narrow { 5 } else { 9 })
            .y_labels(if narrow { 6 } else { 8 })
            .x_label_formatter(&|v| tick(*v))
            .y_label_formatter(&|v| tick(*v))
            .draw()
            .map_err(said)?;
        for line in lines {
            let of = |(point, y): (&(f64, f64), f64)| (point.0, y);
            let low = line.points.iter().zip(line.band.iter().map(|band| band.0)).map(of);
            let high = line.points.iter().zip(line.band.iter().map(|band| band.1)).map(of);
            let outline: Points = low.chain(high.rev()).collect();
            let shade = colour(line.cells[0]);
            match outline[..] {
                [] => {}
                // Of one point the band is a stroke.
                [low, high] => drop(chart.draw_series([PathElement::new([low, high], shade.stroke_width(px(2)))]).map_err(said)?),
                _ => drop(chart.draw_series([Polygon::new(outline, shade.mix(0.15).filled())]).map_err(said)?),
            }
        }
        if let Some((level, _)) = level {
            chart.draw_series([PathElement::new([(x0, *level), (x1, *level)], BLACK.stroke_width(px(1)))]).map_err(said)?;
        }
        for thread in threads {
            chart.draw_series([PathElement::new(thread.points.clone(), PALE.stroke_width(px(1)))]).map_err(said)?;
        }
        for line in lines {
            let (shade, points) = (colour(line.cells[0]), line.points.iter().copied());
            match dash(line.cells[0]) {
                Some((length, space)) => {
                    let dashed = DashedLineSeries::new(line.points.clone(), px(length), px(space), shade.stroke_width(px(2)));
                    chart.draw_series(dashed).map_err(said)?
                }
                None => chart.draw_series(LineSeries::new(points.clone(), shade.stroke_width(px(2)))).map_err(said)?,
            };
            if line.points.len() < FEW {
                chart.draw_series(points.map(|point| Circle::new(point, px(4), shade.filled()))).map_err(said)?;
            }
        }
        let points = published.iter().flat_map(|published| published.1.iter());
        chart.draw_series(points.map(|point| Circle::new(*point, px(4), BLACK.stroke_width(px(1))))).map_err(said)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::report::chart::{Line, tests::chart};
    use crate::report::palette::hex;

    /// A line in its cell's colour whatever its place, its band under it, the level that it is compared with, and what was published.
    #[test]
    fn a_chart_is_drawn_in_the_cells_colours() {
        let dir = tempfile::tempdir().unwrap();
        let points = vec![(1.0, 2.0), (10.0, 3.0), (100.0, 20.0)];
        let plain = Line::single(vec![3], "a line".into(), points.clone());
        let with_band = Line { band: points.iter().map(|(_, y)| (0.5 * y, 2.0 * y)).collect(), ..plain.clone() };
        for log in [(false, false), (false, true), (true, false), (true, true)] {
            let svg = |chart: Chart| {
                assert!(dir.path().join(draw("c", &[chart], dir.path()).unwrap()).exists());
                std::fs::read_to_string(dir.path().join("figures/c.svg")).unwrap()
            };
            let of = |line: &Line| chart(vec![line.clone()], log);
            let found = svg(of(&plain));
            assert!(found.contains(&hex(colour(3))) && found.matches("a line").count() == 1, "{found}");
            assert!(svg(of(&with_band)).contains("<polygon") && !found.contains("<polygon"));
            // The same colour again is dashed.
            let again = Line { cells: vec![3 + 8], ..plain.clone() };
            assert!(svg(of(&again)).matches("<polyline").count() > found.matches("<polyline").count());
            assert!(svg(Chart { level: Some((1.0, "a level".into())), ..of(&plain) }).contains("a level"));
            let circles = |svg: &str| svg.matches("<circle").count();
            let published = svg(Chart { published: Some(("theirs".into(), vec![(2.0, 2.0), (9.0, 9.0)])), ..of(&plain) });
            assert_eq!((circles(&published), circles(&found)), (points.len() + 3, points.len()));
            assert!(published.contains("theirs"));
        }
    }

    /// One legend for all charts, in the cells' order, each line once.
    #[test]
    fn charts_share_a_legend() {
        let line = |cell: usize, label: &str| Line::single(vec![cell], label.into(), vec![(1.0, 2.0), (2.0, 3.0)]);
        let charts: Vec<Chart> =
            (0..4).map(|i| chart(vec![line(1, "b"), line(i % 2, if i == 0 { "a" } else { "b" })], (false, false))).collect();
        let legend = Legend::of(&charts);
        assert_eq!(legend.entries, [(Sign::Line(0), "a"), (Sign::Line(0), "b"), (Sign::Line(1), "b")]);
        let dir = tempfile::tempdir().unwrap();
        draw("four", &charts, dir.path()).unwrap();
        let picture = image::open(dir.path().join("figures/four.png")).unwrap();
        assert_eq!((picture.width(), picture.height()), (2 * WIDTH, 2 * (2 * HEIGHTS[1] + legend.height())));
    }
}
