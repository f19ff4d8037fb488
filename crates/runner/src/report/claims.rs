//! Claims and their verdicts as people read them: on the page, on a terminal, and as a table.

use super::judged::{Basis, Diverged, Judged};
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
pub fn summary(judged: &[Judged]) -> String {
    let count = |verdict: Verdict| judged.iter().filter(|claim| claim.verdict == verdict).count();
    let (all, plural) = (judged.len(), if judged.len() == 1 { "" } else { "s" });
    let [supported, contradicted, undecided] = [Verdict::Supported, Verdict::Contradicted, Verdict::Undecided].map(count);
    let verdicts = format!("{all} claim{plural}: {supported} supported, {contradicted} contradicted, {undecided} undecided");
    let corrected = if all == 1 { "" } else { ", p corrected for their number (Holm)" };
    match judged[0].basis {
        Basis::Seeds => format!("{verdicts}, by differences paired over seeds, at 5%{corrected}. ± is each difference's own 95% interval."),
        Basis::Trainings => format!(
            "{verdicts}, at 5%{corrected}. There is one seed, so they are of these trainings, and ± is the 95% interval of measuring them: \
             training anew may decide otherwise, which only several seeds can tell."
        ),
    }
}

pub fn heading(claim: &Judged) -> String {
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
    format!("{} {}", sentence(claim), found(claim))
}

/// What is claimed, and where.
pub fn sentence(claim: &Judged) -> String {
    let source = claim.source.as_ref().map_or_else(String::new, |source| format!(" ({source})"));
    let sentence = claim.sentence.trim().trim_end_matches('.');
    let end = if source.is_empty() && sentence.ends_with(['?', '!']) { "" } else { "." };
    format!("{sentence}{source}{end}")
}

/// The numbers that decide it, or why nothing does.
pub fn found(claim: &Judged) -> String {
    match &claim.reason {
        Some(reason) => format!("Open, since {reason}."),
        None => format!("{}.", numbers(claim)),
    }
}

/// `FID 0.75 (eps, simple) beside 2.38 (eps, vlb): -1.632 ± 0.121, p = 0.004, 3 seeds`.
fn numbers(claim: &Judged) -> String {
    let digits = claim.metric.digits();
    let score = |value: Option<f64>| value.map_or_else(|| "no score".to_string(), |v| format!("{v:.digits$}"));
    let against = claim.against.as_deref().unwrap_or_default();
    let (title, ours, theirs) = (claim.metric.title(), score(claim.score), score(claim.against_score));
    let mut text = format!("{title} {ours} ({}) beside {theirs} ({against})", claim.cell);
    if let Some(difference) = claim.difference {
        let more = digits + 1;
        let half = claim.half_width.map_or_else(String::new, |half| format!(" ± {half:.more$}"));
        text += &format!(": {difference:+.more$}{half}");
    }
    text += &claim.margin.as_ref().map_or_else(String::new, |margin| format!(", margin {margin}"));
    text += &claim.p_holm.map_or_else(String::new, |p| format!(", {}", p_value(p)));
    if claim.basis == Basis::Seeds {
        let of = if claim.seeds < claim.asked { format!(" of {}", claim.asked) } else { String::new() };
        text += &format!(", {}{of} seeds", claim.seeds);
        for Diverged { cell, seeds } in &claim.diverged {
            text += &format!("; {cell} diverged or left every range in {seeds}");
        }
    }
    match claim.seeds_needed {
        Some(seeds) => text += &format!("; if mean and spread stay, {seeds} seeds in all would decide"),
        None if claim.verdict == Verdict::Undecided && claim.basis == Basis::Seeds && claim.diverged.is_empty() => {
            text += &format!("; if mean and spread stay, {MOST_SEEDS} seeds would not decide")
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
        Column::new("margin".into(), text(|c| c.margin.clone())),
        Column::new("against".into(), text(|c| c.against.clone())),
        Column::new("seeds".into(), judged.iter().map(|c| c.seeds as u32).collect::<Vec<_>>()),
        Column::new("asked".into(), judged.iter().map(|c| c.asked as u32).collect::<Vec<_>>()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

    /// Supported by three seeds.
    fn supported() -> Judged {
        Judged {
            sentence: "A is better.".into(),
            source: Some("B 2020".into()),
            metric: Metric::Fid,
            cell: "a".into(),
            margin: None,
            verdict: Verdict::Supported,
            basis: Basis::Seeds,
            against: Some("b".into()),
            seeds: 3,
            asked: 3,
            score: Some(0.754),
            against_score: Some(2.386),
            difference: Some(-1.632),
            half_width: Some(0.1214),
            p: Some(0.001),
            p_holm: Some(0.0042),
            seeds_needed: None,
            diverged: Vec::new(),
            reason: None,
        }
    }

    fn line(claim: &Judged) -> String {
        format!("{}: {}", heading(claim), statement(claim))
    }

    #[test]
    fn a_verdict_is_a_sentence_with_its_numbers() {
        let seeds = supported();
        assert_eq!(line(&seeds), "Supported: A is better (B 2020). FID 0.75 (a) beside 2.39 (b): -1.632 ± 0.121, p = 0.004, 3 seeds.");
        let level =
            Judged { margin: Some("10%".into()), source: None, verdict: Verdict::Contradicted, p_holm: Some(0.0001), ..supported() };
        assert_eq!(
            line(&level),
            "Contradicted: A is better. FID 0.75 (a) beside 2.39 (b): -1.632 ± 0.121, margin 10%, p < 0.001, 3 seeds."
        );
        let open = Judged { verdict: Verdict::Undecided, p_holm: Some(0.25), seeds: 2, seeds_needed: Some(9), ..supported() };
        let end = "p = 0.25, 2 of 3 seeds; if mean and spread stay, 9 seeds in all would decide.";
        assert!(line(&open).starts_with("Undecided: ") && line(&open).ends_with(end), "{}", line(&open));
        let never = Judged { seeds_needed: None, ..open.clone() };
        assert!(line(&never).ends_with("; if mean and spread stay, 10000 seeds would not decide."), "{}", line(&never));
        let diverged = vec![Diverged { cell: "b".into(), seeds: 3 }];
        let worst = Judged { against_score: None, difference: None, half_width: None, p_holm: Some(0.0), diverged, ..supported() };
        assert!(
            line(&worst).ends_with("FID 0.75 (a) beside no score (b), p < 0.001, 3 seeds; b diverged or left every range in 3."),
            "{}",
            line(&worst)
        );
        let why = Judged {
            verdict: Verdict::Undecided,
            sentence: "Is it?".into(),
            source: None,
            reason: Some("no one ran it".into()),
            ..supported()
        };
        assert_eq!(line(&why), "Undecided: Is it? Open, since no one ran it.");
    }

    #[test]
    fn one_seed_is_of_its_trainings() {
        let one = Judged { basis: Basis::Trainings, seeds: 1, asked: 1, ..supported() };
        assert_eq!(
            line(&one),
            "Supported of these trainings: A is better (B 2020). FID 0.75 (a) beside 2.39 (b): -1.632 ± 0.121, p = 0.004."
        );
        assert!(heading(&Judged { verdict: Verdict::Undecided, ..one.clone() }) == "Undecided" && !one.is_supported());
        assert!(summary(&[one]).contains("There is one seed, so they are of these trainings"));
    }

    #[test]
    fn verdicts_are_counted() {
        let [open, against] = [Verdict::Undecided, Verdict::Contradicted].map(|verdict| Judged { verdict, ..supported() });
        let of = summary(&[supported(), open.clone(), against, open, supported(), supported()]);
        assert!(of.starts_with("6 claims: 3 supported, 1 contradicted, 2 undecided, by differences paired over seeds"), "{of}");
        assert!(of.contains("(Holm)") && !summary(&[supported()]).contains("(Holm)"));
        assert!(section(&[]).is_empty() && terminal(&[]).is_empty());
        assert!(section(&[supported()]).contains("\n\n- **Supported**: A is better"));
    }
}
