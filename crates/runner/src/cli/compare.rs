//! `ddpm compare`: two cells, runs or experiments beside each other.

use crate::base::error::{ConfigError, Meaning};
use crate::base::exit::Exit;
use crate::base::text::print;
use crate::base::{atomic, picture};
use crate::report::{Comparison, Side, beside, sides};
use anyhow::{Context, Result};
use clap::Args;
use image::RgbImage;
use std::path::{Path, PathBuf};

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
    /// Write their samples of a seed that both have beside each other
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
            self.draw(path, &pairs)?;
        }
        Ok(Exit::Ok)
    }

    /// Which is compared with which: one with one, of several those that are called the same.
    fn pairs<'a>(&self, ours: &'a [Side], theirs: &'a [Side]) -> Result<Vec<(&'a Side, &'a Side)>> {
        if let ([a], [b]) = (ours, theirs) {
            return Ok(vec![(a, b)]);
        }
        let namesake = |a: &'a Side| Some((a, theirs.iter().find(|b| b.given == a.given)?));
        let pairs: Vec<_> = ours.iter().filter_map(namesake).collect();
        if pairs.is_empty() {
            let names = |sides: &[Side]| sides.iter().map(|side| side.name.as_str()).collect::<Vec<_>>().join("; ");
            let problem = format!("expected one cell of each, or some that both have, got {}, and {}", names(ours), names(theirs));
            return Err(ConfigError::new(&format!("{} {}", self.a, self.b), "", problem).into());
        }
        Ok(pairs)
    }

    /// Writes the samples of each pair, those of which one has left none aside.
    fn draw(&self, path: &Path, pairs: &[(&Side, &Side)]) -> Result<()> {
        let mut shown = Vec::new();
        for (a, b) in pairs {
            match samples(a, b)? {
                Some(both) => shown.extend(both),
                None => eprintln!("not in the picture, for want of samples of a seed that both have: {}, {}", a.name, b.name),
            }
        }
        let whole = beside(shown, 2)?.with_context(|| format!("{}: there are no samples to show", path.display())).needed()?;
        atomic::write(path, &picture::png(&whole)?)?;
        eprintln!("{}", path.display());
        Ok(())
    }
}

/// The samples of both at the first seed at which both have left some, each under its name.
fn samples(a: &Side, b: &Side) -> Result<Option<[(String, RgbImage); 2]>> {
    let at = |side: &Side, seed: &u64| side.runs.get(seed).map(|run| run.folder.join("samples.png")).filter(|path| path.is_file());
    let Some(paths) = a.runs.keys().find_map(|seed| at(a, seed).zip(at(b, seed))) else { return Ok(None) };
    let open = |side: &Side, path: &Path| -> Result<(String, RgbImage)> {
        Ok((side.name.clone(), image::open(path).with_context(|| path.display().to_string()).needed()?.to_rgb8()))
    };
    Ok(Some([open(a, &paths.0)?, open(b, &paths.1)?]))
}
