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

/// A grid or a base in a few words.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    file: String,
    about: String,
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

    /// One that cannot be read says why in its place.
    fn show(&self, shelf: Shelf, about: impl Fn(&Path) -> Result<String>) -> Result<Exit> {
        let listed = |file: &PathBuf| Listed {
            name: file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            file: file.display().to_string(),
            about: about(file).unwrap_or_else(|error| format!("{error:#}")),
        };
        let all: Vec<Listed> = shelf.all().iter().map(listed).collect();
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
        } else {
            all.iter().for_each(|one| print(&wrapped(&format!("{}: {}", one.name, one.about))));
        }
        Ok(Exit::Ok)
    }
}

/// A base in a sentence.
fn about(config: &Config) -> String {
    let (training, diffusion) = (&config.training, &config.diffusion);
    format!(
        "{}, T = {}, {} channels {}, {} steps of {} images in {}, {} samples",
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
