//! What runs programs.

use super::place::Span;
use super::program::Op;
use candle_core::Result;

/// Something that has an arena and runs programs on it.
pub trait Device {
    /// Its name, for records.
    fn name(&self) -> String;

    /// Bytes of its memory that are in use for this.
    fn bytes(&self) -> usize;

    /// Makes an arena of this many bytes, all 0. Programs loaded before are gone.
    fn reserve(&mut self, bytes: usize) -> Result<()>;

    /// Writes bytes to the start of a place.
    fn upload(&mut self, to: Span, bytes: &[u8]) -> Result<()>;

    /// The same while it works on what was asked for before, which must not use the place; what is asked for later comes after.
    fn upload_beside(&mut self, to: Span, bytes: &[u8]) -> Result<()> {
        self.upload(to, bytes)
    }

    /// Bytes of its memory that are free, where it has memory of its own.
    fn free(&self) -> Option<usize> {
        None
    }

    /// Reads a place, once everything asked for before is done.
    fn download(&mut self, from: Span, bytes: &mut [u8]) -> Result<()>;

    /// Makes a program ready to run and returns its number. It may overwrite whatever the program writes.
    fn load(&mut self, program: Vec<Op>) -> Result<usize>;

    /// The operations of a program.
    fn program(&self, program: usize) -> &[Op];

    /// Starts program `program`; later calls take effect after it.
    fn run(&mut self, program: usize) -> Result<()>;

    /// Runs a program, once or more, and gives the seconds of each of its operations.
    fn time(&mut self, program: usize) -> Result<Vec<f64>>;

    /// What it is and what it runs on, as pairs of a word and its value.
    fn about(&mut self) -> Result<Vec<(&'static str, String)>> {
        Ok(Vec::new())
    }

    /// What a library offers for a program's convolutions, with times: a line for each. Overwrites what they write.
    fn algorithms(&mut self, _program: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
