//! Programs on the CPU: this crate's CUDA kernels compiled by a C++ compiler, products and convolutions as plain loops.

use super::launch::{Argument, Launch};
use super::{Convolution, Device, Matrix, Op, Pass, Product, Span, Type, check};
use candle_core::{Result, bail};
use std::ffi::{CString, c_char, c_int, c_void};

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
}

impl Emulated {
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
                Argument::Place(span) => base.wrapping_add(span.at) as u64,
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

    fn read(&mut self, at: Span, kind: Type, place: usize) -> f32 {
        let from = at.at + place * kind.size();
        let bytes = &self.bytes()[from..from + kind.size()];
        match kind {
            Type::F32 => f32::from_le_bytes(bytes.try_into().expect("4 bytes")),
            Type::Bf16 => f32::from_bits((u16::from_le_bytes(bytes.try_into().expect("2 bytes")) as u32) << 16),
        }
    }

    fn write(&mut self, at: Span, kind: Type, place: usize, v: f32) {
        let from = at.at + place * kind.size();
        let to = &mut self.bytes()[from..from + kind.size()];
        match kind {
            Type::F32 => to.copy_from_slice(&v.to_le_bytes()),
            Type::Bf16 => {
                let bits = v.to_bits();
                to.copy_from_slice(&(((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16).to_le_bytes());
            }
        }
    }

    fn numbers(&mut self, at: Span, kind: Type, n: usize) -> Vec<f32> {
        (0..n).map(|i| self.read(at, kind, i)).collect()
    }

    fn product(&mut self, p: &Product) {
        let matrix = |m: &Matrix, batch: usize, row: usize, column: usize| {
            let (row, column) = if m.turned { (column, row) } else { (row, column) };
            batch * m.each + row * m.stride + column
        };
        for batch in 0..p.batch {
            for i in 0..p.m {
                for j in 0..p.n {
                    let mut sum = 0f64;
                    for k in 0..p.k {
                        let a = self.read(p.a.at, p.a.kind, matrix(&p.a, batch, i, k));
                        sum += a as f64 * self.read(p.b.at, p.b.kind, matrix(&p.b, batch, k, j)) as f64;
                    }
                    let place = matrix(&p.c, batch, i, j);
                    let before = if p.add { self.read(p.c.at, p.c.kind, place) } else { 0.0 };
                    self.write(p.c.at, p.c.kind, place, (before as f64 + p.alpha as f64 * sum) as f32);
                }
            }
        }
    }

    fn convolution(&mut self, c: &Convolution) {
        let (s, (oh, ow)) = (c.sizes, c.sizes.output());
        let [nx, nw, ny] = s.numbers();
        let [x, w, y] = [(c.x, nx), (c.w, nw), (c.y, ny)].map(|(at, n)| self.numbers(at, c.kind, n));
        let (target, n) = match c.pass {
            Pass::Forward => (c.y, ny),
            Pass::InputGradient => (c.x, nx),
            Pass::WeightGradient => (c.w, nw),
        };
        let mut sums = vec![0f64; n];
        for b in 0..s.batch {
            for (row, column) in (0..oh).flat_map(|row| (0..ow).map(move |column| (row, column))) {
                for (i, j) in (0..s.k).flat_map(|i| (0..s.k).map(move |j| (i, j))) {
                    let (from_row, from_column) = ((row * s.stride + i).wrapping_sub(s.pad), (column * s.stride + j).wrapping_sub(s.pad));
                    if from_row >= s.h || from_column >= s.w {
                        continue;
                    }
                    let (at_y, at_x) = (((b * oh + row) * ow + column) * s.c_out, ((b * s.h + from_row) * s.w + from_column) * s.c_in);
                    for o in 0..s.c_out {
                        let at_w = ((o * s.k + i) * s.k + j) * s.c_in;
                        for k in 0..s.c_in {
                            match c.pass {
                                Pass::Forward => sums[at_y + o] += x[at_x + k] as f64 * w[at_w + k] as f64,
                                Pass::InputGradient => sums[at_x + k] += y[at_y + o] as f64 * w[at_w + k] as f64,
                                Pass::WeightGradient => sums[at_w + k] += x[at_x + k] as f64 * y[at_y + o] as f64,
                            }
                        }
                    }
                }
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            let before = if c.add { self.read(target, c.kind, i) } else { 0.0 };
            self.write(target, c.kind, i, (before as f64 + sum) as f32);
        }
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

    fn run(&mut self, program: usize) -> Result<()> {
        let ops = std::mem::take(&mut self.programs[program]);
        let result = ops.iter().try_for_each(|op| match op {
            Op::Launch(launch) => self.launch(launch),
            Op::Product(product) => {
                self.product(product);
                Ok(())
            }
            Op::Convolution(convolution) => {
                self.convolution(convolution);
                Ok(())
            }
        });
        self.programs[program] = ops;
        result
    }
}
