//! What a bound would be made of under other reverse variances.

use super::{BoundBreakdown, TermAt};
use ddpm_core::Process;
use ddpm_core::likelihood::{Bound, UnderVariances, bits, mean_error, optimal_log_var, variance_mismatch};

/// A reverse variance that a trained mean can be scored with, for t >= 2. At t = 1 all three are that of `fixed-small` and `fixed-large`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherVariance {
    /// beta_tilde_t.
    FixedSmall,
    /// beta_t.
    FixedLarge,
    /// At each t the one that makes the bound of these images least.
    Optimal,
}

impl OtherVariance {
    /// All of them.
    pub const ALL: [OtherVariance; 3] = [OtherVariance::FixedSmall, OtherVariance::FixedLarge, OtherVariance::Optimal];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            OtherVariance::FixedSmall => "fixed-small",
            OtherVariance::FixedLarge => "fixed-large",
            OtherVariance::Optimal => "optimal",
        }
    }

    fn log_sigma2(self, process: &Process, at: &TermAt) -> f64 {
        match self {
            OtherVariance::FixedSmall => process.log_sigma2_small(at.t),
            OtherVariance::FixedLarge => process.log_sigma2_large(at.t),
            OtherVariance::Optimal => optimal_log_var(process.log_sigma2_small(at.t), at.mean_squared),
        }
    }

    /// The KL divergence of the step t >= 2 in nats: what is left if the means agree, and what their difference makes.
    fn kl(self, process: &Process, at: &TermAt) -> [f64; 2] {
        let log_sigma2 = self.log_sigma2(process, at);
        [variance_mismatch(process.log_sigma2_small(at.t), log_sigma2), mean_error(at.mean_squared, log_sigma2)]
    }
}

/// The bounds under other variances: `terms` from t = 1 on, `rest` the prior and the decoder in bits/dim.
pub fn under(process: &Process, terms: &[TermAt], rest: f64) -> UnderVariances {
    let total = |variance: OtherVariance| rest + terms[1..].iter().map(|at| bits(variance.kl(process, at).iter().sum())).sum::<f64>();
    let [fixed_small, fixed_large, optimal] = OtherVariance::ALL.map(total);
    UnderVariances { fixed_small, fixed_large, optimal }
}

impl BoundBreakdown {
    /// What the bound would be made of under `variance`, in bits/dim.
    pub fn parts(&self, process: &Process, variance: OtherVariance) -> Bound {
        let sum = |part: usize| self.terms[1..].iter().map(|at| bits(variance.kl(process, at)[part])).sum::<f64>();
        let (variance_mismatch, mean_error) = (sum(0), sum(1));
        let total = match variance {
            OtherVariance::FixedSmall => self.under.fixed_small,
            OtherVariance::FixedLarge => self.under.fixed_large,
            OtherVariance::Optimal => self.under.optimal,
        };
        Bound { prior: self.bound.prior, variance_mismatch, mean_error, decoder: total - self.bound.prior - variance_mismatch - mean_error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a bound whose own variance is one of the three, the parts are its own; the total is that of the record for all three.
    #[test]
    fn parts_of_its_own_variance_are_its_own() {
        let process = Process::new(vec![0.01, 0.08, 0.15, 0.22, 0.3]).unwrap();
        let (prior, decoder) = (0.125, 2.5);
        let errors = [0.0, 0.02, 0.5, 0.003, 1.5];
        let mut terms: Vec<TermAt> =
            errors.iter().enumerate().map(|(i, error)| TermAt { t: i + 1, mean_squared: *error, ..TermAt::default() }).collect();
        let mut bound = Bound { prior, decoder, ..Bound::default() };
        for at in &mut terms[1..] {
            // By hand: the KL divergence of the posterior from a Gaussian with variance beta.
            let (small, beta) = (libm::exp(process.log_sigma2_small(at.t)), process.beta(at.t));
            at.variance_mismatch = (0.5 * (libm::log(beta / small) + small / beta - 1.0)) / std::f64::consts::LN_2;
            at.mean_error = 0.5 * at.mean_squared / beta / std::f64::consts::LN_2;
            bound.variance_mismatch += at.variance_mismatch;
            bound.mean_error += at.mean_error;
        }
        let under = under(&process, &terms, prior + decoder);
        assert!((under.fixed_large - bound.total()).abs() < 1e-12);
        assert!(under.optimal < under.fixed_large.min(under.fixed_small));
        let split = BoundBreakdown { bound, terms, under, authors: None };
        let near = |a: Bound, b: Bound| {
            [(a.prior, b.prior), (a.variance_mismatch, b.variance_mismatch), (a.mean_error, b.mean_error), (a.decoder, b.decoder)]
                .iter()
                .all(|(a, b)| (a - b).abs() < 1e-12)
        };
        assert!(near(split.parts(&process, OtherVariance::FixedLarge), bound));
        let small = split.parts(&process, OtherVariance::FixedSmall);
        assert!(
            small.variance_mismatch == 0.0 && (small.total() - under.fixed_small).abs() < 1e-12 && (small.decoder - decoder).abs() < 1e-12
        );
        // With the best variance half of what its logarithm exceeds the posterior's by is left of each step.
        let optimal = split.parts(&process, OtherVariance::Optimal);
        let left: f64 =
            split.terms[1..].iter().map(|at| 0.5 * libm::log1p(at.mean_squared / libm::exp(process.log_sigma2_small(at.t)))).sum();
        assert!((optimal.variance_mismatch + optimal.mean_error - left / std::f64::consts::LN_2).abs() < 1e-12);
    }
}
