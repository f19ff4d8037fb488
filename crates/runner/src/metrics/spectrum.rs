//! Power of images by radial frequency, in octaves.

use ddpm_model::network::ImageShape;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlannerScalar};
use std::sync::Arc;

/// Measures power by bands of radial frequency. Band 0 is an image's mean alone; band k >= 1 has 2^(k-1) up to 2^k cycles along the
/// longer side, and the last one whatever is above that.
pub struct Spectrum {
    shape: ImageShape,
    along_rows: Arc<dyn Fft<f64>>,
    along_columns: Arc<dyn Fft<f64>>,
    /// The band of each coefficient, row by row.
    band: Vec<usize>,
    /// Coefficients in each band.
    counts: Vec<usize>,
}

impl Spectrum {
    /// For images of a shape.
    pub fn new(shape: ImageShape) -> Spectrum {
        let ImageShape { height, width, .. } = shape;
        let mut planner = FftPlannerScalar::new();
        let longer = height.max(width) as f64;
        // Coefficient i of n and coefficient n - i are one frequency.
        let cycles = |i: usize, n: usize| i.min(n - i) as f64 * longer / n as f64;
        let of = |i: usize| {
            let (row, column) = (cycles(i / width, height), cycles(i % width, width));
            octave(libm::sqrt(row * row + column * column))
        };
        let band: Vec<usize> = (0..height * width).map(of).collect();
        let mut counts = vec![0; band.iter().max().map_or(0, |highest| highest + 1)];
        band.iter().for_each(|band| counts[*band] += 1);
        Spectrum { shape, along_rows: planner.plan_fft_forward(width), along_columns: planner.plan_fft_forward(height), band, counts }
    }

    /// The lowest frequency of each band, in cycles along the longer side.
    pub fn edges(&self) -> Vec<f64> {
        (0..self.counts.len()).map(lowest).collect()
    }

    /// What each band adds to the mean square of an image `[H, W, C]`.
    pub fn parts(&self, image: &[f32]) -> Vec<f64> {
        let ImageShape { height, width, channels } = self.shape;
        assert_eq!(image.len(), self.shape.len(), "an image of {}", self.shape);
        let mut parts = vec![0.0; self.counts.len()];
        for channel in 0..channels {
            let numbers = image.iter().skip(channel).step_by(channels).map(|v| Complex::new(*v as f64, 0.0));
            let mut rows: Vec<Complex<f64>> = numbers.collect();
            self.along_rows.process(&mut rows);
            let mut columns: Vec<Complex<f64>> =
                (0..width).flat_map(|x| (0..height).map(move |y| (x, y))).map(|(x, y)| rows[y * width + x]).collect();
            self.along_columns.process(&mut columns);
            for (i, band) in self.band.iter().enumerate() {
                parts[*band] += columns[i % width * height + i / width].norm_sqr();
            }
        }
        let pixels = (height * width) as f64;
        parts.into_iter().map(|power| power / (pixels * pixels * channels as f64)).collect()
    }

    /// The mean power of a band's coefficients, from what the band adds to the mean square: 1 for white noise of variance 1.
    pub fn densities(&self, parts: &[f64]) -> Vec<f64> {
        let pixels = self.band.len() as f64;
        parts.iter().zip(&self.counts).map(|(part, count)| part * pixels / *count as f64).collect()
    }
}

/// The band of a frequency.
fn octave(cycles: f64) -> usize {
    (1..).find(|band| cycles < lowest(*band)).map_or(0, |above| above - 1)
}

/// The lowest frequency of a band.
fn lowest(band: usize) -> f64 {
    if band == 0 { 0.0 } else { 2f64.powi(band as i32 - 1) }
}

/// What a band is called: `mean`, `1–2`, and so on.
pub fn name(edges: &[f64], band: usize) -> String {
    match (band, edges.get(band + 1)) {
        (0, _) => "mean".into(),
        (_, Some(next)) => format!("{}–{next}", edges[band]),
        (_, None) => format!("≥ {}", edges[band]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::PI;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The transform written out, coefficient by coefficient; and what the bands add up to is the mean square.
        #[test]
        fn bands_are_those_of_the_transform_written_out(
            height in 1usize..9, width in 1usize..9, channels in 1usize..4, seed in prop::collection::vec(-1.0f32..1.0, 8 * 8 * 3),
        ) {
            let shape = ImageShape { height, width, channels };
            let spectrum = Spectrum::new(shape);
            let image = &seed[..shape.len()];
            let found = spectrum.parts(image);
            let longer = height.max(width) as f64;
            let mut expected = vec![0.0; found.len()];
            for (k, l) in (0..height).flat_map(|k| (0..width).map(move |l| (k, l))) {
                let signed = |i: usize, n: usize| (if 2 * i > n { i as f64 - n as f64 } else { i as f64 }) / n as f64 * longer;
                let radius = signed(k, height).hypot(signed(l, width));
                let band = (1..10).filter(|band| radius >= 2f64.powi(band - 1) - 1e-12).count();
                for c in 0..channels {
                    let (mut re, mut im) = (0.0, 0.0);
                    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                        let angle = -2.0 * PI * ((k * y) as f64 / height as f64 + (l * x) as f64 / width as f64);
                        let v = image[(y * width + x) * channels + c] as f64;
                        re += v * angle.cos();
                        im += v * angle.sin();
                    }
                    expected[band] += (re * re + im * im) / ((height * width) as f64).powi(2) / channels as f64;
                }
            }
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
            let square = image.iter().map(|v| (*v as f64).powi(2)).sum::<f64>() / image.len() as f64;
            prop_assert!((found.iter().sum::<f64>() - square).abs() < 1e-12);
        }
    }

    /// Whole numbers of cycles are where a band begins, whatever the side.
    #[test]
    fn a_band_begins_with_its_lowest_frequency() {
        for side in [12, 49, 98, 103] {
            let shape = ImageShape { height: side, width: side, channels: 1 };
            let spectrum = Spectrum::new(shape);
            for (band, cycles) in [(1, 1), (2, 2), (3, 4)] {
                for along in [1, side] {
                    let wave = |i: usize| (2.0 * PI * (cycles * (i / along % side)) as f64 / side as f64).cos() as f32;
                    let found = spectrum.parts(&(0..side * side).map(wave).collect::<Vec<_>>());
                    assert!((found[band] - 0.5).abs() < 1e-6, "{side}, {cycles}: {found:?}");
                }
            }
        }
    }

    /// A wave of three cycles lies between 2 and 4; a bright image is its mean alone.
    #[test]
    fn waves_are_where_they_should_be() {
        let shape = ImageShape { height: 16, width: 16, channels: 1 };
        let spectrum = Spectrum::new(shape);
        assert_eq!(spectrum.edges(), [0.0, 1.0, 2.0, 4.0, 8.0]);
        let wave: Vec<f32> = (0..256).map(|i| (2.0 * PI * 3.0 * (i % 16) as f64 / 16.0).cos() as f32).collect();
        let found = spectrum.parts(&wave);
        assert!((found[2] - 0.5).abs() < 1e-7 && found.iter().sum::<f64>() - found[2] < 1e-12, "{found:?}");
        let flat = spectrum.parts(&[2.0; 256]);
        assert!((flat[0] - 4.0).abs() < 1e-12 && flat[1..].iter().all(|part| *part < 1e-24), "{flat:?}");
        // The four coefficients of one cycle and the four beside them make up band 1.
        let ones = vec![1.0 / 256.0, 8.0 / 256.0];
        let densities = spectrum.densities(&[ones, vec![0.0; 3]].concat());
        assert!((densities[0] - 1.0).abs() < 1e-12 && (densities[1] - 1.0).abs() < 1e-12, "{densities:?}");
        assert_eq!([0, 1, 4].map(|band| name(&spectrum.edges(), band)), ["mean", "1–2", "≥ 8"]);
    }
}
