//! What a network sees in a set of any size: the moments of all images, and the features of all or, of large sets, of some.

use super::features::{FeatureNet, Features};
use super::moments::{Moments, Stream};
use anyhow::Result;
use ddpm_model::network::ImageShape;
use std::borrow::Cow;

/// Most images of a set whose features are kept: 0.8 GB of InceptionV3's, probabilities included. Of larger sets, this many are, evenly spaced.
pub const MOST_KEPT: usize = 1 << 16;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Of all images.
    pub moments: Moments,
    /// Of those that are kept, in their order.
    pub features: Features,
}

impl Seen {
    /// Features of all images at hand.
    pub fn all(features: Features) -> Seen {
        Seen { moments: Moments::of(features.dim, features.iter()), features }
    }

    /// What `net` sees in `n` images that come in parts, of which the features of at most `most` are kept. `tell` hears how many are done.
    pub fn of<'a>(
        net: &FeatureNet,
        (n, most): (usize, usize),
        parts: impl Iterator<Item = Result<Cow<'a, [u8]>>>,
        shape: ImageShape,
        mut tell: impl FnMut(usize) -> Result<()>,
    ) -> Result<Seen> {
        let mut seeing = Seeing::new(n, most);
        for part in net.parts(parts, shape) {
            tell(seeing.take(&part?))?;
        }
        Ok(seeing.end())
    }

    /// Whether all images' features are here.
    pub fn is_whole(&self) -> bool {
        self.features.n() == self.moments.n()
    }
}

/// Features on their way from a network.
pub struct Seeing {
    /// How many images there are, how many of them are kept, and how many have come.
    all: usize,
    most: usize,
    come: usize,
    stream: Option<Stream>,
    kept: Features,
}

impl Seeing {
    /// Of `all` images, of which the features of at most `most` are kept.
    pub fn new(all: usize, most: usize) -> Seeing {
        Seeing { all, most: most.min(all), come: 0, stream: None, kept: Features::default() }
    }

    /// The features of the next images. Returns how many have come.
    pub fn take(&mut self, features: &Features) -> usize {
        let n = features.n();
        assert!(self.come + n <= self.all, "{} images and {n} more of {}", self.come, self.all);
        self.stream.get_or_insert_with(|| Stream::new(features.dim)).add(&features.rows);
        (self.kept.dim, self.kept.classes) = (features.dim, features.classes);
        for i in 0..n {
            if self.keeps(self.come + i) {
                self.kept.rows.extend_from_slice(features.row(i));
                self.kept.probabilities.extend_from_slice(&features.probabilities[i * features.classes..(i + 1) * features.classes]);
            }
        }
        self.come += n;
        self.come
    }

    /// Whether image `i` is the first one in some part of `most` equal ones.
    fn keeps(&self, i: usize) -> bool {
        let part = |i: usize| (i as u128 * self.most as u128).div_ceil(self.all as u128);
        part(i) < part(i + 1)
    }

    /// All images have come, one at least.
    pub fn end(self) -> Seen {
        assert_eq!(self.come, self.all, "images that were seen");
        let moments = self.stream.expect("there is an image").end();
        Seen { moments, features: self.kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn features(n: usize) -> Features {
        let rows = (0..2 * n).map(|i| (i * 37 % 101) as f32).collect();
        let probabilities = (0..3 * n).map(|i| i as f32).collect();
        Features { dim: 2, classes: 3, rows, probabilities }
    }

    proptest! {
        /// Moments are of all images, whatever is kept; what is kept are so many images at distances that differ by one at most, the first
        /// among them, each with its own probabilities, however they come.
        #[test]
        fn what_is_kept_is_spread_over_all(n in 1usize..400, most in 0usize..500, part in 1usize..60) {
            let all = features(n);
            let mut seeing = Seeing::new(n, most);
            for from in (0..n).step_by(part) {
                let to = (from + part).min(n);
                let (rows, probabilities) = (all.rows[2 * from..2 * to].to_vec(), all.probabilities[3 * from..3 * to].to_vec());
                seeing.take(&Features { dim: 2, classes: 3, rows, probabilities });
            }
            let seen = seeing.end();
            let whole = Seen::all(all.clone());
            prop_assert_eq!((seen.moments.n(), seen.moments.scatter()), (n, whole.moments.scatter()));
            prop_assert_eq!((seen.features.n(), seen.is_whole()), (most.min(n), most >= n));
            // The first of an image's probabilities says which one it is.
            let which: Vec<usize> = seen.features.probabilities.chunks(3).map(|p| p[0] as usize / 3).collect();
            for (kept, i) in which.iter().enumerate() {
                prop_assert_eq!(seen.features.row(kept), all.row(*i));
                prop_assert_eq!(*i, kept * n / most.min(n));
            }
        }
    }
}
