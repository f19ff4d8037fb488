//! The document: all that is said stands in it as text, to be read without its program too.

use super::super::chart::Chart;
use super::super::claims;
use super::super::entry::Entry;
use super::super::judged::Judged;
use super::super::page::Page;
use super::super::palette::{colour, hex};
use super::super::section::{Remark, Section};
use super::super::sheets::Still;
use super::super::tables::Frames;
use super::content::PageContent;
use super::images::{Pictures, embedded};
use crate::base::text::duration;
use crate::store::history::{self, Event};
use crate::store::{Outcome, Store};
use anyhow::Result;
use chrono::DateTime;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Nothing is loaded from anywhere: the browser refuses it.
const POLICY: &str = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
/// By which a page of this program is known.
pub const MARK: &str = r#"<meta name="generator" content="ddpm">"#;
const STYLE: &str = concat!(include_str!("../../../assets/html/uplot/uPlot.min.css"), include_str!("../../../assets/html/page.css"));
/// The library with its licence, and the page's program.
const LIBRARY: &str = concat!(
    "/*\n",
    include_str!("../../../assets/html/uplot/LICENSE"),
    "*/\n",
    include_str!("../../../assets/html/uplot/uPlot.iife.min.js")
);
const PROGRAM: &str = concat!(
    "\"use strict\";\n",
    include_str!("../../../assets/html/state.js"),
    include_str!("../../../assets/html/table.js"),
    include_str!("../../../assets/html/compare.js"),
    include_str!("../../../assets/html/charts.js"),
    include_str!("../../../assets/html/main.js")
);

/// The page of an experiment.
pub fn page(page: &Page, frames: &Frames, charts: &[Chart], pictures: &Pictures, store: &Store) -> Result<String> {
    let (file, name) = (&page.experiment.file, &page.experiment.name);
    let has_charts = !charts.is_empty() || !page.stills.is_empty();
    let content = PageContent::of(page, frames, charts, pictures)?.script()?;
    let body = html! {
        header {
            p.name { (name) }
            h1 { (file.question) }
            @if let Some(missing) = page.missing() { p.warning { strong { (missing) } } }
        }
        nav aria-label="Sections" {
            @if !page.judged.is_empty() { a href="#verdicts" { "Verdicts" } }
            @if !page.care.is_empty() { a href="#care" { "Read with care" } }
            a href="#table" { "Table" }
            a href="#compare" { "Two cells" }
            @if has_charts { a href="#charts" { "Charts" } }
            @for (i, section) in page.sections.iter().enumerate() { a href={ "#section-" (i) } { (section.title) } }
            @if !page.study_pictures.is_empty() { a href="#studies" { "Studies" } }
            a href="#records" { "Records" }
        }
        main {
            (verdicts(page.judged))
            @if !page.care.is_empty() {
                section #care { h2 { "Read with care" } ul { @for note in &page.care { li { (note) } } } }
            }
            section #table {
                h2 { "Table" }
                div #table-controls {}
                div.scroll { table #scores {} }
                noscript { (rows(&page.summary.headings, page.summary.axes, &page.summary.rows)) }
                @if !page.summary.notes.is_empty() { ol.notes { @for note in &page.summary.notes { li { (note) } } } }
                @if let Some((source, scales)) = page.paper() {
                    p.small { "Paper: " (source) ". " @if let Some(scales) = scales { (remark(&scales)) } }
                }
                @if !page.summary.protocols.is_empty() {
                    details { summary { "How each number was measured" } ul { @for protocol in &page.summary.protocols { li { (protocol) } } } }
                }
            }
            section #compare { h2 { "Two cells side by side" } div #compare-body {} }
            @if has_charts {
                section #charts {
                    h2 { "Charts" }
                    @if !charts.is_empty() { div #cells {} div #chart-list {} }
                    (stills(page.stills))
                }
            }
            @for (i, section) in page.sections.iter().enumerate() { (table(section, i)) }
            @if !page.study_pictures.is_empty() {
                section #studies {
                    h2 { "Studies" }
                    (stills(page.study_pictures))
                }
            }
            section #records {
                h2 { "What the numbers are" }
                ul { @for fact in page.facts() { li { (fact) } } }
                details { summary { "The jobs' records" } (records(page, store)) }
                p.small {
                    "Beside this page: table.md, table.tex; " (page.tables(|name| name.into())) " as CSV and Parquet; figures as SVG and PNG."
                }
            }
        }
        script #content type="application/json" { (PreEscaped(&content)) }
        script { (PreEscaped(LIBRARY)) }
        script { (PreEscaped(PROGRAM)) }
    };
    Ok(document(name, &body))
}

/// Pictures with their captions.
fn stills(stills: &[Still]) -> Markup {
    html! {
        @for Still { caption, png, .. } in stills {
            figure.still { img src=(embedded(png)) alt=(caption); figcaption { (caption) } }
        }
    }
}

/// A whole document.
pub fn document(title: &str, body: &Markup) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                (PreEscaped(MARK))
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    document.into_string()
}

/// What is claimed, and what was found.
pub fn verdicts(judged: &[Judged]) -> Markup {
    if judged.is_empty() {
        return Markup::default();
    }
    html! {
        section #verdicts {
            h2 { "Verdicts" }
            p { (claims::summary(judged)) }
            ul.claims {
                @for claim in judged {
                    li class=(claim.verdict.name()) {
                        span.badge { (claims::heading(claim)) } " "
                        span.sentence { (claims::sentence(claim)) } " "
                        span.small { (claims::found(claim)) }
                    }
                }
            }
        }
    }
}

fn remark(remark: &Remark) -> Markup {
    html! { strong { (remark.strong) } (remark.rest) }
}

fn table(section: &Section, i: usize) -> Markup {
    html! {
        section #{ "section-" (i) } {
            h2 { (section.title) }
            p { (section.about) }
            @if let Some(of) = &section.remark { p.warning { (remark(of)) } }
            (rows(&section.headings, section.names, &section.rows))
        }
    }
}

/// A table whose first `names` columns are of names.
fn rows(headings: &[String], names: usize, rows: &[Vec<String>]) -> Markup {
    let class = |column: usize| if column < names { "" } else { "number" };
    html! {
        div.scroll {
            table {
                thead { tr { @for (i, heading) in headings.iter().enumerate() { th scope="col" class=(class(i)) { (heading) } } } }
                tbody { @for row in rows { tr { @for (i, text) in row.iter().enumerate() { td class=(class(i)) { (text) } } } } }
            }
        }
    }
}

/// A row for each job: what it was of, how it ended, where, when and how long.
fn records(page: &Page, store: &Store) -> Markup {
    let ended = |entry: &Entry| {
        let lines = history::of(&store.run(&entry.record.id));
        lines.iter().rfind(|line| line.event == Event::Ended).map_or_else(String::new, |line| utc(line.at))
    };
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Finished {} => "finished".to_string(),
        Outcome::Diverged { reason } => format!("diverged: {reason}"),
        Outcome::Failed { reason, .. } => format!("failed: {reason}"),
    };
    let headings = ["cell", "seed", "outcome", "training", "sampling and scoring", "ended (UTC)", "machine", "commit", "job"];
    html! {
        div.scroll {
            table.records {
                thead { tr { @for heading in headings { th scope="col" { (heading) } } } }
                tbody {
                    @for entry in page.entries.iter().chain(page.along).chain(page.studies) {
                        tr {
                            td { span.swatch style={ "background:" (hex(colour(entry.cell_index))) } {} (entry.cell.label()) @if let Some(aside) = entry.job.aside() { ": " (aside) } }
                            td.number { (entry.record.seed) }
                            td { (outcome(&entry.record.outcome)) }
                            td.number { @if let Some(training) = &entry.training { (duration(training.wall_s)) } }
                            td.number { (duration(entry.record.wall_s)) }
                            td { (ended(entry)) }
                            td { (entry.record.machine.device) ", " (entry.record.machine.threads) " threads" }
                            td { code { (entry.record.machine.commit) } }
                            td { code { (entry.record.id) } }
                        }
                    }
                }
            }
        }
    }
}

/// A time in seconds since 1970 as a date and a time of day.
fn utc(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(String::new, |time| time.format("%Y-%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!([0, 1_592_524_799].map(utc), ["1970-01-01 00:00", "2020-06-18 23:59"]);
    }
}
