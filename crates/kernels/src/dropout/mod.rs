//! Dropout with masks from the random stream: the same masks whatever the batch split, the device or the number of threads.

use crate::random::{Random, Stream};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// The dropout masks of one training run, from image `first` of each step's batch on.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    random: Random,
    first: usize,
}

impl Dropout {
    /// The masks under `seed` for images `first..` of a batch.
    pub fn new(seed: u64, first: usize) -> Dropout {
        Dropout { random: Random::new(seed, Stream::Dropout), first }
    }

    /// `x` with each number set to 0 with probability `p` in [0, 1), the others divided by 1 - p. `layer` is the stream's step:
    /// training step times the network's dropout layers, plus the layer. Differentiable. Shape: as `x`, images first.
    pub fn apply(&self, x: &Tensor, layer: u64, p: f64) -> Result<Tensor> {
        let images = x.dim(0)?;
        let each = x.elem_count() / images;
        let (keep, dropped) = ((1.0 / (1.0 - p)) as f32, (p * 4_294_967_296.0) as u32);
        let mut mask = vec![0f32; x.elem_count()];
        mask.par_chunks_mut(each).enumerate().for_each(|(image, mask)| {
            let start = ((self.first + image) * each) as u64;
            let mut words = [0; 4];
            for (i, m) in mask.iter_mut().enumerate() {
                let index = start + i as u64;
                if i == 0 || index.is_multiple_of(4) {
                    words = self.random.block(layer, index / 4);
                }
                *m = if words[(index % 4) as usize] < dropped { 0.0 } else { keep };
            }
        });
        x * Tensor::from_vec(mask, x.dims(), x.device())?.to_dtype(x.dtype())?
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
        let dropped = y.iter().filter(|v| **v == 0.0).count() as f64 / 1e5;
        // Five standard errors of a share of 0.1 among 100,000.
        assert!((dropped - 0.1).abs() < 5.0 * (0.09f64 / 1e5).sqrt(), "{dropped}");
    }
}
