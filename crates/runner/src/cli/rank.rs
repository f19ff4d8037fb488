//! `ddpm rank`: a process of a training that several share (what `run --ranks` starts).

use crate::base::exit::Exit;
use crate::stages::member;
use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub struct Rank {}

impl Rank {
    pub fn run(self) -> Result<Exit> {
        member::member(std::io::stdin(), std::io::stdout())?;
        Ok(Exit::Ok)
    }
}
