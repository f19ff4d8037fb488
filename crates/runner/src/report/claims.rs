//! Claims and their verdicts as people read them: on the page, on a terminal, and as a table.

use super::judged::{Basis, Judged};
use super::markdown;
use crate::base::text::wrapped;
use crate::metrics::evidence::MOST_SEEDS;
use crate::metrics::verdict::Verdict;
use anyhow::Result;
use polars::prelude::*;

/// The page's section; empty where nothing is claimed.
pub fn section(judged: &[Judged]) -> String {
    let mut text = String::new();
    if !judged.is_empty() {
        let lines = judged.iter().map(|claim| format!("- **{}**: {}\n", heading(claim), markdown::text(&statement(claim))));
        text = format!("{}\n\n{}\n", markdown::text(&summary(judged)), lines.collect::<String>());
    }
    text
}

/// For a terminal of 80 columns.
pub fn terminal(judged: &[Judged]) -> String {
    if judged.is_empty() {
        return String::new();
    }
    let lines = judged.iter().map(|claim| wrapped(&format!("{}: {}", heading(claim), statement(claim))));
    format!("{}{}", wrapped(&summary(judged)), lines.collect::<String>())
}

/// How many of them were decided, and by what.
fn summary(judged: &[Judged]) -> String {
    let count = |verdict: Verdict| judged.iter().filter(|claim| claim.verdict == verdict).count();
    let (all, plural) = (judged.len(), if judged.len() == 1 { "" } else { "s" });
    let [supported, contradicted, undecided] = [Verdict::Supported, Verdict::Contradicted, Verdict::Undecided].map(count);
    let verdicts = format!("{all} claim{plural}: {supported} supported, {contradicted} contradicted, {undecided} undecided");
    let corrected = if all == 1 { "" } else { ", p corrected for their number (Holm)" };
    match judged[0].basis {
        Basis::Seeds => format!("{verdicts}, by differences paired over seeds, at 5%{corrected}. ± is each difference's own 95% interval."),
        Basis::Trainings => format!(
            "{verdicts}, at 5%{corrected}. There is one seed, so they are of these trainings, and ± is the 95% interval of measuring them: \
             training anew may decide otherwise, and several seeds tell."
        ),
    }
}

fn heading(claim: &Judged) -> String {
    let verdict = match claim.verdict {
        Verdict::Supported => "Supported",
        Verdict::Contradicted => "Contradicted",
        Verdict::Undecided => "Undecided",
    };
    let of = if claim.basis == Basis::Trainings && claim.verdict != Verdict::Undecided { " of these trainings" } else { "" };
    format!("{verdict}{of}")
}

/// The claim, and the numbers that it hangs on.
fn statement(claim: &Judged) -> String {
    let source = claim.source.as_ref().map_or_else(String::new, |source| format!(" ({source})"));
    let sentence = format!("{}{source}.", claim.sentence.trim().trim_end_matches('.'));
    match &claim.reason {
        Some(reason) => format!("{sentence} {}.", capitalised(reason)),
        None => format!("{sentence} {}.", numbers(claim)),
    }
}

fn capitalised(sentence: &str) -> String {
    let mut rest = sentence.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// `FID 0.75 (eps, simple) beside 2.38 (eps, vlb): -1.632 ± 0.121, p = 0.004, 3 seeds`.
fn numbers(claim: &Judged) -> String {
    let digits = claim.metric.digits();
    let score = |value: Option<f64>| value.map_or_else(|| "diverged".to_string(), |v| format!("{v:.digits$}"));
    let against = claim.against.as_deref().unwrap_or_default();
    let (title, ours, theirs) = (claim.metric.title(), score(claim.score), score(claim.against_score));
    let mut text = format!("{title} {ours} ({}) beside {theirs} ({against})", claim.cell);
    if let Some(difference) = claim.difference {
        let more = digits + 1;
        let half = claim.half_width.map_or_else(String::new, |half| format!(" ± {half:.more$}"));
        text += &format!(": {difference:+.more$}{half}");
    }
    text += &claim.p_holm.map_or_else(String::new, |p| format!(", {}", p_value(p)));
    if claim.basis == Basis::Seeds {
        text += &format!(", {} seeds", claim.seeds);
    }
    for (cell, seeds) in claim.diverged.iter().filter(|_| claim.basis == Basis::Seeds) {
        text += &format!("; {cell} diverged in {seeds}");
    }
    match claim.seeds_needed {
        Some(seeds) => text += &format!("; at this spread {seeds} seeds would decide"),
        None if claim.verdict == Verdict::Undecided && claim.basis == Basis::Seeds && claim.diverged.is_empty() => {
            text += &format!("; at this spread {MOST_SEEDS} seeds would not decide")
        }
        None => {}
    }
    text
}

fn p_value(p: f64) -> String {
    match p {
        p if p < 0.001 => "p < 0.001".into(),
        p if p < 0.1 => format!("p = {p:.3}"),
        p => format!("p = {p:.2}"),
    }
}

/// A row for each claim.
pub fn frame(judged: &[Judged]) -> Result<DataFrame> {
    let text = |of: fn(&Judged) -> Option<String>| judged.iter().map(of).collect::<Vec<Option<String>>>();
    let number = |of: fn(&Judged) -> Option<f64>| judged.iter().map(of).collect::<Vec<Option<f64>>>();
    Ok(DataFrame::new_infer_height(vec![
        Column::new("claim".into(), text(|c| Some(c.sentence.clone()))),
        Column::new("source".into(), text(|c| c.source.clone())),
        Column::new("metric".into(), text(|c| Some(c.metric.name().into()))),
        Column::new("verdict".into(), text(|c| Some(c.verdict.name().into()))),
        Column::new("basis".into(), text(|c| Some(c.basis.name().into()))),
        Column::new("cell".into(), text(|c| Some(c.cell.clone()))),
        Column::new("against".into(), text(|c| c.against.clone())),
        Column::new("seeds".into(), judged.iter().map(|c| c.seeds as u32).collect::<Vec<_>>()),
        Column::new("score".into(), number(|c| c.score)),
        Column::new("against_score".into(), number(|c| c.against_score)),
        Column::new("difference".into(), number(|c| c.difference)),
        Column::new("half_width".into(), number(|c| c.half_width)),
        Column::new("p".into(), number(|c| c.p)),
        Column::new("p_holm".into(), number(|c| c.p_holm)),
        Column::new("seeds_needed".into(), judged.iter().map(|c| c.seeds_needed.map(|n| n as u32)).collect::<Vec<_>>()),
        Column::new("reason".into(), text(|c| c.reason.clone())),
    ])?)
}
