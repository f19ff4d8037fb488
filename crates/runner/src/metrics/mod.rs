//! Scores of samples: streaming f64 moments, a pure distance, and a protocol that says exactly what was compared; and what the scores of
//! several seeds decide.

pub mod divergence;
pub mod evidence;
pub mod extrapolate;
pub mod features;
pub mod frechet;
pub mod inception_score;
pub mod kid;
pub mod manifold;
pub mod moments;
pub mod reference;
pub mod score;
pub mod seen;
pub mod spectrum;
pub mod verdict;

use crate::base::data::DataSource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A measured number, complete enough to stand alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The number.
    pub value: f64,
    /// Its uncertainty, as the protocol says: the standard error; of the inception score the standard deviation over splits, of KID that over
    /// subsets, of FID∞ the error of the fitted line alone. Absent where it cannot be had.
    pub std_err: Option<f64>,
    /// How many images it was measured on.
    pub n: usize,
    /// Everything that makes it comparable: features and their digest, rounding, reference, weights, Monte-Carlo scheme.
    pub protocol: String,
}

impl Measured {
    /// Whether it was measured as `other` was: apart from the error, which has no part in the number, from T, of which a bound is a sum, and
    /// from whether the weights were averaged, which cells may differ in.
    pub fn is_comparable(&self, other: &Measured) -> bool {
        self.n == other.n && how_alone(self.method()) == how_alone(other.method())
    }

    /// The protocol without the explanation of its ±.
    pub fn method(&self) -> &str {
        let end = ["; ±", ", ±"].iter().filter_map(|mark| self.protocol.find(mark)).min();
        &self.protocol[..end.unwrap_or(self.protocol.len())]
    }
}

/// Whose scores they are, in a protocol: weights of a training with this decay of their moving average.
pub fn weights_in_words(ema_decay: f64) -> &'static str {
    if ema_decay == 0.0 { TRAINED } else { AVERAGED }
}

const AVERAGED: &str = "averaged weights";
const TRAINED: &str = "weights as trained";

/// Protocols, those as one that differ in nothing but their weights.
pub fn of_all_weights(methods: &BTreeSet<&str>) -> Vec<String> {
    let has_both = |method: &str| [(TRAINED, AVERAGED), (AVERAGED, TRAINED)].iter().all(|(a, b)| methods.contains(&*method.replace(a, b)));
    let each = methods.iter().filter(|method| !(method.contains(TRAINED) && has_both(method)));
    each.map(|method| if has_both(method) { method.replace(AVERAGED, "averaged weights or those as trained") } else { method.to_string() })
        .collect()
}

/// A protocol without the number of a bound's steps, and with one word for all weights.
fn how_alone(method: &str) -> String {
    let parts = method.split(", ").filter(|part| !(part.starts_with("all ") && part.ends_with(" steps")));
    parts.collect::<Vec<_>>().join(", ").replace(TRAINED, AVERAGED)
}

/// What stands in a table about a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spec {
    /// Its name in files.
    name: &'static str,
    /// Its heading in tables and figures, with the direction that is better.
    heading: &'static str,
    /// Whether more is better.
    rises: bool,
    /// Digits after the point.
    digits: usize,
    /// Whether it compares samples with images; the others need no samples.
    of_samples: bool,
}

/// The metrics, a row for each: what it is, its variant and name, and the rest of its [`Spec`].
macro_rules! metrics {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal { $($spec:tt)+ })+) => {
        /// The scores that tables can show.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Metric {
            $($(#[$doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Metric {
            /// All of them, in the order of tables.
            pub const ALL: [Metric; [$($name),+].len()] = [$(Metric::$variant),+];

            fn spec(self) -> Spec {
                match self {
                    $(Metric::$variant => Spec { name: $name, $($spec)+ },)+
                }
            }
        }
    };
}

metrics! {
    /// The inception score.
    InceptionScore = "inception-score" { heading: "IS ↑", rises: true, digits: 2, of_samples: true }
    /// Fréchet distance of features, samples to training images.
    Fid = "fid" { heading: "FID ↓", rises: false, digits: 2, of_samples: true }
    /// The same to held-out images.
    FidHeldOut = "fid-held-out" { heading: "FID (held out) ↓", rises: false, digits: 2, of_samples: true }
    /// The distance to training images that infinitely many samples would have.
    FidInfinity = "fid-infinity" { heading: "FID∞ ↓", rises: false, digits: 2, of_samples: true }
    /// The kernel inception distance to training images.
    Kid = "kid" { heading: "KID ↓", rises: false, digits: 4, of_samples: true }
    /// Share of the samples among the training images' nearest neighbours.
    Precision = "precision" { heading: "precision ↑", rises: true, digits: 3, of_samples: true }
    /// Share of the training images among the samples' nearest neighbours.
    Recall = "recall" { heading: "recall ↑", rises: true, digits: 3, of_samples: true }
    /// The Kullback-Leibler divergence of samples from the law of the data, where that is known; in bits/dim.
    KlDivergence = "kl-divergence" { heading: "KL from the law ↓", rises: false, digits: 4, of_samples: true }
    /// The variational bound on held-out images, in bits/dim.
    BitsPerDim = "bits-per-dim" { heading: "bits/dim ↓", rises: false, digits: 3, of_samples: false }
    /// The variational bound on training images, in bits/dim.
    BitsPerDimTrain = "bits-per-dim-train" { heading: "bits/dim (train) ↓", rises: false, digits: 3, of_samples: false }
    /// The bound on held-out images with the trained mean and, at each t >= 2, the best variance that is one number for all pixels; in
    /// bits/dim.
    BitsPerDimOptimal = "bits-per-dim-optimal" { heading: "bits/dim (best σ) ↓", rises: false, digits: 3, of_samples: false }
}

impl Metric {
    /// Those that a table has where a grid names none.
    pub const USUAL: [Metric; 4] = [Metric::InceptionScore, Metric::Fid, Metric::BitsPerDim, Metric::BitsPerDimTrain];

    /// Those that compare samples with images; the others need none.
    pub fn of_samples() -> impl Iterator<Item = Metric> {
        Metric::ALL.into_iter().filter(|metric| metric.spec().of_samples)
    }

    /// Whether it compares features of samples with those of images.
    pub fn is_of_features(self) -> bool {
        self.spec().of_samples && self != Metric::KlDivergence
    }

    /// Those that can be measured on images of `data`, or be blank for a reason that is not the data's kind.
    pub fn of_data(data: &DataSource) -> impl Iterator<Item = Metric> {
        let has_law = data.mixture().is_some();
        Metric::ALL.into_iter().filter(move |metric| has_law || *metric != Metric::KlDivergence)
    }

    /// Its name in files.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Its heading in tables and figures, with the direction that is better.
    pub fn heading(self) -> &'static str {
        self.spec().heading
    }

    /// The same without the direction.
    pub fn title(self) -> &'static str {
        self.heading().trim_end_matches(['↑', '↓']).trim_end()
    }

    /// Whether more is better.
    pub fn rises(self) -> bool {
        self.spec().rises
    }

    /// Whether it may be below zero: unbiased estimates of what may not.
    pub fn may_be_negative(self) -> bool {
        matches!(self, Metric::FidInfinity | Metric::Kid | Metric::KlDivergence)
    }

    /// Whether the error that is measured with it is the standard error of the number, and not some other uncertainty.
    pub fn has_standard_error(self) -> bool {
        matches!(self, Metric::Fid | Metric::FidHeldOut | Metric::KlDivergence | Metric::BitsPerDim | Metric::BitsPerDimTrain)
    }

    /// Digits after the point.
    pub fn digits(self) -> usize {
        self.spec().digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_compared_with_like() {
        let of = |protocol: &str| Measured { value: 1.0, std_err: None, n: 5, protocol: protocol.into() };
        assert_eq!(of("f features; 500 samples; ± standard deviation over 10 splits").method(), "f features; 500 samples");
        assert_eq!(of("f features; 100 subsets of 500, ± standard deviation over them").method(), "f features; 100 subsets of 500");
        assert_eq!(of("first 20 images, x0 clipped").method(), "first 20 images, x0 clipped");
        let bound = "first 5 images, all 40 steps, x0 clipped";
        assert!(of(bound).is_comparable(&of("first 5 images, all 1000 steps, x0 clipped")) && of("a; ± b").is_comparable(&of("a, ± c")));
        assert!(!of(bound).is_comparable(&of("first 6 images, all 40 steps, x0 clipped")) && !of("a").is_comparable(&of("b")));
        assert!(!of("a").is_comparable(&Measured { n: 6, ..of("a") }));
        let scores = [0.99, 0.0].map(|decay| of(&format!("first 5 images, {}; at each t", weights_in_words(decay))));
        assert!(scores[0] != scores[1] && scores[0].is_comparable(&scores[1]));
        let shown = |of: &[&str]| of_all_weights(&of.iter().copied().collect());
        let both = "first 5 images, averaged weights or those as trained; at each t";
        assert_eq!(shown(&[&scores[0].protocol, "b, weights as trained", &scores[1].protocol]), ["b, weights as trained", both]);
    }

    #[test]
    fn errors_and_signs_are_known_of_each() {
        let which = |of: fn(Metric) -> bool| Metric::ALL.into_iter().filter(|m| of(*m)).collect::<Vec<_>>();
        assert_eq!(which(Metric::may_be_negative), [Metric::FidInfinity, Metric::Kid, Metric::KlDivergence]);
        let standard = [Metric::Fid, Metric::FidHeldOut, Metric::KlDivergence, Metric::BitsPerDim, Metric::BitsPerDimTrain];
        assert_eq!(which(Metric::has_standard_error), standard);
        assert_eq!((Metric::Fid.title(), Metric::InceptionScore.title()), ("FID", "IS"));
    }

    /// Whole rows; the name is the configuration's, and the arrow says which way is better.
    #[test]
    fn rows_are_what_tables_say() {
        let row = |m: Metric| (m.name(), m.heading(), m.rises(), m.digits());
        assert_eq!(row(Metric::Kid), ("kid", "KID ↓", false, 4));
        assert_eq!(row(Metric::KlDivergence), ("kl-divergence", "KL from the law ↓", false, 4));
        assert_eq!(row(Metric::Recall), ("recall", "recall ↑", true, 3));
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
            assert!(metric.heading().ends_with(if metric.rises() { " ↑" } else { " ↓" }));
        }
        let bounds: Vec<Metric> = Metric::ALL.into_iter().filter(|m| !Metric::of_samples().any(|of| of == *m)).collect();
        assert_eq!(bounds, [Metric::BitsPerDim, Metric::BitsPerDimTrain, Metric::BitsPerDimOptimal]);
    }
}
