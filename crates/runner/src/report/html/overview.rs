//! All experiments of a results folder on one page: what each asks, and what its page says. Each page leaves that beside it, in a file.

use super::super::claims;
use super::super::judged::Judged;
use super::document::{MARK, document};
use crate::base::atomic;
use crate::base::error::Meaning;
use crate::base::sealed;
use anyhow::{Context, Result};
use maud::html;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The file, in an experiment's folder.
const FILE: &str = "page.json";
/// The page, in an experiment's folder and in the folder of all.
const PAGE: &str = "index.html";

/// What a page says, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brief {
    /// The experiment's name.
    pub name: String,
    /// What it asks.
    pub question: String,
    /// What is missing of it, where anything is.
    pub missing: Option<String>,
    /// Its claims.
    pub claims: Vec<Judged>,
    /// Its pictures, by their paths from its folder.
    #[serde(default)]
    pub pictures: Vec<String>,
}

impl Brief {
    /// Leaves it and the page in the experiment's folder, and takes away pictures that the last page had and this one has not.
    pub fn leave(&self, dir: &Path, page: &str) -> Result<()> {
        let before = sealed::read::<Brief>(&dir.join(FILE)).ok().flatten();
        atomic::write(&dir.join(PAGE), page.as_bytes())?;
        sealed::write(&dir.join(FILE), self)?;
        let ours = |path: &&String| path.starts_with("figures/") && !path.contains("..") && !self.pictures.contains(path);
        for path in before.iter().flat_map(|before| &before.pictures).filter(ours) {
            for kind in ["png", "svg"] {
                let path = dir.join(path).with_extension(kind);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context(path.display().to_string()).stored(),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Writes the page of all experiments in `root`, by name, if that is a folder of results and has no page that is another's. A file that cannot be
/// read is left out: its experiment's next report writes it anew.
pub fn overview(root: &Path) -> Result<()> {
    let page = root.join(PAGE);
    let anothers = || fs::read_to_string(&page).is_ok_and(|text| !text.contains(MARK));
    if !root.join("runs").is_dir() || anothers() {
        return Ok(());
    }
    let mut all: Vec<Brief> = Vec::new();
    for folder in fs::read_dir(root)?.flatten() {
        let brief = sealed::read::<Brief>(&folder.path().join(FILE)).ok().flatten();
        // A folder that was given another name has its page there.
        all.extend(brief.map(|brief| Brief { name: folder.file_name().to_string_lossy().into_owned(), ..brief }));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let body = html! {
        header { h1 { "Experiments" } }
        main.overview {
            @for brief in &all {
                section {
                    h2 { a href={ (link(&brief.name)) "/" (PAGE) } { (brief.question) } }
                    p.name { (brief.name) }
                    @if let Some(missing) = &brief.missing { p.warning { (missing) } }
                    @if !brief.claims.is_empty() {
                        ul.claims {
                            @for claim in &brief.claims {
                                li class=(claim.verdict.name()) { span.badge { (claims::heading(claim)) } " " (claims::sentence(claim)) }
                            }
                        }
                    }
                }
            }
        }
    };
    atomic::write(&page, document("Experiments", &body).as_bytes())
}

/// A folder's name in a link.
fn link(name: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.~".contains(&c);
    name.bytes().map(|c| if plain(c) { (c as char).to_string() } else { format!("%{c:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each experiment once, by its folder's name; what is damaged is left out.
    #[test]
    fn every_page_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let brief =
            |question: &str| Brief { name: "x".into(), question: question.into(), missing: None, claims: Vec::new(), pictures: Vec::new() };
        for (folder, question) in [("b c", "Which <one>?"), ("a", "Why?"), ("damaged", "What?")] {
            brief(question).leave(&dir.path().join(folder), "page").unwrap();
            assert_eq!(fs::read_to_string(dir.path().join(folder).join(PAGE)).unwrap(), "page");
        }
        fs::write(dir.path().join("damaged").join(FILE), "{}").unwrap();
        // Not in any folder that has an experiment in it, and not over a page of someone else.
        overview(dir.path()).unwrap();
        assert!(!dir.path().join(PAGE).exists());
        fs::create_dir(dir.path().join("runs")).unwrap();
        fs::write(dir.path().join(PAGE), "mine").unwrap();
        overview(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(PAGE)).unwrap(), "mine");
        fs::remove_file(dir.path().join(PAGE)).unwrap();
        overview(dir.path()).unwrap();
        overview(dir.path()).unwrap();
        let page = fs::read_to_string(dir.path().join(PAGE)).unwrap();
        assert!(page.contains(r#"<a href="b%20c/index.html">Which &lt;one&gt;?</a>"#) && !page.contains("What?"), "{page}");
        assert!(page.find("Why?") < page.find("Which"));
    }

    /// What the last page showed and this one does not is gone, and nothing else.
    #[test]
    fn old_pictures_go_with_their_page() {
        let dir = tempfile::tempdir().unwrap();
        let figures = dir.path().join("figures");
        fs::create_dir(&figures).unwrap();
        let names = ["old.png", "old.svg", "kept.png", "kept.svg", "mine.png"];
        names.iter().for_each(|name| fs::write(figures.join(name), name).unwrap());
        fs::write(dir.path().join("outside.png"), "outside").unwrap();
        let leave = |pictures: &[&str]| {
            let pictures = pictures.iter().map(ToString::to_string).collect();
            let brief = Brief { name: "x".into(), question: "q".into(), missing: None, claims: Vec::new(), pictures };
            brief.leave(dir.path(), "page").unwrap();
        };
        leave(&["figures/old.png", "figures/kept.png", "figures/../outside.png", "figures/never.png"]);
        assert!(names.iter().all(|name| figures.join(name).exists()));
        leave(&["figures/kept.png"]);
        assert_eq!(names.map(|name| figures.join(name).exists()), [false, false, true, true, true]);
        assert!(dir.path().join("outside.png").exists());
    }
}
