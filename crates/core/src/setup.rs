//! Which choices fit together. A [`Setup`] is checked once, before anything runs.

use crate::error::Error;
use crate::objective::Objective;
use crate::parameterisation::Prediction;
use crate::process::Process;
use crate::sampler::Sampler;
use crate::schedule::{BetaScale, Schedule};
use crate::variance::ReverseVariance;
use serde::{Deserialize, Serialize};

/// Everything about a diffusion that is not the network: the axes of Section 4.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// T, at least 2.
    pub timesteps: usize,
    /// The betas.
    pub schedule: Schedule,
    /// Whether the schedule's betas are rescaled to T.
    #[serde(default)]
    pub beta_scale: BetaScale,
    /// What the network's output stands for.
    pub prediction: Prediction,
    /// Where the reverse variance comes from.
    pub variance: ReverseVariance,
    /// What training minimises.
    pub objective: Objective,
}

impl Setup {
    /// The process of a set-up whose parts fit together; else the reason why they do not.
    pub fn process(&self) -> Result<Process, Error> {
        let process = Process::from_schedule(&self.schedule, self.timesteps, self.beta_scale)?;
        if let (Prediction::Eps, Some(t)) = (self.prediction, process.signal_vanishes_at()) {
            return Err(Error::EpsWithoutSignal { t });
        }
        match (self.objective, self.variance.is_learned()) {
            (Objective::Simple {}, true) => return Err(Error::UntrainedVariance { objective: "simple" }),
            (Objective::Weighted { .. }, true) => return Err(Error::UntrainedVariance { objective: "weighted" }),
            (Objective::Hybrid { .. }, false) => return Err(Error::HybridWithFixedVariance),
            (Objective::Hybrid { lambda }, true) if !(lambda > 0.0 && lambda.is_finite()) => {
                return Err(Error::Parameter { name: "lambda", expected: "a positive number", got: lambda });
            }
            (Objective::Weighted { weight, .. }, false) => {
                weight.check()?;
                let of = |t| self.objective.error_weight(self.prediction, &process, t);
                if let Some(t) = (1..=self.timesteps).find(|t| of(*t).is_nan() || of(*t) > f32::MAX as f64) {
                    return Err(Error::WeightTooLarge { t, got: of(t) });
                }
            }
            (Objective::Hybrid { .. }, true) | (Objective::Simple {}, false) => {}
            (Objective::Vlb {} | Objective::VlbRescaled {}, _) => {}
        }
        Ok(process)
    }

    /// The walk of `sampler` for this set-up, checked.
    pub fn sampling_plan(&self, process: &Process, sampler: &Sampler) -> Result<Vec<crate::sampler::Step>, Error> {
        sampler.plan(process, self.prediction, self.variance)
    }
}
