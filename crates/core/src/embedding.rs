//! The sinusoidal embedding of the step number, as the authors' code (`get_timestep_embedding`).

use crate::error::Error;

/// `[sin(n f_0), .., sin(n f_{h-1}), cos(n f_0), .., cos(n f_{h-1})]` with h = dim/2 and f_i = 10000^(-i/(h-1)), so the last frequency
/// is exactly 1e-4. `n` is the number that the network is fed: t - 1, whatever T is. An odd `dim` ends in a zero.
///
/// Shape: `[dim]`. Range: [-1, 1]. Differs from the transformer's (and Improved DDPM's) denominator h. Errors where dim < 4.
pub fn timestep_embedding(n: f64, dim: usize) -> Result<Vec<f64>, Error> {
    if dim < 4 {
        return Err(Error::EmbeddingDimension { got: dim });
    }
    let half = dim / 2;
    let angles: Vec<f64> = (0..half).map(|i| n * libm::exp(-(i as f64) * libm::log(10000.0) / (half - 1) as f64)).collect();
    let mut embedding: Vec<f64> = angles.iter().map(|a| libm::sin(*a)).chain(angles.iter().map(|a| libm::cos(*a))).collect();
    embedding.resize(dim, 0.0);
    Ok(embedding)
}
