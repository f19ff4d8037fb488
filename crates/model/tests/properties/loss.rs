use crate::common::*;
use candle_core::{DType, Device, Tensor};
use ddpm_core::likelihood::{DecoderCdf, bits, decoder_log_likelihood, gaussian_kl};
use ddpm_core::{Objective, Prediction, Process, ReverseVariance, Setup, Space};
use ddpm_model::bound::Observed;
use proptest::prelude::*;

const DIMS: [usize; 4] = [3, 2, 2, 2];

/// 8-bit images in [-1, 1].
fn images(seed: u64) -> Tensor {
    let levels =
        numbers(&normal(seed, 0, &DIMS, DType::F64)).into_iter().map(|v| ((v * 60.0 + 127.0).clamp(0.0, 255.0).round()) / 127.5 - 1.0);
    Tensor::from_vec(levels.collect::<Vec<f64>>(), &DIMS, &Device::Cpu).unwrap()
}

fn legal() -> impl Strategy<Value = (Prediction, ReverseVariance, Objective)> {
    let prediction = prop::sample::select(Prediction::ALL.to_vec());
    let variance = prop::sample::select(ReverseVariance::ALL.to_vec());
    let others = prop::sample::select(vec![Objective::Vlb {}, Objective::VlbRescaled {}, Objective::Simple {}, Objective::hybrid()]);
    let objective = prop_oneof![4 => others, 1 => weighted()];
    (prediction, variance, objective).prop_filter("fits together", |(p, v, o)| setup(*p, *v, *o).process().is_ok())
}

/// The squared error in `space` of an output that predicts `prediction`: both sides taken there, by way of x_0.
fn square_in(space: Space, p: &Process, t: usize, (output, xt, x0, eps): (f64, f64, f64, f64), prediction: Prediction) -> f64 {
    let to = |reading| prediction.convert(reading, p, t).apply(&xt, &output).unwrap();
    let (a, s) = p.q_sample_coefficients(t);
    match space {
        Space::Mu => to(Prediction::Mu) - p.q_posterior(x0, xt, t).mean,
        Space::X0 => to(Prediction::X0) - x0,
        Space::Eps => to(Prediction::Eps) - eps,
        Space::V => to(Prediction::V) - (a * eps - s * x0),
        Space::Score => (eps - to(Prediction::Eps)) / s,
    }
    .powi(2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_loss_is_cores_formula_for_each_number((prediction, variance, objective) in legal(), seed: u64, ts in prop::collection::vec(1usize..=20, 3), later in 0usize..3) {
        let d = diffusion(prediction, variance, objective);
        let mut ts = ts;
        ts[later] = 1; // The decoder's step is in every batch.
        let batch = d.batch(images(seed), normal(seed, 1, &DIMS, DType::F64), ts.clone()).unwrap();
        let out_channels = d.out_channels(2);
        // Near the truth, where the decoder is not floored.
        let mut output = vec![0.0; 12 * out_channels];
        let noise = numbers(&normal(seed, 2, &[12 * out_channels], DType::F64));
        let (x0, eps, xt) = (numbers(&batch.x0), numbers(&batch.eps), numbers(&batch.xt));
        for (i, x) in x0.iter().enumerate() {
            let (t, at) = (ts[i / 8], i / 2 * out_channels + i % 2);
            let (c_x0, c_eps) = prediction.target(&d.process, t);
            output[at] = c_x0 * x + c_eps * eps[i] + 0.01 * noise[at];
            if out_channels == 4 {
                output[at + 2] = 0.3 * noise[at + 2] - 2.0;
            }
        }
        let tensor = Tensor::from_slice(&output, (3, 2, 2, out_channels), &Device::Cpu).unwrap();
        let loss = d.loss(&tensor, &batch).unwrap();
        for (image, got) in loss.per_image.iter().copied().enumerate() {
            let t = ts[image];
            let (mut simple, mut weighted, mut bound) = (0.0, 0.0, 0.0);
            for i in image * 8..(image + 1) * 8 {
                let at = i / 2 * out_channels + i % 2;
                let (c_x0, c_eps) = prediction.target(&d.process, t);
                simple += (output[at] - c_x0 * x0[i] - c_eps * eps[i]).powi(2) / 8.0;
                if let Objective::Weighted { space, weight } = objective {
                    weighted += weight.at(d.process.snr(t)) * square_in(space, &d.process, t, (output[at], xt[i], x0[i], eps[i]), prediction) / 8.0;
                }
                let mean = prediction.convert(Prediction::Mu, &d.process, t).apply(&xt[i], &output[at]).unwrap();
                let log_sigma2 = variance.log_sigma2(&d.process, t).at(if out_channels == 4 { output[at + 2] } else { 0.0 });
                bound += bits(if t == 1 {
                    -decoder_log_likelihood(x0[i], mean, 0.5 * log_sigma2, DecoderCdf::Tanh)
                } else {
                    let posterior = d.process.q_posterior(x0[i], xt[i], t);
                    gaussian_kl(posterior.mean, posterior.variance.ln(), mean, log_sigma2)
                }) / 8.0;
            }
            let expected = match objective {
                Objective::Simple {} => simple,
                Objective::Weighted { .. } => weighted,
                Objective::Vlb {} => bound,
                Objective::VlbRescaled {} => 20.0 * bound,
                Objective::Hybrid { lambda } => simple + lambda * 20.0 * bound,
            };
            prop_assert!((got - expected).abs() < 1e-7 * (1.0 + expected.abs()), "t = {t}: {got} {expected}");
        }
        let mean = loss.value();
        prop_assert!((loss.mean.to_scalar::<f64>().unwrap() - mean).abs() < 1e-12 * (1.0 + mean.abs()));
    }

    #[test]
    fn an_evaluated_term_is_the_training_term_where_nothing_is_clipped(
        prediction in prop::sample::select(Prediction::ALL.to_vec()), variance in prop::sample::select(ReverseVariance::ALL.to_vec()), seed: u64, t in 1usize..=20,
    ) {
        let d = diffusion(prediction, variance, Objective::Vlb {});
        let out_channels = d.out_channels(2);
        // The truth shrunk towards grey: its x_0 stays inside [-1, 1].
        let x0 = (images(seed) * 0.9).unwrap();
        let batch = d.batch(x0.clone(), normal(seed, 1, &DIMS, DType::F64), vec![t; 3]).unwrap();
        let reading = prediction.from_x0(&d.process, t);
        let first = ((&batch.xt * reading.xt).unwrap() + (&x0 * (reading.output * 0.98)).unwrap()).unwrap();
        let output = if out_channels == 4 {
            let second = (normal(seed, 2, &DIMS, DType::F64) * 0.2).unwrap().affine(1.0, -2.0).unwrap();
            Tensor::cat(&[&first, &second], 3).unwrap()
        } else {
            first
        };
        let training = d.loss(&output, &batch).unwrap().per_image;
        let single = |t: &Tensor| numbers(t).into_iter().map(|v| v as f32).collect::<Vec<f32>>();
        let (x0, xt, output) = (single(&batch.x0), single(&batch.xt), single(&output));
        for image in 0..3 {
            let of = |v: &[f32], n: usize| v[image * n..(image + 1) * n].to_vec();
            let term = d.term(&Observed { t, x0: &of(&x0, 8), xt: &of(&xt, 8), output: &of(&output, 4 * out_channels), channels: 2 }, DecoderCdf::Tanh);
            prop_assert!((term.total() - training[image]).abs() < 2e-4 * (1.0 + training[image].abs()), "{term:?} {}", training[image]);
            // x̂_0 is off by 2% of x_0: eps by that times the root of SNR, the posterior's mean by it times its coefficient.
            let square = of(&x0, 8).iter().map(|v| (0.02 * *v as f64).powi(2)).sum::<f64>() / 8.0;
            let near = |got: f64, expected: f64| (got - expected).abs() < 0.01 * expected;
            prop_assert!(near(term.mse_x0, square) && near(term.mse_eps, square * d.process.snr(t)), "{term:?} {square}");
            let mean = if t > 1 { square * d.process.posterior_mean_coef_x0(t).powi(2) } else { 0.0 };
            prop_assert!(t == 1 && term.mean_squared == 0.0 || near(term.mean_squared, mean), "{term:?} {mean}");
            if t > 1 {
                prop_assert!(term.decoder == 0.0 && term.mean_error > 0.0);
            } else {
                prop_assert!(term.decoder != 0.0 && term.mean_error == 0.0 && term.variance_mismatch == 0.0);
            }
        }
    }
}

proptest! {
    /// The output of a perfect prediction implies the noise that was added, whatever is predicted; a second output has no part in it.
    #[test]
    fn an_output_implies_its_noise(prediction in prop::sample::select(Prediction::ALL.to_vec()), learned: bool, seed: u64, ts in prop::collection::vec(1usize..=20, 3)) {
        let d = diffusion(prediction, if learned { ReverseVariance::Learned } else { ReverseVariance::FixedSmall }, Objective::Vlb {});
        let batch = d.batch(images(seed), normal(seed, 1, &DIMS, DType::F64), ts.clone()).unwrap();
        let of_image = |(i, t): (usize, &usize)| {
            let (c_x0, c_eps) = prediction.target(&d.process, *t);
            let part = |x: &Tensor, c: f64| (x.narrow(0, i, 1).unwrap() * c).unwrap();
            (part(&batch.x0, c_x0) + part(&batch.eps, c_eps)).unwrap()
        };
        let truth = Tensor::cat(&ts.iter().enumerate().map(of_image).collect::<Vec<_>>(), 0).unwrap();
        let output = if learned { Tensor::cat(&[&truth, &normal(seed, 2, &DIMS, DType::F64)], 3).unwrap() } else { truth };
        let implied = d.implied_eps(&ts, &batch.xt, &output).unwrap();
        for (found, expected) in numbers(&implied).iter().zip(numbers(&batch.eps)) {
            prop_assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }
}

/// By hand: a second output of r in a range is (r + 1) / 2 of the way from ln beta_tilde to ln beta; a free one is where it is; a fixed one has
/// no place to learn, nor has t = 1.
#[test]
fn a_learned_variance_has_its_place_between_the_fixed_ones() {
    let share = |variance, t, seconds: [f32; 2]| {
        let d = diffusion(Prediction::Eps, variance, Objective::Vlb {});
        let output = if d.out_channels(1) == 2 { vec![0.1, seconds[0], 0.1, seconds[1]] } else { vec![0.1; 2] };
        let term = d.term(&Observed { t, x0: &[0.5; 2], xt: &[-0.3; 2], output: &output, channels: 1 }, DecoderCdf::Tanh);
        (term.log_share, term.log_share_squared)
    };
    let near = |found: (f64, f64), mean: f64, squared: f64| (found.0 - mean).abs() < 1e-6 && (found.1 - squared).abs() < 1e-6;
    for t in [2, 7, 20] {
        assert!(near(share(ReverseVariance::LearnedRange, t, [-1.0, 1.0]), 0.5, 0.5));
        assert!(near(share(ReverseVariance::LearnedRange, t, [0.0, -0.5]), 0.375, (0.25 + 0.0625) / 2.0));
        let process = diffusion(Prediction::Eps, ReverseVariance::Learned, Objective::Vlb {}).process;
        let ends = [process.log_sigma2_small(t), process.log_sigma2_large(t)];
        // Twice as far as beta, and beta_tilde.
        let seconds = [(2.0 * ends[1] - ends[0]) as f32, ends[0] as f32];
        let (mean, squared) = share(ReverseVariance::Learned, t, seconds);
        // Where the two are close, single precision says less.
        let digits = 1e-5 / (ends[1] - ends[0]);
        assert!((mean - 1.0).abs() < digits && (squared - 2.0).abs() < 4.0 * digits, "t = {t}: {mean} {squared}");
        assert!(share(ReverseVariance::FixedLarge, t, [0.0; 2]).0.is_nan() && share(ReverseVariance::FixedSmall, t, [0.0; 2]).1.is_nan());
    }
    assert!(share(ReverseVariance::LearnedRange, 1, [0.0; 2]).0.is_nan() && share(ReverseVariance::Learned, 1, [0.0; 2]).1.is_nan());
}

/// Where alpha_bar is 0, x_t is the noise: no prediction of it is right or wrong.
#[test]
fn eps_has_no_error_where_no_signal_is_left() {
    let jsd = Setup { schedule: ddpm_core::Schedule::Jsd {}, ..setup(Prediction::X0, ReverseVariance::FixedLarge, Objective::Simple {}) };
    let d = ddpm_model::Diffusion::new(jsd).unwrap();
    let error = |t| d.term(&Observed { t, x0: &[0.5; 2], xt: &[-0.3; 2], output: &[0.1; 2], channels: 2 }, DecoderCdf::Tanh).mse_eps;
    assert!(error(20).is_nan() && error(19) > 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// By differences of the loss: the weighted loss is quadratic, so that they are exact but for rounding.
    #[test]
    fn a_weighted_losss_gradient(prediction in prop::sample::select(Prediction::ALL.to_vec()), objective in weighted(), seed: u64, ts in prop::collection::vec(1usize..=20, 3), place in 0usize..24) {
        let d = diffusion(prediction, ReverseVariance::FixedLarge, objective);
        let batch = d.batch(images(seed), normal(seed, 1, &DIMS, DType::F64), ts).unwrap();
        let output = candle_core::Var::from_tensor(&normal(seed, 2, &DIMS, DType::F64)).unwrap();
        let grads = d.loss(&output, &batch).unwrap().mean.backward().unwrap();
        let got = numbers(grads.get(&output).unwrap())[place];
        let at = |step: f64| {
            let mut moved = numbers(&output);
            moved[place] += step;
            d.loss(&Tensor::from_vec(moved, &DIMS, &Device::Cpu).unwrap(), &batch).unwrap().value()
        };
        let expected = (at(0.5) - at(-0.5)) / 1.0;
        prop_assert!((got - expected).abs() < 1e-9 * (1.0 + at(0.0)), "{got} {expected}");
    }
}

/// The mean's output gets no gradient from the bound.
#[test]
fn the_hybrid_stops_the_bounds_gradient_to_the_mean() {
    let gradient = |objective, channel: usize| {
        let d = diffusion(Prediction::Eps, ReverseVariance::LearnedRange, objective);
        let batch = d.batch(images(4), normal(4, 1, &DIMS, DType::F64), vec![1, 7, 20]).unwrap();
        let output = candle_core::Var::from_tensor(&normal(4, 2, &[3, 2, 2, 4], DType::F64)).unwrap();
        let grads = d.loss(&output, &batch).unwrap().mean.backward().unwrap();
        numbers(&grads.get(&output).unwrap().narrow(3, channel, 2).unwrap())
    };
    let simple = {
        let d = diffusion(Prediction::Eps, ReverseVariance::FixedSmall, Objective::Simple {});
        let batch = d.batch(images(4), normal(4, 1, &DIMS, DType::F64), vec![1, 7, 20]).unwrap();
        let output = candle_core::Var::from_tensor(&normal(4, 2, &[3, 2, 2, 4], DType::F64).narrow(3, 0, 2).unwrap()).unwrap();
        numbers(d.loss(&output, &batch).unwrap().mean.backward().unwrap().get(&output).unwrap())
    };
    let hybrid = gradient(Objective::hybrid(), 0);
    assert!(hybrid.iter().zip(&simple).all(|(a, b)| (a - b).abs() < 1e-12));
    assert!(gradient(Objective::hybrid(), 2).iter().any(|g| g.abs() > 1e-6));
}
