//! GroupNorm (+ SiLU) on slices, an image at a time.

use super::Spec;
use crate::simd::{Job, Real, Simd, run};
use rayon::prelude::*;

/// y for images of `pixels` x `c` numbers.
pub fn forward<T: Real>(spec: Spec, c: usize, pixels: usize, x: &[T], gamma: &[T], beta: &[T]) -> Vec<T> {
    let mut y = vec![T::default(); x.len()];
    y.par_chunks_mut(pixels * c).zip(x.par_chunks(pixels * c)).for_each(|(y, x)| run(Forward { spec, c, x, gamma, beta, y }));
    y
}

/// (dx, dgamma, dbeta).
pub fn backward<T: Real>(spec: Spec, c: usize, pixels: usize, x: &[T], gamma: &[T], beta: &[T], dy: &[T]) -> (Vec<T>, Vec<T>, Vec<T>) {
    let image = pixels * c;
    let mut dx = vec![T::default(); x.len()];
    let mut partial = vec![T::default(); x.len() / image * 2 * c];
    dx.par_chunks_mut(image)
        .zip(partial.par_chunks_mut(2 * c))
        .zip(x.par_chunks(image).zip(dy.par_chunks(image)))
        .for_each(|((dx, partial), (x, dy))| run(Backward { spec, c, x, gamma, beta, dy, dx, partial }));
    let mut sums = vec![T::default(); 2 * c];
    for image in partial.chunks(2 * c) {
        sums.iter_mut().zip(image).for_each(|(to, from)| *to += *from);
    }
    let dbeta = sums.split_off(c);
    (dx, sums, dbeta)
}

struct Forward<'a, T> {
    spec: Spec,
    c: usize,
    x: &'a [T],
    gamma: &'a [T],
    beta: &'a [T],
    y: &'a mut [T],
}

struct Backward<'a, T> {
    spec: Spec,
    c: usize,
    x: &'a [T],
    gamma: &'a [T],
    beta: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    /// dgamma then dbeta of this image.
    partial: &'a mut [T],
}

/// Sum over pixels of `f`, for each channel. Sixteen pixels at a time, so that f32 sums over large images keep their digits.
#[inline(always)]
fn channel_sums<T: Real>(c: usize, n: usize, mut f: impl FnMut(usize, &mut [T])) -> Vec<T> {
    let (mut sums, mut part) = (vec![T::default(); c], vec![T::default(); c]);
    for start in (0..n).step_by(16) {
        part.fill(T::default());
        for p in start..(start + 16).min(n) {
            f(p, &mut part);
        }
        sums.iter_mut().zip(&part).for_each(|(to, from)| *to += *from);
    }
    sums
}

/// Each channel's value replaced by its group's mean value per pixel.
#[inline(always)]
fn group_means<T: Real>(sums: &mut [T], groups: usize, pixels: usize) {
    let per_group = sums.len() / groups;
    for group in sums.chunks_mut(per_group) {
        let mean = T::of(group.iter().map(|v| v.wide()).sum::<f64>() / (per_group * pixels) as f64);
        group.fill(mean);
    }
}

/// (mean, 1 / sqrt(variance + epsilon)) for each channel.
#[inline(always)]
fn statistics<T: Real>(spec: Spec, c: usize, x: &[T]) -> (Vec<T>, Vec<T>) {
    let n = x.len() / c;
    let mut mean = channel_sums(c, n, |p, sums: &mut [T]| sums.iter_mut().zip(&x[p * c..][..c]).for_each(|(s, x)| *s += *x));
    group_means(&mut mean, spec.groups, n);
    let mut rstd = channel_sums(c, n, |p, sums: &mut [T]| {
        for ((s, x), m) in sums.iter_mut().zip(&x[p * c..][..c]).zip(&mean) {
            *s += (*x - *m) * (*x - *m);
        }
    });
    group_means(&mut rstd, spec.groups, n);
    rstd.iter_mut().for_each(|v| *v = T::of(1.0 / (v.wide() + spec.epsilon).sqrt()));
    (mean, rstd)
}

#[inline(always)]
fn sigmoid<T: Real>(u: T) -> T {
    T::of(1.0) / (T::of(1.0) + (-u).exp())
}

impl<T: Real> Job<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let c = self.c;
        let (mean, rstd) = statistics(self.spec, c, self.x);
        let scale: Vec<T> = rstd.iter().zip(self.gamma).map(|(r, g)| *r * *g).collect();
        let shift: Vec<T> = self.beta.iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| *b - *m * *s).collect();
        for (y, x) in self.y.chunks_mut(c).zip(self.x.chunks(c)) {
            for ((y, x), (scale, shift)) in y.iter_mut().zip(x).zip(scale.iter().zip(&shift)) {
                *y = *x * *scale + *shift;
            }
            if self.spec.silu {
                y.iter_mut().for_each(|y| *y = *y * sigmoid(*y));
            }
        }
    }
}

impl<T: Real> Job<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let Backward { spec, c, x, gamma, beta, dy, dx, partial } = self;
        let n = x.len() / c;
        let (mean, rstd) = statistics(spec, c, x);
        // Slices of exactly c, so that the compiler sees that no index below leaves them, and vectorises.
        let (gamma, beta, mean, rstd) = (&gamma[..c], &beta[..c], &mean[..c], &rstd[..c]);
        // du = dL/d(normalised * gamma + beta), kept in dx until the group means are known.
        for p in 0..n {
            let (x, dy, dx) = (&x[p * c..][..c], &dy[p * c..][..c], &mut dx[p * c..][..c]);
            if spec.silu {
                for i in 0..c {
                    let u = (x[i] - mean[i]) * rstd[i] * gamma[i] + beta[i];
                    let s = sigmoid(u);
                    dx[i] = dy[i] * s * (T::of(1.0) + u * (T::of(1.0) - s));
                }
            } else {
                dx.copy_from_slice(dy);
            }
        }
        let dbeta = channel_sums(c, n, |p, sums: &mut [T]| sums.iter_mut().zip(&dx[p * c..][..c]).for_each(|(s, d)| *s += *d));
        let dgamma = channel_sums(c, n, |p, sums: &mut [T]| {
            let (x, dx, sums) = (&x[p * c..][..c], &dx[p * c..][..c], &mut sums[..c]);
            for i in 0..c {
                sums[i] += dx[i] * (x[i] - mean[i]) * rstd[i];
            }
        });
        partial[..c].copy_from_slice(&dgamma);
        partial[c..].copy_from_slice(&dbeta);
        // Means over the group of d = du * gamma, and of d * normalised.
        let mut mean_d: Vec<T> = dbeta.iter().zip(gamma).map(|(d, g)| *d * *g).collect();
        let mut mean_dx: Vec<T> = dgamma.iter().zip(gamma).map(|(d, g)| *d * *g).collect();
        group_means(&mut mean_d, spec.groups, n);
        group_means(&mut mean_dx, spec.groups, n);
        let (mean_d, mean_dx) = (&mean_d[..c], &mean_dx[..c]);
        for p in 0..n {
            let (x, dx) = (&x[p * c..][..c], &mut dx[p * c..][..c]);
            for i in 0..c {
                let normal = (x[i] - mean[i]) * rstd[i];
                dx[i] = rstd[i] * (dx[i] * gamma[i] - mean_d[i] - normal * mean_dx[i]);
            }
        }
    }
}
