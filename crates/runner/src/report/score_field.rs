//! The exact score beside the learned one, and walks that follow each of them, as pictures of the plane and in words.

use super::canvas::{Area, Picture, centred, fitted, largest, pixels, px, said, svg};
use super::palette::{PALE, colour};
use crate::base::picture;
use crate::base::text::number;
use crate::metrics::Metric;
use crate::store::{FieldAt, ScoreField, Walks, WalksOf};
use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Width of a picture; panels beside each other at least, which make a panel's width; height of its title, and room around it; in pixels.
const WIDTH: u32 = 960;
const BESIDE: usize = 3;
const TITLE: u32 = 40;
const MARGIN: u32 = 6;
/// The scores' colours.
const EXACT: RGBColor = RGBColor(86, 180, 233);
const LEARNED: RGBColor = RGBColor(213, 94, 0);
/// How far from the middle walks are drawn.
const WALKED: f64 = 1.9;

/// The pictures of what a study found.
pub fn pictures(found: &ScoreField) -> Result<Vec<Picture>> {
    let row = |some: &[FieldAt]| some.iter().map(|field| Panel::of_field(found, field)).collect();
    let rows: Vec<Vec<Panel>> = found.fields.chunks(BESIDE).map(row).collect();
    let mut pictures = vec![Picture { name: "score-field", caption: said_of_fields(found), png: png(&rows, BESIDE)? }];
    if !found.walks.is_empty() {
        // Under each sampler's walks with the exact score those with the learned one.
        let columns = found.walks.len().min(BESIDE + 1);
        let rows = |some: &[WalksOf]| {
            let exact = some.iter().map(|of| Panel::of_walks(found, &of.sampler, "exact", &of.exact));
            let learned = some.iter().map(|of| Panel::of_walks(found, &of.sampler, "learned", &of.learned));
            [exact.collect(), learned.collect()]
        };
        let rows: Vec<Vec<Panel>> = found.walks.chunks(columns).flat_map(rows).collect();
        pictures.push(Picture { name: "walks", caption: said_of_walks(found), png: png(&rows, columns)? });
    }
    Ok(pictures)
}

/// A square of the plane under two lines of title.
struct Panel {
    titles: [String; 2],
    /// How far it reaches from the middle.
    reach: f64,
    /// Middles and radii, behind all else.
    circles: Vec<([f64; 2], f64)>,
    /// Lines with their colour and width in tenths of a pixel, in the order in which they are drawn.
    lines: Vec<(Vec<[f64; 2]>, RGBAColor, u32)>,
    /// Small dots, over the lines.
    ends: Vec<[f64; 2]>,
    /// Dots, on top.
    dots: Vec<([f64; 2], RGBColor)>,
}

impl Panel {
    fn of_field(found: &ScoreField, field: &FieldAt) -> Panel {
        let reach = field.arrows.iter().flat_map(|arrow| arrow.at).fold(0.0, |most: f64, v| most.max(v.abs()));
        let across = (field.arrows.len() as f64).sqrt();
        let spacing = 2.0 * reach / (across - 1.0).max(1.0);
        let longest = field.arrows.iter().map(|arrow| length(arrow.exact)).fold(f64::MIN_POSITIVE, f64::max);
        let arrow = |at: [f64; 2], v: [f64; 2]| {
            // What is far too long is drawn as long as there is room for.
            let scale = spacing * (1.0 / longest).min(1.5 / length(v).max(f64::MIN_POSITIVE));
            arrow(at, v.map(|v| v * scale))
        };
        let lines =
            field.arrows.iter().flat_map(|a| [(arrow(a.at, a.exact), EXACT.mix(1.0), 26), (arrow(a.at, a.learned), LEARNED.mix(1.0), 11)]);
        Panel {
            titles: [format!("t = {}", field.t), format!("{} of the score not learned", percent(field.error))],
            reach: reach + spacing,
            circles: circles(found, field.signal, field.noise),
            lines: lines.collect(),
            ends: Vec::new(),
            dots: Vec::new(),
        }
    }

    fn of_walks(found: &ScoreField, sampler: &str, score: &str, walks: &Walks) -> Panel {
        let paths = || walks.paths.iter().flatten().enumerate();
        Panel {
            titles: [sampler.to_string(), format!("{score} score: {}", divergence(walks, true))],
            reach: WALKED,
            circles: circles(found, 1.0, 0.0),
            lines: paths().map(|(i, path)| (path.clone(), colour(i).mix(0.6), 9)).collect(),
            ends: walks.ends.clone(),
            dots: paths().filter_map(|(i, path)| Some((*path.last()?, colour(i)))).collect(),
        }
    }

    /// Onto a square of `side` pixels, whose corner is at `(left, top)`.
    fn draw(&self, area: &Area, (left, top): (u32, u32), side: u32) -> Result<()> {
        let write = |text: &str, line: u32, size: u32| {
            let place = (px(left) as i32, px(top + 10 + 18 * line) as i32);
            area.draw(&Text::new(fitted(text, size, side), place, centred(size, HPos::Left))).map_err(said)
        };
        write(&self.titles[0], 0, largest(&self.titles[..1], side, 9..=14))?;
        write(&self.titles[1], 1, largest(&self.titles[1..], side, 9..=12))?;
        let scale = px(side) as f64 / (2.0 * self.reach);
        let on = |[x, y]: [f64; 2]| {
            let across = px(left) as f64 + (x + self.reach) * scale;
            (across.round() as i32, (px(top + TITLE) as f64 + (self.reach - y) * scale).round() as i32)
        };
        let inside = |[x, y]: &[f64; 2]| x.abs() <= self.reach && y.abs() <= self.reach;
        let frame = [on([-self.reach, self.reach]), on([self.reach, -self.reach])];
        area.draw(&Rectangle::new(frame, RGBColor(225, 225, 225).stroke_width(px(1)))).map_err(said)?;
        for (middle, radius) in self.circles.iter().filter(|(middle, _)| inside(middle)) {
            area.draw(&Circle::new(on(*middle), (radius * scale) as u32, PALE.stroke_width(px(1)))).map_err(said)?;
        }
        for (line, colour, width) in &self.lines {
            // As far as it is inside, in pieces.
            for piece in line.split(|point| !inside(point)).filter(|piece| piece.len() > 1) {
                let points: Vec<(i32, i32)> = piece.iter().map(|point| on(*point)).collect();
                area.draw(&PathElement::new(points, colour.stroke_width(px(*width) / 10))).map_err(said)?;
            }
        }
        for end in self.ends.iter().filter(|end| inside(end)) {
            area.draw(&Circle::new(on(*end), px(9) / 10, RGBColor(110, 110, 110).filled())).map_err(said)?;
        }
        for (dot, colour) in self.dots.iter().filter(|(dot, _)| inside(dot)) {
            area.draw(&Circle::new(on(*dot), px(4), colour.filled())).map_err(said)?;
        }
        Ok(())
    }
}

/// Panels in rows, as PNG.
fn png(rows: &[Vec<Panel>], columns: usize) -> Result<Vec<u8>> {
    let whole = WIDTH / columns.max(BESIDE) as u32;
    let (side, width) = (whole - 2 * MARGIN, whole * rows.iter().map(Vec::len).max().unwrap_or(0) as u32);
    let height = side + TITLE + 2 * MARGIN;
    let draw = |root: &Area| {
        root.fill(&WHITE).map_err(said)?;
        let places = rows.iter().enumerate().flat_map(|(i, row)| row.iter().enumerate().map(move |(j, panel)| (i as u32, j as u32, panel)));
        places.into_iter().try_for_each(|(i, j, panel)| panel.draw(root, (j * whole + MARGIN, i * height + MARGIN), side))
    };
    picture::png(&pixels(&svg((width, rows.len() as u32 * height), draw)?, 2)?)
}

/// Two standard deviations around each mode of x_t.
fn circles(found: &ScoreField, signal: f64, noise: f64) -> Vec<([f64; 2], f64)> {
    let circle = |(mean, std): &([f64; 2], f64)| (mean.map(|m| signal * m), 2.0 * libm::hypot(signal * std, noise));
    // Those of wide noise would be one ring around all.
    if noise > 0.25 * signal { Vec::new() } else { found.modes.iter().map(circle).collect() }
}

fn length([x, y]: [f64; 2]) -> f64 {
    libm::hypot(x, y)
}

/// A shaft and its head.
fn arrow([x, y]: [f64; 2], [u, v]: [f64; 2]) -> Vec<[f64; 2]> {
    let tip = [x + u, y + v];
    let back = |side: f64| [tip[0] - 0.3 * u + side * 0.18 * v, tip[1] - 0.3 * v - side * 0.18 * u];
    vec![[x, y], tip, back(1.0), tip, back(-1.0)]
}

fn percent(share: f64) -> String {
    match 100.0 * share {
        p if p < 0.095 => format!("{p:.2}%"),
        p if p < 9.95 => format!("{p:.1}%"),
        p => format!("{p:.0}%"),
    }
}

/// The divergence in words, or why there is none.
fn divergence(walks: &Walks, named: bool) -> String {
    let name = if named { "KL " } else { "" };
    match (&walks.divergence, &walks.blank) {
        (Some(found), _) => format!("{name}{}", number(found.value, found.std_err, Metric::KlDivergence.digits())),
        // In a panel there is room for what, not for how far.
        (None, Some(why)) => why.split(if named { ':' } else { ',' }).next().unwrap_or(why).into(),
        (None, None) => "–".into(),
    }
}

fn said_of_fields(found: &ScoreField) -> String {
    let mut said =
        "The exact score (blue) and the learned one (orange) at points x_t, each times √(1 − ᾱ_t); circles are two standard deviations \
                    around the modes, where noise leaves them apart. "
            .to_string();
    let worst = found.fields.iter().max_by(|a, b| a.error.total_cmp(&b.error));
    let best = found.fields.iter().min_by(|a, b| a.error.total_cmp(&b.error));
    if let (Some(worst), Some(best)) = (worst, best) {
        said += &format!(
            "Over q(x_t), E|ŝ − s|² is from {} of E|s|² at t = {} to {} at t = {}.",
            percent(best.error),
            best.t,
            percent(worst.error),
            worst.t
        );
    }
    said
}

fn said_of_walks(found: &ScoreField) -> String {
    let samples = found.walks.iter().flat_map(|of| [&of.exact, &of.learned]).find_map(|walks| Some(walks.divergence.as_ref()?.n));
    let of = samples.map_or_else(String::new, |n| format!(" of {n} samples"));
    let each: Vec<String> = found
        .walks
        .iter()
        .map(|of| {
            let (exact, learned) = (divergence(&of.exact, false), divergence(&of.learned, false));
            format!("{} ({} evaluations) {exact} with the exact score, {learned} with the learned one", of.sampler, of.evaluations)
        })
        .collect();
    format!(
        "Where samples come to (grey), and the paths of some, each in its colour: all samplers and both scores begin at the same x_T, and a \
         sampler's two scores have the same noise. Divergence{of} from the law, in bits/dim: {}.",
        each.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::metrics::Measured;
    use crate::store::Arrow;

    fn found() -> ScoreField {
        let measured = |value| Measured { value, std_err: Some(0.002), n: 500, protocol: "p".into() };
        let walks = |value: Option<f64>| Walks {
            paths: Some(vec![vec![[1.0, 1.0], [0.5, 0.0]], vec![[9.0, 0.0], [-0.5, 0.0]]]),
            ends: vec![[1.5, 1.5]],
            divergence: value.map(measured),
            blank: value.is_none().then(|| "samples out of range: root mean square 7, images have at most 1".into()),
        };
        let arrow = |x: f64, learned: f64| Arrow { at: [x, x], exact: [1.0, 0.0], learned: [0.0, learned] };
        let field = |t, noise, error| FieldAt { t, signal: 0.9, noise, arrows: vec![arrow(-1.0, 1.0), arrow(1.0, 90.0)], error };
        let of = |sampler: &str, learned| WalksOf {
            sampler: sampler.into(),
            evaluations: 5,
            exact: walks(Some(0.001)),
            learned: walks(learned),
        };
        ScoreField {
            modes: vec![([0.5, 0.0], 0.05), ([-0.5, 0.0], 0.05)],
            fields: vec![field(9, 0.8, 0.02), field(1, 0.1, 0.25)],
            walks: vec![of("ancestral", Some(0.25)), of("Langevin", None)],
        }
    }

    #[test]
    fn sentences_say_what_was_found() {
        let found = found();
        assert!(
            said_of_fields(&found).ends_with("E|ŝ − s|² is from 2.0% of E|s|² at t = 9 to 25% at t = 1."),
            "{}",
            said_of_fields(&found)
        );
        let said = said_of_walks(&found);
        for part in [
            "Divergence of 500 samples from the law, in bits/dim: ancestral (5 evaluations) 0.0010 ± 0.0020 with the exact score, 0.2500 ± 0.0020 with the learned one; ",
            "Langevin (5 evaluations) 0.0010 ± 0.0020 with the exact score, samples out of range: root mean square 7 with the learned one.",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }

    /// Circles only where noise leaves modes apart; the longest exact arrow is as long as from one to the next, a learned one half as long again
    /// at most.
    #[test]
    fn panels_hold_what_was_found() {
        let found = found();
        assert_eq!(divergence(&found.walks[1].learned, true), "samples out of range");
        let fields: Vec<Panel> = found.fields.iter().map(|field| Panel::of_field(&found, field)).collect();
        assert_eq!((fields[0].circles.len(), fields[1].circles.len()), (0, 2));
        assert!((fields[1].circles[0].1 - 2.0 * libm::hypot(0.045, 0.1)).abs() < 1e-12 && fields[1].circles[0].0[0] == 0.45);
        let lengths: Vec<f64> =
            fields[0].lines.iter().map(|(line, ..)| libm::hypot(line[1][0] - line[0][0], line[1][1] - line[0][1])).collect();
        let expected = [2.0, 2.0, 2.0, 3.0];
        assert!(lengths.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{lengths:?}");
        let walks = Panel::of_walks(&found, "ddim", "exact", &found.walks[0].exact);
        assert_eq!(walks.titles, ["ddim", "exact score: KL 0.0010 ± 0.0020"]);
        let png = png(&[vec![walks]], 1).unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        let side = WIDTH / 3 - 2 * MARGIN;
        assert_eq!(picture.dimensions(), (2 * WIDTH / 3, 2 * (side + TITLE + 2 * MARGIN)));
        // Where samples ended there are dots, in their colours.
        let at = |[x, y]: [f64; 2]| {
            let place = |v: f64| 2.0 * (MARGIN as f64 + (v + WALKED) / (2.0 * WALKED) * side as f64);
            picture.get_pixel(place(x).round() as u32, 2 * TITLE + place(-y).round() as u32).0
        };
        let of = |i: usize| [colour(i).0, colour(i).1, colour(i).2];
        assert_eq!((at([0.5, 0.0]), at([-0.5, 0.0]), at([1.5, -1.0])), (of(0), of(1), [255; 3]));
        assert!(at([1.5, 1.5])[0] < 200);
    }

    #[test]
    fn every_walk_has_a_panel() {
        let names: Vec<&str> = pictures(&found()).unwrap().iter().map(|picture| picture.name).collect();
        assert_eq!(names, ["score-field", "walks"]);
        assert_eq!(pictures(&ScoreField { walks: vec![], ..found() }).unwrap().len(), 1);
    }
}
