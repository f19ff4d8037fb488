//! The page of an experiment: question, verdicts, table, what the numbers are, pictures. What it says, and how it is said in Markdown.

use super::canvas::Drawn;
use super::entry::Entry;
use super::judged::Judged;
use super::section::{Remark, Section};
use super::sheets::Still;
use super::tables::{self, Summary};
use super::{claims, markdown, published};
use crate::base::data::DatasetInfo;
use crate::base::picture;
use crate::base::text::{duration, number};
use crate::experiment::{Experiment, Study};
use crate::metrics::Metric;
use crate::store::TrainingRecord;
use std::collections::BTreeSet;

/// What a page shows.
pub struct Page<'a> {
    pub experiment: &'a Experiment,
    pub entries: &'a [Entry<'a>],
    /// Of the cells, at other steps than the last.
    pub along: &'a [Entry<'a>],
    pub studies: &'a [Entry<'a>],
    pub study_pictures: &'a [Still],
    /// Pictures that are no charts.
    pub stills: &'a [Still],
    /// What is claimed, and what the seeds say of that.
    pub judged: &'a [Judged],
    /// What confounds the table.
    pub care: Vec<String>,
    pub summary: &'a Summary,
    /// What the seeds say of the cells' differences, and published tables with our numbers.
    pub sections: Vec<Section>,
    pub drawn: Drawn,
    /// Jobs that score a cell, at its end or on its way.
    pub scored: usize,
    pub data: &'a DatasetInfo,
}

impl Page<'_> {
    /// In Markdown.
    pub fn markdown(&self) -> String {
        let file = &self.experiment.file;
        let mut text = format!("# {}\n\n{}\n\n", markdown::text(&self.experiment.name), markdown::text(&file.question));
        text += &self.missing().map_or_else(String::new, |missing| format!("**{missing}**\n\n"));
        text += &claims::section(self.judged);
        if !self.care.is_empty() {
            text += "## Read with care\n\n";
            text.extend(self.care.iter().map(|note| format!("- {}\n", markdown::text(note))));
            text += "\n## Table\n\n";
        }
        text += &tables::page(self.summary);
        if let Some((source, scales)) = self.paper() {
            let scales = scales.map_or_else(String::new, |scales| format!(" {}", scales.markdown()));
            text += &format!("\nPaper: {}.{scales}\n", markdown::text(source));
        }
        text.extend(self.sections.iter().map(Section::markdown));
        text += "\n## What the numbers are\n\n";
        text.extend(self.facts().iter().map(|fact| format!("- {}\n", markdown::text(fact))));
        let tables = self.tables(|name| format!("`{name}`"));
        text += &format!("\nTables: {tables} beside this page, as CSV and Parquet.\n\n## Pictures\n");
        text.extend(self.drawn.iter().map(|(path, caption)| markdown::picture(caption, path)));
        text
    }

    /// The names of the tables beside the page, each in some form.
    pub fn tables(&self, form: impl Fn(&str) -> String) -> String {
        let some = [("claims", !self.judged.is_empty()), ("along", !self.along.is_empty())];
        let mut names: Vec<String> = ["metrics", "bounds", "terms", "curves"].map(&form).to_vec();
        names.extend(some.iter().filter(|(_, there)| *there).map(|(name, _)| form(name)));
        let last = names.pop().expect("some are always there");
        format!("{} and {last}", names.join(", "))
    }

    /// How many jobs are missing, where any are.
    pub fn missing(&self) -> Option<String> {
        let there = self.entries.len() + self.along.len();
        (there < self.scored).then(|| format!("{there} of {} jobs have left a record so far.", self.scored))
    }

    /// Where the paper's numbers are from, and what keeps them from being set beside ours.
    pub fn paper(&self) -> Option<(&str, Option<Remark>)> {
        let file = &self.experiment.file;
        let paper = file.paper.as_ref()?;
        let metrics: Vec<Metric> = file.metrics.iter().filter(|m| paper.rows.iter().any(|row| row.says.contains_key(m))).copied().collect();
        Some((&paper.source, published::scales(&metrics, paper.data.as_ref(), self.experiment, self.data)))
    }

    /// What the numbers are, a sentence each.
    pub fn facts(&self) -> Vec<String> {
        let seeds = self.experiment.file.seeds.len();
        let seeds = (seeds > 1).then(|| format!("{seeds} seeds: ± is the standard error of their mean."));
        let of_all = [Some(self.budget()), self.law(), self.scale(), seeds, self.effort()];
        of_all.into_iter().flatten().chain(self.blanks()).collect()
    }

    /// What was trained on, and how much.
    fn budget(&self) -> String {
        let configs = || self.experiment.cells.iter().map(|cell| &cell.config);
        let DatasetInfo { name, shape, train, .. } = self.data;
        format!(
            "{train} training images of {name} ({}x{}, {} channels), {} steps of {} images, T = {}.",
            shape.height,
            shape.width,
            shape.channels,
            each(configs(), |c| c.training.steps.to_string()),
            each(configs(), |c| c.training.batch.to_string()),
            each(configs(), |c| c.diffusion.timesteps.to_string())
        )
    }

    /// What no bound can be lower than, where that is known.
    fn law(&self) -> Option<String> {
        let mixture = self.experiment.cells.first()?.config.data.mixture()?;
        let (entropy, digits) = (mixture.entropy(), Metric::BitsPerDim.digits());
        Some(format!("The law of the points has an entropy of {entropy:.digits$} bits/dim: no bound is lower, but by chance."))
    }

    /// What real images score, where that was measured.
    fn scale(&self) -> Option<String> {
        let real = self.entries.iter().map(|e| &e.record.real).find(|real| !real.is_empty())?;
        let scores = real.iter().map(|(m, v)| format!("{} {}", m.heading(), number(v.value, v.std_err, m.digits())));
        let n = real.values().map(|v| v.n).max().unwrap_or_default();
        Some(format!(
            "For scale: {n} real held-out {} score {}.",
            if picture::is_plane(self.data.shape) { "points" } else { "images" },
            scores.collect::<Vec<_>>().join(", ")
        ))
    }

    /// What was computed, on what and how long; trainings that cells share count once.
    fn effort(&self) -> Option<String> {
        let mut trainings: Vec<_> = self.entries.iter().filter_map(|e| e.training.as_ref()).collect();
        trainings.sort_by(|a, b| a.id.cmp(&b.id));
        trainings.dedup_by(|a, b| a.id == b.id);
        if trainings.is_empty() {
            return None;
        }
        let of = |f: fn(&TrainingRecord) -> String| each(trainings.iter().copied(), f);
        let train_s: f64 = trainings.iter().map(|t| t.wall_s).sum();
        let waited_s: f64 = trainings.iter().filter_map(|t| t.loading.as_ref()).map(|loading| loading.waited_s).sum();
        let waited = waiting(waited_s, train_s);
        let rest_s: f64 = self.entries.iter().chain(self.along).chain(self.studies).map(|e| e.record.wall_s).sum();
        Some(format!(
            "{} parameters; {} trainings of together {}{waited}, and {} of sampling and scoring, on {}, {} threads for a job, commit {}.",
            of(|t| t.parameters.to_string()),
            trainings.len(),
            duration(train_s),
            duration(rest_s),
            of(|t| t.machine.device.clone()),
            of(|t| t.machine.threads.to_string()),
            self.commits(&trainings)
        ))
    }

    /// What the trainings were made by, and all else where that is another program.
    fn commits(&self, trainings: &[&TrainingRecord]) -> String {
        let trained = each(trainings.iter().copied(), |t| t.machine.commit.clone());
        let rest = each(self.entries.iter().chain(self.along).chain(self.studies), |e| e.record.machine.commit.clone());
        if trained == rest { trained } else { format!("{trained} (trained) and {rest} (sampled and scored)") }
    }

    /// Parts of studies that are missing, and why.
    fn blanks(&self) -> Vec<String> {
        let blank = |entry: &Entry| {
            let reason = entry.record.findings.as_ref().and_then(|f| f.blank.as_ref())?;
            let name = entry.job.study.as_ref().map_or("a study", Study::name);
            Some(format!("{name} of {}: a part is blank: {reason}.", entry.cell.label()))
        };
        self.studies.iter().filter_map(blank).collect()
    }
}

/// How long trainings waited for images, where that is worth a word.
fn waiting(waited_s: f64, train_s: f64) -> String {
    if waited_s > 0.01 * train_s { format!(" ({} of it waiting for images)", duration(waited_s)) } else { String::new() }
}

/// What `f` says of each, every answer once.
fn each<'a, T: 'a>(of: impl Iterator<Item = &'a T>, f: impl Fn(&T) -> String) -> String {
    of.map(f).collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_told_from_a_hundredth_on() {
        assert_eq!(waiting(1.0, 100.0), "");
        assert_eq!(waiting(66.0, 600.0), " (66 s of it waiting for images)");
    }
}
