//! `ddpm schema`: what a file may hold, for editors and other programs.

use crate::base::exit::Exit;
use crate::base::text::print;
use crate::experiment::{Base, GridFile, schema};
use anyhow::Result;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Kind of file
    #[arg(value_enum)]
    of: Files,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Files {
    /// Questions: experiments/grids
    Grid,
    /// Data set, network, budget: experiments/bases
    Base,
}

impl SchemaArgs {
    pub fn run(self) -> Result<Exit> {
        let of = match self.of {
            Files::Grid => schema::of::<GridFile>().clone(),
            Files::Base => Base::schema(),
        };
        print(&format!("{}\n", serde_json::to_string_pretty(&schema::as_typed(&of))?));
        Ok(Exit::Ok)
    }
}
