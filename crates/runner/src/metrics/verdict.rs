//! Verdicts: whether what seeds say supports a claim about cells, contradicts it, or leaves it open.

use super::evidence::{Evidence, LEVEL};
use serde::{Deserialize, Serialize};

/// What is claimed of a cell beside each of some others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relation {
    /// Its score is better.
    Better {
        /// Whether more is better.
        rises: bool,
    },
    /// Its score differs by less than a margin.
    Level(Margin),
}

/// A margin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// In units of the score.
    Absolute(f64),
    /// As a share of the other cell's score.
    Relative(f64),
}

/// How a claim was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Supported,
    /// Its contrary holds.
    Contradicted,
    /// Neither could be shown.
    Undecided,
}

impl Verdict {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Supported => "supported",
            Verdict::Contradicted => "contradicted",
            Verdict::Undecided => "undecided",
        }
    }
}

/// A number that two cells' scores A and B make: `a·A + b·B + constant`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrast {
    /// Factor of the cell's score.
    pub a: f64,
    /// Factor of the other's.
    pub b: f64,
    /// What is added.
    pub constant: f64,
}

impl Relation {
    /// The numbers that are all above zero where the claim holds, and not all where it does not.
    pub fn contrasts(self) -> Vec<Contrast> {
        let contrast = |a: f64, b: f64, constant: f64| Contrast { a, b, constant };
        match self {
            Relation::Better { rises: true } => vec![contrast(1.0, -1.0, 0.0)],
            Relation::Better { rises: false } => vec![contrast(-1.0, 1.0, 0.0)],
            // -margin < A - B < margin.
            Relation::Level(Margin::Absolute(margin)) => vec![contrast(-1.0, 1.0, margin), contrast(1.0, -1.0, margin)],
            Relation::Level(Margin::Relative(share)) => vec![contrast(-1.0, 1.0 + share, 0.0), contrast(1.0, share - 1.0, 0.0)],
        }
    }
}

impl Contrast {
    /// Its value.
    pub fn of(self, a: f64, b: f64) -> f64 {
        self.a * a + self.b * b + self.constant
    }
}

/// What was measured of a claim: for each other cell the evidence on each contrast of the relation.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurements {
    /// One or more cells, one or two contrasts each.
    pub others: Vec<Vec<Evidence>>,
}

impl Measurements {
    /// p-value of "the claim holds": two-sided for one contrast, and for two that of the two one-sided tests. Of all other cells the largest,
    /// since it has to hold beside each.
    fn supporting(&self) -> f64 {
        self.others.iter().map(|other| supporting(other)).fold(0.0, f64::max)
    }

    /// p-value of "it does not": two-sided. Beside one of several other cells is enough, so the smallest is multiplied by their number.
    fn contradicting(&self) -> f64 {
        (self.others.len() as f64 * self.others.iter().map(|other| contradicting(other)).fold(1.0, f64::min)).min(1.0)
    }

    /// The other cell that the verdict hangs on, by its place: where it points against the claim the one that contradicts it most clearly, else
    /// the one that supports it least.
    fn decisive(&self) -> usize {
        let key = |place: usize| match self.contradicting() < self.supporting() {
            true => (-contradicting(&self.others[place]), -self.room(place)),
            false => (supporting(&self.others[place]), -self.room(place)),
        };
        let order = |a: &usize, b: &usize| {
            let (a, b) = (key(*a), key(*b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        (0..self.others.len()).max_by(order).unwrap_or(0)
    }

    /// How much is left until the claim fails beside a cell.
    fn room(&self, place: usize) -> f64 {
        self.others[place].iter().filter_map(Evidence::mean).fold(f64::INFINITY, f64::min)
    }

    /// Seeds that decide it at `level` if means and spreads stay what they are: in its favour where all means are, else against it.
    fn seeds_for(&self, level: f64) -> Option<usize> {
        let against = |e: &&Evidence| e.mean().is_some_and(|mean| mean < 0.0);
        let all = || self.others.iter().flatten();
        if all().any(|e| against(&e)) {
            let level = level / 2.0 / self.others.len() as f64;
            return all().filter(against).filter_map(|e| e.seeds_for(level)).min();
        }
        let each = self.others.iter().flat_map(|other| other.iter().map(|e| e.seeds_for(level / sides(other))));
        each.collect::<Option<Vec<usize>>>()?.into_iter().max()
    }
}

/// One contrast is tested on both sides; of two each is tested on its own.
fn sides(other: &[Evidence]) -> f64 {
    if other.len() == 1 { 2.0 } else { 1.0 }
}

fn supporting(other: &[Evidence]) -> f64 {
    (sides(other) * other.iter().map(Evidence::p_above).fold(0.0, f64::max)).min(1.0)
}

fn contradicting(other: &[Evidence]) -> f64 {
    (2.0 * other.iter().map(Evidence::p_below).fold(1.0, f64::min)).min(1.0)
}

/// A claim with its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// p-value of what the evidence points to.
    pub p: f64,
    /// The same after Holm's correction for all claims of the grid: at most 0.05 where it is decided.
    pub p_holm: f64,
    /// The other cell that it hangs on, by its place among them.
    pub decisive: usize,
    /// Where it is undecided: seeds, those that are there included, that decide it if means and spreads are then what they are now; absent
    /// where that is more than anyone would run, or cannot be told.
    pub seeds_needed: Option<usize>,
}

/// The verdicts on all claims of a grid; what could not be measured stays undecided, and counts.
///
/// Of claims and seeds that were chosen beforehand, at most 5% of grids have a verdict that is wrong, in whichever direction: Holm 1979, under any
/// dependence, for wrongly claimed differences; Shaffer 1980, for independent claims, for directions; the tests simulate claims that share
/// cells and seeds. That a cell that diverged in all seeds is the worst is no statistical statement, and no part of the 5%.
pub fn decide(claims: &[Option<Measurements>]) -> Vec<Option<Decision>> {
    let p_values: Vec<(f64, f64)> =
        claims.iter().map(|claim| claim.as_ref().map_or((1.0, 1.0), |m| (m.supporting(), m.contradicting()))).collect();
    let corrected = holm(&p_values.iter().map(|(support, contradict)| support.min(*contradict)).collect::<Vec<_>>());
    let open = corrected.iter().filter(|p| **p > LEVEL).count();
    let decision = |((claim, (support, contradict)), p_holm): ((&Option<Measurements>, &(f64, f64)), &f64)| {
        let measured = claim.as_ref()?;
        let verdict = match p_holm {
            p if *p > LEVEL => Verdict::Undecided,
            _ if support < contradict => Verdict::Supported,
            _ => Verdict::Contradicted,
        };
        let seeds_needed = if verdict == Verdict::Undecided { measured.seeds_for(LEVEL / open as f64) } else { None };
        Some(Decision { verdict, p: support.min(*contradict), p_holm: *p_holm, decisive: measured.decisive(), seeds_needed })
    };
    claims.iter().zip(&p_values).zip(&corrected).map(decision).collect()
}

/// p-values corrected for their number by Holm's step-down procedure.
fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let (mut corrected, mut largest) = (vec![1.0; p_values.len()], 0f64);
    for (rank, place) in order.into_iter().enumerate() {
        largest = largest.max(((p_values.len() - rank) as f64 * p_values[place]).min(1.0));
        corrected[place] = largest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    use ddpm_kernels::random::{Random, Stream};
    use proptest::prelude::*;

    const FALLS: Relation = Relation::Better { rises: false };

    /// Evidence from pairs of scores, of one other cell each.
    fn measured(relation: Relation, others: &[&[(f64, f64)]]) -> Measurements {
        let of = |pairs: &&[(f64, f64)]| -> Vec<Evidence> {
            relation.contrasts().into_iter().map(|c| Evidence::Seeds(pairs.iter().map(|(a, b)| c.of(*a, *b)).collect())).collect()
        };
        Measurements { others: others.iter().map(of).collect() }
    }

    fn verdict(measured: Measurements) -> Verdict {
        decide(&[Some(measured)])[0].unwrap().verdict
    }

    #[test]
    fn better_is_better_than_each() {
        let lower: &[(f64, f64)] = &[(1.0, 2.0), (1.1, 2.0), (0.9, 2.1)];
        let higher: &[(f64, f64)] = &[(1.0, 0.5), (1.1, 0.5), (0.9, 0.4)];
        let unclear: &[(f64, f64)] = &[(1.0, 1.1), (1.1, 1.0), (0.9, 0.95)];
        let of = |others: &[&[(f64, f64)]]| verdict(measured(FALLS, others));
        assert_eq!((of(&[lower]), of(&[higher]), of(&[unclear])), (Verdict::Supported, Verdict::Contradicted, Verdict::Undecided));
        assert_eq!((of(&[lower, lower]), of(&[lower, unclear])), (Verdict::Supported, Verdict::Undecided));
        // One that is better contradicts it, whatever the others are.
        assert_eq!(of(&[lower, unclear, higher]), Verdict::Contradicted);
        assert_eq!(verdict(measured(Relation::Better { rises: true }, &[lower])), Verdict::Contradicted);
        let decision = decide(&[Some(measured(FALLS, &[lower, unclear, lower]))])[0].unwrap();
        assert_eq!(decision.decisive, 1);
        assert_eq!(decide(&[Some(measured(FALLS, &[lower, higher, unclear]))])[0].unwrap().decisive, 1);
        // Of two that contradict it the clearer one, of two that support it as clearly the nearer one.
        let clearer: &[(f64, f64)] = &[(1.0, 0.1), (1.1, 0.2), (0.9, 0.01)];
        let decisive = |others: &[&[(f64, f64)]]| decide(&[Some(measured(FALLS, others))])[0].unwrap().decisive;
        assert_eq!((decisive(&[higher, clearer]), decisive(&[clearer, higher])), (1, 0));
        let (far, near) = ([(1.0, 9.0), (1.0, 9.0)], [(1.0, 3.0), (1.0, 3.0)]);
        assert_eq!((decisive(&[&far, &near]), decisive(&[&near, &far])), (1, 0));
    }

    /// A cell that was not measured leaves a claim open, unless another contradicts it.
    #[test]
    fn one_that_is_unknown_is_no_support() {
        let lower: &[(f64, f64)] = &[(1.0, 2.0), (1.1, 2.0), (0.9, 2.1)];
        let higher: &[(f64, f64)] = &[(1.0, 0.5), (1.1, 0.5), (0.9, 0.4)];
        let of = |others: &[&[(f64, f64)]]| decide(&[Some(measured(FALLS, others))])[0].unwrap();
        let (open, against) = (of(&[lower, &[]]), of(&[lower, &[], higher]));
        assert_eq!(
            (open.verdict, open.seeds_needed, against.verdict, against.decisive),
            (Verdict::Undecided, None, Verdict::Contradicted, 2)
        );
    }

    #[test]
    fn level_is_within_the_margin_on_both_sides() {
        let close: &[(f64, f64)] = &[(1.00, 1.01), (2.01, 2.00), (3.01, 3.00), (4.00, 4.01)];
        let above: &[(f64, f64)] = &[(1.5, 1.0), (2.51, 2.0), (3.49, 3.0), (4.5, 4.0)];
        let of = |margin: Margin, pairs: &[(f64, f64)]| verdict(measured(Relation::Level(margin), &[pairs]));
        assert_eq!(of(Margin::Absolute(0.1), close), Verdict::Supported);
        assert_eq!(of(Margin::Absolute(0.1), above), Verdict::Contradicted);
        assert_eq!(of(Margin::Absolute(0.1), &above.iter().map(|(a, b)| (*b, *a)).collect::<Vec<_>>()), Verdict::Contradicted);
        assert_eq!(of(Margin::Absolute(0.011), close), Verdict::Undecided);
        // A share is of the other cell's score.
        let (tenth, fifth) = ([(0.9, 1.0), (1.8, 2.0), (3.6, 4.0)], [(0.8, 1.0), (1.6, 2.0), (3.2, 4.0)]);
        assert_eq!((of(Margin::Relative(0.15), &fifth), of(Margin::Relative(0.25), &tenth)), (Verdict::Undecided, Verdict::Undecided));
        let nearly = [(0.9, 1.0), (0.901, 1.0), (0.899, 1.0)];
        assert_eq!((of(Margin::Relative(0.15), &nearly), of(Margin::Relative(0.05), &nearly)), (Verdict::Supported, Verdict::Contradicted));
    }

    #[test]
    fn what_diverged_decides_and_what_was_not_measured_counts() {
        let infinite: &[(f64, f64)] = &[(1.0, f64::INFINITY), (1.1, f64::INFINITY)];
        let both: &[(f64, f64)] = &[(f64::INFINITY, f64::INFINITY); 3];
        let drop = |pairs: &[(f64, f64)]| pairs.iter().filter(|(a, b)| a.is_finite() || b.is_finite()).copied().collect::<Vec<_>>();
        assert_eq!(verdict(measured(FALLS, &[infinite])), Verdict::Supported);
        assert_eq!(verdict(measured(Relation::Level(Margin::Relative(0.1)), &[infinite])), Verdict::Contradicted);
        assert_eq!(verdict(measured(FALLS, &[&drop(both)])), Verdict::Undecided);
        // p = 0.04 alone; with a second claim, of which nothing is known, twice that.
        let pairs: &[(f64, f64)] = &[(0.0, 1.0), (0.0, 1.2), (0.0, 2.0)];
        let alone = decide(&[Some(measured(FALLS, &[pairs]))])[0].unwrap();
        let two = decide(&[Some(measured(FALLS, &[pairs])), None]);
        assert_eq!((alone.verdict, two[0].unwrap().verdict, two[1]), (Verdict::Supported, Verdict::Undecided, None));
        assert!((two[0].unwrap().p_holm - 2.0 * alone.p).abs() < 1e-12 && two[0].unwrap().seeds_needed == Some(4));
    }

    /// `n` values of a mean, with a standard deviation of 1.
    fn values(mean: f64, n: usize) -> Vec<f64> {
        let ends = ((n as f64 - 1.0) / 2.0).sqrt();
        (0..n).map(|i| mean + [-ends, ends].get(i).copied().unwrap_or(0.0)).collect()
    }

    /// `statsmodels.stats.multitest.multipletests(p, method="holm")`.
    #[test]
    fn holm_is_the_textbooks() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        /// Of grids whose cells differ by a lot, by a little and not at all, and whose claims share cells and seeds, at most 5% have a verdict
        /// that is wrong.
        #[test]
        fn few_grids_have_a_wrong_verdict(seed in any::<u64>(), n in 2usize..7, cells in 2usize..5, shared in 0.0f64..1.0, gap in 0.0f64..3.0) {
            let grids = 4_000;
            let random = Random::new(seed, Stream::Sample);
            // Cell i scores `truth` in the mean: the first two alike.
            let truth = |cell: usize| gap * cell.saturating_sub(1) as f64;
            let (mut wrong, margin) = (0, 0.5 * gap);
            let numbers = random.normals(0, 0, grids, n * (cells + 1));
            for grid in numbers.chunks(n * (cells + 1)) {
                let score = |cell: usize, s: usize| truth(cell) + shared * f64::from(grid[s]) + f64::from(grid[n * (cell + 1) + s]);
                let pairs = |a: usize, b: usize| (0..n).map(|s| (score(a, s), score(b, s))).collect::<Vec<_>>();
                let mut claims = Vec::new();
                for a in 0..cells {
                    let others: Vec<usize> = (0..cells).filter(|b| *b != a).collect();
                    let lists: Vec<Vec<(f64, f64)>> = others.iter().map(|b| pairs(a, *b)).collect();
                    let lists: Vec<&[(f64, f64)]> = lists.iter().map(Vec::as_slice).collect();
                    let best = others.iter().all(|b| truth(a) < truth(*b));
                    // As good as the best is neither better nor worse.
                    let worse = others.iter().any(|b| truth(a) > truth(*b));
                    claims.push((measured(FALLS, &lists), best, worse));
                    let level = Relation::Level(Margin::Absolute(margin));
                    let differs = (truth(a) - truth(others[0])).abs() > margin;
                    claims.push((measured(level, &lists[..1]), !differs, differs));
                }
                let measured: Vec<_> = claims.iter().map(|(measured, ..)| Some(measured.clone())).collect();
                let is_wrong = |(decision, (_, holds, fails)): (Option<Decision>, &(Measurements, bool, bool))| match decision.unwrap().verdict {
                    Verdict::Supported => !holds,
                    Verdict::Contradicted => !fails,
                    Verdict::Undecided => false,
                };
                wrong += usize::from(decide(&measured).into_iter().zip(&claims).any(is_wrong));
            }
            // Five standard deviations above 5%.
            let most = 0.05 + 5.0 * (0.05f64 * 0.95 / grids as f64).sqrt();
            prop_assert!(wrong as f64 / grids as f64 <= most, "{wrong} of {grids}");
        }

        /// With as many seeds as are named, of the same means and spread, it is decided, and with one fewer it is not: beside other claims that
        /// are open or decided, against several cells, in favour and against.
        #[test]
        fn as_many_seeds_as_are_named_decide(
            means in prop::collection::vec(0.2f64..2.0, 1..4), against in any::<bool>(), two_contrasts in any::<bool>(), open in 0usize..3, decided in 0usize..3,
        ) {
            let sign = if against { -1.0 } else { 1.0 };
            let claim = |n: usize| {
                let evidence = |mean: f64| Evidence::Seeds(values(mean, n));
                // Of two contrasts the other is far from failing.
                let other = |mean: &f64| if two_contrasts { vec![evidence(sign * mean), evidence(1e3)] } else { vec![evidence(sign * mean)] };
                Measurements { others: means.iter().map(other).collect() }
            };
            let unclear = Measurements { others: vec![vec![Evidence::Seeds(vec![-1.0, 1.1])]] };
            let clear = Measurements { others: vec![vec![Evidence::Seeds(values(1e9, 9))]] };
            let all = |n: usize| {
                let mut claims = vec![Some(claim(n))];
                claims.extend(vec![Some(unclear.clone()); open]);
                claims.extend(vec![Some(clear.clone()); decided]);
                decide(&claims)[0].unwrap()
            };
            let first = all(2);
            prop_assume!(first.verdict == Verdict::Undecided);
            let expected = if against { Verdict::Contradicted } else { Verdict::Supported };
            match first.seeds_needed {
                Some(n) => prop_assert!(all(n).verdict == expected && all(n - 1).verdict == Verdict::Undecided, "{n}"),
                None => prop_assert!(all(crate::metrics::evidence::MOST_SEEDS).verdict == Verdict::Undecided),
            }
        }

        /// What is there is found, if there are seeds enough.
        #[test]
        fn enough_seeds_decide(seed in any::<u64>(), gap in 1.0f64..5.0) {
            let n = 60;
            let noise = Random::new(seed, Stream::Sample).normals(0, 0, 2, n);
            let pairs: Vec<(f64, f64)> = (0..n).map(|i| (noise[i].into(), gap + f64::from(noise[n + i]))).collect();
            prop_assert_eq!(verdict(measured(FALLS, &[&pairs])), Verdict::Supported);
            prop_assert_eq!(verdict(measured(Relation::Level(Margin::Absolute(3.0 * gap)), &[&pairs])), Verdict::Supported);
            prop_assert_eq!(verdict(measured(Relation::Level(Margin::Absolute(0.1 * gap)), &[&pairs])), Verdict::Contradicted);
        }
    }
}
