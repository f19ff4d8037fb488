//! Text in Markdown: what people wrote stands there as they wrote it.

/// A text in a paragraph: characters that would make a tag, code, emphasis or a link of it are escaped.
pub fn text(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    let mut before: Option<char> = None;
    let mut rest = words.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' | '*' | '`' | '~' => out.extend(['\\', c]),
            // Behind a letter it begins nothing.
            '_' if !before.is_some_and(char::is_alphanumeric) => out += "\\_",
            // Only where a link could begin: `[1, 2]` reads well as it is.
            '(' if before == Some(']') => out += "\\(",
            '<' => out += "&lt;",
            // Only where an entity could begin.
            '&' if rest.peek().is_some_and(|next| next.is_alphanumeric() || *next == '#') => out += "&amp;",
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
        before = Some(c);
    }
    out
}

/// A picture under its caption.
pub fn picture(caption: &str, path: &str) -> String {
    let caption = text(caption);
    let hidden = caption.replace('[', "\\[").replace(']', "\\]");
    let encoded = |c: char| match c {
        ' ' | '(' | ')' | '<' | '>' | '%' | '\\' | '#' | '?' | '"' => format!("%{:02X}", c as u32),
        c => c.to_string(),
    };
    format!("\n{caption}\n\n![{hidden}]({})\n", path.chars().map(encoded).collect::<String>())
}

/// A text in a cell of a table, which a bar would end.
pub fn cell(words: &str) -> String {
    text(words).replace('|', "\\|")
}

/// A line of a table.
pub fn row<S: AsRef<str>>(cells: &[S]) -> String {
    let cells: Vec<String> = cells.iter().map(|words| cell(words.as_ref())).collect();
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
        assert_eq!(text("a < b & c > \"d\" | e"), "a &lt; b & c > \"d\" | e");
        assert_eq!(text("&lt; &#60; *x* `y` \\\nz"), "&amp;lt; &amp;#60; \\*x\\* \\`y\\` \\\\ z");
        assert_eq!(text("1.26 ± 0.06, –, [0, 1], fixed_large"), "1.26 ± 0.06, –, [0, 1], fixed_large");
        assert_eq!(text("_ours_ ~~x~~ [a](b) a_b [1](2"), "\\_ours_ \\~\\~x\\~\\~ [a]\\(b) a_b [1]\\(2");
        assert_eq!(picture("a [b] <c>", "figures/a (b) #1.png"), "\na [b] &lt;c>\n\n![a \\[b\\] &lt;c>](figures/a%20%28b%29%20%231.png)\n");
        assert_eq!(row(&["a|b", "1"]), "| a\\|b | 1 |\n");
        assert_eq!(head(&["x", "FID ↓"], 1), "| x | FID ↓ |\n| --- | ---: |\n");
    }
}
