//! Counter-based random streams (Philox4x32-10): any number of any stream can be generated directly, in any order, on any device.
//!
//! A number is a function of (seed, stream, step, index) and of nothing else: not of the batch split, the thread or the device.

mod order;
mod philox;

pub use order::{Keyed, LONGEST_TABLE, Order};
pub use philox::philox4x32_10;

use rayon::prelude::*;

/// What a random number is used for. Each use has its own stream, so that adding one does not change the numbers of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Stream {
    /// Initial weights; the step is the parameter's position.
    Init = 1,
    /// The order in which an epoch visits the images; the step is the epoch.
    Shuffle = 2,
    /// Left-right flips of training images; the step is the training step.
    Flip = 3,
    /// Timesteps of training images; the step is the training step.
    Timestep = 4,
    /// Forward-process noise of training images; the step is the training step.
    TrainNoise = 5,
    /// Dropout masks; the step is the training step times the network's number of dropout layers plus the layer.
    Dropout = 6,
    /// Samples: x_T (step 0) and the noise at position i of the trajectory (step i + 1).
    Sample = 7,
    /// Forward-process noise of evaluated images; the step is t.
    Evaluation = 8,
    /// Anything that trains the feature classifier.
    Classifier = 9,
    /// Resampling for standard errors; the step is the resample.
    Bootstrap = 10,
    /// Subsets of samples, for scores that average over subsets or fit a line through them; the step is the subset.
    Subset = 11,
    /// Forward-process noise of images that are interpolated; the step is t.
    Encode = 12,
    /// Points of data sets that are drawn; the step is 0 for their modes and 1 for their places.
    Data = 13,
}

/// One stream of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: [u32; 2],
    stream: u32,
}

impl Random {
    /// The stream of that name under `seed`.
    pub fn new(seed: u64, stream: Stream) -> Random {
        Random { key: [seed as u32, (seed >> 32) as u32], stream: stream as u32 }
    }

    /// The key and the stream's word, for kernels that make the same words elsewhere.
    pub fn key_and_stream(&self) -> ([u32; 2], u32) {
        (self.key, self.stream)
    }

    /// Four random words: block `block` of `step`.
    pub fn block(&self, step: u64, block: u64) -> [u32; 4] {
        // 24 bits of step overflow into the stream's word: steps up to 2^56, blocks up to 2^64.
        let high = (step >> 32) as u32;
        philox4x32_10([block as u32, step as u32, self.stream | (high << 8), (block >> 32) as u32], self.key)
    }

    /// `N` consecutive blocks of `step` starting at block `first`, grouped by word: \[4\]\[N\]. They must not cross a multiple of 2^32.
    #[inline(always)]
    pub fn blocks<const N: usize>(&self, step: u64, first: u64) -> [[u32; N]; 4] {
        let high = (step >> 32) as u32;
        let counters = std::array::from_fn(|i| (first + i as u64) as u32);
        philox::philox4x32_10_lanes(counters, [step as u32, self.stream | (high << 8), (first >> 32) as u32], self.key)
    }

    /// Word number `index` of `step`.
    pub fn word(&self, step: u64, index: u64) -> u32 {
        self.block(step, index / 4)[(index % 4) as usize]
    }

    /// Uniform in (0, 1), 32 bits of resolution: never 0 or 1.
    pub fn uniform(&self, step: u64, index: u64) -> f64 {
        unit(self.word(step, index))
    }

    /// Uniform in 0..n, for n up to 2^32; off from uniform by less than n / 2^32.
    pub fn below(&self, step: u64, index: u64, n: usize) -> usize {
        ((self.word(step, index) as u64 * n as u64) >> 32) as usize
    }

    /// Fills `out` with N(0, 1): number i of `step` is the same whatever `first` the call starts at. Box-Muller in f64, rounded once.
    pub fn normal_fill(&self, step: u64, first: u64, out: &mut [f32]) {
        let mut i = 0;
        while i < out.len() {
            let index = first + i as u64;
            let four = normals(self.block(step, index / 4));
            let from = (index % 4) as usize;
            let n = (4 - from).min(out.len() - i);
            out[i..i + n].copy_from_slice(&four[from..from + n]);
            i += n;
        }
    }

    /// N(0, 1) for `rows` samples of `len` numbers each, starting at sample `first` of `step`; splitting the call changes no number.
    pub fn normals(&self, step: u64, first: usize, rows: usize, len: usize) -> Vec<f32> {
        let mut out = vec![0f32; rows * len];
        out.par_chunks_mut(len).enumerate().for_each(|(row, out)| self.normal_fill(step, ((first + row) * len) as u64, out));
        out
    }

    /// A permutation of 0..n (Fisher-Yates).
    pub fn permutation(&self, step: u64, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(step, i as u64, i + 1));
        }
        order
    }
}

fn unit(word: u32) -> f64 {
    (word as f64 + 0.5) / 4_294_967_296.0
}

/// Four normals of four words. `libm` is plain Rust: the same digits on every platform.
fn normals(words: [u32; 4]) -> [f32; 4] {
    let pair = |a: u32, b: u32| {
        let radius = (-2.0 * libm::log(unit(a))).sqrt();
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * unit(b));
        [(radius * cos) as f32, (radius * sin) as f32]
    };
    let ([a, b], [c, d]) = (pair(words[0], words[1]), pair(words[2], words[3]));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_gives_the_same_normals(seed: u64, step in 0u64..1 << 40, first in 0u64..1000, n in 1usize..200, cut in 0usize..200) {
            let random = Random::new(seed, Stream::TrainNoise);
            let (mut whole, mut parts) = (vec![0f32; n], vec![0f32; n]);
            random.normal_fill(step, first, &mut whole);
            let cut = cut.min(n);
            random.normal_fill(step, first, &mut parts[..cut]);
            random.normal_fill(step, first + cut as u64, &mut parts[cut..]);
            prop_assert_eq!(whole, parts);
        }

        /// Words, lanes and rows are all numbers of the same blocks, of any step.
        #[test]
        fn numbers_are_those_of_their_blocks(seed: u64, step in 0u64..1 << 56, high in 0u64..3, low: u32, rows in 1usize..4, len in 1usize..9) {
            let random = Random::new(seed, Stream::Dropout);
            let first = (high << 32) + low.min(u32::MAX - 8) as u64;
            let lanes = random.blocks::<8>(step, first);
            for (i, block) in (0..8).map(|i| random.block(step, first + i)).enumerate() {
                prop_assert_eq!(lanes.map(|words| words[i]), block);
                prop_assert_eq!([0, 1, 2, 3].map(|word| random.word(step, 4 * (first + i as u64) + word)), block);
                let uniform = random.uniform(step, 4 * (first + i as u64) + 1);
                prop_assert_eq!(uniform, (block[1] as f64 + 0.5) / 4_294_967_296.0);
            }
            let mut all = vec![0f32; rows * len];
            random.normal_fill(step, (low as usize % 1000 * len) as u64, &mut all);
            prop_assert_eq!(random.normals(step, low as usize % 1000, rows, len), all);
        }

        #[test]
        fn a_permutation_has_every_number_once(seed: u64, step: u64, n in 1usize..300) {
            let mut order = Random::new(seed, Stream::Shuffle).permutation(step >> 8, n);
            order.sort_unstable();
            prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn normals_are_normal() {
        let mut x = vec![0f32; 400_000];
        Random::new(7, Stream::Sample).normal_fill(3, 0, &mut x);
        let n = x.len() as f64;
        let moment = |k: i32| x.iter().map(|v| (*v as f64).powi(k)).sum::<f64>() / n;
        // Five standard errors of each moment of N(0, 1).
        for (k, mean, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            assert!((moment(k) - mean).abs() < 5.0 * (variance / n).sqrt(), "moment {k}: {}", moment(k));
        }
    }

    #[test]
    fn streams_and_steps_differ() {
        let a = Random::new(1, Stream::Sample);
        let others = [
            Random::new(2, Stream::Sample).block(5, 0),
            Random::new(1, Stream::Flip).block(5, 0),
            a.block(6, 0),
            a.block(5 + (1 << 33), 0),
        ];
        assert!(others.iter().all(|block| *block != a.block(5, 0)));
    }

    /// Four normals of four words, by Box and Muller's formula written out: words 0 and 1 make the first two, 2 and 3 the others.
    #[test]
    fn normals_are_of_their_words() {
        let random = Random::new(9, Stream::TrainNoise);
        for block in 0..50 {
            let u = random.block(3, block).map(|word| (word as f64 + 0.5) / 4_294_967_296.0);
            let mut four = [0f32; 4];
            random.normal_fill(3, 4 * block, &mut four);
            for (pair, [a, b]) in [[u[0], u[1]], [u[2], u[3]]].into_iter().enumerate() {
                let (radius, angle) = ((-2.0 * a.ln()).sqrt(), std::f64::consts::TAU * b);
                let expected = [radius * angle.cos(), radius * angle.sin()];
                assert!((0..2).all(|i| (four[2 * pair + i] as f64 - expected[i]).abs() < 1e-6), "{four:?} {expected:?}");
            }
        }
    }

    /// The four normals of a block are uncorrelated, and so are their squares.
    #[test]
    fn normals_of_a_block_are_independent() {
        let mut x = vec![0f32; 400_000];
        Random::new(7, Stream::Sample).normal_fill(3, 0, &mut x);
        let n = 100_000f64;
        for (i, j) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
            for power in [1, 2] {
                let of = |v: f32| if power == 1 { v as f64 } else { (v as f64).powi(2) - 1.0 };
                let mean = x.chunks(4).map(|four| of(four[i]) * of(four[j])).sum::<f64>() / n;
                let bound = 5.0 * (if power == 1 { 1.0 } else { 4.0 } / n.sqrt());
                assert!(mean.abs() < bound, "{i} {j} {power}: {mean}");
            }
        }
    }

    /// Both ends are reached, and every number as often as any other.
    #[test]
    fn whole_numbers_are_uniform() {
        let random = Random::new(5, Stream::Timestep);
        let mut counts = [0; 10];
        (0..100_000).for_each(|i| counts[random.below(i / 7, i % 7, 10)] += 1);
        assert!(counts.iter().all(|n| (*n as f64 - 1e4).abs() < 5.0 * 9e3f64.sqrt()), "{counts:?}");
        let mut firsts = [0; 6];
        (0..60_000).for_each(|epoch| firsts[random.permutation(epoch, 6)[0]] += 1);
        assert!(firsts.iter().all(|n| (*n as f64 - 1e4).abs() < 5.0 * 8.4e3f64.sqrt()), "{firsts:?}");
    }
}
