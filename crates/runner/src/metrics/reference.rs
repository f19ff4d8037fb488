//! Real images as a feature network sees them: what samples are compared with.

use super::features::Features;
use super::frechet::Gaussian;
use super::manifold::Manifold;
use super::moments::Moments;
use anyhow::{Result, ensure};

/// Fewest images on each side of a comparison.
pub const FEWEST: usize = 10;

/// One split of a data set.
pub struct SplitFeatures {
    /// `training` or `held-out`.
    pub name: &'static str,
    /// What the network sees.
    pub features: Features,
    /// Their moments, ready for distances.
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
    /// Of features at hand.
    pub fn of(name: &'static str, features: Features) -> Result<SplitFeatures> {
        ensure!(features.are_finite(), "features of {name} images are not finite");
        let gaussian = Gaussian::of(&Moments::of(features.dim, features.iter()))?;
        Ok(SplitFeatures { name, features, gaussian })
    }

    /// Their balls of nearest neighbours.
    pub fn manifold(&self) -> Manifold<'_> {
        Manifold::of(&self.features)
    }
}
