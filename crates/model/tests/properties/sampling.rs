use crate::common::*;
use candle_core::{DType, Tensor};
use ddpm_core::oracle::GaussianData;
use ddpm_core::{Objective, Prediction, ReverseVariance, Sampler};
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::sampling::Walk;
use ddpm_model::{Engine, Precision, UNet};

fn samplers() -> [Sampler; 5] {
    [
        Sampler::ancestral(),
        Sampler::Ancestral { clip: false, steps: Some(7) },
        Sampler::Ddim { eta: 0.0, clip: true, steps: Some(5) },
        Sampler::Ddim { eta: 0.5, clip: false, steps: None },
        Sampler::Langevin { step_size: 0.2, inner: 2, steps: Some(6) },
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
            assert!(whole.predictions.iter().all(|(t, x)| [1, 20].contains(t) && x.dims() == [5, 4, 8, 2]));
        }
    }
}

/// A network that always answers 0 is the optimal one for data that are a single grey point at 0 (prediction x0): each walk is linear,
/// and the law of its output is known exactly.
#[test]
fn tensors_walk_as_numbers_do() {
    let d = diffusion(Prediction::X0, ReverseVariance::FixedLarge, Objective::Simple {});
    let unet = UNet::new(&tiny(), IMAGE, 2).unwrap();
    let mut engine = Engine::with_weights(&unet, Precision::F32, vec![0.0; unet.parameter_count()]).unwrap();
    let point = GaussianData { mean: 0.0, std: 0.0 };
    for sampler in samplers() {
        let mut walk = Walk::new(&mut engine, &d, &sampler).unwrap();
        let steps = d.setup.sampling_plan(&d.process, &sampler).unwrap();
        assert_eq!(walk.evaluations(), steps.len());
        let got = numbers(&walk.run(8, 0, 3, &[]).unwrap().x0);
        let random = Random::new(8, Stream::Sample);
        let noise: Vec<Vec<f32>> = (0..=steps.len() as u64).map(|step| random.normals(step, 0, 3, 64)).collect();
        for (i, got) in got.iter().enumerate() {
            let mut x = noise[0][i] as f64;
            for (k, step) in steps.iter().enumerate() {
                x = step.mean(&x, &point.x0_given_xt(&d.process, step.t, x).mean, &0.0).unwrap()
                    + step.noise.sigma(0.0) * noise[k + 1][i] as f64;
            }
            assert!((got - x).abs() < 1e-4 * (1.0 + x.abs()), "{sampler:?}: {got} {x}");
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

/// Where a walk can be joined: at a step of its own, the highest that is not above the one asked for.
#[test]
fn a_walk_is_joined_at_a_step_that_it_visits() {
    let d = diffusion(Prediction::X0, ReverseVariance::FixedLarge, Objective::Simple {});
    let unet = UNet::new(&tiny(), IMAGE, 2).unwrap();
    let mut engine = Engine::with_weights(&unet, Precision::F32, vec![0.0; unet.parameter_count()]).unwrap();
    for sampler in samplers() {
        let walk = Walk::new(&mut engine, &d, &sampler).unwrap();
        for t in 0..=d.process.timesteps() {
            let expected = walk.steps().iter().map(|step| step.t).filter(|step| *step <= t).max().unwrap_or(0);
            assert_eq!((walk.visited(t), walk.place_of(walk.visited(t))), (expected, walk.place_of(t)), "{sampler:?}, t = {t}");
        }
    }
}
