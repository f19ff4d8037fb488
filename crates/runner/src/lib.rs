//! The ablation runner: an experiment file becomes a grid, the grid jobs, the jobs records, the records tables and pictures.
//!
//! The modules are that way, from its end to its beginning, and each uses only those below it: [`cli`] is the command line; `report` shows
//! what the [`store`] keeps; [`execute`] does what [`plan`] says is missing, in processes that go through the [`stages`] of a job;
//! [`experiment`] says what is asked. [`interop`] reads and writes other programs' files, [`metrics`] compares features, [`base`] is what
//! all stand on.

#![forbid(unsafe_code)]

pub mod base;
pub mod cli;
pub mod execute;
pub mod experiment;
pub mod interop;
pub mod metrics;
pub mod plan;
#[cfg(feature = "report")]
pub mod report;
pub mod stages;
pub mod store;
