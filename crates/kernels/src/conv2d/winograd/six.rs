//! The transforms of F(4x4, 3x3): six points 0, ±√½, ±√2 and ∞, at which a product of polynomials is taken instead of a convolution.
//!
//! Lavin and Gray take the points 0, ±1, ±2 and ∞; the powers of √½ and √2 stay nearer to 1, so that less is lost to rounding. The same six
//! points give the weight gradient, in which 4x4 gradients are the filter and 3x3 numbers the result.

use super::transform::{TAPS, Transform, fma, mul, transform};
use crate::simd::Simd;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Points of a transform, and pixels on a side of a tile of data.
pub(super) const POINTS: usize = 6;
/// Pixels on a side of a tile of results.
pub(super) const SIDE: usize = 4;

/// The points other than 0 and ∞, of either sign.
const A: f64 = FRAC_1_SQRT_2;
const B: f64 = SQRT_2;

/// Bᵀ d: the data at the points.
///
/// # Safety
/// The instruction set of `S` must exist on this processor.
#[inline(always)]
unsafe fn data<S: Simd>(d: [S::V; POINTS]) -> [S::V; POINTS] {
    // Safety: the caller's promise.
    unsafe {
        let (even_a, odd_a) = (fma::<S>(d[2], -2.0, d[4]), fma::<S>(d[1], -2.0, d[3]));
        let (even_b, odd_b) = (fma::<S>(d[2], -0.5, d[4]), fma::<S>(d[1], -0.5, d[3]));
        [
            fma::<S>(d[2], -2.5, S::add(d[0], d[4])),
            fma::<S>(odd_a, A, even_a),
            fma::<S>(odd_a, -A, even_a),
            fma::<S>(odd_b, B, even_b),
            fma::<S>(odd_b, -B, even_b),
            fma::<S>(d[3], -2.5, S::add(d[1], d[5])),
        ]
    }
}

/// G g of a filter of 3 or 4 taps: its polynomial at the points, over the product of the distances to the other points.
///
/// # Safety
/// The instruction set of `S` must exist on this processor.
#[inline(always)]
unsafe fn filter<S: Simd, const TAPS: usize>(g: [S::V; TAPS]) -> [S::V; POINTS] {
    // Safety: the caller's promise.
    unsafe {
        let (even_a, even_b) = (fma::<S>(g[2], A * A, g[0]), fma::<S>(g[2], B * B, g[0]));
        let (mut odd_a, mut odd_b) = (mul::<S>(g[1], A), mul::<S>(g[1], B));
        if TAPS == 4 {
            (odd_a, odd_b) = (fma::<S>(g[TAPS - 1], A * A * A, odd_a), fma::<S>(g[TAPS - 1], B * B * B, odd_b));
        }
        let (even_a, even_b) = (mul::<S>(even_a, -2.0 / 3.0), mul::<S>(even_b, 1.0 / 6.0));
        [
            g[0],
            fma::<S>(odd_a, -2.0 / 3.0, even_a),
            fma::<S>(odd_a, 2.0 / 3.0, even_a),
            fma::<S>(odd_b, 1.0 / 6.0, even_b),
            fma::<S>(odd_b, -1.0 / 6.0, even_b),
            g[TAPS - 1],
        ]
    }
}

/// Aᵀ m, 4 or 3 results: the i-th sums the products times the i-th power of their points.
///
/// # Safety
/// The instruction set of `S` must exist on this processor.
#[inline(always)]
unsafe fn results<S: Simd, const N: usize>(m: [S::V; POINTS]) -> [S::V; N] {
    // Safety: the caller's promise.
    unsafe {
        let (even_a, odd_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (even_b, odd_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        let mut y = [S::add(S::add(m[0], even_a), even_b); N];
        y[1] = fma::<S>(odd_a, A, mul::<S>(odd_b, B));
        if N == 4 {
            y[2] = fma::<S>(even_a, A * A, mul::<S>(even_b, B * B));
            y[N - 1] = fma::<S>(odd_a, A * A * A, fma::<S>(odd_b, B * B * B, m[5]));
        } else {
            y[N - 1] = fma::<S>(even_a, A * A, fma::<S>(even_b, B * B, m[5]));
        }
        y
    }
}

/// Sums of two neighbouring results: what an image that was doubled gives back.
///
/// # Safety
/// The instruction set of `S` must exist on this processor.
#[inline(always)]
unsafe fn pairs<S: Simd>(m: [S::V; POINTS]) -> [S::V; SIDE / 2] {
    // Safety: the caller's promise.
    unsafe {
        let y = results::<S, SIDE>(m);
        [S::add(y[0], y[1]), S::add(y[2], y[3])]
    }
}

transform!(Data, POINTS, POINTS, data);
transform!(Weights, TAPS, POINTS, filter, TAPS);
transform!(Gradients, SIDE, POINTS, filter, SIDE);
transform!(Results, POINTS, SIDE, results, SIDE);
transform!(Folded, POINTS, SIDE / 2, pairs);
transform!(WeightGradients, POINTS, TAPS, results, TAPS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Wide;
    use proptest::prelude::*;

    type One = Wide<f64, 1>;

    /// One number instead of a vector of them.
    fn each<const N: usize>(v: [f64; N]) -> [[f64; 1]; N] {
        v.map(|v| [v])
    }

    /// Σ_k d\[i + k\] g\[k\].
    fn correlation<const TAPS: usize, const N: usize>(d: &[f64; POINTS], g: &[f64; TAPS]) -> [f64; N] {
        std::array::from_fn(|i| (0..TAPS).map(|k| d[i + k] * g[k]).sum())
    }

    fn by_points<const TAPS: usize, const N: usize>(d: [f64; POINTS], g: [f64; TAPS]) -> [f64; N] {
        // Safety: plain numbers need no instruction set.
        let (d, g) = unsafe { (data::<One>(each(d)), filter::<One, TAPS>(each(g))) };
        let products = std::array::from_fn(|p| [d[p][0] * g[p][0]]);
        // Safety: as above.
        unsafe { results::<One, N>(products) }.map(|v| v[0])
    }

    proptest! {
        #[test]
        fn products_at_the_points_are_a_correlation(d in prop::array::uniform6(-1.0f64..1.0), g in prop::array::uniform4(-1.0f64..1.0)) {
            let three = [g[0], g[1], g[2]];
            for (found, exact) in by_points::<3, 4>(d, three).iter().zip(correlation::<3, 4>(&d, &three)) {
                prop_assert!((found - exact).abs() < 1e-14, "{found} {exact}");
            }
            for (found, exact) in by_points::<4, 3>(d, g).iter().zip(correlation::<4, 3>(&d, &g)) {
                prop_assert!((found - exact).abs() < 1e-14, "{found} {exact}");
            }
        }

        /// The matrices themselves: interpolation at the points, as Cook and Toom have it, scaled so that A holds powers alone.
        #[test]
        fn rows_are_those_of_the_points(d in prop::array::uniform6(-1.0f64..1.0), g in prop::array::uniform3(-1.0f64..1.0)) {
            let points = [0.0, A, -A, B, -B];
            // Safety: plain numbers need no instruction set.
            let (data, filter) = unsafe { (data::<One>(each(d)), filter::<One, 3>(each(g))) };
            for (i, x) in points.into_iter().enumerate() {
                // The coefficients of the product of (z - q) over all other points q.
                let mut others = vec![1.0];
                for q in points.into_iter().filter(|q| *q != x) {
                    others.push(0.0);
                    let shorter = others.clone();
                    others.iter_mut().enumerate().for_each(|(k, to)| *to = if k > 0 { shorter[k - 1] } else { 0.0 } - q * shorter[k]);
                }
                let exact: f64 = others.iter().zip(d).map(|(c, d)| c * d).sum();
                prop_assert!((data[i][0] - exact).abs() < 1e-14, "data at {x}");
                let distance: f64 = points.into_iter().filter(|q| *q != x).map(|q| x - q).product();
                let exact = (g[0] + x * (g[1] + x * g[2])) / distance;
                prop_assert!((filter[i][0] - exact).abs() < 1e-14, "filter at {x}");
            }
        }
    }
}
