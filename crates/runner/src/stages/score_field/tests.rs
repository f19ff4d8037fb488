use super::*;

use crate::base::data::{Dataset, Mode2d};
use crate::experiment::{Job, Study, tiny};
use crate::stages::sample::sample;
use crate::store::Store;
use crate::store::progress::Reporter;
use ddpm_core::ReverseVariance;
use ddpm_core::oracle::GaussianData;
use ddpm_model::optimiser::Training;
use serde_json::json;

const SETS: [&str; 5] =
    ["timesteps=40", "beta_scale=per-1000-steps", "sampling.batch=700", "sampling.count=1000", "evaluation.features=own"];

/// A job on points of one mode, or of two, and a network that is not trained.
fn subject(modes: &[Mode2d], sets: &[&str]) -> (Job, Dataset, Engine) {
    let mixture = Mixture2d { modes: modes.to_vec(), train: 100, held_out: 20, seed: 3 };
    let mut of = json!(mixture);
    of["kind"] = json!("mixture-2d");
    let (data, set) = (mixture.load().unwrap(), format!("data={of}"));
    let job = tiny(&data, &[&SETS, sets, &[&set[..]]].concat());
    let unet = job.config.unet(data.info.shape);
    let training = Training::new(unet.parameters(), job.config.training.optimiser.clone(), 7, Stream::Init);
    // Away from the start, where the last layer is all but 0.
    let noise = Random::new(3, Stream::Evaluation).normals(0, 0, 1, unet.parameter_count());
    let weights = training.weights().iter().zip(noise).map(|(w, z)| w + 0.05 * z).collect();
    let engine = Engine::with_weights(&unet, job.config.training.precision, weights).unwrap();
    (job, data, engine)
}

fn found((job, data, engine): &mut (Job, Dataset, Engine), samplers: serde_json::Value, samples: usize) -> ScoreField {
    let (dir, reporter) = (tempfile::tempdir().unwrap(), &mut Reporter::silent());
    let study = json!({ "kind": "score-field", "at": [1.0, 0.05], "samplers": samplers, "paths": 3, "samples": samples });
    let study: Study = serde_json::from_value(study).unwrap();
    study.check().unwrap();
    study.check_cell(&job.config).unwrap();
    let store = Store::new(dir.path());
    let mut context = StudyContext { store: &store, job, data, engine, net: None, reporter };
    let findings = context.run(&study).unwrap();
    assert_eq!(findings.blank, None);
    findings.score_field.unwrap()
}

const MODE: Mode2d = Mode2d { weight: 1.0, mean: [0.3, -0.2], std: 0.1 };

/// With the exact score of one mode, each sampler's samples have the mean and variance that core's closed form says, within six standard
/// errors: also where the variance is learned, which is then the best one.
#[test]
fn exact_walks_have_the_law_that_is_known() {
    for (sets, sampler) in [
        (&["prediction=eps"][..], json!({ "kind": "ancestral", "clip": false })),
        (&["prediction=mu", "objective=vlb"], json!({ "kind": "ancestral", "clip": false })),
        (&["prediction=v"], json!({ "kind": "ddim", "eta": 0.5, "clip": false, "steps": 20 })),
        (&["prediction=x0"], json!({ "kind": "dpmpp-2m", "clip": false })),
        (&["prediction=eps"], json!({ "kind": "langevin", "step_size": 0.5, "inner": 3 })),
    ] {
        let mut subject = subject(&[MODE], sets);
        let walks = found(&mut subject, json!([sampler]), 1000).walks.remove(0);
        let diffusion = subject.0.config.diffusion();
        let sampler: Sampler = serde_json::from_value(sampler).unwrap();
        let steps = diffusion.setup.sampling_plan(&diffusion.process, &sampler).unwrap();
        assert_eq!(walks.evaluations, steps.len());
        let std = subject.0.config.data.mixture().unwrap().law().components[0].std;
        for d in 0..2 {
            let one = GaussianData { mean: MODE.mean[d], std };
            let law = one.sampler_law(&diffusion.process, &steps, diffusion.setup.prediction);
            let n = walks.exact.ends.len() as f64;
            let mean = walks.exact.ends.iter().map(|end| end[d]).sum::<f64>() / n;
            let variance = walks.exact.ends.iter().map(|end| (end[d] - law.mean).powi(2)).sum::<f64>() / n;
            assert!((mean - law.mean).abs() < 6.0 * (law.variance / n).sqrt(), "{sampler:?}: {mean} {law:?}");
            assert!((variance / law.variance - 1.0).abs() < 6.0 * (2.0 / n).sqrt(), "{sampler:?}: {variance} {law:?}");
        }
    }
    let mut learned = subject(&[MODE], &["variance=learned", "objective=vlb"]);
    let walks = found(&mut learned, json!([{ "kind": "ancestral", "clip": false }]), 1000).walks.remove(0);
    // The best variance of each step is the posterior's own: the whole chain is the law's, but for what the last step leaves out.
    let diffusion = learned.0.config.diffusion();
    let (process, std) = (&diffusion.process, learned.0.config.data.mixture().unwrap().law().components[0].std);
    let one = GaussianData { mean: MODE.mean[0], std };
    let mut steps =
        Sampler::Ancestral { clip: false, steps: None }.plan(process, diffusion.setup.prediction, ReverseVariance::FixedLarge).unwrap();
    for step in steps.iter_mut().filter(|step| step.t > 1) {
        step.noise = Noise::Fixed(one.optimal_sigma2(process, step.t).sqrt());
    }
    let law = one.sampler_law(process, &steps, diffusion.setup.prediction);
    let n = walks.exact.ends.len() as f64;
    let variance = walks.exact.ends.iter().map(|end| (end[0] - law.mean).powi(2)).sum::<f64>() / n;
    assert!((variance / law.variance - 1.0).abs() < 6.0 * (2.0 / n).sqrt(), "{variance} {law:?}");
    assert!((law.variance / (std * std) - 1.0).abs() < 0.4, "{law:?}");
}

/// The network's walks are the samples that the cell is scored by, their divergence is that, and both scores' paths begin at one x_T and end
/// where the samples are.
#[test]
fn learned_walks_are_the_cells_samples() {
    let modes = [MODE, Mode2d { weight: 2.0, mean: [-0.3, 0.3], std: 0.1 }];
    let sampler = json!({ "kind": "ancestral", "clip": true, "steps": null });
    let set = format!("sampler={sampler}");
    let mut subject = subject(&modes, &[&set]);
    let found = found(&mut subject, json!([sampler]), 1000);
    let (job, data, engine) = &mut subject;
    let config = &job.config.sampling;
    let (samples, _) = sample(engine, job.config.diffusion(), config, job.seed, &[], &mut Reporter::silent()).unwrap();
    assert_eq!((samples.bytes.len(), data.info.shape.len()), (2000, 2));
    let cells = Cells::of(job.config.data.mixture().unwrap());
    let walks = &found.walks[0];
    assert_eq!(walks.sampler, "ancestral clip=true");
    let expected = cells.divergence(&samples.bytes, "1000 samples, learned score, 8-bit");
    assert_eq!(walks.learned.divergence, Some(expected));
    assert_ne!(walks.exact.divergence, walks.learned.divergence);
    assert_eq!((walks.exact.ends.len(), found.modes.len()), (1000, 2));
    let (exact, learned) = (walks.exact.paths.as_ref().unwrap(), walks.learned.paths.as_ref().unwrap());
    for (i, (exact, learned)) in exact.iter().zip(learned).enumerate() {
        assert_eq!((exact[0], exact.len(), learned.len()), (learned[0], 41, 41));
        assert_eq!([exact[40], learned[40]], [walks.exact.ends[i], walks.learned.ends[i]]);
        let byte = |v: f64| ((v + 1.0) * 127.5).round().clamp(0.0, 255.0);
        let near = learned[40].iter().zip(&samples.bytes[2 * i..]).all(|(v, level)| (byte(*v) - *level as f64).abs() <= 1.0);
        assert!(near, "{:?}", learned[40]);
    }
}

/// Arrows are what they are said to be: the law's score, and what the network predicts as noise, the other way round. The share of the
/// score that was not learned is 1 of a network that predicts none.
#[test]
fn arrows_are_scores() {
    let mut subject = subject(&[MODE], &["prediction=x0"]);
    let fields = found(&mut subject, json!([{ "kind": "ddim" }]), 10).fields;
    let (job, _, engine) = &mut subject;
    let process = &job.config.diffusion().process;
    assert_eq!(fields.iter().map(|field| field.t).collect::<Vec<_>>(), [40, 2]);
    let law = job.config.data.mixture().unwrap().law();
    for field in &fields {
        let noise = (1.0 - process.alpha_bar(field.t)).sqrt();
        assert!((field.noise - noise).abs() < 1e-12 && (field.signal - process.alpha_bar(field.t).sqrt()).abs() < 1e-12);
        assert_eq!(field.arrows.len(), ARROWS * ARROWS);
        let (low, high) = (field.arrows[0], field.arrows[ARROWS * ARROWS - 1]);
        assert!(
            low.at[0] < -field.signal
                && high.at[1] > field.signal
                && field.arrows[1].at[0] > low.at[0]
                && field.arrows[1].at[1] == low.at[1]
        );
        for arrow in field.arrows.iter().step_by(17) {
            let score = law.score(process, field.t, arrow.at);
            let xt = tensor(&[arrow.at]).unwrap();
            let output = engine.forward(&xt, &[field.t]).unwrap();
            let x0 = points(&output).unwrap()[0];
            for d in 0..2 {
                assert!((arrow.exact[d] - noise * score[d]).abs() < 2e-3 * (1.0 + score[d].abs()), "{arrow:?} {score:?}");
                let eps = (arrow.at[d] - field.signal * x0[d]) / noise;
                assert!((arrow.learned[d] + eps).abs() < 2e-3 * (1.0 + eps.abs()), "{arrow:?} {eps}");
            }
        }
    }
    let mut silent = self::subject(&[MODE], &["prediction=eps"]);
    let zeros = vec![0.0; silent.2.weights().len()];
    let unet = silent.0.config.unet(silent.1.info.shape);
    silent.2 = Engine::with_weights(&unet, silent.0.config.training.precision, zeros).unwrap();
    for field in found(&mut silent, json!([{ "kind": "ddim" }]), 10).fields {
        assert!((field.error - 1.0).abs() < 1e-9, "{}", field.error);
    }
}

/// Walks that leave every range say so, and have neither paths nor ends that are no numbers.
#[test]
fn walks_that_leave_every_range_are_blank() {
    let cells = Cells::of(&Mixture2d::default());
    let mut paths = Paths::default();
    paths.begin(&[[0.0; 2], [0.0; 2]]);
    paths.see(&[[1.0, 1.0], [f64::INFINITY, 0.0]]);
    paths.end(&[[1.0, 1.0], [f64::NAN, 0.0]]);
    let walks = paths.walks(&cells, "learned").unwrap();
    assert_eq!((walks.paths, walks.divergence, walks.ends), (None, None, vec![[1.0, 1.0]]));
    assert_eq!(walks.blank.as_deref(), Some("samples are not finite"));
    let mut paths = Paths::default();
    paths.end(&[[9.0, 0.0]]);
    assert!(paths.walks(&cells, "exact").unwrap().blank.unwrap().starts_with("samples out of range: root mean square 6.36e0"));
}

/// A study of points without a law, or with a sampler that the process does not have, is refused with its place.
#[test]
fn what_cannot_be_looked_at_is_refused() {
    let (job, ..) = subject(&[MODE], &[]);
    let study = |samplers| -> Study { serde_json::from_value(json!({ "kind": "score-field", "samplers": samplers })).unwrap() };
    let (key, problem) = study(json!([{ "kind": "ddim" }, { "kind": "ddim", "steps": 50 }])).check_cell(&job.config).unwrap_err();
    assert!(key == ".samplers[1]" && problem.contains("2..=40"), "{key} {problem}");
    let other = tiny(&crate::base::data::few("d", 9, 1), &[]);
    let (key, problem) = study(json!([{ "kind": "ddim" }])).check_cell(&other.config).unwrap_err();
    assert_eq!((&key[..], &problem[..]), ("", "score-field needs data whose law is known, as mixture-2d is; got fashion-mnist"));
    let error = |tree| serde_json::from_value::<Study>(tree).unwrap().check().unwrap_err().0;
    assert_eq!(error(json!({ "kind": "score-field", "samplers": [] })), "samplers");
    assert_eq!(error(json!({ "kind": "score-field", "samples": 9 })), "samples");
    assert_eq!(error(json!({ "kind": "score-field", "samples": 10, "paths": 11 })), "paths");
    assert_eq!(error(json!({ "kind": "score-field", "at": [1.5] })), "at");
}
