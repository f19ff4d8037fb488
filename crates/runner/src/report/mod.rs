//! The report: tables, plots and a page, from the store and from nothing else.

mod along;
mod anatomy;
mod axis;
mod bars;
mod canvas;
mod care;
mod chart;
mod chosen;
mod claims;
mod comparison;
mod differences;
mod dots;
mod entry;
mod figures;
mod heat;
mod html;
mod judged;
mod latex;
mod markdown;
mod page;
mod palette;
mod plot;
mod published;
mod score_field;
mod section;
mod sheet;
mod sheets;
mod sides;
mod tables;

use crate::base::data::DatasetInfo;
use crate::base::{atomic, picture};
use crate::experiment::{Experiment, Figure, Job};
use crate::plan::records;
use crate::store::Store;
use anyhow::{Context, Result};
use entry::{Entry, Records};
use judged::Judged;
use sheets::Still;
use std::fs;

pub use claims::terminal as claims_text;
pub use comparison::Comparison;
pub use sheets::beside;
pub use sides::{Run, Side, sides};

/// The experiment's claims with their verdicts.
pub fn claims(experiment: &Experiment, jobs: &[(usize, Job)], store: &Store) -> Result<Vec<Judged>> {
    Ok(judged::judged(experiment, &records_of(experiment, jobs, store)?.scores))
}

/// The table as text for a terminal; nothing is written.
pub fn table(experiment: &Experiment, jobs: &[(usize, Job)], store: &Store) -> Result<String> {
    let records = records_of(experiment, jobs, store)?;
    let frames = tables::Frames::of(experiment, &records)?;
    Ok(tables::terminal(&tables::summary(experiment, &records.scores, &frames)?))
}

/// What is stored of an experiment.
fn records_of<'a>(experiment: &'a Experiment, jobs: &'a [(usize, Job)], store: &Store) -> Result<Records<'a>> {
    let mut entries = Vec::new();
    for (cell_index, job, record) in records(store, jobs)? {
        let training = store.training_record(&record.training_id)?;
        entries.push(Entry { cell: &experiment.cells[cell_index], cell_index, job, record, training });
    }
    Ok(Records::of(entries))
}

/// Writes tables, figures and page of an experiment into `ROOT/NAME/`; returns the table as text for a terminal.
pub fn write(experiment: &Experiment, jobs: &[(usize, Job)], store: &Store, data: &DatasetInfo) -> Result<String> {
    let dir = store.report(&experiment.name);
    let records = records_of(experiment, jobs, store)?;
    let Records { scores: entries, studies, .. } = &records;
    let frames = tables::Frames::of(experiment, &records)?;
    let judged = judged::judged(experiment, entries);
    frames.write(&dir, &judged)?;
    let summary = tables::summary(experiment, entries, &frames)?;
    atomic::write(&dir.join("table.md"), tables::page(&summary).as_bytes())?;
    let latex = latex::table(&experiment.name, &experiment.file.question, &summary);
    atomic::write(&dir.join("table.tex"), latex.as_bytes())?;
    let gallery = sheets::Gallery { dir: &dir, experiment, entries, frames: &frames, data, store };
    let study_pictures = sheets::studies(studies, store)?;
    let (mut charts, mut stills, mut drawn) = (Vec::new(), Vec::new(), Vec::new());
    for figure in &experiment.file.figures {
        if let Some((name, of_figure)) = figures::charts(*figure, experiment, &records) {
            drawn.push((plot::draw(name, &of_figure, &dir)?, chart::captions(&of_figure)));
            charts.extend(of_figure);
        }
        if let Some(still) = figures::still(*figure, &dir, experiment, entries, &frames)? {
            drawn.push((still.path.clone(), still.caption.clone()));
            stills.push(still);
        }
        match figure {
            Figure::Metrics => drawn.extend(figures::metrics(&dir, experiment, entries, &frames)?),
            Figure::Samples | Figure::Progressive => {
                let sheet = if *figure == Figure::Samples { gallery.samples()? } else { gallery.progressive()? };
                // Points are seen all together: they are none of those that the HTML page shows one by one.
                for (path, caption) in sheet.iter().filter(|_| picture::is_plane(data.shape)) {
                    let png = fs::read(dir.join(path)).with_context(|| format!("{path}: cannot be read"))?;
                    stills.push(Still { path: path.clone(), caption: caption.clone(), png });
                }
                drawn.extend(sheet);
            }
            Figure::Studies => {
                for Still { path, caption, png } in &study_pictures {
                    atomic::write(&dir.join(path), png)?;
                    drawn.push((path.clone(), caption.clone()));
                }
            }
            _ => {}
        }
    }
    let mut sections = Vec::from_iter(differences::section(experiment, &frames)?);
    sections.extend(along::section(experiment, &records));
    sections.extend(chosen::section(experiment));
    sections.extend(published::sections(experiment, entries, &frames, data)?);
    let page = page::Page {
        experiment,
        entries,
        along: &records.along,
        judged: &judged,
        care: care::notes(experiment, entries, data),
        studies,
        study_pictures: &study_pictures,
        stills: &stills,
        summary: &summary,
        sections,
        drawn,
        scored: jobs.iter().filter(|(_, job)| job.study.is_none()).count(),
        data,
    };
    atomic::write(&dir.join("README.md"), page.markdown().as_bytes())?;
    let pictures = html::pictures(experiment, entries, store, data)?;
    let brief = html::Brief {
        name: experiment.name.clone(),
        question: experiment.file.question.clone(),
        missing: page.missing(),
        claims: judged.clone(),
        pictures: page.drawn.iter().map(|(path, _)| path.clone()).collect(),
    };
    brief.leave(&dir, &html::page(&page, &frames, &charts, &pictures, store)?)?;
    if let Err(error) = html::overview(store.root()) {
        eprintln!("{error:#}; the page of all experiments is not written");
    }
    let verdicts = if judged.is_empty() { String::new() } else { format!("\n{}", claims::terminal(&judged)) };
    Ok(format!("{}{verdicts}\n{}\n", tables::terminal(&summary), dir.join("index.html").display()))
}
