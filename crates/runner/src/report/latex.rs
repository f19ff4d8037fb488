//! The table for a paper: LaTeX with booktabs, all that the program itself writes in ASCII, so that every engine sets it.

use super::tables::Summary;

/// Characters that a table may hold and LaTeX would read otherwise, or not at all.
const SET_AS: [(char, &str); 31] = [
    ('\\', r"\textbackslash{}"),
    ('{', r"\{"),
    ('}', r"\}"),
    ('$', r"\$"),
    ('&', r"\&"),
    ('#', r"\#"),
    ('%', r"\%"),
    ('_', r"\_"),
    ('^', r"\textasciicircum{}"),
    ('~', r"\textasciitilde{}"),
    ('<', r"$<$"),
    ('>', r"$>$"),
    ('±', r"$\pm$"),
    ('↑', r"$\uparrow$"),
    ('↓', r"$\downarrow$"),
    ('≈', r"$\approx$"),
    ('≤', r"$\leq$"),
    ('≥', r"$\geq$"),
    ('∞', r"$_\infty$"),
    ('×', r"$\times$"),
    ('·', r"$\cdot$"),
    ('−', r"$-$"),
    ('–', r"--"),
    ('—', r"---"),
    ('ε', r"$\epsilon$"),
    ('μ', r"$\mu$"),
    ('σ', r"$\sigma$"),
    ('Σ', r"$\Sigma$"),
    ('β', r"$\beta$"),
    ('²', r"$^2$"),
    ('é', r"\'e"),
];

/// A text as LaTeX sets it; a character that is in no table of ours is left as it is.
pub fn text(words: &str) -> String {
    let set = |c: char| SET_AS.iter().find(|(known, _)| *known == c).map_or_else(|| c.to_string(), |(_, set)| set.to_string());
    words.replace(['\n', '\r'], " ").chars().map(set).collect()
}

/// A line of a table.
fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| text(cell)).collect();
    // An empty group, since LaTeX takes a bracket behind the line before for an argument.
    format!("{{}}{} \\\\\n", cells.join(" & "))
}

/// The table with what it asks as its caption, and under it what its numbers are.
pub fn table(name: &str, question: &str, summary: &Summary) -> String {
    let columns: String = (0..summary.headings.len()).map(|i| if i < summary.axes { 'l' } else { 'r' }).collect();
    let notes = summary.notes.iter().enumerate().map(|(i, note)| format!("[{}] {note}.", i + 1));
    let under: Vec<String> = notes.chain(summary.protocols.iter().map(|protocol| format!("{protocol}."))).map(|note| text(&note)).collect();
    format!(
        "% \\usepackage{{booktabs}}\n\\begin{{table}}\n\\centering\n\\caption{{{}}}\n\\label{{tab:{}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n{}\\bottomrule\n\\end{{tabular}}\n\\par\\smallskip\\footnotesize\n{}\n\\end{{table}}\n",
        text(question),
        // A label may hold no character that means something.
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect::<String>(),
        row(&summary.headings),
        summary.rows.iter().map(|cells| row(cells)).collect::<String>(),
        under.join("\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::metrics::Metric;
    use crate::report::tables::Content;

    #[test]
    fn a_table_is_set_as_it_is_meant() {
        let summary = Summary {
            headings: ["row_1", "FID∞ ↓"].map(String::from).into(),
            contents: vec![Content::Axis, Content::Score(Metric::FidInfinity)],
            rows: vec![vec!["a & b".into(), "1.0 ± 0.1".into()], vec!["[1]".into(), "– [1]".into()]],
            axes: 1,
            notes: vec!["50% {x}".into()],
            protocols: vec!["FID∞ ↓: p".into()],
        };
        let found = table("x, y", "Why? (Fréchet)", &summary);
        let expected = r"% \usepackage{booktabs}
\begin{table}
\centering
\caption{Why? (Fr\'echet)}
\label{tab:x--y}
\begin{tabular}{lr}
\toprule
{}row\_1 & FID$_\infty$ $\downarrow$ \\
\midrule
{}a \& b & 1.0 $\pm$ 0.1 \\
{}[1] & -- [1] \\
\bottomrule
\end{tabular}
\par\smallskip\footnotesize
{}[1] 50\% \{x\}.
FID$_\infty$ $\downarrow$: p.
\end{table}
";
        assert_eq!(found, expected.replace("footnotesize\n{}[1]", "footnotesize\n[1]"));
    }
}
