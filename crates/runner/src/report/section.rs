//! A table of the page under its heading, as text that Markdown and HTML are made of.

use super::markdown;

/// A table under a heading.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    pub title: String,
    /// What its numbers are.
    pub about: String,
    /// What keeps them from being read as they stand.
    pub remark: Option<Remark>,
    pub headings: Vec<String>,
    /// How many of the columns are names; the others are numbers.
    pub names: usize,
    pub rows: Vec<Vec<String>>,
}

/// A sentence whose first words stand out.
#[derive(Clone, Debug, PartialEq)]
pub struct Remark {
    pub strong: String,
    pub rest: String,
}

impl Remark {
    pub fn markdown(&self) -> String {
        format!("**{}**{}", markdown::text(&self.strong), markdown::text(&self.rest))
    }
}

impl Section {
    pub fn markdown(&self) -> String {
        let remark = self.remark.as_ref().map_or_else(String::new, |remark| format!("{}\n\n", remark.markdown()));
        let rows: String = self.rows.iter().map(|row| markdown::row(row)).collect();
        let (title, about) = (markdown::text(&self.title), markdown::text(&self.about));
        format!("\n## {title}\n\n{about}\n\n{remark}{}{rows}", markdown::head(&self.headings, self.names))
    }
}
