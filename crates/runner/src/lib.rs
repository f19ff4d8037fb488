//! The ablation runner: an experiment file becomes a grid, the grid jobs, the jobs records, the records tables and pictures.
//!
//! The modules follow this pipeline, here from its end to its beginning, and each uses only those below it: [`cli`] is the command line;
//! `report` presents what the [`store`] keeps; [`execute`] runs what [`plan`] finds missing, in processes that go through the [`stages`] of
//! a job; [`experiment`] defines what to run. [`interop`] reads and writes other programs' files, [`metrics`] compares features, [`base`]
//! is what all of them build on.
//!
//! A grid over a base becomes cells, the last axis fastest:
//!
//! ```
//! use ddpm_runner::experiment::Experiment;
//! use std::path::Path;
//!
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
//! let table2 = Experiment::read(Path::new("experiments/grids/table2.yaml"), Some("fashion-smoke"), &[])?;
//! let labels: Vec<String> = table2.cells.iter().map(|cell| cell.label()).collect();
//! assert_eq!(labels.len(), 6);
//! assert_eq!(labels[0], "mu, vlb, learned");
//! # Ok::<(), ddpm_runner::base::error::ConfigError>(())
//! ```

#![deny(missing_docs)]
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
