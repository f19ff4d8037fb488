//! The mathematics of "Denoising Diffusion Probabilistic Models" (Ho, Jain, Abbeel 2020) as pure `f64` functions.
//!
//! No tensors, files, clocks, random numbers or threads: whatever varies is an argument. The letters are the paper's;
//! `t` runs `1..=T`. Logarithms are natural (nats) unless a name says bits. Values are per dimension unless a name says otherwise.
//!
//! The modules follow the paper: [`schedule`] chooses the betas, [`process`] derives everything the forward chain fixes,
//! [`parameterisation`] and [`variance`] say what the network's output means, [`weighting`] and [`objective`] what it is trained on,
//! [`likelihood`] what the bound is, [`sampler`] how to walk back, [`setup`] which choices fit together. [`oracle`] holds data
//! laws for which all of this is known in closed form.
//!
//! # Notation
//!
//! Wherever a person sees `t` it runs from 1; the network is fed t − 1, as by the authors.
//!
//! | paper | here | what |
//! | --- | --- | --- |
//! | x₀, x_t | `x0`, `xt` | an image in \[−1, 1\], and at step t |
//! | β_t, α_t, ᾱ_t | [`beta`](Process::beta), [`alpha`](Process::alpha), [`alpha_bar`](Process::alpha_bar) | variance of the noise added at step t; 1 − β_t; the product of α₁ to α_t |
//! | q(x_t \| x₀) | [`q_marginal`](Process::q_marginal), [`q_sample_coefficients`](Process::q_sample_coefficients) | eq. 4 |
//! | q(x_{t−1} \| x_t, x₀), μ̃_t, β̃_t | [`q_posterior`](Process::q_posterior), [`posterior_variance`](Process::posterior_variance) | eqs. 6, 7 |
//! | μ_θ, ε_θ | [`Prediction::Mu`], [`Prediction::Eps`] | the posterior mean, eq. 8; the noise, eqs. 9 to 12 |
//! | v | [`Prediction::V`] | √ᾱ ε − √(1 − ᾱ) x₀ (Salimans & Ho 2022) |
//! | σ²_t | [`ReverseVariance`], `log_sigma2` | Section 3.2: `fixed-small` is β̃, `fixed-large` β; learned between the two, Nichol & Dhariwal 2021, eq. 15 |
//! | L, L_simple, L_hybrid | [`Objective::Vlb`], [`Objective::Simple`], [`Objective::Hybrid`] | eqs. 5, 14; Nichol & Dhariwal 2021, eq. 16 |
//! | λ_t | [`Objective::Weighted`], [`Space`], [`Weight`] | the weight of step t's squared error, in the space in which it is measured |
//! | L_T | [`prior_term`](likelihood::prior_term) | what the chain's end differs from N(0, 1) by |
//! | L_{t−1} | [`variance_mismatch`](likelihood::variance_mismatch) + [`mean_error`](likelihood::mean_error) | the KL divergence of step t in its two parts |
//! | L₀ | [`decoder_log_likelihood`](likelihood::decoder_log_likelihood) | eq. 13, negative |
//!
//! # Example
//!
//! The bound of the authors' schedule on Gaussian data, with the best mean and variance at every step: the data's entropy, and what the
//! chain's end differs from N(0, 1) by.
//!
//! ```
//! use ddpm_core::oracle::GaussianData;
//! use ddpm_core::{BetaScale, Process, Schedule};
//!
//! let linear = Schedule::named("linear").unwrap(); // beta from 1e-4 to 0.02
//! let process = Process::from_schedule(&linear, 1000, BetaScale::AsGiven)?;
//! let data = GaussianData { mean: 0.1, std: 0.5 };
//! let term = |t| data.expected_term(&process, t, libm::log(data.optimal_sigma2(&process, t)));
//! let bound = data.expected_prior_term(&process) + (1..=1000).map(term).sum::<f64>(); // nats
//! assert!((bound - data.entropy()).abs() < 1e-4, "{bound} {}", data.entropy());
//! # Ok::<(), ddpm_core::Error>(())
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod embedding;
pub mod error;
pub mod likelihood;
pub mod linear;
pub mod objective;
pub mod oracle;
pub mod parameterisation;
pub mod process;
pub mod rate_distortion;
pub mod sampler;
pub mod schedule;
pub mod setup;
pub mod variance;
pub mod weighting;

pub use error::Error;
pub use linear::Linear;
pub use objective::Objective;
pub use parameterisation::Prediction;
pub use process::Process;
pub use sampler::Sampler;
pub use schedule::{BetaScale, Schedule};
pub use setup::Setup;
pub use variance::ReverseVariance;
pub use weighting::{Space, Weight};
