//! Convolution and its three gradients on slices, split by images. Sums over images run in a fixed order, so the number of threads
//! changes no bit.

use super::Resize;
use super::gather::{Frame, Padded, fold_double, pad_forward, pad_gradient};
use super::gemm::{Forward, Packed, WeightGradient, tile_width};
use crate::simd::{Real, run};
use rayon::prelude::*;

/// Images whose weight gradients are summed by one thread before the sums are added up.
const IMAGES_PER_SUM: usize = 4;

/// One convolution's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub batch: usize,
    pub input: Frame,
    pub c_out: usize,
    pub k: usize,
    pub resize: Resize,
}

impl Shape {
    pub fn output(self) -> Frame {
        let (h, w) = self.resize.output(self.input.h, self.input.w);
        Frame { h, w, c: self.c_out }
    }

    pub fn weight_len(self) -> usize {
        self.k * self.k * self.input.c * self.c_out
    }
}

/// y. Shapes as in [`super::conv2d`]; `bias` has 1 or B rows.
pub fn forward<T: Real>(shape: Shape, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let (input, out, n) = (shape.input, shape.output(), shape.c_out);
    let windows = Padded::forward(input, shape.k, shape.resize);
    let packed = Packed::new(shape.k * windows.row_len(), n, |row, column| weight[row * n + column]);
    let mut y = vec![T::default(); shape.batch * out.len()];
    y.par_chunks_mut(out.len()).zip(x.par_chunks(input.len())).enumerate().for_each_init(
        || vec![T::default(); windows.frame.len()],
        |padded, (image, (y, x))| {
            pad_forward(x, input, shape.k, shape.resize, padded);
            let bias = if bias.len() == n { bias } else { &bias[image * n..(image + 1) * n] };
            run(Forward { windows, padded, weight: &packed, bias: Some(bias), out: y });
        },
    );
    y
}

/// dL/dx from dL/dy.
pub fn input_gradient<T: Real>(shape: Shape, dy: &[T], weight: &[T]) -> Vec<T> {
    let (input, out, k) = (shape.input, shape.output(), shape.k);
    let windows = Padded::input_gradient(out, k, shape.resize, input);
    // Flipped taps, channels exchanged: row (tap, c_out), column c_in.
    let packed = Packed::new(k * k * out.c, input.c, |row, column| {
        let (tap, c_out) = (row / out.c, row % out.c);
        weight[((k * k - 1 - tap) * input.c + column) * out.c + c_out]
    });
    let large = windows.out_h * windows.out_w * input.c;
    let mut dx = vec![T::default(); shape.batch * input.len()];
    dx.par_chunks_mut(input.len()).zip(dy.par_chunks(out.len())).for_each_init(
        || (vec![T::default(); windows.frame.len()], vec![T::default(); large]),
        |(padded, unfolded), (dx, dy)| {
            pad_gradient(dy, out, k, shape.resize, input, padded);
            match shape.resize {
                Resize::Same | Resize::Halve => run(Forward { windows, padded, weight: &packed, bias: None, out: dx }),
                Resize::Double => {
                    run(Forward { windows, padded, weight: &packed, bias: None, out: unfolded });
                    fold_double(unfolded, input, dx);
                }
            }
        },
    );
    dx
}

/// dL/dw from x and dL/dy.
pub fn weight_gradient<T: Real>(shape: Shape, x: &[T], dy: &[T]) -> Vec<T> {
    let (input, out, n) = (shape.input, shape.output(), shape.c_out);
    let windows = Padded::forward(input, shape.k, shape.resize);
    let (pixels, width) = (out.h * out.w, n.next_multiple_of(tile_width::<T>(1)));
    let rows = shape.k * windows.row_len();
    debug_assert_eq!(rows * n, shape.weight_len());
    let sums: Vec<Vec<T>> = x
        .par_chunks(input.len() * IMAGES_PER_SUM)
        .zip(dy.par_chunks(out.len() * IMAGES_PER_SUM))
        .map(|(x, dy)| {
            let mut sum = vec![T::default(); rows * width];
            let mut padded = vec![T::default(); windows.frame.len()];
            let mut filled = vec![T::default(); if width == n { 0 } else { pixels * width }];
            for (x, dy) in x.chunks(input.len()).zip(dy.chunks(out.len())) {
                pad_forward(x, input, shape.k, shape.resize, &mut padded);
                let gradient = if width == n {
                    dy
                } else {
                    filled.chunks_mut(width).zip(dy.chunks(n)).for_each(|(to, from)| to[..n].copy_from_slice(from));
                    &filled
                };
                run(WeightGradient { windows, padded: &padded, gradient, width, out: &mut sum });
            }
            sum
        })
        .collect();
    let mut dw = vec![T::default(); rows * n];
    for sum in &sums {
        for (to, from) in dw.chunks_mut(n).zip(sum.chunks(width)) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
        }
    }
    dw
}

/// dL/dbias for each image, \[B, Co\], or summed over images, \[1, Co\].
pub fn bias_gradient<T: Real>(shape: Shape, dy: &[T], per_image: bool) -> Vec<T> {
    let (out, n) = (shape.output(), shape.c_out);
    let mut db = vec![T::default(); shape.batch * n];
    db.par_chunks_mut(n).zip(dy.par_chunks(out.len())).for_each(|(db, dy)| {
        for pixel in dy.chunks(n) {
            db.iter_mut().zip(pixel).for_each(|(to, from)| *to += *from);
        }
    });
    if per_image {
        return db;
    }
    let mut sum = vec![T::default(); n];
    for image in db.chunks(n) {
        sum.iter_mut().zip(image).for_each(|(to, from)| *to += *from);
    }
    sum
}
