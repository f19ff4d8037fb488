//! `ddpm schedule`: every coefficient of a schedule, to the last digit.

use crate::base::error::ConfigError;
use crate::base::exit::Exit;
use crate::base::text::print;
use anyhow::Result;
use clap::{Args, ValueEnum};
use ddpm_core::{BetaScale, Process, Schedule};
use serde_json::{Map, json};

#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// The schedule, with its published parameters
    #[arg(long, value_parser = Schedule::all().map(|schedule| schedule.kind()))]
    kind: String,
    /// T
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    timesteps: u32,
    /// Multiply beta_start and beta_end by 1000/T, as Improved DDPM
    #[arg(long)]
    per_1000_steps: bool,
    /// How to print
    #[arg(long, default_value = "csv")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Csv,
    Json,
}

const COLUMNS: [&str; 9] = [
    "beta",
    "alpha",
    "alpha_bar",
    "snr",
    "posterior_variance",
    "posterior_mean_coef_x0",
    "posterior_mean_coef_xt",
    "log_sigma2_small",
    "log_sigma2_large",
];

impl ScheduleArgs {
    pub fn run(self) -> Result<Exit> {
        let schedule = Schedule::named(&self.kind).expect("clap has checked the kind");
        let scale = if self.per_1000_steps { BetaScale::Per1000Steps } else { BetaScale::AsGiven };
        let process = Process::from_schedule(&schedule, self.timesteps as usize, scale)
            .map_err(|e| ConfigError::new("ddpm schedule", "", e.to_string()))?;
        let mut text = match self.format {
            Format::Csv => format!("t,{}\n", COLUMNS.join(",")),
            Format::Json => String::new(),
        };
        for t in 1..=self.timesteps as usize {
            let row = coefficients(&process, t);
            match self.format {
                // 17 significant digits: what a double needs to be read back as itself.
                Format::Csv => text += &format!("{t},{}\n", row.map(|v| format!("{v:.16e}")).join(",")),
                Format::Json => {
                    let mut map = Map::from_iter([("t".to_string(), json!(t))]);
                    map.extend(COLUMNS.iter().zip(row).map(|(name, v)| (name.to_string(), json!(v))));
                    text += &format!("{}\n", serde_json::to_string(&map)?);
                }
            }
        }
        print(&text);
        Ok(Exit::Ok)
    }
}

fn coefficients(p: &Process, t: usize) -> [f64; 9] {
    [
        p.beta(t),
        p.alpha(t),
        p.alpha_bar(t),
        p.snr(t),
        p.posterior_variance(t),
        p.posterior_mean_coef_x0(t),
        p.posterior_mean_coef_xt(t),
        p.log_sigma2_small(t),
        p.log_sigma2_large(t),
    ]
}
