//! The page of an experiment: question, table, what the numbers are, pictures.

use super::entry::Entry;
use super::figures::Drawn;
use super::tables::{Summary, markdown};
use crate::base::data::DatasetInfo;
use crate::base::text::{duration, number};
use crate::experiment::{Config, Experiment, Study};
use crate::store::TrainingRecord;
use std::collections::BTreeSet;

/// What a page shows.
pub struct Page<'a> {
    pub experiment: &'a Experiment,
    pub entries: &'a [Entry<'a>],
    pub studies: &'a [Entry<'a>],
    pub summary: &'a Summary,
    /// Published tables with our numbers.
    pub published: String,
    /// What the seeds say of the cells' differences.
    pub differences: String,
    pub drawn: Drawn,
    /// Jobs that the table needs.
    pub scored: usize,
    pub data: &'a DatasetInfo,
}

impl Page<'_> {
    pub fn text(&self) -> String {
        let Page { experiment, entries, studies, summary, published, differences, drawn, scored: jobs, data } = self;
        let jobs = *jobs;
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
        text += differences;
        text += published;
        text += "\n## What the numbers are\n\n";
        let of = |f: fn(&Config) -> String| {
            let values: BTreeSet<String> = experiment.cells.iter().map(|c| f(&c.config)).collect();
            values.into_iter().collect::<Vec<_>>().join(" or ")
        };
        text += &format!(
            "- {} training images of {} ({}x{}, {} channels), {} steps of {} images, T = {}.\n",
            data.train,
            data.name,
            data.shape.height,
            data.shape.width,
            data.shape.channels,
            of(|c| c.training.steps.to_string()),
            of(|c| c.training.batch.to_string()),
            of(|c| c.diffusion.timesteps.to_string())
        );
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
        if !trainings.is_empty() {
            let of = |f: fn(&TrainingRecord) -> String| {
                let values: BTreeSet<String> = trainings.iter().map(|t| f(t)).collect();
                values.into_iter().collect::<Vec<_>>().join(" or ")
            };
            let train_s: f64 = trainings.iter().map(|t| t.wall_s).sum();
            let rest_s: f64 = entries.iter().chain(*studies).map(|e| e.record.wall_s).sum();
            text += &format!(
                "- {} parameters; {} trainings of together {}, and {} of sampling and scoring, on {}, {} threads for a job, commit {}.\n",
                of(|t| t.parameters.to_string()),
                trainings.len(),
                duration(train_s),
                duration(rest_s),
                of(|t| t.machine.device.clone()),
                of(|t| t.machine.threads.to_string()),
                of(|t| t.machine.commit.clone())
            );
        }
        for entry in *studies {
            if let Some(reason) = entry.record.findings.as_ref().and_then(|f| f.blank.as_ref()) {
                let name = entry.job.study.as_ref().map_or("a study", Study::name);
                text += &format!("- {name} of {}: a part is blank: {reason}.\n", entry.cell.label());
            }
        }
        text += "\nTables: `metrics`, `bounds`, `terms` and `curves` beside this page, as CSV and Parquet.\n\n## Pictures\n";
        text.extend(drawn.iter().map(|(path, caption)| format!("\n{caption}\n\n![{caption}]({path})\n")));
        text
    }
}
