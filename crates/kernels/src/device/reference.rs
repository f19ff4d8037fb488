//! Products and convolutions as plain loops over an arena in this process's memory: what libraries are compared with.

use super::{ConvOp, MatrixSpan, Pass, Product, Span, Type};
use crate::gemm::Bf16;
use crate::gemm::Storage;

fn read(arena: &[u8], at: Span, kind: Type, place: usize) -> f32 {
    let from = at.at + place * kind.size();
    let bytes = &arena[from..from + kind.size()];
    match kind {
        Type::F32 => f32::from_le_bytes(bytes.try_into().expect("4 bytes")),
        Type::Bf16 => f32::from_bits((u16::from_le_bytes(bytes.try_into().expect("2 bytes")) as u32) << 16),
    }
}

fn write(arena: &mut [u8], at: Span, kind: Type, place: usize, v: f32) {
    let from = at.at + place * kind.size();
    let to = &mut arena[from..from + kind.size()];
    match kind {
        Type::F32 => to.copy_from_slice(&v.to_le_bytes()),
        Type::Bf16 => to.copy_from_slice(&Bf16::round(v).to_le_bytes()),
    }
}

/// The product, with sums in f64 and one rounding.
pub fn product(arena: &mut [u8], p: &Product) {
    let matrix = |m: &MatrixSpan, batch: usize, row: usize, column: usize| {
        let (row, column) = if m.transposed { (column, row) } else { (row, column) };
        batch * m.each + row * m.stride + column
    };
    for batch in 0..p.batch {
        for i in 0..p.m {
            for j in 0..p.n {
                let mut sum = 0f64;
                for k in 0..p.k {
                    let a = read(arena, p.a.at, p.a.kind, matrix(&p.a, batch, i, k));
                    sum += a as f64 * read(arena, p.b.at, p.b.kind, matrix(&p.b, batch, k, j)) as f64;
                }
                let place = matrix(&p.c, batch, i, j);
                let before = if p.add { read(arena, p.c.at, p.c.kind, place) } else { 0.0 };
                write(arena, p.c.at, p.c.kind, place, (before as f64 + p.alpha as f64 * sum) as f32);
            }
        }
    }
}

/// The convolution's pass, with sums in f64 and one rounding.
pub fn convolution(arena: &mut [u8], c: &ConvOp) {
    let (s, (oh, ow)) = (c.sizes, c.sizes.output());
    let [nx, nw, ny] = s.numbers();
    let numbers = |at: Span, n: usize| -> Vec<f32> { (0..n).map(|i| read(arena, at, c.kind, i)).collect() };
    let [x, w, y] = [(c.x, nx), (c.w, nw), (c.y, ny)].map(|(at, n)| numbers(at, n));
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
        let before = if c.add { read(arena, target, c.kind, i) } else { 0.0 };
        write(arena, target, c.kind, i, (before as f64 + sum) as f32);
    }
}
