//! Properties of the diffusion mathematics, each from the algebra of the papers and none from the code under test.

mod common;

mod embedding;
mod likelihood;
mod mixture;
mod objective;
mod oracle;
mod parameterisation;
mod process;
mod rate_distortion;
mod sampler;
mod schedule;
mod setup;
mod variance;
mod weighting;
