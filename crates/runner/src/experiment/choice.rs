//! The choice among candidates for a cell's own settings, from what they scored.

use super::cell::{brief, label};
use crate::metrics::evidence::Spread;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;

/// The candidates of a cell, and which of them it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// What was tried, in the grid's order.
    pub candidates: Vec<Candidate>,
    /// The place of the chosen one.
    pub chosen: usize,
}

/// Values that were tried in a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// (short name, value as typed), in the order of the grid.
    pub axes: Vec<(String, Value)>,
    /// Its score on each seed; none where it diverged.
    pub scores: Vec<Option<f64>>,
}

impl Candidate {
    /// Its values in words.
    pub fn label(&self) -> String {
        label(&self.axes)
    }

    /// On how many of its seeds it diverged.
    pub fn diverged(&self) -> usize {
        self.scores.iter().filter(|score| score.is_none()).count()
    }

    /// Mean and spread of its scores on the other seeds; none where there are none.
    pub fn spread(&self) -> Option<Spread> {
        let scores: Vec<f64> = self.scores.iter().flatten().copied().collect();
        (!scores.is_empty()).then(|| Spread::of(&scores))
    }
}

impl Choice {
    /// The candidate that diverged on the fewest seeds and, of several, has the best mean on the others; the first of equals. More is better
    /// where scores rise.
    pub fn of(candidates: Vec<Candidate>, rises: bool) -> Choice {
        let mean = |candidate: &Candidate| {
            let worst = if rises { f64::NEG_INFINITY } else { f64::INFINITY };
            candidate.spread().map_or(worst, |spread| spread.mean)
        };
        let better = |a: &Candidate, b: &Candidate| {
            let by_mean = if rises { mean(b).total_cmp(&mean(a)) } else { mean(a).total_cmp(&mean(b)) };
            a.diverged().cmp(&b.diverged()).then(by_mean)
        };
        let mut chosen = 0;
        for place in 1..candidates.len() {
            if better(&candidates[place], &candidates[chosen]) == Ordering::Less {
                chosen = place;
            }
        }
        Choice { candidates, chosen }
    }

    /// The chosen candidate.
    pub fn best(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }

    /// The settings whose chosen value is the least or the largest number of those that were tried: better ones may lie beyond. In words.
    pub fn at_an_end(&self) -> Vec<String> {
        let numbers = |name: &str| -> Vec<f64> {
            let values = self.candidates.iter().flat_map(|candidate| &candidate.axes).filter(|(other, _)| other == name);
            let mut numbers: Vec<f64> = values.filter_map(|(_, value)| value.as_f64()).collect();
            numbers.sort_by(f64::total_cmp);
            numbers.dedup();
            numbers
        };
        let is_end = |(name, value): &&(String, Value)| {
            let (numbers, value) = (numbers(name), value.as_f64());
            numbers.len() > 1 && (value == numbers.first().copied() || value == numbers.last().copied())
        };
        self.best().axes.iter().filter(is_end).map(|(name, value)| format!("{name}={}", brief(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn candidate(rate: f64, scores: &[Option<f64>]) -> Candidate {
        Candidate { axes: vec![("learning_rate".into(), json!(rate))], scores: scores.to_vec() }
    }

    #[test]
    fn the_best_mean_is_chosen_and_what_diverged_comes_last() {
        let scores = |all: &[&[Option<f64>]]| all.iter().zip(1..).map(|(scores, n)| candidate(f64::from(n), scores)).collect::<Vec<_>>();
        let chosen = |all: &[&[Option<f64>]], rises: bool| Choice::of(scores(all), rises).chosen;
        let some = [&[Some(3.0), Some(1.0)][..], &[Some(1.0), Some(2.0)], &[Some(1.5), Some(1.5)], &[Some(0.1), None]];
        // Of 2.0, 1.5, 1.5 and one that diverged once; of equals the first.
        assert_eq!((chosen(&some, false), chosen(&some, true)), (1, 0));
        let worse = [&[None, None][..], &[Some(9.0), None], &[None, Some(8.0)], &[None, None]];
        assert_eq!((chosen(&worse, false), chosen(&worse, true)), (2, 1));
        assert_eq!(chosen(&[&[None], &[None]], false), 0);
        let best = Choice::of(scores(&some), false);
        let spread = best.best().spread().unwrap();
        assert_eq!((spread.mean, spread.std_err(), best.best().diverged(), best.candidates[3].diverged()), (1.5, Some(0.5), 0, 1));
        assert_eq!((candidate(1.0, &[None]).spread(), best.best().label()), (None, "learning_rate=2.0".into()));
    }

    /// Ends are of the numbers, not of the list; one value has no beyond, and what is no number has no ends.
    #[test]
    fn an_end_of_what_was_tried_is_told() {
        let of = |values: &[Value], chosen: usize| {
            let candidates = values.iter().map(|value| Candidate { axes: vec![("x".into(), value.clone())], scores: vec![] }).collect();
            Choice { candidates, chosen }.at_an_end()
        };
        let rates = [json!(0.002), json!(1e-4), json!(0.004), json!(5e-4)];
        let ends: Vec<Vec<String>> = (0..4).map(|chosen| of(&rates, chosen)).collect();
        assert_eq!(ends, [vec![], vec!["x=0.0001".to_string()], vec!["x=0.004".to_string()], vec![]]);
        assert!(of(&[json!(1), json!(1)], 0).is_empty() && of(&[json!("a"), json!("b")], 1).is_empty());
    }
}
