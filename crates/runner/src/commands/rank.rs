//! `ddpm rank`: a process of a training that several share (what `run --ranks` starts).

use super::Unusable;
use crate::exit::Exit;
use crate::stages::ranks;
use anyhow::{Context, Result};
use clap::Args;

#[derive(Debug, Args)]
pub struct Rank {}

impl Rank {
    pub fn run(self) -> Result<Exit> {
        ranks::member(std::io::stdin(), std::io::stdout()).context(Unusable)?;
        Ok(Exit::Ok)
    }
}
