//! Stacked bars: a group for each cell, in it a row for each way that its number can be made up.

use super::axis::tick;
use super::canvas::{Area, centred, fitted, largest, px, said, width};
use super::palette::colour;
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Width of the picture, of the groups' names and of the rows' names; heights of a row, of the space between groups, of the legend and of what
/// is under the bars; the room for a number; in pixels.
const WIDTH: u32 = 960;
const GROUPS: u32 = 230;
const NAMES: u32 = 120;
const ROW: u32 = 18;
const SPACE: u32 = 10;
const LEGEND: u32 = 34;
const AXIS: u32 = 44;
const NUMBER: u32 = 76;
/// A bar that is more than so many times as long as the median of those that count is cut there.
const CUT: f64 = 3.0;

/// Bars in groups, one under another.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// What the parts are called.
    pub parts: Vec<String>,
    pub groups: Vec<Group>,
    /// What is measured.
    pub axis: String,
}

/// The bars of one cell, in shades of its colour.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub cell: usize,
    pub label: String,
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    pub name: String,
    /// In the order of [`Bars::parts`], none below 0.
    pub parts: Vec<f64>,
    /// Whether it has a say in where the axis ends.
    pub counts: bool,
}

impl Bar {
    fn total(&self) -> f64 {
        self.parts.iter().sum()
    }
}

/// A cell's colour for part number `i` of `n`: from dark to pale, so that neighbours can be told apart.
fn shade(RGBColor(r, g, b): RGBColor, i: usize, n: usize) -> RGBColor {
    // -0.45 is nearly black, 0 the colour itself, 0.8 nearly white.
    let step = -0.45 + 1.25 * i as f64 / (n - 1).max(1) as f64;
    let mix = |v: u8| {
        let v = v as f64;
        (if step < 0.0 { v * (1.0 + step) } else { v + step * (255.0 - v) }).round() as u8
    };
    RGBColor(mix(r), mix(g), mix(b))
}

impl Bars {
    /// The size that its groups need.
    pub fn size(&self) -> (u32, u32) {
        let groups: u32 = self.groups.iter().map(|group| group.bars.len() as u32 * ROW + SPACE).sum();
        (WIDTH, LEGEND + groups + AXIS)
    }

    /// Where the axis ends: with the longest bar, but no later than some medians of those that count.
    fn end(&self) -> f64 {
        let bars = || self.groups.iter().flat_map(|group| &group.bars);
        let mut counts: Vec<f64> = bars().filter(|bar| bar.counts).map(Bar::total).collect();
        counts.sort_by(f64::total_cmp);
        let longest = bars().map(Bar::total).fold(0.0, f64::max);
        let end = counts.get(counts.len() / 2).map_or(longest, |median| longest.min(CUT * median));
        if end > 0.0 && end.is_finite() { end } else { 1.0 }
    }

    pub fn draw(&self, root: &Area) -> Result<()> {
        root.fill(&WHITE).map_err(said)?;
        let grey = RGBColor(90, 90, 90);
        let write = |text: &str, x: u32, y: u32, size: u32, side: HPos, colour: RGBColor| {
            let style = centred(size, side).color(&colour);
            root.draw(&Text::new(text.to_string(), (px(x) as i32, px(y) as i32), style)).map_err(said)
        };
        let fill = |x: (u32, u32), y: (u32, u32), colour: RGBColor| {
            let corners = [(px(x.0) as i32, px(y.0) as i32), (px(x.1) as i32, px(y.1) as i32)];
            root.draw(&Rectangle::new(corners, colour.filled())).map_err(said)
        };
        let mut x = 12;
        for (i, part) in self.parts.iter().enumerate() {
            fill((x, x + 22), (10, 22), shade(RGBColor(110, 110, 110), i, self.parts.len()))?;
            write(part, x + 28, 16, 13, HPos::Left, BLACK)?;
            x += 28 + width(part, 13) + 24;
        }
        let (left, end) = (GROUPS + NAMES, self.end());
        let room = WIDTH - left - NUMBER;
        let at = |v: f64| left + (v / end * room as f64).round() as u32;
        let (bottom, steps) = (self.size().1 - AXIS, ticks(end));
        for v in &steps {
            root.draw(&PathElement::new(
                [(px(at(*v)) as i32, px(LEGEND) as i32), (px(at(*v)) as i32, px(bottom) as i32)],
                RGBColor(215, 215, 215).stroke_width(px(1)),
            ))
            .map_err(said)?;
            write(&tick(*v), at(*v), bottom + 12, 12, HPos::Center, grey)?;
        }
        write(&self.axis, left + room / 2, bottom + 32, 13, HPos::Center, BLACK)?;
        let mut y = LEGEND;
        for group in &self.groups {
            let middle = y + group.bars.len() as u32 * ROW / 2;
            let size = largest(&[&group.label], GROUPS - 24, 10..=13);
            write(&fitted(&group.label, size, GROUPS - 24), 12, middle, size, HPos::Left, BLACK)?;
            for bar in &group.bars {
                let (Bar { name, parts, .. }, total) = (bar, bar.total());
                write(&fitted(name, 12, NAMES - 10), left - 8, y + ROW / 2, 12, HPos::Right, grey)?;
                let mut from = 0.0;
                for (i, part) in parts.iter().enumerate() {
                    let to = (from + part).min(end);
                    fill((at(from), at(to)), (y + 2, y + ROW - 2), shade(colour(group.cell), i, parts.len()))?;
                    from = to;
                }
                let cut = if total > end { "→ " } else { "" };
                write(&format!("{cut}{}", short(total)), at(total.min(end)) + 6, y + ROW / 2, 12, HPos::Left, BLACK)?;
                y += ROW;
            }
            y += SPACE;
        }
        Ok(())
    }
}

/// A total in as many characters as there is room for.
fn short(v: f64) -> String {
    match v {
        v if v < 1000.0 => format!("{v:.3}"),
        v if v < 1e6 => format!("{v:.0}"),
        v => format!("{v:.1e}"),
    }
}

/// Round numbers from 0 to `end`, which is above 0, four to nine of them.
fn ticks(end: f64) -> Vec<f64> {
    let power = libm::exp10(libm::floor(libm::log10(end / 4.0)));
    let step = [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).rev().find(|step| end / step >= 3.0).unwrap_or(power);
    (0..).map(|i| step * i as f64).take_while(|v| *v <= end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::report::canvas::leave;
    use crate::report::palette::hex;
    use proptest::prelude::*;

    fn bars(totals: &[(&[f64], bool)]) -> Bars {
        let bar = |(i, (parts, counts)): (usize, &(&[f64], bool))| Bar { name: format!("bar {i}"), parts: parts.to_vec(), counts: *counts };
        let group = Group { cell: 2, label: "the cell".into(), bars: totals.iter().enumerate().map(bar).collect() };
        Bars { parts: vec!["one".into(), "other".into()], groups: vec![group], axis: "bits/dim".into() }
    }

    /// The axis ends with the longest bar, or after three medians of the bars that count; and somewhere where there is nothing.
    #[test]
    fn a_long_bar_is_cut() {
        assert_eq!(bars(&[(&[1.0, 0.5], true), (&[20.0, 80.0], false)]).end(), 4.5);
        assert_eq!(bars(&[(&[1.0, 1.0], true), (&[3.0, 1.5], false)]).end(), 4.5);
        assert_eq!(bars(&[(&[1.0], true), (&[2.0], true), (&[500.0], true)]).end(), 6.0);
        assert_eq!(bars(&[(&[3.0, 1.0], false)]).end(), 4.0);
        assert_eq!([bars(&[(&[0.0], true)]).end(), bars(&[]).end(), bars(&[(&[f64::INFINITY], true)]).end()], [1.0; 3]);
        assert_eq!([5.0, 123.45678, 1234.5, 2.5e7].map(short), ["5.000", "123.457", "1234", "2.5e7"]);
    }

    /// Each part in its shade of the cell's colour, as long as it is; each total written once.
    #[test]
    fn parts_are_as_long_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let drawn = bars(&[(&[1.0, 0.5], true), (&[4.0, 96.0], false)]);
        leave(dir.path(), "bars", drawn.size(), |root| drawn.draw(root)).unwrap();
        let svg = std::fs::read_to_string(dir.path().join("figures/bars.svg")).unwrap();
        let count = |text: &str| svg.lines().filter(|line| line.trim() == text).count();
        assert_eq!([count("the cell"), count("one"), count("other"), count("1.500"), count("→ 100.000"), count("bits/dim")], [1; 6]);
        let room = px(WIDTH - GROUPS - NAMES - NUMBER) as f64;
        let widths = |i: usize| -> Vec<f64> {
            let colour = hex(shade(colour(2), i, 2));
            let of = |line: &str| line.split("width=\"").nth(1).and_then(|rest| rest.split('"').next()).and_then(|n| n.parse::<f64>().ok());
            svg.lines().filter(|line| line.contains("<rect") && line.contains(&colour)).filter_map(of).collect()
        };
        // Of 4.5 that there is room for: 1 and 4; 0.5 and what is left.
        let near = |found: Vec<f64>, shares: [f64; 2]| {
            found.len() == 2 && found.iter().zip(shares).all(|(w, share)| (w - share * room).abs() < 9.0)
        };
        assert!(
            near(widths(0), [1.0 / 4.5, 4.0 / 4.5]) && near(widths(1), [0.5 / 4.5, 0.5 / 4.5]),
            "{:?} {:?} of {room}",
            widths(0),
            widths(1)
        );
    }

    proptest! {
        #[test]
        fn every_axis_has_some_round_numbers(end in 1e-3..1e4f64) {
            let found = ticks(end);
            prop_assert!((4..=9).contains(&found.len()) && found[0] == 0.0 && found.is_sorted(), "{:?}", found);
        }
    }
}
