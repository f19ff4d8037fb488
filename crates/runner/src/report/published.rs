//! Published tables with the numbers of this experiment beside their rows.

use super::entry::Entry;
use super::section::{Remark, Section};
use super::tables::Frames;
use crate::base::data::DatasetInfo;
use crate::experiment::{Coding, CodingRow, Experiment, Published, agrees_with};
use crate::metrics::Metric;
use crate::metrics::features::FeatureSource;
use anyhow::Result;
use serde_json::{Map, Value};

/// All of them.
pub fn sections(experiment: &Experiment, entries: &[Entry], frames: &Frames, data: &DatasetInfo) -> Result<Vec<Section>> {
    let tables = experiment.file.tables.iter().map(|table| published(table, experiment, frames, data));
    let mut sections = tables.collect::<Result<Vec<Section>>>()?;
    sections.extend(experiment.file.coding.iter().map(|coding| rate_distortion(coding, experiment, entries)));
    Ok(sections)
}

fn index_of(experiment: &Experiment, cell: &Map<String, Value>) -> Option<usize> {
    experiment.cells.iter().position(|c| agrees_with(c, cell))
}

/// What keeps published numbers from being set beside ours; none where nothing does. `data` is what they are of.
pub fn scales(metrics: &[Metric], data: Option<&String>, experiment: &Experiment, here: &DatasetInfo) -> Option<Remark> {
    let scores: Vec<&str> =
        metrics.iter().filter(|metric| Metric::of_samples().any(|of| of == **metric)).map(|metric| metric.title()).collect();
    let own = |features: &FeatureSource| *features == FeatureSource::Own {} && features.dimensions(here.shape).is_some();
    let own = experiment.cells.iter().any(|cell| own(&cell.config.evaluation.features));
    let features = (own && !scores.is_empty()).then(|| {
        format!(
            "the published {} are in Inception's features, those here in the features of this project's own classifier",
            scores.join(" and ")
        )
    });
    let theirs = data.filter(|theirs| **theirs != here.name);
    let images = theirs.map(|theirs| format!("the published numbers are of {theirs}, those here of {}", here.name));
    let reasons: Vec<String> = features.into_iter().chain(images).collect();
    let rest = format!(": {}. Compare orders, not values.", reasons.join("; "));
    (!reasons.is_empty()).then(|| Remark { strong: "Two scales".into(), rest })
}

fn published(table: &Published, experiment: &Experiment, frames: &Frames, data: &DatasetInfo) -> Result<Section> {
    let ours = table.rows.iter().any(|row| row.cell.is_some());
    let remark = scales(&table.metrics, table.data.as_ref(), experiment, data).filter(|_| ours);
    let mut headings = vec!["".to_string()];
    headings.extend(table.metrics.iter().map(|m| m.heading().to_string()));
    if ours {
        headings.extend(table.metrics.iter().map(|m| format!("here: {}", m.heading())));
    }
    let mut rows = Vec::new();
    for line in &table.rows {
        let mut cells = vec![line.name.clone()];
        cells.extend(table.metrics.iter().map(|m| line.says.get(m).cloned().unwrap_or_default()));
        if ours {
            let cell_index = line.cell.as_ref().and_then(|cell| index_of(experiment, cell));
            let measured = |metric: Metric| -> Result<String> {
                let Some(cell_index) = cell_index else { return Ok(String::new()) };
                Ok(frames.mean(cell_index, metric)?.map_or_else(|| "–".into(), |m| m.text(metric)))
            };
            for metric in &table.metrics {
                cells.push(measured(*metric)?);
            }
        }
        rows.push(cells);
    }
    Ok(Section { title: table.title.clone(), about: format!("{}.", table.source), remark, headings, names: 1, rows })
}

/// Table 4: what has been received after T - t + 1 of T steps.
fn rate_distortion(coding: &Coding, experiment: &Experiment, entries: &[Entry]) -> Section {
    let cell_index = index_of(experiment, &coding.cell);
    let ours = entries.iter().find(|e| Some(e.cell_index) == cell_index && !e.terms().is_empty());
    let of = |line: &CodingRow| {
        let mut cells = match ours {
            Some(entry) => {
                let timesteps = entry.terms().len();
                let received = ((line.received * timesteps as f64).round() as usize).max(1);
                let t = timesteps + 1 - received;
                let point = entry.coding()[received - 1];
                assert_eq!(point.t, t, "the curve runs from T down, one step at a time");
                let each = 127.5 * entry.terms()[t - 1].rmse_x0;
                vec![format!("{received} of {timesteps}"), format!("{:.5}", point.rate), format!("{:.5} ({each:.5})", point.rmse)]
            }
            None => vec![format!("{} T", line.received), "–".into(), "–".into()],
        };
        cells.splice(1..1, [line.rate.clone(), line.rmse.clone()]);
        cells
    };
    Section {
        title: "Progressive lossy coding (Table 4)".into(),
        about: format!("{}. Here: held-out images, the root taken after the mean over images, and before it in brackets.", coding.source),
        remark: None,
        headings: ["received, T − t + 1", "rate, bits/dim", "RMSE (0-255)", "here: rate", "here: RMSE"].map(String::from).into(),
        names: 1,
        rows: coding.rows.iter().map(of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::Dataset;
    use crate::experiment::{Cell, GridFile, tiny};
    use serde_json::json;

    #[test]
    fn unlike_scales_are_said_to_be_so() {
        use Metric::{BitsPerDim, Fid, Recall};
        let data: Dataset = crate::base::data::few("d", 20, 3);
        // The project has a classifier of such images.
        let mut here = data.info.clone();
        (here.shape.height, here.shape.width, here.shape.channels) = (28, 28, 1);
        let file: GridFile = serde_json::from_value(json!({ "question": "q", "grid": {} })).unwrap();
        let of = |metrics: &[Metric], theirs: &str, sets: &[&str]| {
            let cells = vec![Cell { axes: Vec::new(), config: tiny(&data, sets).config }];
            let experiment = Experiment::new("x", file.clone(), cells);
            scales(metrics, Some(&theirs.to_string()), &experiment, &here).map_or_else(String::new, |remark| remark.markdown())
        };
        let both = of(&[Fid, BitsPerDim, Recall], "cifar10", &[]);
        assert_eq!(
            both,
            "**Two scales**: the published FID and recall are in Inception's features, those here in the features of this project's own \
             classifier; the published numbers are of cifar10, those here of d. Compare orders, not values."
        );
        let inception = r#"evaluation.features={"kind": "inception", "weights": "w"}"#;
        assert_eq!((of(&[BitsPerDim], "d", &[]), of(&[Fid], "d", &[inception])), (String::new(), String::new()));
        assert!(of(&[BitsPerDim], "cifar10", &[]).starts_with("**Two scales**: the published numbers are of cifar10"));
        assert!(!of(&[Fid], "d", &[]).contains("numbers are of"));
    }
}
