//! Text in Markdown: what people wrote stands there as they wrote it.

/// A text in a paragraph or in a table's cell: characters that would make a column, a tag, code or emphasis of it are escaped.
pub fn text(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    let mut rest = words.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' | '|' | '*' | '`' => out.extend(['\\', c]),
            '<' => out += "&lt;",
            // Only where an entity could begin.
            '&' if rest.peek().is_some_and(|next| next.is_alphanumeric() || *next == '#') => out += "&amp;",
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A line of a table.
pub fn row<S: AsRef<str>>(cells: &[S]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| text(cell.as_ref())).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// A table's headings, and the rule under them: the first `names` columns are of names, the others of numbers.
pub fn head<S: AsRef<str>>(headings: &[S], names: usize) -> String {
    let rule: Vec<&str> = (0..headings.len()).map(|i| if i < names { "---" } else { "---:" }).collect();
    format!("{}| {} |\n", row(headings), rule.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_stands_as_they_wrote_it() {
        assert_eq!(text("a < b & c > \"d\" | e"), "a &lt; b & c > \"d\" \\| e");
        assert_eq!(text("&lt; &#60; *x* `y` \\\nz"), "&amp;lt; &amp;#60; \\*x\\* \\`y\\` \\\\ z");
        assert_eq!(text("1.26 ± 0.06, –, [0, 1], fixed_large"), "1.26 ± 0.06, –, [0, 1], fixed_large");
        assert_eq!(row(&["a|b", "1"]), "| a\\|b | 1 |\n");
        assert_eq!(head(&["x", "FID ↓"], 1), "| x | FID ↓ |\n| --- | ---: |\n");
    }
}
