//! Forward pass and input gradient: tiles to planes, a product for each plane, sums to results.

use super::gather::{Gather, Kind, Layout};
use super::scatter::Scatter;
use super::six;
use super::tiling::{PAD, Tiling, panel, panels};
use crate::gemm::{Format, Products, RowOffsets, Segment, multiply};
use crate::scratch::{self, Scratch};
use crate::simd::run;

/// Columns that are multiplied before their sums become results.
const COLUMNS: usize = 64;

/// What the results of several images begin with.
pub struct Onto<'a, T> {
    /// Added to all pixels: one row for all images, or one for each.
    pub bias: Option<&'a [T]>,
    /// Whether the images are added to.
    pub accumulate: bool,
}

impl Tiling {
    /// Tiles that are multiplied at a time: enough rows for weights that are read once for all of them, few enough to stay near.
    fn block(&self) -> usize {
        if self.side == six::SIDE { 32 } else { 64 }
    }

    /// Images of a task: enough tiles for a product.
    pub fn images(&self) -> usize {
        self.block().div_ceil(self.count())
    }

    /// The pass for the images whose results are `out`, one after another. `read` calls its second argument with the image of that
    /// number; it is called once for each, in order.
    pub fn run<F: Format<Number: Scratch, Element: Scratch>>(
        &self,
        packed: &[F::Element],
        read: impl Fn(usize, &mut dyn FnMut(&[F::Number])),
        onto: Onto<F::Number>,
        out: &mut [F::Number],
    ) {
        let (images, per) = (out.len() / self.to.numbers(), self.count());
        let room = self.block().min(images * per);
        let (layout, sums_plane) = (Layout::new(self, self.from.c, room), room * COLUMNS.min(self.to.c) + PAD);
        scratch::with(layout.len(), |planes: &mut [F::Element]| {
            scratch::with(self.planes() * sums_plane, |sums: &mut [F::Number]| {
                // Tiles that are in the planes, and how many were multiplied before them.
                let (mut held, mut done) = (0, 0);
                for image in 0..images {
                    read(image, &mut |numbers| {
                        let mut first = 0;
                        while first < per {
                            let count = (room - held).min(per - first);
                            run(Gather::<F> {
                                tiling: self,
                                kind: Kind::Data,
                                image: numbers,
                                first,
                                count,
                                slot: held,
                                layout,
                                out: planes,
                            });
                            (first, held) = (first + count, held + count);
                            if held == room || (image, first) == (images - 1, per) {
                                self.multiply::<F>((planes, layout), packed, (sums, sums_plane), (done, held), &onto, out);
                                (held, done) = (0, done + held);
                            }
                        }
                    });
                }
            });
        });
    }

    /// Multiplies the `held` tiles in the planes, and writes their results: they are the tiles from `done` on, counted over all images.
    fn multiply<F: Format<Number: Scratch, Element: Scratch>>(
        &self,
        (planes, layout): (&[F::Element], Layout),
        packed: &[F::Element],
        (sums, plane): (&mut [F::Number], usize),
        (done, held): (usize, usize),
        onto: &Onto<F::Number>,
        out: &mut [F::Number],
    ) {
        let (c, len) = (self.from.c, self.panel_len::<F>());
        let segments = [Segment { from: 0, row: 0, words: c / F::PER_WORD }];
        scratch::with(held, |places: &mut [RowOffsets]| {
            for (at, weights) in packed.chunks(COLUMNS / panel::<F>() * len).enumerate() {
                let (first, n) = (at * COLUMNS, COLUMNS.min(self.to.c - at * COLUMNS));
                for (tile, place) in places.iter_mut().enumerate() {
                    *place = RowOffsets { from: tile * c, to: tile * n, bias: 0 };
                }
                for p in 0..self.planes() {
                    for ((from, columns), weights) in panels::<F>(n).zip(weights.chunks_exact(len)) {
                        multiply(Products::<F> {
                            a: &planes[p * layout.plane..][..held * c],
                            places,
                            segments: &segments,
                            step: F::PER_WORD,
                            b: &weights[p * self.plane_len::<F>()..][..c * columns],
                            rows: c / F::PER_WORD,
                            columns,
                            bias: None,
                            accumulate: false,
                            out: &mut sums[p * plane + from..][..held * n - from],
                        });
                    }
                }
                self.scatter::<F>(sums, plane, (done, held), (first, n), onto, out);
            }
        });
    }

    /// Writes the results of `held` tiles from `done` on, image by image.
    fn scatter<F: Format>(
        &self,
        sums: &[F::Number],
        plane: usize,
        (done, held): (usize, usize),
        columns: (usize, usize),
        onto: &Onto<F::Number>,
        out: &mut [F::Number],
    ) {
        let (per, len, c) = (self.count(), self.to.numbers(), self.to.c);
        let mut slot = 0;
        while slot < held {
            let (image, first) = ((done + slot) / per, (done + slot) % per);
            let count = (per - first).min(held - slot);
            let bias = onto.bias.map(|bias| &bias[if bias.len() > c { image * c } else { 0 }..][..c]);
            run(Scatter {
                tiling: self,
                sums: &sums[slot * columns.1..],
                plane,
                first,
                count,
                columns,
                bias,
                accumulate: onto.accumulate,
                image: &mut out[image * len..][..len],
            });
            slot += count;
        }
    }
}
