//! GroupNorm (+ SiLU) on slices, one image at a time. An image's channels may be spread over several buffers, so that a concatenation is
//! read in place.

use super::spec::Spec;
use crate::simd::{Real, SimdKernel, run};

/// Pixels of an image and channels of a pixel, for each buffer that its channels stand in.
pub type Parts<'a, T> = &'a [(&'a [T], usize)];

/// Channels of all parts.
pub fn channels<T>(parts: Parts<T>) -> usize {
    parts.iter().map(|p| p.1).sum()
}

/// y \[P, C\], and the statistics that the backward pass needs: means, then 1 / sqrt(variance + epsilon), for each channel.
pub fn forward<T: Real>(spec: Spec, x: Parts<T>, gamma: &[T], beta: &[T], statistics: &mut [T], y: &mut [T]) {
    run(Statistics { spec, x, out: statistics });
    recompute(spec, x, gamma, beta, statistics, y);
}

/// y again, from the statistics.
pub fn recompute<T: Real>(spec: Spec, x: Parts<T>, gamma: &[T], beta: &[T], statistics: &[T], y: &mut [T]) {
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

/// Pixels per partial sum: summing in two levels keeps f32 sums over large images accurate.
const STRIP: usize = 16;

/// Calls a function for blocks of channels whose values stay in registers throughout the loop over all pixels.
macro_rules! in_blocks {
    ($c:expr, $function:ident::<$t:ident>($($argument:expr),*)) => {{
        let mut from = 0;
        while from < $c {
            match $c - from {
                32.. => { $function::<$t, 32>(from, $($argument),*); from += 32 }
                16.. => { $function::<$t, 16>(from, $($argument),*); from += 16 }
                4.. => { $function::<$t, 4>(from, $($argument),*); from += 4 }
                _ => { $function::<$t, 1>(from, $($argument),*); from += 1 }
            }
        }
    }};
}

/// `N` numbers from `from` on.
#[inline(always)]
fn some<T: Copy, const N: usize>(all: &[T], from: usize) -> [T; N] {
    *all[from..].first_chunk().expect("a block lies inside its row")
}

/// Sums over pixels of x - centre, or of its square.
#[inline(always)]
fn sums<T: Real, const N: usize>(from: usize, x: &[T], c: usize, centre: Option<&[T]>, out: &mut [T]) {
    let mut sums = [T::default(); N];
    let (squared, centre) = match centre {
        Some(all) => (true, some::<T, N>(all, from)),
        None => (false, [T::default(); N]),
    };
    for strip in x.chunks(STRIP * c) {
        let mut part = [T::default(); N];
        for pixel in strip.chunks_exact(c) {
            let x = some::<T, N>(pixel, from);
            for i in 0..N {
                part[i] += if squared { (x[i] - centre[i]) * (x[i] - centre[i]) } else { x[i] };
            }
        }
        for i in 0..N {
            sums[i] += part[i];
        }
    }
    out[from..from + N].copy_from_slice(&sums);
}

/// y = silu?(x scale + shift).
#[inline(always)]
fn normalise<T: Real, const N: usize>(
    from: usize,
    (x, n): (&[T], usize),
    (scale, shift): (&[T], &[T]),
    silu: bool,
    (y, c): (&mut [T], usize),
) {
    let (scale, shift) = (some::<T, N>(scale, from), some::<T, N>(shift, from));
    for (x, y) in x.chunks_exact(n).zip(y.chunks_mut(c)) {
        let x = some::<T, N>(x, from);
        let y = &mut y[from..from + N];
        let mut u = [T::default(); N];
        for i in 0..N {
            u[i] = x[i] * scale[i] + shift[i];
        }
        if silu {
            for v in &mut u {
                *v = *v * sigmoid(*v);
            }
        }
        y.copy_from_slice(&u);
    }
}

/// Per-channel inputs of the backward pass.
struct Channels<'a, T> {
    mean: &'a [T],
    rstd: &'a [T],
    gamma: &'a [T],
    beta: &'a [T],
}

/// dy becomes du = dL/d(normalised gamma + beta); sums over pixels of du normalised, and of du.
#[inline(always)]
fn normalised_gradients<T: Real, const N: usize>(
    from: usize,
    (x, n): (&[T], usize),
    of: &Channels<T>,
    silu: bool,
    (dy, c): (&mut [T], usize),
    dgamma: &mut [T],
    dbeta: &mut [T],
) {
    let (mean, rstd) = (some::<T, N>(of.mean, from), some::<T, N>(of.rstd, from));
    let (gamma, beta) = (some::<T, N>(of.gamma, from), some::<T, N>(of.beta, from));
    let (mut with_normal, mut alone) = ([T::default(); N], [T::default(); N]);
    for (x, dy) in x.chunks(STRIP * n).zip(dy.chunks_mut(STRIP * c)) {
        let (mut part_with, mut part_alone) = ([T::default(); N], [T::default(); N]);
        for (x, dy) in x.chunks_exact(n).zip(dy.chunks_mut(c)) {
            let x = some::<T, N>(x, from);
            let dy = &mut dy[from..from + N];
            for i in 0..N {
                let normal = (x[i] - mean[i]) * rstd[i];
                if silu {
                    let u = normal * gamma[i] + beta[i];
                    let s = sigmoid(u);
                    dy[i] = dy[i] * (s * (T::of(1.0) + u * (T::of(1.0) - s)));
                }
                part_with[i] += dy[i] * normal;
                part_alone[i] += dy[i];
            }
        }
        for i in 0..N {
            with_normal[i] += part_with[i];
            alone[i] += part_alone[i];
        }
    }
    dgamma[from..from + N].copy_from_slice(&with_normal);
    dbeta[from..from + N].copy_from_slice(&alone);
}

/// du becomes dx = rstd (du gamma - mean of d - normalised mean of d normalised).
#[inline(always)]
fn input_gradient<T: Real, const N: usize>(
    from: usize,
    (x, n): (&[T], usize),
    of: &Channels<T>,
    mean_d: &[T],
    mean_dx: &[T],
    (dy, c): (&mut [T], usize),
) {
    let (mean, rstd, gamma) = (some::<T, N>(of.mean, from), some::<T, N>(of.rstd, from), some::<T, N>(of.gamma, from));
    let (mean_d, mean_dx) = (some::<T, N>(mean_d, from), some::<T, N>(mean_dx, from));
    for (x, dy) in x.chunks_exact(n).zip(dy.chunks_mut(c)) {
        let x = some::<T, N>(x, from);
        let dy = &mut dy[from..from + N];
        for i in 0..N {
            let normal = (x[i] - mean[i]) * rstd[i];
            dy[i] = rstd[i] * (dy[i] * gamma[i] - mean_d[i] - normal * mean_dx[i]);
        }
    }
}

/// Each channel's value replaced by its group's mean value per pixel.
#[inline(always)]
fn group_means<T: Real>(sums: &mut [T], groups: usize, pixels: usize) {
    let per_group = sums.len() / groups;
    for group in sums.chunks_mut(per_group) {
        let mut sum = 0.0;
        for v in group.iter() {
            sum += v.wide();
        }
        group.fill(T::of(sum / (per_group * pixels) as f64));
    }
}

#[inline(always)]
fn sigmoid<T: Real>(u: T) -> T {
    T::of(1.0) / (T::of(1.0) + (-u).exp())
}

impl<T: Real> SimdKernel<T> for Statistics<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: crate::simd::Simd<T = T>>(self) {
        let Statistics { spec, x, out } = self;
        let pixels = x[0].0.len() / x[0].1;
        let (mean, rstd) = out.split_at_mut(channels(x));
        let mut base = 0;
        for (part, n) in x {
            in_blocks!(*n, sums::<T>(part, *n, None, &mut mean[base..]));
            base += n;
        }
        group_means(mean, spec.groups, pixels);
        base = 0;
        for (part, n) in x {
            in_blocks!(*n, sums::<T>(part, *n, Some(&mean[base..]), &mut rstd[base..]));
            base += n;
        }
        group_means(rstd, spec.groups, pixels);
        rstd.iter_mut().for_each(|v| *v = T::of(1.0 / (v.wide() + spec.epsilon).sqrt()));
    }
}

impl<T: Real> SimdKernel<T> for Normalise<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: crate::simd::Simd<T = T>>(self) {
        let Normalise { spec, x, gamma, beta, statistics, y } = self;
        let c = channels(x);
        let (mean, rstd) = statistics.split_at(c);
        // In f64, so that a mean far from 0 costs no digits but those of x itself.
        let wide = |i: usize| rstd[i].wide() * gamma[i].wide();
        let scale: Vec<T> = (0..c).map(|i| T::of(wide(i))).collect();
        let shift: Vec<T> = (0..c).map(|i| T::of(beta[i].wide() - mean[i].wide() * wide(i))).collect();
        let mut base = 0;
        for (part, n) in x {
            in_blocks!(*n, normalise::<T>((part, *n), (&scale[base..], &shift[base..]), spec.silu, (&mut y[base..], c)));
            base += n;
        }
    }
}

impl<T: Real> SimdKernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: crate::simd::Simd<T = T>>(self) {
        let Backward { spec, x, gamma, beta, statistics, dy, partial } = self;
        let c = channels(x);
        let pixels = dy.len() / c;
        let (mean, rstd) = statistics.split_at(c);
        let of = |base: usize| Channels { mean: &mean[base..], rstd: &rstd[base..], gamma: &gamma[base..], beta: &beta[base..] };
        let (dgamma, dbeta) = partial.split_at_mut(c);
        let mut base = 0;
        for (part, n) in x {
            let known = of(base);
            in_blocks!(
                *n,
                normalised_gradients::<T>((part, *n), &known, spec.silu, (&mut dy[base..], c), &mut dgamma[base..], &mut dbeta[base..])
            );
            base += n;
        }
        // Means over the group of d = du gamma, and of d normalised.
        let mut mean_d: Vec<T> = dbeta.iter().zip(gamma).map(|(d, g)| *d * *g).collect();
        let mut mean_dx: Vec<T> = dgamma.iter().zip(gamma).map(|(d, g)| *d * *g).collect();
        group_means(&mut mean_d, spec.groups, pixels);
        group_means(&mut mean_dx, spec.groups, pixels);
        base = 0;
        for (part, n) in x {
            let known = of(base);
            in_blocks!(*n, input_gradient::<T>((part, *n), &known, &mean_d[base..], &mean_dx[base..], (&mut dy[base..], c)));
            base += n;
        }
    }
}
