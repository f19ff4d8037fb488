//! The mixture in more dimensions than one, against what it is made of in one.

use crate::common::*;
use ddpm_core::Linear;
use ddpm_core::oracle::{Component, MixtureData};
use proptest::prelude::*;

/// Modes of one width on a line: weight and mean.
fn line() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((0.1f64..1.0, -1.0f64..1.0), 1..4)
}

fn on_a_line(modes: &[(f64, f64)], std: f64) -> MixtureData<1> {
    MixtureData { components: modes.iter().map(|(weight, mean)| Component { weight: *weight, mean: [*mean], std }).collect() }
}

/// Independent coordinates: every pair of modes.
fn product(a: &[(f64, f64)], b: &[(f64, f64)], std: f64) -> MixtureData<2> {
    let pair = |(wa, ma): (f64, f64), (wb, mb): (f64, f64)| Component { weight: wa * wb, mean: [ma, mb], std };
    MixtureData { components: a.iter().flat_map(|a| b.iter().map(move |b| pair(*a, *b))).collect() }
}

fn in_space() -> impl Strategy<Value = MixtureData<3>> {
    let mode = (0.1f64..1.0, [-1.0f64..1.0, -1.0f64..1.0, -1.0f64..1.0], 0.1f64..0.6);
    prop::collection::vec(mode, 1..4).prop_map(|modes| MixtureData {
        components: modes.into_iter().map(|(weight, mean, std)| Component { weight, mean, std }).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn independent_coordinates_are_each_a_line(
        at in any_at(), a in line(), b in line(), std in 0.1f64..0.6, x in [-1.5f64..1.5, -1.5f64..1.5],
    ) {
        let (p, t) = (&at.process, at.t);
        let (both, lines) = (product(&a, &b, std), [on_a_line(&a, std), on_a_line(&b, std)]);
        let densities = [0, 1].map(|d| lines[d].density(p, t, [x[d]]));
        prop_assert!(near(both.density(p, t, x), densities[0] * densities[1], 1e-9));
        let (score, known, eps) = (both.score(p, t, x), both.x0_given_xt(p, t, x), both.best_eps(p, t, x));
        let each = [0, 1].map(|d| lines[d].x0_given_xt(p, t, [x[d]]));
        for d in 0..2 {
            prop_assert!(near(score[d], lines[d].score(p, t, [x[d]])[0], 1e-7));
            prop_assert!(near(known.mean[d], each[d].mean[0], 1e-9));
            prop_assert!(near(eps[d], lines[d].best_eps(p, t, [x[d]])[0], 1e-6));
        }
        prop_assert!(near(known.variance, (each[0].variance + each[1].variance) / 2.0, 1e-9));
        let (low, high) = ([-0.3, x[1].min(0.4)], [x[0].max(0.1), f64::INFINITY]);
        let masses = [0, 1].map(|d| lines[d].mass([low[d]], [high[d]]));
        prop_assert!(near(both.mass(low, high), masses[0] * masses[1], 1e-9));
    }

    #[test]
    fn the_score_is_the_gradient_of_the_log_density(at in any_at(), data in in_space(), x in [-1.5f64..1.5, -1.5f64..1.5, -1.5f64..1.5]) {
        let (p, t) = (&at.process, at.t);
        let score = data.score(p, t, x);
        for d in 0..3 {
            let ln = |step: f64| {
                let mut moved = x;
                moved[d] += step;
                data.density(p, t, moved).ln()
            };
            // Where the density is no number any more, its logarithm has no slope.
            prop_assume!(ln(0.0) > -600.0);
            let slope = (ln(1e-4) - ln(-1e-4)) / 2e-4;
            prop_assert!(near(score[d], slope, 1e-4), "{score:?} {slope} in {d}");
        }
    }

    #[test]
    fn a_drawn_point_is_of_its_mode(data in in_space(), which in 0.0f64..1.0, normals in [-3.0f64..3.0, -3.0f64..3.0, -3.0f64..3.0]) {
        let total: f64 = data.components.iter().map(|c| c.weight).sum();
        let mut passed = 0.0;
        let mode = data.components.iter().find(|c| { passed += c.weight / total; which < passed }).unwrap_or(data.components.last().unwrap());
        let point = data.draw(which, normals);
        prop_assert!((0..3).all(|d| near(point[d], mode.mean[d] + mode.std * normals[d], 1e-12)));
    }

    #[test]
    fn boxes_share_all_mass(data in in_space(), cuts in [-1.5f64..1.5, -1.5f64..1.5, -1.5f64..1.5]) {
        let inf = f64::INFINITY;
        let sides = |d: usize, upper: bool| if upper { (cuts[d], inf) } else { (-inf, cuts[d]) };
        let corner = |i: usize| [0, 1, 2].map(|d| sides(d, i >> d & 1 == 1));
        let sum: f64 = (0..8).map(corner).map(|c| data.mass(c.map(|s| s.0), c.map(|s| s.1))).sum();
        prop_assert!(near(sum, 1.0, 1e-12));
    }
}

proptest! {
    // Quadrature over a plane.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_not_known_is_the_mean_of_the_coordinates(at in any_at(), a in line(), b in line(), std in 0.3f64..0.6) {
        let (p, t) = (&at.process, at.t);
        let both = product(&a, &b, std).mean_spread(p, t);
        let each = [a, b].map(|modes| on_a_line(&modes, std).mean_spread(p, t));
        prop_assert!(near(both, (each[0] + each[1]) / 2.0, 1e-8), "{both} {each:?}");
    }
}

/// A box on a line has the mass that the density has there.
#[test]
fn mass_is_the_densitys_integral() {
    let data = on_a_line(&[(0.3, -0.9), (0.7, 0.6)], 0.2);
    let process = ddpm_core::Process::new(vec![0.1, 0.2]).unwrap();
    let expected = integral(-0.8, 0.7, |x| data.density(&process, 0, [x]));
    assert!(near(data.mass([-0.8], [0.7]), expected, 1e-9));
}

/// Points are combined coordinate by coordinate.
#[test]
fn points_are_combined_by_coordinate() {
    let Ok(sum) = Linear::combine(&[(2.0, &[1.0, -1.0]), (0.5, &[4.0, 10.0])]);
    assert_eq!(sum, [4.0, 3.0]);
}
