//! The weight gradient: tiles of x against tiles of dy, summed over all tiles at each point.

use super::gather::{Gather, Kind, Layout};
use super::six::{self, POINTS, WeightGradients};
use super::tiling::{CHANNELS, PAD, Tiling, panel, panels};
use super::transform::{Store, Strided, TAPS, both};
use crate::conv2d::geometry::Shape;
use crate::gemm::{Format, Products, RowOffsets, Segment, multiply};
use crate::scratch::{self, Scratch};
use crate::simd::{Real, Simd, SimdKernel, run};
use rayon::prelude::*;
use std::marker::PhantomData;

/// Bytes of planes that are made before they are multiplied.
const GROUP_BYTES: usize = 32 << 20;

/// Tiles of a block at least, so that few sums begin and end.
const BLOCK: usize = 64;

/// Products that a tile takes for each pair of channels.
const PLANES: usize = POINTS * POINTS;

/// Tiles that a sum runs over in one piece: their factors stay in a cache for all rows of a task.
const PIECE: usize = 128;

/// Input channels and outputs of a task: as many as share a cache, fewer where threads would have nothing to do. No sum depends on it.
fn task(c: usize, c_out: usize) -> (usize, usize) {
    let (mut rows, mut columns) = (64, 64);
    while c.div_ceil(rows) * c_out.div_ceil(columns) < 2 * rayon::current_num_threads() && rows > CHANNELS {
        match columns > 32 && columns >= rows {
            true => columns /= 2,
            false => rows /= 2,
        }
    }
    (rows, columns)
}

/// Blocks of images: what a group holds of each.
#[derive(Clone, Copy)]
struct Blocks {
    /// Images of a block, and tiles of an image.
    images: usize,
    per: usize,
    /// Blocks of a group.
    group: usize,
    x: Layout,
    dy: Layout,
}

/// The weight gradient of a convolution: always of tiles of 4x4, and in numbers as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightGradient {
    /// The tiles of x.
    pub x: Tiling,
    /// The tiles of dy.
    pub dy: Tiling,
}

impl WeightGradient {
    /// Of a convolution that can be cut into tiles.
    pub fn new(shape: Shape) -> WeightGradient {
        let [x, dy] = Tiling::both(shape, six::SIDE);
        WeightGradient { x, dy }
    }

    fn blocks<F: Format>(&self, batch: usize) -> Blocks {
        let per = self.x.count();
        let images = BLOCK.div_ceil(per).min(batch);
        let (x, dy) = (Layout::new(&self.x, CHANNELS, images * per), Layout::new(&self.dy, panel::<F>(), images * per));
        let group = GROUP_BYTES / (size_of::<F::Element>() * (x.len() + dy.len()));
        Blocks { images, per, group: group.clamp(1, batch.div_ceil(images)), x, dy }
    }

    /// dL/dw, \[3, 3, c_in, c_out\], overwritten. `read` calls its second argument with the image of that number.
    pub fn run<F: Format<Number: Scratch, Element: Scratch>>(
        &self,
        read: impl Fn(usize, &mut dyn FnMut(&[F::Number])) + Sync,
        dy: &[F::Number],
        dw: &mut [F::Number],
    ) {
        assert_eq!(F::PER_WORD, 1, "sums run over tiles one by one");
        let (input, out) = (self.x.from, self.dy.from);
        assert_eq!(dw.len(), TAPS * TAPS * input.c * out.c, "the weights' length");
        let batch = dy.len() / out.numbers();
        let blocks = self.blocks::<F>(batch);
        scratch::with(blocks.group * blocks.x.len(), |x_planes: &mut [F::Element]| {
            scratch::with(blocks.group * blocks.dy.len(), |dy_planes: &mut [F::Element]| {
                for first in (0..batch).step_by(blocks.group * blocks.images) {
                    let end = batch.min(first + blocks.group * blocks.images);
                    let of = |block: usize| (first + block * blocks.images..end).take(blocks.images).enumerate();
                    let gather = |image: usize, kind, numbers: &[F::Number], layout, out: &mut [F::Element]| {
                        let tiling = if kind == Kind::Data { &self.x } else { &self.dy };
                        run(Gather::<F> {
                            tiling,
                            kind,
                            image: numbers,
                            first: 0,
                            count: blocks.per,
                            slot: image * blocks.per,
                            layout,
                            out,
                        });
                    };
                    let used = (end - first).div_ceil(blocks.images);
                    x_planes.par_chunks_mut(blocks.x.len()).take(used).enumerate().for_each(|(block, planes)| {
                        of(block).for_each(|(i, image)| read(image, &mut |numbers| gather(i, Kind::Data, numbers, blocks.x, planes)));
                    });
                    dy_planes.par_chunks_mut(blocks.dy.len()).take(used).enumerate().for_each(|(block, planes)| {
                        of(block).for_each(|(i, image)| {
                            gather(i, Kind::Filter, &dy[image * out.numbers()..][..out.numbers()], blocks.dy, planes);
                        });
                    });
                    self.weigh::<F>(blocks, end - first, (x_planes, dy_planes), first > 0, dw);
                }
            });
        });
    }

    /// The products of a group of `images`, and their sums as weights.
    fn weigh<F: Format<Number: Scratch, Element: Scratch>>(
        &self,
        blocks: Blocks,
        images: usize,
        (x, dy): (&[F::Element], &[F::Element]),
        accumulate: bool,
        dw: &mut [F::Number],
    ) {
        let (c, c_out) = (self.x.from.c, self.dy.from.c);
        // Safety: each task writes rows and columns that no other has.
        let weights = unsafe { SharedWeights::new(dw) };
        let (most_rows, most_columns) = task(c, c_out);
        let across = c_out.div_ceil(most_columns);
        let tasks = c.div_ceil(most_rows) * across;
        (0..tasks).into_par_iter().for_each(|task| {
            let (first, from) = (task / across * most_rows, task % across * most_columns);
            let (rows, columns) = (most_rows.min(c - first), most_columns.min(c_out - from));
            let plane = rows * columns + PAD;
            scratch::with(PLANES * plane, |sums: &mut [F::Number]| {
                for (column, width) in panels::<F>(columns) {
                    self.multiply::<F>(blocks, images, (x, first, rows), (dy, from + column, width), (columns, plane), &mut sums[column..]);
                }
                run(Sums { sums, plane, rows: (first, rows), columns: (from, columns), size: (c, c_out), accumulate, weights: &weights });
            });
        });
    }

    /// The sums of `rows` input channels from `first` on and of a panel of outputs, for all points.
    fn multiply<F: Format<Number: Scratch, Element: Scratch>>(
        &self,
        blocks: Blocks,
        images: usize,
        (x, first, rows): (&[F::Element], usize, usize),
        (dy, column, width): (&[F::Element], usize, usize),
        (stride, plane): (usize, usize),
        sums: &mut [F::Number],
    ) {
        let room = blocks.x.room;
        // The panel's columns of a block begin behind those of the panels before it.
        let (tiles, panel) = (images * blocks.per, column * room);
        scratch::with(rows, |places: &mut [RowOffsets]| {
            for (i, place) in places.iter_mut().enumerate() {
                *place = RowOffsets { from: blocks.x.place(self.x.from.c, 0, first + i), to: i * stride, bias: 0 };
            }
            let pieces = room.div_ceil(PIECE);
            scratch::with(tiles.div_ceil(room) * pieces, |segments: &mut [Segment]| {
                for p in 0..PLANES {
                    for (i, to) in segments.iter_mut().enumerate() {
                        let (block, first) = (i / pieces, i % pieces * PIECE);
                        let held = room.min(tiles - block * room);
                        *to = Segment {
                            from: block * blocks.x.len() + p * blocks.x.plane + first * CHANNELS,
                            row: (block * blocks.dy.len() + p * blocks.dy.plane + panel) / width + first,
                            words: held.saturating_sub(first).min(PIECE),
                        };
                    }
                    let step = CHANNELS;
                    let all = dy.len() / width;
                    let out = &mut sums[p * plane..][..(rows - 1) * stride + width];
                    let (b, bias) = (&dy[..all * width], None);
                    multiply(Products::<F> { a: x, places, segments, step, b, rows: all, columns: width, bias, accumulate: false, out });
                }
            });
        });
    }
}

/// Weights that several tasks write, each its own rows and columns.
struct SharedWeights<'a, T> {
    first: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

impl<'a, T> SharedWeights<'a, T> {
    /// # Safety
    /// What is written through it at the same time has no rows and columns in common.
    unsafe fn new(weights: &'a mut [T]) -> SharedWeights<'a, T> {
        SharedWeights { first: weights.as_mut_ptr(), len: weights.len(), borrowed: PhantomData }
    }
}

// Safety: what is shared is an address. It is written through in `Sums` alone, at the same time only for different places by the promise
// made to `new`, and numbers may be sent between threads.
unsafe impl<T: Send> Sync for SharedWeights<'_, T> {}

/// Transforms sums of 36 planes to nine taps of `rows` input channels and `columns` outputs, each given by the first and their number.
struct Sums<'a, T> {
    sums: &'a [T],
    plane: usize,
    rows: (usize, usize),
    columns: (usize, usize),
    /// Input channels and outputs of all weights.
    size: (usize, usize),
    accumulate: bool,
    weights: &'a SharedWeights<'a, T>,
}

impl<T: Real> SimdKernel<T> for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let ((first, rows), (from, columns), (c, c_out)) = (self.rows, self.columns, self.size);
        assert!(first + rows <= c && from + columns <= c_out && columns.is_multiple_of(S::LANES), "weights that are not there");
        assert_eq!(self.weights.len, TAPS * TAPS * c * c_out);
        assert!(self.sums.len() >= (PLANES - 1) * self.plane + rows * columns, "sums that are not there");
        let (sums, weights) = (self.sums.as_ptr(), self.weights.first);
        for row in 0..rows {
            for column in (0..columns).step_by(S::LANES) {
                // Safety: the instruction set is the caller's promise; rows and columns lie in the sums and the weights by the asserts.
                unsafe {
                    let sums = Strided { first: sums.add(row * columns + column), row: POINTS * self.plane, column: self.plane };
                    let to = Taps { first: weights.add((first + row) * c_out + from + column), tap: c * c_out, add: self.accumulate };
                    both::<S, WeightGradients, POINTS, TAPS>(&sums, &to);
                }
            }
        }
    }
}

/// Nine taps of some outputs of an input channel.
struct Taps<T> {
    first: *mut T,
    /// Numbers from a tap to the next.
    tap: usize,
    add: bool,
}

impl<S: Simd> Store<S> for Taps<S::T> {
    #[inline(always)]
    unsafe fn store(&self, row: usize, column: usize, v: S::V) {
        // Safety: the caller's promise.
        unsafe {
            let to = self.first.add((row * TAPS + column) * self.tap);
            S::store(to, if self.add { S::add(v, S::load(to)) } else { v });
        }
    }
}
