//! The colour of a cell, the same in every picture.

use plotters::style::RGBColor;

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

/// What is no cell's.
pub const PALE: RGBColor = RGBColor(175, 175, 175);

/// Colour number `i`.
pub fn colour(i: usize) -> RGBColor {
    COLOURS[i % COLOURS.len()]
}

/// A colour as SVG and CSS have it.
pub fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// Lengths of dash and space of cell number `i`, where its colour is another's already; none of a whole line.
pub fn dash(i: usize) -> Option<(u32, u32)> {
    const DASHES: [(u32, u32); 3] = [(9, 4), (2, 4), (16, 3)];
    (i / COLOURS.len()).checked_sub(1).map(|again| DASHES[again % DASHES.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first cells have a colour each; the next ones have these again, dashed.
    #[test]
    fn cells_are_told_apart() {
        let looks: Vec<_> = (0..4 * COLOURS.len()).map(|i| (hex(colour(i)), dash(i))).collect();
        assert!(looks.iter().enumerate().all(|(i, look)| !looks[..i].contains(look)));
        assert!(looks[..COLOURS.len()].iter().all(|look| look.1.is_none()) && looks[0].0 == "#0072B2");
        assert!(looks.iter().all(|look| look.0 != hex(PALE)));
    }
}
