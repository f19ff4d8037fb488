//! Programs on the CPU: this crate's CUDA kernels compiled by a C++ compiler, products and convolutions as plain loops.

use super::launch::{Argument, Launch};
use super::{Device, Op, Span, check, reference};
use candle_core::{Result, bail};
use std::ffi::{CString, c_char, c_int, c_void};
use std::time::Instant;

unsafe extern "C" {
    fn ddpm_emulated_launch(
        name: *const c_char,
        gx: u32,
        gy: u32,
        threads: u32,
        shared: u32,
        args: *mut *mut c_void,
        count: c_int,
    ) -> c_int;
}

/// An arena in this process's memory.
#[derive(Debug, Default)]
pub struct Emulated {
    /// In words of 8 bytes, so that every place is aligned.
    arena: Vec<u64>,
    programs: Vec<Vec<Op>>,
    /// An operation that gives a wrong number.
    broken: Option<String>,
}

impl Emulated {
    /// A device whose operation of this name ([`Op::name`]) produces a wrong number, to test whether it is noticed.
    pub fn breaking(operation: &str) -> Emulated {
        Emulated { broken: Some(operation.to_string()), ..Emulated::default() }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let (pointer, len) = (self.arena.as_mut_ptr().cast::<u8>(), 8 * self.arena.len());
        // Safety: the same memory as bytes, of any value, borrowed as long as self is.
        unsafe { std::slice::from_raw_parts_mut(pointer, len) }
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        let base = self.arena.as_mut_ptr().cast::<u8>();
        // Each argument's value, 8 bytes of room; and a pointer to each.
        let mut values: Vec<u64> = Vec::with_capacity(launch.arguments.len());
        for argument in &launch.arguments {
            values.push(match *argument {
                Argument::MemoryArg(place) => base.wrapping_add(place.span.at) as u64,
                Argument::Nothing => 0,
                Argument::U32(v) => v as u64,
                Argument::U64(v) => v,
                Argument::F32(v) => v.to_bits() as u64,
                Argument::F64(v) => v.to_bits(),
            });
        }
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|v| std::ptr::from_mut(v).cast()).collect();
        let (name, (gx, gy)) = (CString::new(launch.name.clone()).expect("a name without zeros"), launch.grid);
        // Safety: a launch is made by this crate, with places as long as its kernel reaches, and [`check`] saw that they are in the arena;
        // the other side compares the number of arguments with the kernel's.
        let rc = unsafe {
            let count = pointers.len() as c_int;
            ddpm_emulated_launch(name.as_ptr(), gx, gy, launch.threads, launch.shared, pointers.as_mut_ptr(), count)
        };
        match rc {
            0 => Ok(()),
            1 => bail!("there is no kernel {}", launch.name),
            2 => bail!("{} has another number of arguments than {}", launch.name, launch.arguments.len()),
            _ => bail!("{}: some threads wait at a barrier that others never reach", launch.name),
        }
    }

    fn op(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Launch(launch) => self.launch(launch)?,
            Op::Product(product) => reference::product(self.bytes(), product),
            Op::Convolution(convolution) => reference::convolution(self.bytes(), convolution),
        }
        if self.broken.as_ref().is_some_and(|name| *name == op.name())
            && let Some((span, element)) = op.targets().into_iter().next()
        {
            // The highest byte of the first number: its exponent, where it has one.
            self.bytes()[span.at + element.size() - 1] ^= 4;
        }
        Ok(())
    }
}

impl Device for Emulated {
    fn name(&self) -> String {
        "CUDA kernels emulated on the CPU".into()
    }

    fn bytes(&self) -> usize {
        8 * self.arena.len()
    }

    fn reserve(&mut self, bytes: usize) -> Result<()> {
        self.programs.clear();
        self.arena = vec![0; bytes.div_ceil(8)];
        Ok(())
    }

    fn upload(&mut self, to: Span, bytes: &[u8]) -> Result<()> {
        assert!(bytes.len() <= to.bytes, "{} bytes to a place of {}", bytes.len(), to.bytes);
        self.bytes()[to.at..to.at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn download(&mut self, from: Span, bytes: &mut [u8]) -> Result<()> {
        assert!(bytes.len() <= from.bytes, "{} bytes from a place of {}", bytes.len(), from.bytes);
        let n = bytes.len();
        bytes.copy_from_slice(&self.bytes()[from.at..from.at + n]);
        Ok(())
    }

    fn load(&mut self, program: Vec<Op>) -> Result<usize> {
        check(&program, 8 * self.arena.len());
        self.programs.push(program);
        Ok(self.programs.len() - 1)
    }

    fn program(&self, program: usize) -> &[Op] {
        &self.programs[program]
    }

    fn run(&mut self, program: usize) -> Result<()> {
        self.time(program).map(|_| ())
    }

    fn time(&mut self, program: usize) -> Result<Vec<f64>> {
        let ops = std::mem::take(&mut self.programs[program]);
        let result = ops.iter().map(|op| {
            let start = Instant::now();
            self.op(op)?;
            Ok(start.elapsed().as_secs_f64())
        });
        let result = result.collect();
        self.programs[program] = ops;
        result
    }
}
