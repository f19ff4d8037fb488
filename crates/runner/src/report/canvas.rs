//! Pictures are drawn once, as SVG; a PNG is made of that, twice as large.

use crate::base::{atomic, picture};
use anyhow::{Context, Result, anyhow};
use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use resvg::tiny_skia::{self, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, LazyLock, Once};

/// Paths of what was drawn, from the report's folder, with a caption.
pub type Drawn = Vec<(String, String)>;

/// A picture of what a study found, with the sentences that its numbers make.
pub struct Picture {
    pub name: &'static str,
    pub caption: String,
    pub png: Vec<u8>,
}

/// What is drawn on.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Units of a drawing to a pixel. plotters rounds places to whole units, which would make stairs of lines if these were pixels.
const UNITS: u32 = 8;

/// A length in pixels, in the units of a drawing.
pub const fn px(pixels: u32) -> u32 {
    pixels * UNITS
}

const FONT: &[u8] = include_bytes!("../../assets/font/DejaVuSans.ttf");
/// The name that drawing code asks for it by.
pub const SANS: &str = "sans-serif";

/// The embedded font for what measures texts, once.
fn with_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| assert!(register_font(SANS, FontStyle::Normal, FONT).is_ok(), "the embedded font is a font"));
}

/// The embedded font for what draws texts. A machine's own fonts are left alone, so that a picture is the same everywhere.
fn fonts() -> Arc<fontdb::Database> {
    static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(FONT.to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        Arc::new(fonts)
    });
    FONTS.clone()
}

/// A picture of a size in pixels as SVG; it is drawn in units.
pub fn svg((width, height): (u32, u32), draw: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    with_font();
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (px(width), px(height))).into_drawing_area();
        draw(&root)?;
        root.present().map_err(said)?;
    }
    let (units, pixels) = (px(width), format!("width=\"{width}\" height=\"{height}\""));
    Ok(text.replacen(&format!("width=\"{units}\" height=\"{}\"", px(height)), &pixels, 1))
}

/// An SVG on white, each of its pixels `scale` wide.
pub fn pixels(svg: &str, scale: u32) -> Result<RgbImage> {
    let tree = Tree::from_str(svg, &Options { fontdb: fonts(), ..Options::default() }).context("a drawing that cannot be read")?;
    let size = tree.size().to_int_size();
    let (width, height) = (size.width() * scale, size.height() * scale);
    let mut pixmap = Pixmap::new(width, height).with_context(|| format!("a picture of {width}x{height} pixels is too large"))?;
    pixmap.fill(tiny_skia::Color::WHITE);
    resvg::render(&tree, Transform::from_scale(scale as f32, scale as f32), &mut pixmap.as_mut());
    let opaque = pixmap.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    Ok(RgbImage::from_raw(width, height, opaque).expect("three bytes for each pixel"))
}

/// Draws `DIR/figures/NAME.svg` and `.png`; returns the PNG's path from `DIR`.
pub fn leave(dir: &Path, name: &str, size: (u32, u32), draw: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let svg = svg(size, draw)?;
    atomic::write(&dir.join(format!("figures/{name}.svg")), svg.as_bytes())?;
    atomic::write(&dir.join(format!("figures/{name}.png")), &picture::png(&pixels(&svg, 2)?)?)?;
    Ok(format!("figures/{name}.png"))
}

/// A text of a size in pixels, its middle at the height of its place.
pub fn centred(size: u32, side: HPos) -> TextStyle<'static> {
    (SANS, px(size)).into_font().into_text_style(&(1, 1)).pos(Pos::new(side, VPos::Center))
}

/// plotters' errors borrow the backend: their text is kept.
pub fn said<E: std::fmt::Display>(e: E) -> anyhow::Error {
    anyhow!("drawing failed: {e}")
}

/// How wide a text of a size is, in pixels.
pub fn width(text: &str, size: u32) -> u32 {
    with_font();
    // plotters takes a size for the height of lines, 1.164 em in this font, where it measures, and for 1.24 em where it writes SVG.
    let measured = (SANS, px(size)).into_font().box_size(text).map_or(0, |(width, _)| width);
    (measured as f64 / UNITS as f64 * 1.164 / 1.24).ceil() as u32
}

/// The largest of some sizes at which each text has so much room; the least where none does.
pub fn largest<T: AsRef<str>>(texts: &[T], room: u32, sizes: RangeInclusive<u32>) -> u32 {
    let least = *sizes.start();
    sizes.rev().find(|size| texts.iter().all(|text| width(text.as_ref(), *size) <= room)).unwrap_or(least)
}

/// A text in lines that have so much room, parted between words.
pub fn lines(text: &str, size: u32, room: u32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= room => *line += &format!(" {word}"),
            _ => lines.push(word.into()),
        }
    }
    lines.iter().map(|line| fitted(line, size, room)).collect()
}

/// As much of a text as has room, with an ellipsis where that is not all.
pub fn fitted(text: &str, size: u32, room: u32) -> String {
    if width(text, size) <= room {
        return text.into();
    }
    let mut kept: Vec<char> = text.chars().collect();
    loop {
        kept.pop();
        let shorter: String = kept.iter().chain(['…'].iter()).collect();
        if kept.is_empty() || width(&shorter, size) <= room {
            return shorter;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pixel of the drawing is so many wide, and what is drawn is where it should be; around it all is white.
    #[test]
    fn a_drawing_becomes_pixels() {
        let svg = svg((20, 10), |area| area.draw(&Rectangle::new([(40, 16), (80, 48)], BLUE.filled())).map_err(said)).unwrap();
        for scale in [1, 2, 3] {
            let picture = pixels(&svg, scale).unwrap();
            assert_eq!(picture.dimensions(), (20 * scale, 10 * scale));
            let at = |x: u32, y: u32| picture.get_pixel(x * scale + scale / 2, y * scale + scale / 2).0;
            assert_eq!([at(7, 4), at(3, 4), at(7, 8)], [[0, 0, 255], [255; 3], [255; 3]]);
        }
    }

    /// Texts are drawn, also with the letters of formulas; a text that has room is whole.
    #[test]
    fn texts_are_drawn_and_fitted() {
        let drawn = |text: &str| {
            let text = text.to_string();
            let svg = svg((80, 20), |area| area.draw(&Text::new(text, (px(2) as i32, px(2) as i32), (SANS, px(14)))).map_err(said));
            pixels(&svg.unwrap(), 2).unwrap()
        };
        // What the font lacks is drawn as a box, or not at all.
        let (missing, nothing) = (drawn("\u{10FFFD}"), drawn(" "));
        for letter in ["₀", "ᾱ", "ε", "θ", "μ", "β", "σ", "λ", "‖", "−", "²", "√", "↓", "↑", "≈", "±", "∞", "…", "○"]
        {
            assert!(drawn(letter) != missing && drawn(letter) != nothing, "{letter}");
        }
        // Nor is what is put over a letter left out.
        assert!(drawn("x̂") != drawn("x") && drawn("x̂") != missing);
        assert!(width("mm", 14) > width("ii", 14) && width("m", 28) > width("m", 14));
        let (whole, text) = (width("a long text", 14), "a long text");
        assert_eq!((fitted(text, 14, whole), fitted("", 14, 0)), (text.to_string(), String::new()));
        let cut = fitted(text, 14, whole - 1);
        assert!(cut.ends_with('…') && text.starts_with(cut.trim_end_matches('…')) && width(&cut, 14) < whole, "{cut}");
        assert_eq!(fitted(text, 14, 0), "…");
        // As wide as it is drawn: four letters more are so much more.
        let across = |text: &str| {
            let dark = |(x, _, pixel): (u32, u32, &image::Rgb<u8>)| (pixel.0[0] < 200).then_some(x);
            let ends = drawn(text).enumerate_pixels().filter_map(dark).fold((u32::MAX, 0), |(low, high), x| (low.min(x), high.max(x)));
            ends.1 - ends.0
        };
        let (seen, said) = (across("mmmmm") - across("m"), 2 * (width("mmmmm", 14) - width("m", 14)));
        assert!(seen.abs_diff(said) <= 3, "{seen} {said}");
    }

    /// Lines hold all words in order, as many as have room; the largest size is the largest.
    #[test]
    fn texts_are_parted_and_shrunk() {
        let text = "simple, dropout=0.1, learning_rate=0.0002";
        let parted = lines(text, 28, 300);
        assert!(parted.len() > 1 && parted.join(" ") == text && parted.iter().all(|line| width(line, 28) <= 300), "{parted:?}");
        assert_eq!(lines(text, 28, 3000), [text]);
        let size = largest(&[text], 300, 8..=40);
        assert!(width(text, size) <= 300 && width(text, size + 1) > 300);
        assert_eq!((largest(&[text], 10, 8..=40), largest(&[text], 10_000, 8..=40), largest::<&str>(&[], 0, 8..=40)), (8, 40, 40));
    }
}
