//! A device that has no memory and runs nothing: what a program would ask of one is counted.

use super::{Device, Op, Span, check};
use candle_core::Result;

/// Everything that is read from it is 0.
#[derive(Debug, Default)]
pub struct Counted {
    bytes: usize,
    programs: Vec<Vec<Op>>,
}

impl Device for Counted {
    fn name(&self) -> String {
        "nothing: only counted".into()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn reserve(&mut self, bytes: usize) -> Result<()> {
        self.bytes = bytes;
        self.programs.clear();
        Ok(())
    }

    fn upload(&mut self, _to: Span, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn download(&mut self, _from: Span, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        Ok(())
    }

    fn load(&mut self, program: Vec<Op>) -> Result<usize> {
        check(&program, self.bytes);
        self.programs.push(program);
        Ok(self.programs.len() - 1)
    }

    fn program(&self, program: usize) -> &[Op] {
        &self.programs[program]
    }

    fn run(&mut self, _program: usize) -> Result<()> {
        Ok(())
    }

    fn time(&mut self, program: usize) -> Result<Vec<f64>> {
        Ok(vec![0.0; self.programs[program].len()])
    }
}
