//! `ddpm compare`: two cells, runs or experiments beside each other.

use crate::base::error::{ConfigError, Meaning};
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::base::{atomic, picture};
use crate::report::{Comparison, Side, beside, sides};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Compare {
    /// A run (a folder in results/runs, or its name), an experiment (a folder in results, or its name), or one of its cells as
    /// EXPERIMENT:CELL: "table2-fashion-cpu:eps, simple, fixed-large" or table2-fashion-cpu:prediction=eps,objective=simple
    a: String,
    /// What it is compared with; of two experiments, the cells that both have
    b: String,
    /// Where results are
    #[arg(long, default_value = "results")]
    results: PathBuf,
    /// Write their samples beside each other, from the noise that both share
    #[arg(long, value_name = "FILE.png", value_parser = picture::png_path)]
    picture: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub fn run(self) -> Result<Exit> {
        let (ours, theirs) = (sides(&self.a, &self.results)?, sides(&self.b, &self.results)?);
        let pairs = self.pairs(&ours, &theirs)?;
        let all = pairs.iter().map(|(a, b)| Comparison::of(a, b)).collect::<Result<Vec<Comparison>>>()?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
        } else {
            print(&all.iter().map(Comparison::text).collect::<Vec<_>>().join("\n"));
        }
        if let Some(path) = &self.picture {
            let shown = pairs.iter().map(|(a, b)| samples(a, b)).collect::<Result<Vec<_>>>()?.concat();
            let none = || format!("{}: neither has left samples of a seed that both have", path.display());
            let whole = beside(&shown, 2)?.with_context(none).needed()?;
            atomic::write(path, &picture::png(&whole)?)?;
            eprintln!("{}", path.display());
        }
        Ok(Exit::Ok)
    }

    /// Which is compared with which: one with one, of several those that are called the same.
    fn pairs<'a>(&self, ours: &'a [Side], theirs: &'a [Side]) -> Result<Vec<(&'a Side, &'a Side)>> {
        if let ([a], [b]) = (ours, theirs) {
            return Ok(vec![(a, b)]);
        }
        let namesake = |a: &'a Side| Some((a, theirs.iter().find(|b| b.label == a.label)?));
        let pairs: Vec<_> = ours.iter().filter_map(namesake).collect();
        if pairs.is_empty() {
            let cells = |sides: &[Side]| sides.iter().map(|side| side.label.as_str()).collect::<Vec<_>>().join("; ");
            let problem = format!("expected one cell of each, or some that both have, got {} and {}", cells(ours), cells(theirs));
            return Err(ConfigError::new(&format!("{} {}", self.a, self.b), "", problem).into());
        }
        Ok(pairs)
    }
}

/// The samples of both at the first seed that both have, each under its name; of one that left none there is no picture.
fn samples(a: &Side, b: &Side) -> Result<Vec<(String, image::RgbImage)>> {
    let Some(seed) = a.runs.keys().find(|seed| b.runs.contains_key(seed)) else { return Ok(Vec::new()) };
    let of = |side: &Side| {
        let path = side.store.run(&side.runs[seed].id).join("samples.png");
        let opened = || Ok((side.name.clone(), image::open(&path).with_context(|| path.display().to_string()).needed()?.to_rgb8()));
        path.exists().then(opened)
    };
    [a, b].into_iter().filter_map(of).collect()
}
