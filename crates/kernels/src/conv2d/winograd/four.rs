//! The transforms of F(2x2, 3x3): four points 0, 1, -1 and ∞. 16 products for 4 results where a direct convolution takes 36; with
//! transforms that only add and halve, rounding to bf16 behind them loses half as much again as rounding the data does.

use super::transform::{TAPS, Transform, fma, mul, transform};
use crate::simd::Simd;

/// Points of a transform, and pixels on a side of a tile of data.
pub(super) const POINTS: usize = 4;
/// Pixels on a side of a tile of results.
pub(super) const SIDE: usize = 2;

/// Bᵀ d: the data at the points.
///
/// # Safety
/// The instruction set of `S` must exist on this processor.
#[inline(always)]
unsafe fn data<S: Simd>(d: [S::V; POINTS]) -> [S::V; POINTS] {
    // Safety: the caller's promise.
    unsafe { [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[3], d[1])] }
}

/// G g of a filter: its polynomial at the points, over the product of the distances to the other points, of which 0's is made positive
/// here and in [`data`].
///
/// # Safety
/// The instruction set of `S` must exist on this processor.
#[inline(always)]
unsafe fn filter<S: Simd>(g: [S::V; TAPS]) -> [S::V; POINTS] {
    // Safety: the caller's promise.
    unsafe {
        let (even, odd) = (mul::<S>(S::add(g[0], g[2]), 0.5), g[1]);
        [g[0], fma::<S>(odd, 0.5, even), fma::<S>(odd, -0.5, even), g[2]]
    }
}

/// Aᵀ m: the i-th result sums the products times the i-th power of their points.
///
/// # Safety
/// The instruction set of `S` must exist on this processor.
#[inline(always)]
unsafe fn results<S: Simd>(m: [S::V; POINTS]) -> [S::V; SIDE] {
    // Safety: the caller's promise.
    unsafe { [S::add(m[0], S::add(m[1], m[2])), S::add(S::sub(m[1], m[2]), m[3])] }
}

transform!(Data, POINTS, POINTS, data);
transform!(Weights, TAPS, POINTS, filter);
transform!(Results, POINTS, SIDE, results);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Wide;
    use proptest::prelude::*;

    type One = Wide<f64, 1>;

    proptest! {
        #[test]
        fn products_at_the_points_are_a_correlation(d in prop::array::uniform4(-1.0f64..1.0), g in prop::array::uniform3(-1.0f64..1.0)) {
            // Safety: plain numbers need no instruction set.
            let found = unsafe {
                let (d, g) = (data::<One>(d.map(|v| [v])), filter::<One>(g.map(|v| [v])));
                results::<One>(std::array::from_fn(|p| [d[p][0] * g[p][0]]))
            };
            for (i, [found]) in found.into_iter().enumerate() {
                let exact: f64 = (0..TAPS).map(|k| d[i + k] * g[k]).sum();
                prop_assert!((found - exact).abs() < 1e-14, "{found} {exact}");
            }
        }
    }
}
