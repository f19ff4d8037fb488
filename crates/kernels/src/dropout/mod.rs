//! Dropout with masks from the random stream: the same masks whatever the batch split, the device or the number of threads.

use crate::random::{Random, Stream};
use crate::simd::{Real, Simd, SimdKernel, run};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// The dropout masks of one training run, from image `first` of each step's batch on.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The seed of the masks.
    pub seed: u64,
    /// The first image's place in the batch.
    pub first: usize,
    random: Random,
}

impl Dropout {
    /// The masks under `seed` for images `first..` of a batch.
    pub fn new(seed: u64, first: usize) -> Dropout {
        Dropout { seed, first, random: Random::new(seed, Stream::Dropout) }
    }

    /// Applies dropout to image `image` of the batch, in place: each number is set to 0 with probability `p` in [0, 1), others divided by
    /// 1 - p.
    /// `layer` is the stream's step: the training step times the network's number of dropout layers, plus the layer's index.
    pub fn drop_image<T: Real>(&self, image: usize, layer: u64, p: f64, numbers: &mut [T]) {
        let start = ((self.first + image) * numbers.len()) as u64;
        run(Drop { random: self.random, layer, start, p, numbers });
    }

    /// The same for all images of `x`, images first. Differentiable. Shape: as `x`.
    pub fn apply(&self, x: &Tensor, layer: u64, p: f64) -> Result<Tensor> {
        let each = x.elem_count() / x.dim(0)?;
        let mut mask = vec![1f32; x.elem_count()];
        mask.par_chunks_mut(each).enumerate().for_each(|(image, mask)| self.drop_image(image, layer, p, mask));
        x * Tensor::from_vec(mask, x.dims(), x.device())?.to_dtype(x.dtype())?
    }
}

struct Drop<'a, T> {
    random: Random,
    layer: u64,
    start: u64,
    p: f64,
    numbers: &'a mut [T],
}

/// Blocks of four words that are made at a time.
const BLOCKS: usize = 16;

impl<T: Real> SimdKernel<T> for Drop<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd<T = T>>(self) {
        let (keep, dropped) = (T::of((1.0 / (1.0 - self.p)) as f32 as f64), (self.p * 4_294_967_296.0) as u32);
        let mut rest = self.numbers;
        let mut index = self.start;
        while !rest.is_empty() {
            let words = self.random.blocks::<BLOCKS>(self.layer, index / 4);
            let mut factors = [T::default(); 4 * BLOCKS];
            for block in 0..BLOCKS {
                for (word, words) in words.iter().enumerate() {
                    factors[4 * block + word] = if words[block] < dropped { T::default() } else { keep };
                }
            }
            let skipped = (index % 4) as usize;
            let n = rest.len().min(4 * BLOCKS - skipped);
            let (now, later) = rest.split_at_mut(n);
            now.iter_mut().zip(&factors[skipped..]).for_each(|(v, f)| *v = *v * *f);
            (rest, index) = (later, index + n as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn masks_do_not_depend_on_the_batch_split(seed: u64, layer in 0u64..1000, p in 0.0f64..0.95, batch in 2usize..6, each in 1usize..50, cut in 1usize..5) {
            let cut = cut.min(batch - 1);
            let ones = |n: usize| Tensor::ones((n, each), DType::F32, &Device::Cpu).unwrap();
            let numbers = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let whole = numbers(Dropout::new(seed, 0).apply(&ones(batch), layer, p).unwrap());
            let mut parts = numbers(Dropout::new(seed, 0).apply(&ones(cut), layer, p).unwrap());
            parts.extend(numbers(Dropout::new(seed, cut).apply(&ones(batch - cut), layer, p).unwrap()));
            prop_assert_eq!(&whole, &parts);
            let keep = (1.0 / (1.0 - p)) as f32;
            prop_assert!(whole.iter().all(|v| *v == 0.0 || *v == keep));
        }
    }

    #[test]
    fn the_share_dropped_is_p_and_the_mean_stays() {
        let x = Tensor::ones((10, 10_000), DType::F32, &Device::Cpu).unwrap();
        let y = Dropout::new(5, 0).apply(&x, 7, 0.1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!((y.iter().map(|v| *v as f64).sum::<f64>() / 1e5 - 1.0).abs() < 5.0 * (0.1f64 / 0.9 / 1e5).sqrt());
        let dropped = y.iter().filter(|v| **v == 0.0).count() as f64 / 1e5;
        // Five standard errors of a share of 0.1 among 100,000.
        assert!((dropped - 0.1).abs() < 5.0 * (0.09f64 / 1e5).sqrt(), "{dropped}");
    }

    /// Images, layers and seeds each have masks of their own.
    #[test]
    fn masks_are_of_their_own() {
        let mask = |seed: u64, image: usize, layer: u64| {
            let mut numbers = vec![1f32; 4096];
            Dropout::new(seed, 0).drop_image(image, layer, 0.5, &mut numbers);
            numbers
        };
        let plain = mask(1, 0, 0);
        for other in [mask(2, 0, 0), mask(1, 1, 0), mask(1, 0, 1)] {
            let alike = plain.iter().zip(&other).filter(|(a, b)| a == b).count() as f64 / 4096.0;
            assert!((alike - 0.5).abs() < 5.0 * (0.25f64 / 4096.0).sqrt(), "{alike}");
        }
    }
}
