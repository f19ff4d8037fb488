//! Data laws for which the optimal network, the bound and the sampler's output are known exactly. Tests measure against these.

mod gaussian;
mod mixture;

pub use gaussian::GaussianData;
pub use mixture::{Component, MixtureData, Posterior};
