use crate::common::*;
use candle_core::{DType, Device, Tensor};
use ddpm_core::{Objective, Prediction, ReverseVariance, Sampler};
use ddpm_kernels::Kernel;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::parameters::Weights;
use ddpm_model::sampling::Walk;
use ddpm_model::{Engine, PassOptions, Precision, UNet};

fn samplers() -> [Sampler; 6] {
    [
        Sampler::ancestral(),
        Sampler::Ancestral { clip: false, steps: Some(7) },
        Sampler::Ddim { eta: 0.0, clip: true, steps: Some(5) },
        Sampler::Ddim { eta: 0.5, clip: false, steps: None },
        Sampler::Langevin { step_size: 0.2, inner: 2, steps: Some(6) },
        Sampler::DpmSolver2m { clip: false, steps: Some(6) },
    ]
}

#[test]
fn images_do_not_depend_on_the_batch_that_makes_them() {
    for variance in [ReverseVariance::FixedLarge, ReverseVariance::LearnedRange] {
        let d = diffusion(Prediction::Eps, variance, Objective::Vlb {});
        let unet = UNet::new(&tiny(), IMAGE, d.out_channels(2)).unwrap();
        let w = spread(unet.parameters(), 3, DType::F32);
        for sampler in samplers() {
            let mut engine = Engine::with_weights(&unet, Precision::F32, w.numbers().unwrap()).unwrap();
            let mut walk = Walk::new(&mut engine, &d, &sampler).unwrap();
            let whole = walk.run(8, 0, 5, &[1, 20]).unwrap();
            let parts: Vec<Tensor> = [(0, 2), (2, 3)].into_iter().map(|(first, n)| walk.run(8, first, n, &[]).unwrap().x0).collect();
            let parts = Tensor::cat(&parts, 0).unwrap();
            assert!(distance(&parts, &whole.x0) < 1e-4, "{sampler:?} {}", distance(&parts, &whole.x0));
            let kept: Vec<usize> = whole.predictions.iter().map(|(t, _)| *t).collect();
            let expected: Vec<usize> = walk.steps().iter().map(|step| step.t).filter(|t| [1, 20].contains(t)).collect();
            assert!(kept == expected && kept.len() >= 2, "{kept:?}");
            assert!(whole.predictions.iter().all(|(_, x)| x.dims() == [5, 4, 8, 2]));
        }
    }
}

/// Every step of every walk against the core crate's rules on scalars, with the network evaluated eagerly in f64 and the noise of each
/// step's index. Intermediate predictions are compared as well, so that the last step cannot hide earlier errors.
#[test]
fn tensors_walk_as_numbers_do() {
    for (prediction, variance) in [
        (Prediction::Eps, ReverseVariance::FixedLarge),
        (Prediction::V, ReverseVariance::FixedSmall),
        (Prediction::Mu, ReverseVariance::LearnedRange),
    ] {
        let d = diffusion(prediction, variance, Objective::Vlb {});
        let unet = UNet::new(&tiny(), IMAGE, d.out_channels(2)).unwrap();
        let w = spread(unet.parameters(), 3, DType::F32);
        let wide = Weights(w.0.iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect());
        for sampler in samplers() {
            let mut engine = Engine::with_weights(&unet, Precision::F32, w.numbers().unwrap()).unwrap();
            let mut walk = Walk::new(&mut engine, &d, &sampler).unwrap();
            let steps = d.setup.sampling_plan(&d.process, &sampler).unwrap();
            assert_eq!(walk.nfe(), steps.len());
            let every: Vec<usize> = (1..=20).collect();
            let walked = walk.run(8, 0, 3, &every).unwrap();
            assert_eq!(walked.predictions.iter().map(|(t, _)| *t).collect::<Vec<_>>(), steps.iter().map(|s| s.t).collect::<Vec<_>>());
            let random = Random::new(8, Stream::Sample);
            let noise = |place: usize| -> Vec<f64> { random.normals(place as u64, 0, 3, 64).into_iter().map(f64::from).collect() };
            let (mut x, mut before) = (noise(0), None::<Vec<f64>>);
            for (k, (step, (_, predicted))) in steps.iter().zip(&walked.predictions).enumerate() {
                let xt = Tensor::from_slice(&x, (3, 4, 8, 2), &Device::Cpu).unwrap();
                let y = numbers(&unet.forward(&wide, &xt, &[step.t; 3], PassOptions { kernel: Kernel::Reference, dropout: None }).unwrap());
                let (channels, z) = (y.len() / 96, noise(k + 1));
                let to_x0 = prediction.to_x0(&d.process, step.t);
                let clip = |x0: f64| if sampler.clips() { x0.clamp(-1.0, 1.0) } else { x0 };
                let at = |i: usize| (y[i / 2 * channels + i % 2], if channels == 4 { y[i / 2 * channels + 2 + i % 2] } else { 0.0 });
                let x0: Vec<f64> = (0..x.len()).map(|i| clip(to_x0.xt * x[i] + to_x0.output * at(i).0)).collect();
                for (a, b) in numbers(predicted).iter().zip(&x0) {
                    assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{prediction:?} {sampler:?}, t = {}: {a} {b}", step.t);
                }
                let next = |i: usize| {
                    step.mean(&x[i], &x0[i], before.as_ref().map(|before| &before[i]), &at(i).0).unwrap() + step.noise.sigma(at(i).1) * z[i]
                };
                x = (0..x.len()).map(next).collect();
                before = Some(x0);
            }
            for (a, b) in numbers(&walked.x0).iter().zip(&x) {
                assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{prediction:?} {sampler:?}: {a} {b}");
            }
        }
    }
}

#[test]
fn a_sampler_that_does_not_fit_is_an_error() {
    let d = diffusion(Prediction::Eps, ReverseVariance::Learned, Objective::Vlb {});
    let unet = UNet::new(&tiny(), IMAGE, 4).unwrap();
    let mut engine = Engine::new(&unet, Precision::F32).unwrap();
    assert!(Walk::new(&mut engine, &d, &Sampler::Ancestral { clip: true, steps: Some(5) }).is_err());
}

/// A walk can be entered at a step that it visits: the highest that is not above the requested one.
#[test]
fn a_walk_is_joined_at_a_step_that_it_visits() {
    let d = diffusion(Prediction::X0, ReverseVariance::FixedLarge, Objective::Simple {});
    let unet = UNet::new(&tiny(), IMAGE, 2).unwrap();
    let mut engine = Engine::with_weights(&unet, Precision::F32, vec![0.0; unet.parameter_count()]).unwrap();
    for sampler in samplers() {
        let walk = Walk::new(&mut engine, &d, &sampler).unwrap();
        for t in 0..=d.process.timesteps() {
            let expected = walk.steps().iter().map(|step| step.t).filter(|step| *step <= t).max().unwrap_or(0);
            assert_eq!((walk.visited(t), walk.index_at(walk.visited(t))), (expected, walk.index_at(t)), "{sampler:?}, t = {t}");
        }
    }
}
