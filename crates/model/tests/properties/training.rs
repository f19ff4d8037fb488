use crate::common::*;
use candle_core::{DType, Device, Tensor};
use ddpm_kernels::random::Stream;
use ddpm_model::optimiser::{Optimiser, Training};
use ddpm_model::parameters::{Init, Parameter};

/// Two parameters and the loss sum_i c_i p_i, whose gradient is c.
fn parameters() -> Vec<Parameter> {
    let p = |name: &str, n| Parameter { name: name.into(), shape: vec![n], init: Init::Uniform { limit: 1.0 } };
    vec![p("a", 3), p("b", 2)]
}

fn run(optimiser: Optimiser, steps: usize, c: &[f32]) -> Training {
    let mut training = Training::new(&parameters(), optimiser, 5, Stream::Init);
    for _ in 0..steps {
        training
            .update_traced(|w, shard| {
                let c = Tensor::new(c, &Device::Cpu)?.affine(1.0 + shard as f64, 0.0)?;
                Ok((Tensor::cat(&[&w.0[0], &w.0[1]], 0)? * c)?.sum_all()?)
            })
            .unwrap();
    }
    training
}

#[test]
fn the_first_step_has_rate_0_and_copies_the_average() {
    let training = run(optimiser(), 1, &[1.0; 5]);
    let start = Training::new(&parameters(), optimiser(), 5, Stream::Init);
    assert_eq!(training.weights(), start.weights());
    assert_eq!(training.average(), training.weights());
    assert_eq!((0..4).map(|k| optimiser().rate(k)).collect::<Vec<_>>(), [0.0, 0.005, 0.01, 0.01]);
}

/// The first update copies whatever its rate; later ones mix.
#[test]
fn the_average_begins_at_the_first_update() {
    let quick = Optimiser { warmup_steps: 0, ..optimiser() };
    let (one, two) = (run(quick.clone(), 1, &[1.0; 5]), run(quick.clone(), 2, &[1.0; 5]));
    let start = Training::new(&parameters(), quick, 5, Stream::Init);
    assert!(one.weights() != start.weights() && one.average() == one.weights());
    for ((average, now), then) in two.average().iter().zip(two.weights()).zip(one.weights()) {
        assert!((average - (0.9 * then + 0.1 * now)).abs() < 1e-7, "{average} {now} {then}");
    }
}

/// Each average that is kept is the one that a training of its own would have had, to the last bit; the weights are the average of decay 0.
#[test]
fn averages_are_those_of_trainings_of_their_own() {
    let decays = [0.25, 0.9, 0.99];
    let gradient = [1.0, -2.0, 3.0, -4.0, 5.0];
    for (step, used) in [(0, 0.25), (1, 0.9), (2, 0.99), (7, 0.0), (7, 0.9)] {
        let together = run(Optimiser { ema_decay: used, ema_kept: decays.to_vec(), ..optimiser() }, step, &gradient);
        for decay in decays {
            let alone = run(Optimiser { ema_decay: decay, ..optimiser() }, step, &gradient);
            assert_eq!(together.state().average(decay).unwrap(), alone.average(), "{decay} after {step}");
            assert_eq!((together.weights(), &together.state().m), (alone.weights(), &alone.state().m));
        }
        assert_eq!(together.average(), together.state().average(used).unwrap());
    }
    let raw = run(Optimiser { ema_decay: 0.0, ..optimiser() }, 7, &gradient);
    assert_eq!((raw.average(), raw.state().averages[0].numbers.as_slice()), (raw.weights(), raw.weights()));
    assert_eq!(run(Optimiser { ema_decay: 0.0, ema_kept: vec![0.9], ..optimiser() }, 7, &gradient).average(), raw.weights());
}

/// Matrices and filters shrink, biases and norms do not.
#[test]
fn weight_decay_leaves_biases_alone() {
    let p = |name: &str, shape: &[usize]| Parameter { name: name.into(), shape: shape.to_vec(), init: Init::Constant(8.0) };
    let mut training = Training::new(&[p("w", &[1, 1, 2, 3]), p("b", &[3])], optimiser(), 5, Stream::Init);
    training.shrink(0.25);
    assert_eq!(training.weights(), [[6.0; 6].as_slice(), &[8.0; 3]].concat());
}

#[test]
fn a_constant_gradient_moves_by_the_rate() {
    // Adam's step is lr * sign where the gradient never changes, whatever its size.
    let training = run(optimiser(), 6, &[1.0, -2.0, 3.0, -4.0, 5.0]);
    let start = Training::new(&parameters(), optimiser(), 5, Stream::Init);
    let moved: f64 = (0..6).map(|k| optimiser().rate(k)).sum();
    for (i, (now, then)) in training.weights().iter().zip(start.weights()).enumerate() {
        // Downhill.
        let sign = if i % 2 == 0 { -1.0 } else { 1.0 };
        assert!(((now - then) as f64 - sign * moved).abs() < 1e-5, "{i}: {now} {then} {moved}");
    }
}

#[test]
fn the_norm_is_reported_and_shards_are_clipped_one_by_one() {
    // (3, 0, ..) is clipped to (1, 0, ..), (0, 0.5, ..) is left: their mean is (0.5, 0.25, ..), which no clipping of the mean gives.
    let sharded = Optimiser { clip_shards: 2, ..optimiser() };
    let mut training = Training::new(&parameters(), sharded, 5, Stream::Init);
    let gradients = [[3.0f32, 0.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0, 0.0]];
    let norm = training
        .update_traced(|w, shard| Ok((Tensor::cat(&[&w.0[0], &w.0[1]], 0)? * Tensor::new(&gradients[shard], &Device::Cpu)?)?.sum_all()?))
        .unwrap();
    assert!((norm - ((9.0f64 + 0.25) / 2.0).sqrt()).abs() < 1e-6, "{norm}");
    // m = (1 - beta1) g after one step.
    let m = &training.state().m;
    assert!((m[0] - 0.05).abs() < 1e-7 && (m[1] - 0.025).abs() < 1e-7 && m[2..].iter().all(|m| *m == 0.0), "{m:?}");
}

#[test]
fn a_parameter_without_gradient_is_an_error() {
    let mut training = Training::new(&parameters(), optimiser(), 5, Stream::Init);
    let error = training.update_traced(|w, _| Ok(w.0[0].sum_all()?)).unwrap_err().to_string();
    assert_eq!(error, "parameter b has no gradient");
}

#[test]
fn optimisers_without_meaning_name_the_key() {
    let key = |o: Optimiser| o.check(8).unwrap_err().to_string().split(':').next().unwrap().to_string();
    assert_eq!(key(Optimiser { learning_rate: 0.0, ..optimiser() }), "learning_rate");
    assert_eq!(key(Optimiser { beta2: 1.0, ..optimiser() }), "beta2");
    assert_eq!(key(Optimiser { ema_decay: -0.1, ..optimiser() }), "ema_decay");
    let kept = |decays: &[f64]| Optimiser { ema_kept: decays.to_vec(), ..optimiser() };
    for decays in [&[0.0, 0.9][..], &[0.9, 1.0], &[0.9, f64::NAN], &[0.99, 0.9], &[0.9, 0.9], &[0.8, 0.99]] {
        assert_eq!(key(kept(decays)), "ema_kept", "{decays:?}");
    }
    assert!(kept(&[0.9]).check(8).is_ok() && kept(&[0.9, 0.999]).check(8).is_ok());
    assert!(Optimiser { ema_decay: 0.0, ..kept(&[0.99, 0.999]) }.check(8).is_ok());
    assert_eq!(key(Optimiser { epsilon: 0.0, ..optimiser() }), "epsilon");
    assert_eq!(key(Optimiser { clip_norm: Some(0.0), ..optimiser() }), "clip_norm");
    assert_eq!(key(Optimiser { clip_shards: 3, ..optimiser() }), "clip_shards");
    assert_eq!(key(Optimiser { clip_shards: 0, ..optimiser() }), "clip_shards");
    for value in [-1.0, f64::INFINITY, f64::NAN] {
        assert_eq!(key(Optimiser { learning_rate: value, ..optimiser() }), "learning_rate");
        assert_eq!(key(Optimiser { epsilon: value, ..optimiser() }), "epsilon");
        assert_eq!(key(Optimiser { clip_norm: Some(value), ..optimiser() }), "clip_norm");
        assert_eq!(key(Optimiser { beta1: value, ..optimiser() }), "beta1");
    }
    assert!(optimiser().check(8).is_ok());
    let least = Optimiser { beta1: 0.0, beta2: 0.0, ema_decay: 0.0, clip_norm: None, clip_shards: 8, ..optimiser() };
    assert!(least.check(8).is_ok());
}

#[test]
fn initial_weights_fill_their_range() {
    let p = Parameter { name: "p".into(), shape: vec![10_000], init: Init::Uniform { limit: 0.5 } };
    let w = ddpm_model::parameters::Weights::initial(&[p], 1, Stream::Init, DType::F64).unwrap();
    let v = numbers(&w.0[0]);
    let variance = v.iter().map(|x| x * x).sum::<f64>() / 1e4;
    // U(-l, l) has variance l^2 / 3 and fourth moment l^4 / 5: five standard errors.
    assert!((variance - 0.25 / 3.0).abs() < 5.0 * (0.0625f64 * (1.0 / 5.0 - 1.0 / 9.0) / 1e4).sqrt(), "{variance}");
    assert!(v.iter().all(|x| x.abs() <= 0.5));
}
