//! Self-test of a device's libraries: each kind of convolution and product on small integers, whose sums are exact in every precision, so
//! that results are compared bit by bit.

use super::arena::Arena;
use super::{ConvOp, Device, MatrixSpan, Op, Pass, Product, Sizes, Span, Type, reference};
use crate::random::{Random, Stream};
use candle_core::{Result, bail};

/// What was tried and what became of it.
#[derive(Debug)]
pub struct Tried {
    /// In words.
    pub what: String,
    /// `Ok` if the result was exact; otherwise the device's error or the first wrong byte.
    pub result: Result<()>,
}

/// The kinds of convolutions that a network has: to the same size, to half the size of an image that was padded before, of a single pack of
/// channels, and the one whose input gradient is a transposed convolution.
const SIZES: [Sizes; 4] = [
    Sizes { batch: 2, h: 8, w: 8, c_in: 16, c_out: 8, k: 3, stride: 1, pad: 1 },
    Sizes { batch: 2, h: 9, w: 9, c_in: 8, c_out: 16, k: 3, stride: 2, pad: 0 },
    Sizes { batch: 2, h: 8, w: 8, c_in: 8, c_out: 8, k: 3, stride: 1, pad: 1 },
    Sizes { batch: 2, h: 8, w: 8, c_in: 8, c_out: 16, k: 4, stride: 2, pad: 1 },
];

/// Numbers of the types that a network can have: name, type, whether f32 factors may be rounded to TF32.
const NUMBERS: [(&str, Type, bool); 3] = [("f32", Type::F32, false), ("tf32", Type::F32, true), ("bf16", Type::Bf16, false)];

/// Tries everything once. Programs and memory of the device are gone afterwards.
pub fn probe(device: &mut dyn Device) -> Vec<Tried> {
    let mut all = Vec::new();
    for (name, kind, tf32) in NUMBERS {
        for pass in Pass::ALL {
            for sizes in SIZES {
                let mut arena = Arena::default();
                let [x, w, y] = sizes.numbers().map(|n| arena.take(n * kind.size()));
                let op = Op::Convolution(ConvOp { pass, sizes, kind, x, w, y, add: false, tf32 });
                let what = format!("{} {name}, {}", pass.name().replace('_', " "), op.size());
                all.push(Tried { what: format!("convolution, {what}"), result: tried(device, &op, kind, arena.bytes()) });
            }
        }
        let (m, k, n) = (16, 24, 8);
        let mut arena = Arena::default();
        let mut matrix = |rows: usize, columns: usize| {
            let at = arena.take(2 * rows * columns * kind.size());
            MatrixSpan { at, kind, stride: columns, transposed: false, each: rows * columns }
        };
        let [a, b, c] = [matrix(m, k), matrix(k, n), matrix(m, n)];
        let op = Op::Product(Product { m, n, k, batch: 2, alpha: 1.0, a, b, c, add: false, tf32 });
        all.push(Tried { what: format!("product, {name}, {}", op.size()), result: tried(device, &op, kind, arena.bytes()) });
    }
    all
}

fn tried(device: &mut dyn Device, op: &Op, kind: Type, bytes: usize) -> Result<()> {
    let mut arena = vec![0u8; bytes];
    let random = Random::new(0, Stream::Evaluation);
    for (i, place) in arena.chunks_exact_mut(kind.size()).enumerate() {
        // -2..=2: both formats begin with the upper half of an f32.
        let bits = (random.below(0, i as u64, 5) as f32 - 2.0).to_bits();
        match kind {
            Type::F32 => place.copy_from_slice(&bits.to_le_bytes()),
            Type::Bf16 => place.copy_from_slice(&((bits >> 16) as u16).to_le_bytes()),
        }
    }
    device.reserve(bytes)?;
    let all = Span { at: 0, bytes };
    device.upload(all, &arena)?;
    let program = device.load(vec![op.clone()])?;
    // Choosing how may overwrite what is computed.
    device.upload(all, &arena)?;
    device.run(program)?;
    let mut found = vec![0u8; bytes];
    device.download(all, &mut found)?;
    match op {
        Op::Product(product) => reference::product(&mut arena, product),
        Op::Convolution(convolution) => reference::convolution(&mut arena, convolution),
        Op::Launch(_) => {}
    }
    match (0..bytes).find(|at| arena[*at] != found[*at]) {
        Some(at) => bail!("byte {at} is {}, expected {}", found[at], arena[at]),
        None => Ok(()),
    }
}

#[cfg(all(test, feature = "emulation"))]
mod tests {
    use super::*;
    use crate::device::emulated::Emulated;

    /// The plain loops are right about themselves; where one gives a wrong number, all that use it fail and nothing else does.
    #[test]
    fn what_is_wrong_is_told() {
        for (broken, parts) in [
            ("nothing", vec![]),
            ("convolution_input_gradient_bf16", vec!["input gradient bf16"; SIZES.len()]),
            ("product_f32", vec!["product, f32", "product, tf32"]),
        ] {
            let tried = probe(&mut Emulated::breaking(broken));
            assert_eq!(tried.len(), 9 * SIZES.len() + 3);
            let failed: Vec<&Tried> = tried.iter().filter(|one| one.result.is_err()).collect();
            assert_eq!(failed.len(), parts.len(), "{broken}: {failed:?}");
            assert!(failed.iter().zip(parts).all(|(one, part)| one.what.contains(part)), "{broken}: {failed:?}");
        }
    }
}
