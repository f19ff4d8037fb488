//! The page of an experiment: question, table, what the numbers are, pictures.

use super::Entry;
use super::figures::Drawn;
use super::tables::{Summary, markdown, number};
use crate::commands::duration;
use crate::data::Dataset;
use crate::grid::Experiment;
use std::collections::BTreeSet;

pub fn page(experiment: &Experiment, entries: &[Entry], summary: &Summary, drawn: &Drawn, jobs: usize, data: &Dataset) -> String {
    let file = &experiment.file;
    let mut text = format!("# {}\n\n{}\n\n", experiment.name, file.question);
    if entries.len() < jobs {
        text += &format!("**{} of {jobs} jobs have left a record so far.**\n\n", entries.len());
    }
    text += &markdown(summary);
    if let Some(paper) = &file.paper {
        text += &format!(
            "\nPaper: {}. Its numbers were measured on other data, with another budget and other features: compare orders, not values.\n",
            paper.source
        );
    }
    text += "\n## What the numbers are\n\n";
    let c = &experiment.cells[0].config;
    text += &format!(
        "- {} training images of {} ({}x{}, {} channels), {} steps of {} images, T = {}.\n",
        data.train.len(data.shape),
        data.name,
        data.shape.height,
        data.shape.width,
        data.shape.channels,
        c.training.steps,
        c.training.batch,
        c.diffusion.timesteps
    );
    let protocols: BTreeSet<&str> = entries.iter().flat_map(|e| e.record.metrics.values().map(|m| m.protocol.as_str())).collect();
    text.extend(protocols.iter().map(|p| format!("- {p}.\n")));
    if let Some(real) = entries.iter().map(|e| &e.record.real).find(|real| !real.is_empty()) {
        let scores = real.iter().map(|(m, v)| format!("{} {}", m.heading(), number(v.value, v.std_err, m.digits())));
        let n = real.values().map(|v| v.n).max().unwrap_or_default();
        text += &format!("- For scale: {n} real held-out images score {}.\n", scores.collect::<Vec<_>>().join(", "));
    }
    let replicates = file.seeds.len();
    text += &match replicates {
        1 => "- One seed: ± is the uncertainty of the measurement, not of training anew.\n".to_string(),
        n => format!("- {n} seeds: ± is the standard error of their mean.\n"),
    };
    let mut trainings: Vec<_> = entries.iter().filter_map(|e| e.training.as_ref()).collect();
    trainings.sort_by(|a, b| a.id.cmp(&b.id));
    trainings.dedup_by(|a, b| a.id == b.id);
    if let Some(first) = trainings.first() {
        let train_s: f64 = trainings.iter().map(|t| t.wall_s).sum();
        let rest_s: f64 = entries.iter().map(|e| e.record.wall_s).sum();
        text += &format!(
            "- {} parameters; {} of training in {} trainings, {} of sampling and scoring, on {} with {} threads, commit {}.\n",
            first.parameters,
            duration(train_s),
            trainings.len(),
            duration(rest_s),
            first.machine.device,
            first.machine.threads,
            first.machine.commit
        );
    }
    text += "\nTables: `metrics`, `terms` and `curves` beside this page, as CSV and Parquet.\n\n## Pictures\n";
    text.extend(drawn.iter().map(|(path, caption)| format!("\n{caption}\n\n![{caption}]({path})\n")));
    text
}
