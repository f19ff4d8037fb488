//! Tiles of an image, transformed, in the planes of a product's factor.

use super::tiling::{PAD, Tiling};
use super::transform::{Load, Planes, Transform, both};
use super::{four, six};
use crate::gemm::Storage;
use crate::simd::{Simd, SimdKernel};

/// Where a transformed tile's numbers stand: groups of channels, in each of which a tile's channels follow on those of the tile before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Elements from a plane to the next.
    pub plane: usize,
    /// Channels of a group; the last one may have fewer.
    pub group: usize,
    /// Tiles that there is room for.
    pub room: usize,
    /// Number of planes.
    planes: usize,
}

impl Layout {
    /// Room for `room` tiles of what a pass reads, in groups of `group` channels.
    pub fn new(tiling: &Tiling, group: usize, room: usize) -> Layout {
        let plane = (tiling.from.c * room).next_multiple_of(PAD) + PAD;
        Layout { plane, group, room, planes: tiling.planes() }
    }

    /// Elements of all planes.
    pub fn len(&self) -> usize {
        self.planes * self.plane
    }

    /// Elements before a tile's `channel` of `c`, which begins a vector.
    #[inline(always)]
    pub fn place(&self, c: usize, tile: usize, channel: usize) -> usize {
        let first = channel / self.group * self.group;
        first * self.room + tile * self.group.min(c - first) + channel - first
    }
}

/// What a tile is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pixels of the results, and one before and one behind them on each side.
    Data,
    /// 4x4 gradients of results, which are the weight gradient's filter.
    Filter,
}

/// Transforms `count` tiles of an image from `first` on, to the places from `slot` on.
pub(super) struct Gather<'a, F: Storage> {
    pub tiling: &'a Tiling,
    pub kind: Kind,
    pub image: &'a [F::Number],
    pub first: usize,
    pub count: usize,
    pub slot: usize,
    pub layout: Layout,
    pub out: &'a mut [F::Element],
}

/// Rows or columns of the image that a tile reads, relative to its first; the first may lie before the image.
type Steps<const I: usize> = [isize; I];

impl<F: Storage> SimdKernel<F::Number> for Gather<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = F::Number>>(self) {
        let c = self.tiling.from.c;
        assert_eq!(self.image.len(), self.tiling.from.numbers(), "an image of {:?}", self.tiling.from);
        assert_eq!(self.layout.planes, self.tiling.planes(), "planes of other tiles");
        assert!(self.first + self.count <= self.tiling.count() && self.slot + self.count <= self.layout.room, "tiles that are not there");
        assert!(self.out.len() >= self.layout.len() && c * self.layout.room <= self.layout.plane, "planes that are too short");
        assert!(c.is_multiple_of(S::LANES) && self.layout.group.is_multiple_of(S::LANES), "vectors that are cut");
        // Safety (all): the instruction set is the caller's promise; the asserts are what `tiles` asks for.
        unsafe {
            match (self.kind, self.tiling.side, self.tiling.doubles) {
                (Kind::Data, six::SIDE, false) => self.tiles::<S, six::Data, _, { six::POINTS }>(six::SIDE, 1, [0, 1, 2, 3, 4, 5]),
                (Kind::Data, six::SIDE, true) => self.tiles::<S, six::Data, _, { six::POINTS }>(six::SIDE / 2, 1, [0, 1, 1, 2, 2, 3]),
                (Kind::Filter, six::SIDE, _) => self.tiles::<S, six::Gradients, _, { six::POINTS }>(six::SIDE, 0, [0, 1, 2, 3]),
                (Kind::Data, four::SIDE, false) => self.tiles::<S, four::Data, _, { four::POINTS }>(four::SIDE, 1, [0, 1, 2, 3]),
                (kind, side, doubles) => unreachable!("{kind:?} of tiles of {side}, doubled: {doubles}"),
            }
        }
    }
}

impl<F: Storage> Gather<'_, F> {
    /// All tiles, to `P` x `P` planes: the first pixel of a tile is `step` times its number less `before`, the others lie at `steps` from it.
    ///
    /// # Safety
    /// The instruction set of `S`; an image of `from`, tiles of it, slots of the layout, and channels that are whole vectors.
    #[inline(always)]
    unsafe fn tiles<S: Simd<T = F::Number>, T: Transform<S, I, P>, const I: usize, const P: usize>(
        self,
        step: usize,
        before: isize,
        steps: Steps<I>,
    ) {
        let (frame, columns, out) = (self.tiling.from, self.tiling.tiles.1, self.out.as_mut_ptr());
        for tile in 0..self.count {
            let at = self.first + tile;
            let (y, x) = ((at / columns * step) as isize - before, (at % columns * step) as isize - before);
            let mut window = Window {
                corner: self.image.as_ptr().wrapping_offset((y * frame.w as isize + x) * frame.c as isize),
                rows: steps.map(|step| step * (frame.w * frame.c) as isize),
                columns: steps.map(|step| step * frame.c as isize),
                inside: (inside(steps, y, frame.h), inside(steps, x, frame.w)),
            };
            let whole = window.inside.0.iter().chain(&window.inside.1).all(|is| *is);
            for channel in (0..frame.c).step_by(S::LANES) {
                // Safety: what is read lies in the image, by `inside`; what is written in the layout's planes.
                unsafe {
                    let first = out.add(self.layout.place(frame.c, self.slot + tile, channel));
                    let to = Planes::<F, P> { first, plane: self.layout.plane };
                    if whole {
                        both::<S, T, I, P>(&Whole(&window), &to);
                    } else {
                        both::<S, T, I, P>(&window, &to);
                    }
                }
                window.corner = window.corner.wrapping_add(S::LANES);
            }
        }
    }
}

/// Which rows or columns lie in an image that has `len` of them, where a tile begins at `first`.
fn inside<const I: usize>(steps: Steps<I>, first: isize, len: usize) -> [bool; I] {
    steps.map(|step| (0..len as isize).contains(&(first + step)))
}

/// A tile's pixels, some of which may lie outside the image, where zeros are.
struct Window<T, const I: usize> {
    /// The first pixel's numbers.
    corner: *const T,
    /// Numbers from there to each row and to each column.
    rows: Steps<I>,
    columns: Steps<I>,
    /// Which of the rows and columns lie in the image.
    inside: ([bool; I], [bool; I]),
}

/// A tile's pixels where none lies outside.
struct Whole<'a, T, const I: usize>(&'a Window<T, I>);

impl<S: Simd, const I: usize> Load<S> for Window<S::T, I> {
    #[inline(always)]
    unsafe fn load(&self, row: usize, column: usize) -> S::V {
        // Safety: the caller's promise, for what lies inside.
        unsafe {
            match self.inside.0[row] && self.inside.1[column] {
                true => Whole(self).load_there::<S>(row, column),
                false => S::splat(S::T::default()),
            }
        }
    }
}

impl<S: Simd, const I: usize> Load<S> for Whole<'_, S::T, I> {
    #[inline(always)]
    unsafe fn load(&self, row: usize, column: usize) -> S::V {
        // Safety: the caller's promise.
        unsafe { self.load_there::<S>(row, column) }
    }
}

impl<T, const I: usize> Whole<'_, T, I> {
    /// # Safety
    /// The instruction set of `S`; the pixel lies in the image.
    #[inline(always)]
    unsafe fn load_there<S: Simd<T = T>>(&self, row: usize, column: usize) -> S::V {
        // Safety: the caller's promise.
        unsafe { S::load(self.0.corner.wrapping_offset(self.0.rows[row] + self.0.columns[column])) }
    }
}
