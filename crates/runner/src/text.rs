//! Words on a terminal.

/// A paragraph in lines of at most 80 characters, later ones indented.
pub fn wrapped(paragraph: &str) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in paragraph.split(' ') {
        let n = word.chars().count();
        if column > 0 && column + 1 + n > 80 {
            text += "\n   ";
            column = 3;
        }
        if column > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += n;
    }
    text + "\n"
}

/// Bytes as a person says them.
pub fn size(bytes: u64) -> String {
    match bytes {
        b if b < 1_000 => format!("{b} B"),
        b if b < 1_000_000 => format!("{:.1} kB", b as f64 / 1e3),
        b if b < 1_000_000_000 => format!("{:.1} MB", b as f64 / 1e6),
        b if b < 1_000_000_000_000 => format!("{:.1} GB", b as f64 / 1e9),
        b => format!("{:.1} TB", b as f64 / 1e12),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_80_and_no_word_is_lost() {
        let words = "what comes out here? ".repeat(20);
        let text = wrapped(words.trim());
        assert!(text.lines().all(|line| line.chars().count() <= 80) && text.lines().count() > 4, "{text}");
        assert_eq!(text.split_whitespace().collect::<Vec<_>>(), words.split_whitespace().collect::<Vec<_>>());
        assert_eq!(wrapped("short"), "short\n");
    }

    #[test]
    fn bytes_are_said_in_the_largest_unit_that_they_fill() {
        let said = [0, 999, 1_000, 999_949, 1_000_000, 2_500_000_000, 1_000_000_000_000].map(size);
        assert_eq!(said, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "2.5 GB", "1.0 TB"]);
    }
}
