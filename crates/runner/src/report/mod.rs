//! The report: tables, plots and a page, from the store and from nothing else.

mod figures;
mod page;
mod plot;
mod sheets;
mod tables;

use crate::data::Dataset;
use crate::grid::{Cell, Experiment, Figure};
use crate::job::Job;
use crate::metrics::Metric;
use crate::plan::records;
use crate::store::{Record, Store, TermAt, TrainingRecord, atomic};
use anyhow::Result;

/// One job's records beside its cell.
struct Entry<'a> {
    cell: &'a Cell,
    /// The cell's place in the grid.
    place: usize,
    record: Record,
    training: Option<TrainingRecord>,
}

impl Entry<'_> {
    /// The bound's terms on held-out images.
    fn terms(&self) -> &[TermAt] {
        self.record.bounds.get(&Metric::BitsPerDim).map_or(&[], |split| &split.terms)
    }
}

/// Writes tables, figures and page of an experiment into `ROOT/NAME/`; returns the table as text for a terminal.
pub fn write(experiment: &Experiment, jobs: &[(usize, Job)], store: &Store, data: &Dataset) -> Result<String> {
    let dir = store.root().join(&experiment.name);
    let mut entries = Vec::new();
    for (place, record) in records(store, jobs)? {
        let training = store.training_record(&record.training_id)?;
        entries.push(Entry { cell: &experiment.cells[place], place, record, training });
    }
    let frames = tables::Frames::of(experiment, &entries)?;
    frames.write(&dir)?;
    let summary = tables::summary(experiment, &entries, &frames)?;
    atomic::write(&dir.join("table.md"), tables::markdown(&summary).as_bytes())?;
    let mut drawn = Vec::new();
    for figure in &experiment.file.figures {
        let made = match figure {
            Figure::TrainingLoss => figures::training_loss(&dir, &entries)?,
            Figure::LossPerT => figures::loss_per_t(&dir, &entries)?,
            Figure::BoundTerms => figures::bound_terms(&dir, &entries)?,
            Figure::Weights => figures::weights(&dir, experiment)?,
            Figure::Schedules => figures::schedules(&dir, experiment)?,
            Figure::Metrics => figures::metrics(&dir, experiment, &frames)?,
            Figure::Samples => sheets::samples(&dir, &entries, store)?,
            Figure::Progressive => sheets::progressive(&dir, &entries, store)?,
        };
        drawn.extend(made);
    }
    let page = page::page(experiment, &entries, &summary, &drawn, jobs.len(), data);
    atomic::write(&dir.join("README.md"), page.as_bytes())?;
    Ok(format!("{}\n{}\n", tables::terminal(&summary), dir.join("README.md").display()))
}
