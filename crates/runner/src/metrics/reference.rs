//! Real images as a feature network sees them: what samples are compared with.

use super::features::Features;
use super::frechet::Gaussian;
use super::manifold::Manifold;
use super::seen::Seen;
use anyhow::{Result, ensure};

/// Fewest images on each side of a comparison.
pub const FEWEST: usize = 10;

/// One split of a data set.
pub struct SplitFeatures {
    /// `training` or `held-out`.
    pub name: &'static str,
    /// What the network sees: in all images, or in some of a large set.
    pub features: Features,
    /// The moments of all images, ready for distances.
    pub gaussian: Gaussian,
}

/// Both splits.
pub struct Reference {
    /// Images that were trained on.
    pub train: SplitFeatures,
    /// Images that were not.
    pub held_out: SplitFeatures,
}

impl SplitFeatures {
    /// Of what was seen.
    pub fn of(name: &'static str, seen: Seen) -> Result<SplitFeatures> {
        let finite = seen.features.are_finite() && seen.moments.are_finite();
        ensure!(finite, "features of {name} images are not finite");
        let gaussian = Gaussian::of(&seen.moments)?;
        Ok(SplitFeatures { name, features: seen.features, gaussian })
    }

    /// Whether the features are those of all images.
    pub fn is_whole(&self) -> bool {
        self.features.n() == self.gaussian.n()
    }

    /// Their balls of nearest neighbours.
    pub fn manifold(&self) -> Manifold<'_> {
        Manifold::of(&self.features)
    }
}
