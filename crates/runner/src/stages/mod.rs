//! The stages of a job: train, sample, evaluate. Each reads what the one before left and can be interrupted.

mod anatomy;
mod batches;
pub mod classifier;
mod evaluate;
mod feed;
pub mod member;
mod neighbours;
mod options;
pub mod ranks;
pub mod reference;
mod run;
mod sample;
mod score;
mod score_field;
mod states;
mod stepper;
mod study;
mod train;

pub use anatomy::passes as anatomy_passes;
pub use evaluate::{BoundOf, bound};
pub use options::RunOptions;
pub use run::run;
pub use sample::{Samples, sample};
pub use score::score;
pub use score_field::passes_at_a_step as score_field_passes;
pub use train::train;
