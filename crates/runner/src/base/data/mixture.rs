//! Points of the plane from a mixture of Gaussians, whose law is known: images of one pixel with two channels.

use super::images::{Dataset, Images};
use anyhow::Result;
use ddpm_core::oracle::{Component, MixtureData};
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::network::ImageShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point's two coordinates are the channels of its only pixel.
pub const SHAPE: ImageShape = ImageShape { height: 1, width: 1, channels: 2 };
/// The distance of neighbouring levels of bytes in [-1, 1].
const LEVEL: f64 = 2.0 / 255.0;
/// Standard deviations that a mode keeps from the ends of the levels on every side: 1 point in 500 million is beyond.
const ROOM: f64 = 6.0;
/// Most points of a split.
const MOST: usize = 10_000_000;

/// A mixture of round Gaussians in the plane, and how many points are drawn from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mixture2d {
    /// Its modes; where none are given, eight on a circle of radius 0.7, every other one three times as heavy as those beside it.
    #[serde(default = "ring")]
    pub modes: Vec<Mode2d>,
    /// Points to train on.
    #[serde(default = "train")]
    pub train: usize,
    /// Points held out.
    #[serde(default = "held_out")]
    pub held_out: usize,
    /// The seed of the points; every seed of a grid has the same ones.
    #[serde(default)]
    pub seed: u64,
}

/// A round Gaussian in the plane.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mode2d {
    /// Its share of the points beside the others'; shares need not sum to 1.
    #[serde(default = "one")]
    pub weight: f64,
    /// Its middle.
    pub mean: [f64; 2],
    /// Its standard deviation in every direction, at least half a level (0.004). Six of them have to fit into [-1, 1] on every side of the middle.
    pub std: f64,
}

fn one() -> f64 {
    1.0
}
fn train() -> usize {
    50_000
}
fn held_out() -> usize {
    10_000
}

/// The modes where none are given.
fn ring() -> Vec<Mode2d> {
    let mode = |i: usize| {
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * i as f64 / 8.0);
        // Rounded, so that what is written down is what is meant.
        let round = |v: f64| (v * 1e4).round() / 1e4 + 0.0;
        Mode2d { weight: if i.is_multiple_of(2) { 1.0 } else { 3.0 }, mean: [round(0.7 * cos), round(0.7 * sin)], std: 0.05 }
    };
    (0..8).map(mode).collect()
}

impl Default for Mixture2d {
    fn default() -> Mixture2d {
        Mixture2d { modes: ring(), train: train(), held_out: held_out(), seed: 0 }
    }
}

impl Mixture2d {
    /// What does not fit, as (key, problem).
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: String, expected: String, got: String| Err((key, format!("expected {expected}, got {got}")));
        if self.modes.is_empty() {
            return wrong("modes".into(), "at least one mode".into(), "none".into());
        }
        for (i, Mode2d { weight, mean, std }) in self.modes.iter().enumerate() {
            let key = |name: &str| format!("modes[{i}].{name}");
            if !(weight.is_finite() && *weight > 0.0) {
                return wrong(key("weight"), "a number above 0".into(), weight.to_string());
            }
            // Narrower ones are not rounded by chance, and their law as levels is another; wider ones do not fit anywhere.
            if !(LEVEL / 2.0..=1.0 / ROOM).contains(std) {
                return wrong(key("std"), format!("a number from {:.4} (half a level) to {:.4}", LEVEL / 2.0, 1.0 / ROOM), std.to_string());
            }
            let most = 1.0 - ROOM * std;
            if !mean.iter().all(|m| m.abs() <= most) {
                let expected =
                    format!("numbers from {:.4} to {most:.4}, which leave room for {ROOM} standard deviations of {std} in [-1, 1]", -most);
                return wrong(key("mean"), expected, format!("{mean:?}"));
            }
        }
        if !self.modes.iter().map(|mode| mode.weight).sum::<f64>().is_finite() {
            return wrong("modes".into(), "weights whose sum is a number".into(), "more than that".into());
        }
        for (key, n) in [("train", self.train), ("held_out", self.held_out)] {
            if n == 0 || n > MOST {
                return wrong(key.into(), format!("1 to {MOST}"), n.to_string());
            }
        }
        Ok(())
    }

    /// The law that its points are drawn from, before they are rounded to levels.
    pub fn drawn(&self) -> MixtureData<2> {
        let component = |mode: &Mode2d| Component { weight: mode.weight, mean: mode.mean, std: mode.std };
        MixtureData { components: self.modes.iter().map(component).collect() }
    }

    /// The law of its points as levels, as far as noise as wide as a level or wider can tell: rounding adds the variance of a uniform
    /// distribution (Sheppard's correction).
    pub fn law(&self) -> MixtureData<2> {
        let mut law = self.drawn();
        law.components.iter_mut().for_each(|c| c.std = (c.std * c.std + LEVEL * LEVEL / 12.0).sqrt());
        law
    }

    /// The exact share of points whose coordinates lie in these ranges of levels; the outermost levels reach to infinity.
    pub fn share(&self, levels: [std::ops::RangeInclusive<u8>; 2]) -> f64 {
        let edge = |level: u8, side: f64| match (level, side < 0.0) {
            (0, true) => f64::NEG_INFINITY,
            (255, false) => f64::INFINITY,
            _ => level as f64 / 127.5 - 1.0 + side * LEVEL / 2.0,
        };
        let (low, high) = (levels.each_ref().map(|l| edge(*l.start(), -1.0)), levels.each_ref().map(|l| edge(*l.end(), 1.0)));
        self.drawn().mass(low, high)
    }

    /// The entropy of its points, in bits per coordinate: no bound on bits/dim can be lower.
    pub fn entropy(&self) -> f64 {
        let pairs = (0..=255u8).flat_map(|a| (0..=255u8).map(move |b| (a, b)));
        let shares = pairs.map(|(a, b)| self.share([a..=a, b..=b])).filter(|share| *share > 0.0);
        shares.map(|share| -share * libm::log2(share)).sum::<f64>() / 2.0
    }

    /// The points.
    pub fn load(&self) -> Result<Dataset> {
        let (law, random) = (self.drawn(), Random::new(self.seed, Stream::Data));
        let point = |i: usize| {
            let normals = random.normals(1, i, 1, 2);
            let point = law.draw(random.uniform(0, i as u64), [normals[0] as f64, normals[1] as f64]);
            point.map(|v| ((v + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8)
        };
        let split = |from: usize, n: usize| Images::new(SHAPE, (from..from + n).flat_map(point).collect(), Vec::new());
        Dataset::new("mixture-2d", split(0, self.train), split(self.train, self.held_out), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn mixture() -> impl Strategy<Value = Mixture2d> {
        let mode = (0.2f64..2.0, [-0.6f64..0.6, -0.6f64..0.6], 0.02f64..0.06);
        (prop::collection::vec(mode, 1..5), any::<u64>()).prop_map(|(modes, seed)| Mixture2d {
            modes: modes.into_iter().map(|(weight, mean, std)| Mode2d { weight, mean, std }).collect(),
            train: 20_000,
            held_out: 50,
            seed,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Mean and variance of the points are the law's, as far as 20,000 points tell: six standard errors.
        #[test]
        fn points_have_the_laws_moments(of in mixture()) {
            prop_assert_eq!(of.check(), Ok(()));
            let (law, data) = (of.law(), of.load().unwrap());
            prop_assert_eq!((data.train.len(), data.held_out.len(), data.info.shape), (20_000, 50, SHAPE));
            let bytes = data.train.all().unwrap();
            let total: f64 = law.components.iter().map(|c| c.weight).sum();
            for d in 0..2 {
                let of_law = |f: &dyn Fn(&Component<2>) -> f64| law.components.iter().map(|c| c.weight / total * f(c)).sum::<f64>();
                let mean = of_law(&|c| c.mean[d]);
                let variance = of_law(&|c| c.std * c.std + (c.mean[d] - mean).powi(2));
                let values: Vec<f64> = bytes.chunks_exact(2).map(|point| point[d] as f64 / 127.5 - 1.0).collect();
                let n = values.len() as f64;
                let found = values.iter().sum::<f64>() / n;
                let squares: Vec<f64> = values.iter().map(|v| (v - mean).powi(2)).collect();
                let spread = squares.iter().sum::<f64>() / n;
                let error = (squares.iter().map(|s| (s - spread).powi(2)).sum::<f64>()).sqrt() / n;
                prop_assert!((found - mean).abs() < 6.0 * (variance / n).sqrt(), "{} {}", found, mean);
                prop_assert!((spread - variance).abs() < 6.0 * error, "{} {}", spread, variance);
            }
        }

        /// All shares are one; halves are as they are counted.
        #[test]
        fn shares_are_those_of_the_points(of in mixture(), cut in 40u8..210) {
            let [left, right] = [of.share([0..=cut, 0..=255]), of.share([cut + 1..=255, 0..=255])];
            prop_assert!((left + right - 1.0).abs() < 1e-12);
            let bytes = of.load().unwrap().train.all().unwrap().to_vec();
            let counted = bytes.chunks_exact(2).filter(|point| point[0] <= cut).count() as f64 / 20_000.0;
            prop_assert!((counted - left).abs() < 6.0 * (0.25f64 / 20_000.0).sqrt(), "{} {}", counted, left);
        }
    }

    /// Of one narrow mode: its differential entropy in levels. Of two that are far apart, half a bit more per coordinate.
    #[test]
    fn entropy_is_the_gaussians() {
        let of = |modes: Vec<Mode2d>| Mixture2d { modes, train: 1, held_out: 1, seed: 0 }.entropy();
        let mode = |x: f64| Mode2d { weight: 1.0, mean: [x, 0.0], std: 0.05 };
        let expected = libm::log2((std::f64::consts::TAU * std::f64::consts::E).sqrt() * 0.05 / LEVEL);
        // Rounding adds the uniform's variance: a thousandth of a bit here.
        assert!((of(vec![mode(0.0)]) - expected).abs() < 2e-3, "{} {expected}", of(vec![mode(0.0)]));
        assert!((of(vec![mode(-0.6), mode(0.6)]) - of(vec![mode(0.6)]) - 0.5).abs() < 1e-6);
    }

    /// Read off the file's own words, not off the code: eight modes, weights 1 and 3 by turns, all on the circle.
    #[test]
    fn the_usual_modes_are_what_is_said() {
        let modes = ring();
        assert_eq!((modes.len(), modes[0].mean, modes[2].mean, modes[3].weight), (8, [0.7, 0.0], [0.0, 0.7], 3.0));
        assert!(modes.iter().all(|m| (libm::hypot(m.mean[0], m.mean[1]) - 0.7).abs() < 1e-4 && m.std == 0.05));
        assert!(!serde_json::to_string(&modes).unwrap().contains("-0.0"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of = |mode: Mode2d| Mixture2d { modes: vec![ring()[0], mode], train: 10, held_out: 10, seed: 0 }.check().unwrap_err();
        let mode = Mode2d { weight: 1.0, mean: [0.7, 0.0], std: 0.05 };
        assert_eq!(of(Mode2d { weight: 0.0, ..mode }), ("modes[1].weight".into(), "expected a number above 0, got 0".into()));
        for std in [f64::NAN, 0.0, 0.0039, 0.17] {
            assert_eq!(of(Mode2d { std, ..mode }).0, "modes[1].std");
        }
        let heavy = Mode2d { weight: f64::MAX, mean: [0.0; 2], std: 0.1 };
        assert_eq!(Mixture2d { modes: vec![heavy; 2], ..Mixture2d::default() }.check().unwrap_err().0, "modes");
        let (key, problem) = of(Mode2d { mean: [0.0, -0.71], ..mode });
        assert!(key == "modes[1].mean" && problem.contains("from -0.7000 to 0.7000, which leave room for 6 standard deviations of 0.05"));
        let none = Mixture2d { modes: vec![], train: 10, held_out: 10, seed: 0 };
        assert_eq!(none.check().unwrap_err().0, "modes");
        assert_eq!(Mixture2d { modes: ring(), held_out: 0, ..none }.check().unwrap_err().0, "held_out");
    }
}
