//! Operations on whole feature maps other than convolutions, and the small layers of the time embedding.

use super::launch::{Argument, ElementType, Launch, adds, reads, u32, updates, writes};
use super::{Op, Span, Type};
use crate::pool::BlockPool;

/// Channels that a thread moves at once.
pub const PACK: usize = 8;

/// Feature maps of one size and type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Map {
    /// Type of the numbers.
    pub kind: Type,
    /// Number of images.
    pub batch: usize,
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// Number of channels.
    pub c: usize,
}

impl Map {
    /// Numbers of all images.
    pub fn numbers(self) -> usize {
        self.pixels() * self.c
    }

    /// Pixels of all images.
    pub fn pixels(self) -> usize {
        self.batch * self.h * self.w
    }

    /// Bytes of all images.
    pub fn bytes(self) -> usize {
        self.numbers() * self.kind.size()
    }
}

/// One or two feature maps side by side, with their channels.
pub type Parts<'a> = &'a [(Span, usize)];

/// The arguments (a, b, channels of a, channels of b), for `pixels` pixels that are read.
pub(super) fn parts(parts: Parts, pixels: usize, kind: Type) -> [Argument; 4] {
    let one = |(span, c): (Span, usize)| reads(span, pixels * c, kind);
    match *parts {
        [] => [Argument::Nothing, Argument::Nothing, u32(0), u32(0)],
        [a] => [one(a), Argument::Nothing, u32(a.1), u32(0)],
        [a, b] => [one(a), one(b), u32(a.1), u32(b.1)],
        _ => panic!("at most two feature maps side by side, got {}", parts.len()),
    }
}

fn name(kernel: &str, kind: Type) -> String {
    format!("{kernel}_{}", kind.suffix())
}

/// Adds a bias \[c\], a shift \[B, c\] and the feature maps `plus`, which have c channels in total, to channels `from..from + c` of `y`.
pub fn finish(map: Map, y: Span, (from, c): (usize, usize), bias: Span, shift: Option<Span>, plus: Parts) -> Op {
    assert!(from + c <= map.c && (plus.is_empty() || plus.iter().map(|p| p.1).sum::<usize>() == c), "{c} channels from {from} of {map:?}");
    let [a, b, ca, cb] = parts(plus, map.pixels(), map.kind);
    let arguments = vec![
        updates(y, map.numbers(), map.kind).touching(map.pixels() * c),
        u32(map.c),
        u32(from),
        u32(c),
        Argument::U64(map.pixels() as u64),
        u32(map.h * map.w),
        reads(bias, c, ElementType::F32),
        shift.map_or(Argument::Nothing, |shift| reads(shift, map.batch * c, ElementType::F32)),
        a,
        b,
        ca,
        cb,
    ];
    // A pack's reads of y begin at multiples of its size.
    let packs = if [c, map.c, from].iter().all(|n| n.is_multiple_of(PACK)) { PACK } else { 1 };
    assert!(packs == PACK || !c.is_multiple_of(PACK), "channels {from}..{} of {} in packs of 8", from + c, map.c);
    Op::Launch(Launch::among(name("finish", map.kind), map.pixels() * c / packs, arguments))
}

/// Channels `from..from + c` of `dy` to `out`, written or added.
pub fn take_channels(map: Map, dy: Span, (from, c): (usize, usize), out: Span, add: bool) -> Op {
    assert!(from + c <= map.c);
    let n = map.pixels() * c;
    let (dy, out) = (reads(dy, map.numbers(), map.kind).touching(n), adds(add, out, n, map.kind));
    let arguments = vec![dy, u32(map.c), u32(from), u32(c), Argument::U64(map.pixels() as u64), out, u32(add as usize)];
    Op::Launch(Launch::among(name("take_channels", map.kind), n, arguments))
}

fn resize(kernel: &str, small: Map, large: (usize, usize), [from, to]: [Span; 2], forward: bool, add: bool) -> Op {
    let large = Map { h: large.0, w: large.1, ..small };
    let (source, target) = if forward { (small, large) } else { (large, small) };
    let mut arguments = vec![
        reads(from, source.numbers(), small.kind),
        u32(small.h),
        u32(small.w),
        u32(small.c),
        Argument::U64(target.numbers() as u64),
        adds(add, to, target.numbers(), small.kind),
    ];
    if !forward {
        arguments.push(u32(add as usize));
    }
    Op::Launch(Launch::among(name(kernel, small.kind), target.numbers(), arguments))
}

/// `map` with one row and one column of zeros at the bottom and the right.
pub fn pad(map: Map, x: Span, y: Span) -> Op {
    resize("pad", map, (map.h + 1, map.w + 1), [x, y], true, false)
}

/// The gradient of [`pad`], written or added.
pub fn crop(map: Map, dy: Span, dx: Span, add: bool) -> Op {
    resize("crop", map, (map.h + 1, map.w + 1), [dy, dx], false, add)
}

/// Each pixel of `map` four times.
pub fn upsample(map: Map, x: Span, y: Span) -> Op {
    resize("upsample", map, (2 * map.h, 2 * map.w), [x, y], true, false)
}

/// The gradient of [`upsample`], written or added.
pub fn upsample_backward(map: Map, dy: Span, dx: Span, add: bool) -> Op {
    resize("upsample_backward", map, (2 * map.h, 2 * map.w), [dy, dx], false, add)
}

/// One number for each block of 2x2 of `map`, whose sides are even.
pub fn pool(kind: BlockPool, map: Map, x: Span, y: Span) -> Op {
    let half = halved(map);
    let (x, y) = (reads(x, map.numbers(), map.kind), writes(y, half.numbers(), map.kind));
    let largest = u32((kind == BlockPool::Max) as usize);
    let arguments = vec![x, u32(half.h), u32(half.w), u32(half.c), Argument::U64(half.numbers() as u64), y, largest];
    Op::Launch(Launch::among(name("pool", map.kind), half.numbers(), arguments))
}

/// The gradient of [`pool`] of `x`, which [`BlockPool::Max`] alone reads, written or added.
pub fn pool_backward(kind: BlockPool, map: Map, x: Span, dy: Span, dx: Span, add: bool) -> Op {
    let half = halved(map);
    let x = if kind == BlockPool::Max { reads(x, map.numbers(), map.kind) } else { Argument::Nothing };
    let (dy, dx) = (reads(dy, half.numbers(), map.kind), adds(add, dx, map.numbers(), map.kind));
    let sizes = [u32(half.h), u32(half.w), u32(half.c), Argument::U64(half.numbers() as u64)];
    let arguments = [&[x, dy][..], &sizes, &[dx, u32(add as usize)]].concat();
    Op::Launch(Launch::among(name("pool_backward", map.kind), half.numbers(), arguments))
}

/// Feature maps of half the size of `map`.
fn halved(map: Map) -> Map {
    assert!(map.h.is_multiple_of(2) && map.w.is_multiple_of(2), "blocks of 2x2 in {map:?}");
    Map { h: map.h / 2, w: map.w / 2, ..map }
}

/// Sums over each image's pixels of channels `from..from + c`: \[B, c\] in f32.
pub fn pixel_sums(map: Map, dy: Span, (from, c): (usize, usize), out: Span) -> Op {
    assert!(from + c <= map.c);
    let (threads, blocks) = (256, c.div_ceil(32) as u32);
    let dy = reads(dy, map.numbers(), map.kind).touching(map.pixels() * c);
    let arguments = vec![dy, u32(map.c), u32(from), u32(c), u32(map.h * map.w), writes(out, map.batch * c, ElementType::F32)];
    let grid = (blocks, map.batch as u32);
    Op::Launch(Launch { name: name("pixel_sums", map.kind), grid, threads, shared: 4 * threads, arguments })
}

/// Sums of `rows` rows of `n` f32.
pub fn row_sums(x: Span, rows: usize, n: usize, out: Span) -> Op {
    Op::Launch(Launch::each("row_sums", n, vec![reads(x, rows * n, ElementType::F32), u32(rows), u32(n), writes(out, n, ElementType::F32)]))
}

/// n bf16 as f32.
pub fn widen(x: Span, n: usize, y: Span) -> Op {
    Op::Launch(Launch::among("widen", n, vec![reads(x, n, Type::Bf16), Argument::U64(n as u64), writes(y, n, Type::F32)]))
}

/// n f32 as bf16.
pub fn narrow(x: Span, n: usize, y: Span) -> Op {
    Op::Launch(Launch::among("narrow", n, vec![reads(x, n, Type::F32), Argument::U64(n as u64), writes(y, n, Type::Bf16)]))
}

fn rows(n: usize) -> (u32, u32) {
    let threads = (n.next_power_of_two() as u32).clamp(32, 128);
    // One double or float of each thread.
    (threads, 8 * threads)
}

/// `count` rows of n become softmax(scale row).
pub fn softmax(kind: Type, x: Span, count: usize, n: usize, scale: f32) -> Op {
    let (threads, shared) = rows(n);
    let arguments = vec![updates(x, count * n, kind), u32(n), Argument::F32(scale)];
    Op::Launch(Launch { name: name("softmax", kind), grid: (count as u32, 1), threads, shared, arguments })
}

/// The gradient `dp` of p = softmax(scale s) becomes that of s.
pub fn softmax_backward(kind: Type, p: Span, dp: Span, count: usize, n: usize, scale: f32) -> Op {
    let (threads, shared) = rows(n);
    let arguments = vec![reads(p, count * n, kind), updates(dp, count * n, kind), u32(n), Argument::F32(scale)];
    Op::Launch(Launch { name: name("softmax_backward", kind), grid: (count as u32, 1), threads, shared, arguments })
}

/// Rows `t - 1` of a table \[T, c\] for `batch` steps t (u32, in 1..=T): \[batch, c\].
pub fn embed(table: Span, t: Span, c: usize, batch: usize, out: Span) -> Op {
    let n = batch * c;
    let table = reads(table, table.bytes / 4, ElementType::F32).touching(n);
    let arguments = vec![table, reads(t, batch, ElementType::U32), u32(c), Argument::U64(n as u64), writes(out, n, ElementType::F32)];
    Op::Launch(Launch::each("embed", n, arguments))
}

/// y = x sigmoid(x), for n f32.
pub fn silu(x: Span, n: usize, y: Span) -> Op {
    Op::Launch(Launch::each("silu", n, vec![reads(x, n, ElementType::F32), Argument::U64(n as u64), writes(y, n, ElementType::F32)]))
}

/// The gradient `dy` of silu(x) becomes that of x.
pub fn silu_backward(x: Span, n: usize, dy: Span) -> Op {
    let arguments = vec![reads(x, n, ElementType::F32), Argument::U64(n as u64), updates(dy, n, ElementType::F32)];
    Op::Launch(Launch::each("silu_backward", n, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread has eight channels of a pixel where they can be read at once, else one.
    #[test]
    fn there_are_as_many_threads_as_there_is_work() {
        let blocks = |c| {
            let map = Map { kind: Type::F32, batch: 2, h: 16, w: 16, c };
            let [y, bias] = [map.numbers(), c].map(|n| Span { at: 0, bytes: 4 * n });
            let Op::Launch(launch) = finish(map, y, (0, c), bias, None, &[]) else { panic!("a kernel of its own") };
            launch.grid
        };
        // 512 pixels: 3 packs of each, or 12 channels; 256 threads a block.
        assert_eq!([blocks(24), blocks(12)], [(6, 1), (24, 1)]);
    }

    /// Small whole numbers, of which several are often the largest, and which bf16 holds exactly.
    #[cfg(feature = "emulation")]
    #[test]
    fn pools_are_those_of_the_host() {
        use crate::conv2d::Frame;
        use crate::device::{Device, arena::Arena, emulated::Emulated};
        use crate::gemm::{Bf16, Storage};
        use crate::random::{Random, Stream};
        let random = Random::new(5, Stream::Evaluation);
        let whole = |step: u64, n: usize| (0..n).map(|i| 4.0 * (random.below(step, i as u64, 5) as f32 - 2.0)).collect::<Vec<_>>();
        for (pooling, kind) in [Type::F32, Type::Bf16].into_iter().flat_map(|kind| BlockPool::ALL.map(|pool| (pool, kind))) {
            let map = Map { kind, batch: 3, h: 4, w: 6, c: 8 };
            let frame = Frame { h: map.h, w: map.w, c: map.c };
            let (n, half) = (map.numbers(), map.numbers() / 4);
            let (x, dy, before) = (whole(0, n), whole(1, half), whole(2, n));
            for add in [false, true] {
                let (mut y, mut dx) = (vec![0.0; half], before.clone());
                for image in 0..map.batch {
                    let [of, small] = [n, half].map(|all| image * all / map.batch..(image + 1) * all / map.batch);
                    pooling.forward(frame, &x[of.clone()], &mut y[small.clone()]);
                    pooling.backward(frame, &x[of.clone()], &dy[small], add, &mut dx[of]);
                }
                let mut arena = Arena::default();
                let spans = [n, half, half, n].map(|n| arena.take(n * kind.size()));
                let mut device = Emulated::default();
                device.reserve(arena.bytes()).unwrap();
                let bytes = |numbers: &[f32]| -> Vec<u8> {
                    match kind {
                        Type::F32 => numbers.iter().flat_map(|v| v.to_le_bytes()).collect(),
                        Type::Bf16 => numbers.iter().flat_map(|v| Bf16::round(*v).to_le_bytes()).collect(),
                    }
                };
                for (span, numbers) in spans.iter().zip([&x, &y, &dy, &before]) {
                    device.upload(*span, &bytes(numbers)).unwrap();
                }
                let [at_x, at_y, at_dy, at_dx] = spans;
                device.upload(at_y, &vec![0xff; at_y.bytes]).unwrap();
                let ops = vec![pool(pooling, map, at_x, at_y), pool_backward(pooling, map, at_x, at_dy, at_dx, add)];
                let program = device.load(ops).unwrap();
                device.run(program).unwrap();
                for (span, expected) in [(at_y, &y), (at_dx, &dx)] {
                    let mut found = vec![0; expected.len() * kind.size()];
                    device.download(span, &mut found).unwrap();
                    assert_eq!(found, bytes(expected), "{pooling:?} in {kind:?}, added: {add}");
                }
            }
        }
    }
}
