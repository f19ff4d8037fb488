//! The ablation runner: an experiment file becomes a grid, the grid jobs, the jobs records, the records tables and pictures.
//!
//! The modules are the stages of that way, in order: [`config`] and [`grid`] say what is asked, [`job`] and [`plan`] what is to be
//! done, [`executor`] and [`stages`] do it, [`store`] keeps what came out, `report` shows it. [`commands`] is the command line.

#![forbid(unsafe_code)]

pub mod cause;
pub mod commands;
pub mod config;
pub mod data;
pub mod device;
pub mod exchange;
pub mod executor;
pub mod exit;
pub mod grid;
pub mod job;
pub mod metrics;
pub mod picture;
pub mod plan;
pub mod progress;
#[cfg(feature = "report")]
pub mod report;
pub mod stages;
pub mod stop;
pub mod store;
pub mod text;
