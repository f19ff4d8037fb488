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

/// Rows of words in columns, the first `names` of them to the left and the others to the right.
pub fn aligned(rows: &[Vec<String>], names: usize) -> String {
    let width = |text: &str| text.chars().count();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> =
        (0..columns).map(|i| rows.iter().filter_map(|row| row.get(i)).map(|text| width(text)).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).enumerate().map(|(i, (text, w))| {
            let space = " ".repeat(w - width(text));
            if i < names { format!("{text}{space}") } else { format!("{space}{text}") }
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A name of at most `longest` bytes for a file, from words that may be too long for one or hold a `/`; what was cut is stood for by a digest.
pub fn file_name(words: &str, longest: usize) -> String {
    let name: String = words.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    if name.len() <= longest {
        return name;
    }
    let digest = blake3::hash(words.as_bytes()).to_hex();
    let end = (0..=longest - 9).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}-{}", &name[..end], &digest[..8])
}

/// A text without the byte order mark that some editors put before it.
pub fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A number of bytes, human-readable.
pub fn size(bytes: u64) -> String {
    match bytes {
        b if b < 1_000 => format!("{b} B"),
        b if b < 1_000_000 => format!("{:.1} kB", b as f64 / 1e3),
        b if b < 1_000_000_000 => format!("{:.1} MB", b as f64 / 1e6),
        b if b < 1_000_000_000_000 => format!("{:.1} GB", b as f64 / 1e9),
        b => format!("{:.1} TB", b as f64 / 1e12),
    }
}

/// A number of seconds, human-readable.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// A number with its uncertainty.
pub fn number(mean: f64, error: Option<f64>, digits: usize) -> String {
    let error = error.map_or(String::new(), |e| format!(" ± {e:.digits$}"));
    format!("{mean:.digits$}{error}")
}

/// Prints to standard output; a reader that has gone away is not an error.
pub fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
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
    fn columns_stand_under_each_other() {
        let rows = [vec!["a", "10"], vec!["bcd", "ε"], vec!["e"]].map(|row| row.into_iter().map(String::from).collect());
        assert_eq!(aligned(&rows, 1), "a    10\nbcd   ε\ne\n");
        assert_eq!(aligned(&rows, 2), "a    10\nbcd  ε\ne\n");
    }

    #[test]
    fn names_fit_into_a_folder() {
        assert_eq!(file_name("eps, {kind: x}", 14), "eps, {kind: x}");
        assert_eq!(file_name("a/b\nc", 9), "a-b-c");
        let [one, other] = ["ä".repeat(200) + "1", "ä".repeat(200) + "2"].map(|words| file_name(&words, 100));
        assert!(one != other && one.len() <= 100 && one.len() > 95 && one.starts_with('ä'), "{one} {other}");
    }

    #[test]
    fn bytes_are_said_in_the_largest_unit_that_they_fill() {
        let said = [0, 999, 1_000, 999_949, 1_000_000, 2_500_000_000, 1_000_000_000_000].map(size);
        assert_eq!(said, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "2.5 GB", "1.0 TB"]);
    }

    #[test]
    fn durations_are_said_in_a_unit_that_fits() {
        let said = [0.4, 99.4, 100.0, 5999.0, 6000.0, 172_799.0, 172_800.0, 864_000.0].map(duration);
        assert_eq!(said, ["0 s", "99 s", "2 min", "100 min", "1.7 h", "48.0 h", "2 days", "10 days"]);
    }
}
