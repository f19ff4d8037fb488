//! `ddpm grids` and `ddpm bases`: what there is to ask, and what to ask it on.

use crate::base::exit::Exit;
use crate::base::text::{print, wrapped};
use crate::experiment::{Base, Config, GridFile, Shelf, brief, paths};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Of both commands.
#[derive(Debug, Args)]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A grid or a base in a few words, or why it cannot be read.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    file: String,
    about: Option<String>,
    error: Option<String>,
}

impl List {
    pub fn grids(self) -> Result<Exit> {
        self.show(Shelf::Grids, |file| Ok(GridFile::read(file)?.question))
    }

    pub fn bases(self) -> Result<Exit> {
        self.show(Shelf::Bases, |file| {
            let Base { tree, origin, .. } = Base::read(file)?;
            Ok(about(&Config::checked(&paths::normalised(&tree), &origin)?))
        })
    }

    fn show(&self, shelf: Shelf, about: impl Fn(&Path) -> Result<String>) -> Result<Exit> {
        let listed = |file: &PathBuf| {
            let (about, error) = match about(file) {
                Ok(about) => (Some(about), None),
                Err(error) => (None, Some(format!("{error:#}"))),
            };
            let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            Listed { name, file: file.display().to_string(), about, error }
        };
        let all: Vec<Listed> = shelf.all()?.iter().map(listed).collect();
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
        }
        for one in &all {
            match (&one.about, &one.error) {
                (Some(about), _) if !self.json => print(&wrapped(&format!("{}: {about}", one.name))),
                (_, Some(error)) => eprint!("{}", wrapped(error)),
                _ => {}
            }
        }
        Ok(if all.iter().any(|one| one.error.is_some()) { Exit::BadConfig } else { Exit::Ok })
    }
}

/// A base in a sentence.
fn about(config: &Config) -> String {
    let (training, diffusion) = (&config.training, &config.diffusion);
    let data = serde_json::json!(config.data);
    let place = data["path"].as_str().map_or_else(String::new, |path| format!(" in {path}"));
    format!(
        "{}{place}, T = {}, {} channels {}, {} steps of {} images in {}, {} samples",
        config.data.kind(),
        diffusion.timesteps,
        config.network.channels,
        brief(&serde_json::json!(config.network.multipliers)),
        training.steps,
        training.batch,
        training.precision.name(),
        config.sampling.count
    )
}
