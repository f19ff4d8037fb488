//! Tables of numbers as colours, each number written in its field.

use super::canvas::{Area, centred, fitted, largest, pixels, px, said, svg, width};
use crate::base::picture;
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Width of a picture; height of a row of fields, of a table's title and of what is written over and under the fields; in pixels.
const WIDTH: u32 = 960;
const ROW: u32 = 22;
const TITLE: u32 = 28;
const COLUMNS: u32 = 20;
const AXIS: u32 = 30;
/// Most room for the names of rows, and the margin on either side.
const NAMES: u32 = 150;
const MARGIN: u32 = 8;

/// How a number becomes a colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shade {
    /// On a logarithmic scale, from pale at a thousandth of this to dark at this.
    Added(f64),
    /// A factor: on a logarithmic scale, from pale at 1 to dark at 100.
    Factor,
    /// From pale at 0 to dark at 1.
    Share,
    /// From -1 to 1, in two colours.
    Signed,
    /// On a logarithmic scale, from pale at the first to dark at the second, both above 0; else on a linear one.
    Between(f64, f64),
}

/// One table.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    pub title: String,
    /// What the columns are, and their names.
    pub across: (String, Vec<String>),
    /// What the rows are, and their names.
    pub down: (String, Vec<String>),
    /// Without colour where not a number; infinite is worse than all.
    pub rows: Vec<Vec<f64>>,
    pub shade: Shade,
    /// What is written in the fields, where it is not the number in few characters.
    pub texts: Option<Vec<Vec<String>>>,
}

impl Shade {
    /// Below this a number is as good as 0.
    fn least(self) -> f64 {
        match self {
            Shade::Added(most) => most / 1000.0,
            Shade::Factor | Shade::Share | Shade::Signed => 0.0005,
            Shade::Between(..) => 0.0,
        }
    }

    /// How dark a number is, in [-1, 1]; what is below 0 has the other colour.
    fn of(self, v: f64) -> f64 {
        let share = match self {
            Shade::Added(most) if v > 0.0 => 1.0 + libm::log10(v / most) / 3.0,
            Shade::Added(_) => 0.0,
            Shade::Factor if v > 0.0 => libm::log10(v) / 2.0,
            Shade::Factor => 0.0,
            Shade::Share => v,
            Shade::Signed => return v.clamp(-1.0, 1.0),
            Shade::Between(..) if v.is_infinite() => return -1.0,
            Shade::Between(..) if v.is_nan() => 0.0,
            Shade::Between(best, worst) if best.min(worst) > 0.0 => libm::log(v / best) / libm::log(worst / best),
            Shade::Between(best, worst) => (v - best) / (worst - best),
        };
        // All alike: nothing is worse.
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }
}

/// The colour of so dark a field, and of what is written in it.
fn colours(dark: f64) -> (RGBColor, RGBColor) {
    const DEEP: [RGBColor; 2] = [RGBColor(0, 62, 104), RGBColor(150, 60, 0)];
    let RGBColor(r, g, b) = DEEP[usize::from(dark < 0.0)];
    let mixed = |deep: u8| (250.0 + dark.abs() * (deep as f64 - 250.0)).round() as u8;
    (RGBColor(mixed(r), mixed(g), mixed(b)), if dark.abs() > 0.5 { WHITE } else { RGBColor(30, 30, 30) })
}

/// A number in few characters: `3e-4`, `.031`, `.42`, `3.1`, `120`; 0 where it is below what can be seen.
fn short(v: f64, least: f64) -> String {
    match v.abs() {
        a if a < least => "0".into(),
        a if a < 0.0005 => format!("{v:.0e}"),
        a if a < 0.0995 => format!("{v:.3}").replacen("0.", ".", 1),
        a if a < 0.995 => format!("{v:.2}").replacen("0.", ".", 1),
        a if a < 9.95 => format!("{v:.1}"),
        a if a < 9999.5 => format!("{v:.0}"),
        _ => format!("{v:.0e}"),
    }
}

impl Heat {
    fn height(&self) -> u32 {
        TITLE + COLUMNS + ROW * self.rows.len() as u32 + AXIS
    }

    fn draw(&self, area: &Area, whole: u32) -> Result<()> {
        let write = |text: String, x: u32, y: u32, size: u32, side: HPos, colour: RGBColor| {
            let style = centred(size, side).color(&colour);
            area.draw(&Text::new(text, (px(x) as i32, px(y) as i32), style)).map_err(said)
        };
        let grey = RGBColor(90, 90, 90);
        let widest = self.down.1.iter().map(|name| width(name, 11)).max().unwrap_or(0);
        let left = MARGIN + widest.max(width(&self.down.0, 11)).min(NAMES) + 6;
        let (top, field) = (TITLE + COLUMNS, (whole - left - MARGIN) / self.across.1.len().max(1) as u32);
        write(fitted(&self.title, 14, whole - 2 * MARGIN), MARGIN, TITLE / 2, 14, HPos::Left, BLACK)?;
        write(fitted(&self.down.0, 11, left - MARGIN - 6), MARGIN, TITLE + COLUMNS / 2, 11, HPos::Left, grey)?;
        let end = top + ROW * self.rows.len() as u32;
        let size = largest(&self.across.1, field.saturating_sub(2), 7..=11);
        for (i, name) in self.across.1.iter().enumerate() {
            write(fitted(name, size, field), left + field * i as u32 + field / 2, TITLE + COLUMNS / 2, size, HPos::Center, grey)?;
        }
        write(fitted(&self.across.0, 11, whole - left), left + field * self.across.1.len() as u32 / 2, end + 13, 11, HPos::Center, grey)?;
        let in_short = || self.rows.iter().map(|row| row.iter().map(|v| short(*v, self.shade.least())).collect()).collect();
        let texts = self.texts.clone().unwrap_or_else(in_short);
        let size = largest(&texts.concat(), field.saturating_sub(4), 6..=11);
        for (i, (row, texts)) in self.rows.iter().zip(texts).enumerate() {
            let y = top + ROW * i as u32;
            write(fitted(&self.down.1[i], 11, NAMES), left - 6, y + ROW / 2, 11, HPos::Right, grey)?;
            for (j, (v, text)) in row.iter().zip(texts).enumerate() {
                let (x, (back, front)) = (left + field * j as u32, colours(self.shade.of(*v)));
                let corners = [(px(x), px(y)), (px(x + field) - px(1), px(y + ROW) - px(1))].map(|(x, y)| (x as i32, y as i32));
                area.draw(&Rectangle::new(corners, back.filled())).map_err(said)?;
                write(text, x + field / 2, y + ROW / 2, size, HPos::Center, front)?;
            }
        }
        Ok(())
    }
}

/// Tables beside and under each other.
pub struct Heats<'a> {
    pub tables: &'a [Heat],
    /// How many are beside each other.
    pub columns: usize,
}

impl Heats<'_> {
    fn heights(&self) -> Vec<u32> {
        self.tables.chunks(self.columns).map(|row| row.iter().map(Heat::height).max().unwrap_or(0)).collect()
    }

    /// The size that the tables need.
    pub fn size(&self) -> (u32, u32) {
        (WIDTH, self.heights().iter().sum())
    }

    pub fn draw(&self, root: &Area) -> Result<()> {
        root.fill(&WHITE).map_err(said)?;
        let mut rest = root.clone();
        for (row, height) in self.tables.chunks(self.columns).zip(self.heights()) {
            let (now, later) = rest.split_vertically(px(height) as i32);
            for (table, area) in row.iter().zip(now.split_evenly((1, self.columns))) {
                table.draw(&area, WIDTH / self.columns as u32)?;
            }
            rest = later;
        }
        Ok(())
    }

    /// As PNG.
    pub fn png(&self) -> Result<Vec<u8>> {
        picture::png(&pixels(&svg(self.size(), |root| self.draw(root))?, 2)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let of = [0.0001, -0.0004, 0.0003, 0.0312, 0.0996, 0.425, 0.996, 1.0, 9.96, 123.4, -0.25, 12345.0, 0.9];
        assert_eq!(
            of.map(|v| short(v, 0.0002)),
            ["0", "-4e-4", "3e-4", ".031", ".10", ".42", "1.0", "1.0", "10", "123", "-.25", "1e4", ".90"]
        );
    }

    #[test]
    fn shades_begin_and_end_where_they_say() {
        let of = |shade: Shade, v: [f64; 4]| v.map(|v| (shade.of(v) * 100.0).round());
        assert_eq!(of(Shade::Added(2.0), [-1.0, 0.002, 0.2, 2.0]), [0.0, 0.0, 67.0, 100.0]);
        assert_eq!(of(Shade::Factor, [0.5, 1.0, 10.0, 1000.0]), [0.0, 0.0, 50.0, 100.0]);
        assert_eq!(of(Shade::Share, [-1.0, 0.0, 0.5, 3.0]), [0.0, 0.0, 50.0, 100.0]);
        assert_eq!(of(Shade::Signed, [-2.0, -0.5, 0.0, 1.0]), [-100.0, -50.0, 0.0, 100.0]);
        assert_eq!(of(Shade::Between(1.0, 100.0), [1.0, 10.0, 1e3, f64::INFINITY]), [0.0, 50.0, 100.0, -100.0]);
        // Where more is better, or some are below 0.
        assert_eq!(of(Shade::Between(100.0, 1.0), [100.0, 10.0, 1.0, f64::NAN]), [0.0, 50.0, 100.0, 0.0]);
        assert_eq!(of(Shade::Between(-1.0, 3.0), [-1.0, 0.0, 1.0, 3.0]), [0.0, 25.0, 50.0, 100.0]);
        assert_eq!(of(Shade::Between(2.0, 2.0), [2.0; 4]), [0.0; 4]);
        assert_eq!(colours(0.0), (RGBColor(250, 250, 250), RGBColor(30, 30, 30)));
        assert_eq!((colours(1.0), colours(-1.0).0), ((RGBColor(0, 62, 104), WHITE), RGBColor(150, 60, 0)));
    }

    /// Every field is where its row and column are, in its colour.
    #[test]
    fn fields_have_their_numbers_colours() {
        let table = |rows: Vec<Vec<f64>>| Heat {
            title: "t".into(),
            across: ("x".into(), vec!["1".into(), "2".into()]),
            down: ("y".into(), vec!["a".into(), "b".into(), "c".into()]),
            rows,
            shade: Shade::Share,
            texts: None,
        };
        let tables = [table(vec![vec![0.0, 1.0], vec![1.0, 0.0], vec![0.5, 0.25]]), table(vec![vec![0.5; 2]; 3])];
        let png = Heats { tables: &tables, columns: 2 }.png().unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (2 * WIDTH, 2 * (TITLE + COLUMNS + 3 * ROW + AXIS)));
        let left = MARGIN + width("y", 11).max(width("c", 11)).max(width("b", 11)) + 6;
        let field = (WIDTH / 2 - left - MARGIN) / 2;
        // A corner of the field, where no number is written.
        let at = |row: u32, column: u32| picture.get_pixel(2 * (left + field * column + 3), 2 * (TITLE + COLUMNS + ROW * row + 3)).0;
        let of = |dark: f64| {
            let RGBColor(r, g, b) = colours(dark).0;
            [r, g, b]
        };
        let found = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)].map(|(row, column)| at(row, column));
        assert_eq!(found, [0.0, 1.0, 1.0, 0.0, 0.5, 0.25].map(of));
        // The second table's are half a picture further on.
        assert_eq!(picture.get_pixel(WIDTH + 2 * (left + 3), 2 * (TITLE + COLUMNS + 3)).0, of(0.5));
    }
}
