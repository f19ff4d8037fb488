//! What a job left, beside its cell.

use crate::experiment::{Cell, Job};
use crate::metrics::Metric;
use crate::store::{BoundBreakdown, Record, TermAt, TrainingRecord};
use ddpm_core::rate_distortion::{RatePoint, rate_distortion};
use std::collections::HashSet;

/// One job's records beside its cell.
pub struct Entry<'a> {
    pub cell: &'a Cell,
    /// The cell's place in the grid.
    pub cell_index: usize,
    pub job: &'a Job,
    pub record: Record,
    pub training: Option<TrainingRecord>,
}

/// What an experiment's jobs left.
pub struct Records<'a> {
    /// Of the cells, at the end of training.
    pub scores: Vec<Entry<'a>>,
    /// Of the cells, at other steps.
    pub along: Vec<Entry<'a>>,
    /// Of studies.
    pub studies: Vec<Entry<'a>>,
}

impl<'a> Records<'a> {
    /// Each by what its job was.
    pub fn of(entries: Vec<Entry<'a>>) -> Records<'a> {
        let (scores, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.job.scores_the_end());
        let (along, studies): (Vec<_>, Vec<_>) = others.into_iter().partition(|entry| entry.job.study.is_none());
        Records { scores, along, studies }
    }

    /// The scores of all trainings that were scored at several steps.
    pub fn courses(&self) -> impl Iterator<Item = &Entry<'a>> {
        let cells: HashSet<usize> = self.along.iter().map(|entry| entry.cell_index).collect();
        self.along.iter().chain(self.scores.iter().filter(move |entry| cells.contains(&entry.cell_index)))
    }
}

impl Entry<'_> {
    /// The step whose weights were scored.
    pub fn step(&self) -> u64 {
        self.job.at.unwrap_or(self.record.config.training.steps)
    }

    /// The bound's terms on held-out images.
    pub fn terms(&self) -> &[TermAt] {
        self.record.bounds.get(&Metric::BitsPerDim).map_or(&[], |split| &split.terms)
    }

    /// Rate and distortion on held-out images, from t = T down; empty where the bound was not measured.
    pub fn coding(&self) -> Vec<RatePoint> {
        self.record.bounds.get(&Metric::BitsPerDim).map_or_else(Vec::new, coding)
    }
}

/// Of how many seeds something is, where not of all.
pub fn part(n: usize, of: usize) -> String {
    if n < of { format!(" ({n} of {of} seeds)") } else { String::new() }
}

/// Rate and distortion of a bound, errors averaged over images before the root is taken.
pub fn coding(split: &BoundBreakdown) -> Vec<RatePoint> {
    let terms: Vec<f64> = split.terms.iter().map(|t| t.variance_mismatch + t.mean_error + t.decoder).collect();
    let errors: Vec<f64> = split.terms.iter().map(|t| t.mse_x0).collect();
    rate_distortion(&terms, split.bound.prior, &errors)
}
