//! GroupNorm (+ SiLU) on slices, an image at a time. An image's channels may stand in several buffers: a concatenation that is read in
//! place.

use super::Spec;
use crate::simd::{Job, Real, run};

/// Pixels of an image and channels of a pixel, for each buffer that its channels stand in.
pub type Parts<'a, T> = &'a [(&'a [T], usize)];

/// Channels of all parts.
pub fn channels<T>(parts: Parts<T>) -> usize {
    parts.iter().map(|p| p.1).sum()
}

/// y \[P, C\], and the statistics that the backward pass needs: means, then 1 / sqrt(variance + epsilon), for each channel.
pub fn forward<T: Real>(spec: Spec, x: Parts<T>, gamma: &[T], beta: &[T], statistics: &mut [T], y: &mut [T]) {
    run(Statistics { spec, x, out: statistics });
    again(spec, x, gamma, beta, statistics, y);
}

/// y again, from the statistics.
pub fn again<T: Real>(spec: Spec, x: Parts<T>, gamma: &[T], beta: &[T], statistics: &[T], y: &mut [T]) {
    run(Normalise { spec, x, gamma, beta, statistics, y });
}

/// dy becomes dx; `partial` gets this image's dgamma, then dbeta.
pub fn backward<T: Real>(spec: Spec, x: Parts<T>, gamma: &[T], beta: &[T], statistics: &[T], dy: &mut [T], partial: &mut [T]) {
    run(Backward { spec, x, gamma, beta, statistics, dy, partial });
}

struct Statistics<'a, T> {
    spec: Spec,
    x: Parts<'a, T>,
    out: &'a mut [T],
}

struct Normalise<'a, T> {
    spec: Spec,
    x: Parts<'a, T>,
    gamma: &'a [T],
    beta: &'a [T],
    statistics: &'a [T],
    y: &'a mut [T],
}

struct Backward<'a, T> {
    spec: Spec,
    x: Parts<'a, T>,
    gamma: &'a [T],
    beta: &'a [T],
    statistics: &'a [T],
    dy: &'a mut [T],
    partial: &'a mut [T],
}

/// Channels whose sums are kept in registers.
const WIDE: usize = 64;
/// Pixels that are summed before the sum joins the others, so that f32 sums over large images keep their digits.
const STRIP: usize = 16;

/// Sums over pixels of `f(channel, x, other)` for each of `c` channels, read with pixels `strides` apart.
#[inline(always)]
fn channel_sums<T: Real>(
    c: usize,
    x: &[T],
    x_stride: usize,
    other: &[T],
    other_stride: usize,
    sums: &mut [T],
    f: impl Fn(usize, T, T) -> T + Copy,
) {
    let mut from = 0;
    while from < c {
        macro_rules! strip {
            ($n:expr) => {{
                let part = strip_sums::<T, $n>(&x[from..], x_stride, &other[from..], other_stride, |i, a, b| f(from + i, a, b));
                sums[from..from + $n].copy_from_slice(&part);
                from += $n;
            }};
        }
        match c - from {
            WIDE.. => strip!(WIDE),
            16.. => strip!(16),
            4.. => strip!(4),
            _ => strip!(1),
        }
    }
}

/// For each of `N` channels, the sum over pixels of `f(channel, x, other)`.
#[inline(always)]
fn strip_sums<T: Real, const N: usize>(x: &[T], x_stride: usize, other: &[T], stride: usize, f: impl Fn(usize, T, T) -> T) -> [T; N] {
    let mut sums = [T::default(); N];
    for (x, other) in x.chunks(STRIP * x_stride).zip(other.chunks(STRIP * stride)) {
        let mut part = [T::default(); N];
        for (x, other) in x.chunks(x_stride).zip(other.chunks(stride)) {
            let (x, other): (&[T; N], &[T; N]) = (x[..N].try_into().expect("N long"), other[..N].try_into().expect("N long"));
            for i in 0..N {
                part[i] += f(i, x[i], other[i]);
            }
        }
        for i in 0..N {
            sums[i] += part[i];
        }
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

#[inline(always)]
fn sigmoid<T: Real>(u: T) -> T {
    T::of(1.0) / (T::of(1.0) + (-u).exp())
}

impl<T: Real> Job<T> for Statistics<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: crate::simd::Simd<T = T>>(self) {
        let Statistics { spec, x, out } = self;
        let pixels = x[0].0.len() / x[0].1;
        let (mean, rstd) = out.split_at_mut(channels(x));
        let mut from = 0;
        for (part, c) in x {
            channel_sums(*c, part, *c, part, *c, &mut mean[from..from + c], |_, x, _| x);
            from += c;
        }
        group_means(mean, spec.groups, pixels);
        from = 0;
        for (part, c) in x {
            let mean = &mean[from..from + c];
            channel_sums(*c, part, *c, part, *c, &mut rstd[from..from + c], |i, x, _| (x - mean[i]) * (x - mean[i]));
            from += c;
        }
        group_means(rstd, spec.groups, pixels);
        rstd.iter_mut().for_each(|v| *v = T::of(1.0 / (v.wide() + spec.epsilon).sqrt()));
    }
}

impl<T: Real> Job<T> for Normalise<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: crate::simd::Simd<T = T>>(self) {
        let Normalise { spec, x, gamma, beta, statistics, y } = self;
        let c = channels(x);
        let (mean, rstd) = statistics.split_at(c);
        let mut from = 0;
        for (part, n) in x {
            let (gamma, beta, mean, rstd) = (&gamma[from..from + n], &beta[from..from + n], &mean[from..from + n], &rstd[from..from + n]);
            for (y, x) in y.chunks_exact_mut(c).zip(part.chunks_exact(*n)) {
                let y = &mut y[from..from + n];
                for i in 0..*n {
                    y[i] = (x[i] - mean[i]) * rstd[i] * gamma[i] + beta[i];
                }
                if spec.silu {
                    y.iter_mut().for_each(|y| *y = *y * sigmoid(*y));
                }
            }
            from += n;
        }
    }
}

impl<T: Real> Job<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: crate::simd::Simd<T = T>>(self) {
        let Backward { spec, x, gamma, beta, statistics, dy, partial } = self;
        let c = channels(x);
        let pixels = dy.len() / c;
        let (all_mean, all_rstd) = statistics.split_at(c);
        let (dgamma, dbeta) = partial.split_at_mut(c);
        // du = dL/d(normalised * gamma + beta) first, in place of dy.
        let mut from = 0;
        for (part, n) in x {
            let n = *n;
            let (mean, rstd, gamma, beta) =
                (&all_mean[from..from + n], &all_rstd[from..from + n], &gamma[from..from + n], &beta[from..from + n]);
            if spec.silu {
                for (dy, x) in dy.chunks_exact_mut(c).zip(part.chunks_exact(n)) {
                    let dy = &mut dy[from..from + n];
                    for i in 0..n {
                        let u = (x[i] - mean[i]) * rstd[i] * gamma[i] + beta[i];
                        let s = sigmoid(u);
                        dy[i] = dy[i] * s * (T::of(1.0) + u * (T::of(1.0) - s));
                    }
                }
            }
            channel_sums(n, part, n, &dy[from..], c, &mut dbeta[from..from + n], |_, _, d| d);
            channel_sums(n, part, n, &dy[from..], c, &mut dgamma[from..from + n], |i, x, d| d * (x - mean[i]) * rstd[i]);
            from += n;
        }
        // Means over the group of d = du * gamma, and of d * normalised.
        let mut mean_d: Vec<T> = dbeta.iter().zip(gamma).map(|(d, g)| *d * *g).collect();
        let mut mean_dx: Vec<T> = dgamma.iter().zip(gamma).map(|(d, g)| *d * *g).collect();
        group_means(&mut mean_d, spec.groups, pixels);
        group_means(&mut mean_dx, spec.groups, pixels);
        from = 0;
        for (part, n) in x {
            let n = *n;
            let (mean, rstd, gamma) = (&all_mean[from..from + n], &all_rstd[from..from + n], &gamma[from..from + n]);
            let (mean_d, mean_dx) = (&mean_d[from..from + n], &mean_dx[from..from + n]);
            for (dy, x) in dy.chunks_exact_mut(c).zip(part.chunks_exact(n)) {
                let dy = &mut dy[from..from + n];
                for i in 0..n {
                    let normal = (x[i] - mean[i]) * rstd[i];
                    dy[i] = rstd[i] * (dy[i] * gamma[i] - mean_d[i] - normal * mean_dx[i]);
                }
            }
            from += n;
        }
    }
}
