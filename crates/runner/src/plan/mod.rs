//! The plan: every job of an experiment, what state it is in, and what it will cost; whether the store is sound, and what of it can go.

mod candidates;
mod cost;
mod speed;
mod state;
pub mod verify;

pub use candidates::chosen;
pub use cost::{Cost, Costs, Left};
pub use speed::{Speed, Speeds};
pub use state::{State, outstanding, records};
