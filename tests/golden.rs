//! What the original programs compute (`tests/golden/originals.py`) against what this one does, from the same hashed numbers.

mod support;

use ddpm_core::likelihood::{DecoderCdf, decoder_log_likelihood, gaussian_kl};
use ddpm_core::sampler::Noise;
use ddpm_core::{BetaScale, Objective, Prediction, Process, ReverseVariance, Sampler, Schedule, Setup};
use ddpm_kernels::Kernel;
use ddpm_kernels::gemm::{F32, F64, Format};
use ddpm_kernels::scratch::Scratch;
use ddpm_model::inception::{Inception, Resize, tensor_shapes};
use ddpm_model::interop::Tensors;
use ddpm_model::network::ImageShape;
use ddpm_model::parameters::Weights;
use ddpm_model::tensor::{DType, Device, Tensor};
use ddpm_model::{Arithmetic, Engine, PassOptions, UNet, diffusers};
use ddpm_runner::interop::diffusers as theirs;
use ddpm_runner::metrics::evidence::Evidence;
use ddpm_runner::metrics::features::{FeatureSource, Features};
use ddpm_runner::metrics::frechet::Gaussian;
use ddpm_runner::metrics::inception_score::{over_splits, softmax};
use ddpm_runner::metrics::kid::discrepancy;
use ddpm_runner::metrics::manifold::Manifold;
use ddpm_runner::metrics::moments::Moments;
use ddpm_runner::metrics::verdict::{Margin, Measurements, Relation, decide};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(&std::fs::read_to_string(support::root().join("tests/golden/originals.json")).unwrap()).unwrap()
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// `n` numbers in [-1, 1) by name: `uniform` of hashed.py.
fn hashed(name: &str, n: usize) -> Vec<f64> {
    let key = name.bytes().fold(0xCBF29CE484222325u64, |h, b| (h ^ b as u64).wrapping_mul(0x100000001B3));
    let number = |i: usize| {
        let mut z = key.wrapping_add((i as u64 + 1).wrapping_mul(0x9E3779B97F4A7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D049BB133111EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n).map(number).collect()
}

fn tensor(name: &str, shape: &[usize], centre: f64, scale: f64) -> Tensor {
    let numbers: Vec<f32> = hashed(name, shape.iter().product()).iter().map(|v| (centre + scale * v) as f32).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// ||a - b|| / ||b||.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

fn numbers(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// diffusers' `UNet2DModel`, forward and backward: in f64 tensor by tensor, in f32 by the engine.
#[test]
fn the_unet_is_diffusers() {
    let golden = &golden()["unet"];
    let theirs::Found { network, image, out_channels: out, .. } = theirs::network(&golden["config"], "golden").unwrap();
    let unet = UNet::new(&network, image, out).unwrap();
    let theirs = diffusers::export(&network, unet.parameters(), &vec![0.0; unet.parameter_count()]).unwrap();
    let filled = theirs.iter().map(|(name, t)| {
        let fan: usize = t.dims()[1..].iter().product();
        let (centre, scale) = match t.dims().len() {
            1 if name.contains("norm") && name.ends_with("weight") => (1.0, 0.3),
            1 => (0.0, 0.2),
            _ => (0.0, (6.0 / fan as f64).sqrt()),
        };
        (name.clone(), tensor(name, t.dims(), centre, scale))
    });
    let weights = diffusers::import(&network, unet.parameters(), Tensors::of(filled)).unwrap();
    let t: Vec<usize> = list(&golden["t"]).iter().map(|t| *t as usize).collect();
    let (x, probe) = (tensor("x", &[2, 16, 16, 3], 0.0, 1.0), tensor("dy", &[2, 16, 16, 6], 0.0, 1.0));
    let expected = list(&golden["output"]);
    // The gradient's norm and its product with a probe, for each of their parameters.
    // Some are nothing but rounding (a shift of all keys changes no softmax): they count against the largest.
    let largest = golden["gradients"].as_object().unwrap().values().map(|seen| seen[0].as_f64().unwrap()).fold(0.0, f64::max);
    let compare = |gradient: &[f32], limit: f64| {
        for (name, tensor) in diffusers::export(&network, unet.parameters(), gradient).unwrap() {
            let seen = list(&golden["gradients"][&name]);
            let (found, probe) = (numbers(&tensor), hashed(&format!("probe.{name}"), tensor.elem_count()));
            let norm = found.iter().map(|v| v * v).sum::<f64>().sqrt();
            let product: f64 = found.iter().zip(&probe).map(|(a, b)| a * b).sum();
            let size = seen[0].max(1e-3 * largest);
            assert!((norm - seen[0]).abs() <= limit * size, "{name}: {norm} {seen:?}");
            assert!((product - seen[1]).abs() <= limit * size, "{name}: {product} {seen:?}");
        }
    };

    let wide =
        Weights(Weights::from_numbers(unet.parameters(), &weights).unwrap().0.iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect());
    let variables = wide.variables().unwrap();
    let pass = PassOptions { kernel: Kernel::Fused, dropout: None };
    let y = unet.forward(&Weights::of_variables(&variables), &x.to_dtype(DType::F64).unwrap(), &t, pass).unwrap();
    // Their sine and cosine of the step are in single precision.
    assert!(distance(&numbers(&y), &expected) < 1e-6, "{}", distance(&numbers(&y), &expected));
    let gradients = (y * probe.to_dtype(DType::F64).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();
    let all: Vec<f32> = variables.iter().flat_map(|v| numbers(gradients.get(v).unwrap())).map(|v| v as f32).collect();
    compare(&all, 1e-5);

    let mut engine = Engine::with_arithmetic(&unet, Arithmetic::F32).unwrap().load(weights.clone());
    let y = engine.forward(&x, &t).unwrap();
    assert!(distance(&numbers(&y), &expected) < 1e-5, "{}", distance(&numbers(&y), &expected));
    let mut gradient = vec![0f32; weights.len()];
    let loss = |y: &Tensor| Ok((y * &probe)?.sum_all()?);
    engine.gradient(&weights, &x, &t, None, loss, &mut gradient).unwrap();
    compare(&gradient, 1e-4);
}

/// One step of diffusers' DDPMScheduler and DDIMScheduler, clipped.
#[test]
fn steps_are_diffusers() {
    let golden = golden();
    let cases = golden["steps"].as_array().unwrap();
    assert_eq!(cases.len(), 48);
    for case in cases {
        let (name, t) = (case["name"].as_str().unwrap(), case["t"].as_u64().unwrap() as usize);
        let prediction = match case["prediction"].as_str().unwrap() {
            "epsilon" => Prediction::Eps,
            "v_prediction" => Prediction::V,
            _ => Prediction::X0,
        };
        let variance = if case["variance"] == "fixed_small" { ReverseVariance::FixedSmall } else { ReverseVariance::FixedLarge };
        let sampler = match case["eta"].as_f64() {
            None => Sampler::ancestral(),
            Some(eta) => Sampler::Ddim { eta, clip: true, steps: None },
        };
        let setup = Setup {
            timesteps: 1000,
            schedule: Schedule::Linear { beta_start: 1e-4, beta_end: 0.02 },
            beta_scale: BetaScale::AsGiven,
            prediction,
            variance,
            objective: Objective::Simple {},
        };
        let process: Process = setup.process().unwrap();
        let step = setup.sampling_plan(&process, &sampler).unwrap()[1000 - t];
        assert_eq!(step.t, t);
        let part = |part: &str| hashed(&format!("{name}.{part}"), 16);
        let to_x0 = prediction.to_x0(&process, t);
        let next = part("xt").into_iter().zip(part("output")).zip(part("z")).map(|((x, y), z)| {
            let x0 = (to_x0.xt * x + to_x0.output * y).clamp(-1.0, 1.0);
            let Noise::Fixed(sigma) = step.noise else { panic!("a fixed variance") };
            step.xt * x + step.x0 * x0 + step.output * y + sigma * z
        });
        for (found, expected) in next.zip(list(&case["next"])) {
            assert!((found - expected).abs() < 1e-9, "{name}: {found} {expected}");
        }
    }
}

#[test]
fn likelihoods_are_pytorchs_and_scipys() {
    let golden = &golden()["likelihood"];
    let scaled = |name: &str, centre: f64, scale: f64| hashed(name, 32).into_iter().map(|v| centre + scale * v).collect::<Vec<f64>>();
    let (m1, m2, v1, v2) = (scaled("m1", 0.0, 2.0), scaled("m2", 0.0, 2.0), scaled("lv1", -3.0, 3.0), scaled("lv2", -3.0, 3.0));
    for (i, expected) in list(&golden["kl"]).into_iter().enumerate() {
        let found = gaussian_kl(m1[i], v1[i], m2[i], v2[i]);
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{i}: {found} {expected}");
    }
    let (level, shift, log_sigma) = (list(&golden["level"]), scaled("mean", 0.0, 0.05), scaled("ls", -3.0, 1.0));
    for (name, cdf) in [("erf", DecoderCdf::Erf), ("tanh", DecoderCdf::Tanh)] {
        for (i, expected) in list(&golden[name]).into_iter().enumerate() {
            let x = level[i] / 127.5 - 1.0;
            let found = decoder_log_likelihood(x, x + shift[i], log_sigma[i], cdf);
            assert!((found - expected).abs() <= 1e-8 * (1.0 + expected.abs()), "{name} {i}: {found} {expected}");
        }
    }
}

/// pytorch-fid's distance, torch-fidelity's inception score, kernel distance, precision and recall.
#[test]
fn scores_are_the_originals() {
    let golden = &golden()["scores"];
    let (n, d) = (120, 6);
    let mix = hashed("mix", d * d);
    let rows = |name: &str, scale: f64, shift: f64| -> Vec<f32> {
        let of = |row: &[f64]| (0..d).map(|j| (0..d).map(|k| row[k] * mix[k * d + j]).sum::<f64>() * scale + shift).collect::<Vec<f64>>();
        hashed(name, n * d).chunks(d).flat_map(of).map(|v| v as f32).collect()
    };
    let features = |rows: Vec<f32>| Features { dim: d, classes: 1, probabilities: vec![1.0; n], rows };
    let (a, b) = (features(rows("a", 1.0, 0.0)), features(rows("b", 1.2, 0.1)));
    let close = |found: f64, expected: &Value| {
        let expected = expected.as_f64().unwrap();
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} {expected}");
    };
    let moments = |f: &Features| Moments::of(d, f.iter());
    close(Gaussian::of(&moments(&b)).unwrap().distance(&moments(&a)).unwrap(), &golden["fid"]);
    let logits: Vec<f32> = hashed("logits", n * 5).iter().map(|v| (3.0 * v) as f32).collect();
    let (mean, deviation) = over_splits(&softmax(&logits, 5), 5, 7);
    close(mean, &golden["is"][0]);
    close(deviation, &golden["is"][1]);
    let wide = |f: &Features| f.rows.iter().map(|v| *v as f64).collect::<Vec<f64>>();
    close(discrepancy(d, &wide(&a), &wide(&b)), &golden["kid"]);
    let (a, b) = (Manifold::of(&a), Manifold::of(&b));
    close(b.covers(&a), &golden["precision"]);
    close(a.covers(&b), &golden["recall"]);
}

#[test]
fn resizing_is_the_originals_pixel_by_pixel() {
    for case in golden()["resize"].as_array().unwrap() {
        let size = |key: &str| case[key].as_u64().unwrap() as usize;
        let (h, w, side, stride) = (size("h"), size("w"), size("side"), size("stride"));
        let image: Vec<u8> =
            hashed(&format!("image.{h}.{w}"), h * w * 3).iter().map(|v| ((v + 1.0) * 127.5).round_ties_even() as u8).collect();
        for resize in [Resize::TensorFlow1, Resize::PyTorch] {
            let mut out = vec![0f32; side * side * 3];
            resize.apply(&image, (h, w, 3), side, &mut out);
            for (found, expected) in out.iter().step_by(stride).zip(list(&case[resize.name()])) {
                // Where PyTorch shrinks it rounds a place once instead of twice, and is itself 3e-6 from exact arithmetic.
                let limit = if resize == Resize::PyTorch && h > side { 4e-6 } else { 1e-6 };
                assert!((*found as f64 - expected).abs() < limit, "{} {h}x{w}: {found} {expected}", resize.name());
            }
        }
    }
}

/// pytorch-fid's InceptionV3 on hashed weights, in f64 and in f32, with either way of resizing.
#[test]
fn inception_is_pytorch_fids() {
    let golden = &golden()["inception"];
    let tensors = || {
        Tensors::of(tensor_shapes().into_iter().map(|(name, shape)| {
            let (centre, scale) = match &name[..] {
                n if n.ends_with("conv.weight") => (0.0, (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt()),
                n if n.ends_with("bn.weight") || n.ends_with("running_var") => (1.0, 0.5),
                _ => (0.0, 0.1),
            };
            let filled = tensor(&name, &shape, centre, scale);
            (name, filled)
        }))
    };
    fn compare<F: Format<Number: Scratch, Element: Scratch>>(net: Inception<F>, golden: &Value) {
        let image: Vec<u8> = hashed("inception.image", 32 * 32 * 3).iter().map(|v| ((v + 1.0) * 127.5).round_ties_even() as u8).collect();
        for resize in [Resize::TensorFlow1, Resize::PyTorch] {
            let seen = net.see(&image, (32, 32, 3), resize).unwrap();
            let some = |all: &[f32], step: usize| all.iter().step_by(step).map(|v| *v as f64).collect::<Vec<f64>>();
            for (found, key) in [(some(&seen.features, 4), "features"), (some(seen.logits.as_ref().unwrap(), 9), "logits")] {
                let off = distance(&found, &list(&golden[resize.name()][key]));
                assert!(off < 1e-6, "{} {key}: {off}", resize.name());
            }
        }
    }
    compare(Inception::<F64>::new(tensors()).unwrap(), golden);
    compare(Inception::<F32>::new(tensors()).unwrap(), golden);
}

/// The larger of the embedded classifiers as a second program computes it (the smaller one scores the pinned experiments).
#[test]
fn the_embedded_classifier_sees_what_another_program_sees() {
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(support::root().join("tests/golden/pinned.json")).unwrap()).unwrap();
    let golden = &golden["cifar10-classifier"];
    let shape = ImageShape { height: 32, width: 32, channels: 3 };
    let net = FeatureSource::Own {}.load(shape).unwrap().unwrap();
    let place = |i: u32| (i / 3072, i / 96 % 32, i / 3 % 32, i % 3);
    let bytes: Vec<u8> = (0..3 * 3072).map(place).map(|(i, y, x, c)| support::byte(i, y, x, c)).collect();
    let seen = net.see(&bytes, shape, |_| Ok(())).unwrap();
    assert_eq!((seen.dim, seen.n(), seen.classes), (128, 3, 10));
    for i in 0..3 {
        let wide = |numbers: &[f32]| numbers.iter().map(|v| *v as f64).collect::<Vec<f64>>();
        assert!(distance(&wide(seen.row(i)), &list(&golden["features"][i])) < 1e-5);
        let logits: Vec<f32> = list(&golden["logits"][i]).iter().map(|v| *v as f32).collect();
        assert!(distance(&wide(&seen.probabilities[10 * i..10 * i + 10]), &wide(&softmax(&logits, 10))) < 1e-4);
    }
}

/// Verdicts on random claims as SciPy's tests and statsmodels' correction give them (`tests/golden/claims.py`).
#[test]
fn verdicts_are_those_of_other_programs() {
    let grids: Value = serde_json::from_str(&std::fs::read_to_string(support::root().join("tests/golden/claims.json")).unwrap()).unwrap();
    let measured = |claim: &Value| {
        let margin = claim["margin"].as_f64().unwrap();
        let relation = match claim["relation"].as_str().unwrap() {
            "better" => Relation::Better { rises: claim["rises"].as_bool().unwrap() },
            "within" => Relation::Level(Margin::Absolute(margin)),
            "percent" => Relation::Level(Margin::Relative(margin / 100.0)),
            other => panic!("{other}"),
        };
        let of_other = |pairs: &Value| -> Vec<Evidence> {
            let pairs: Vec<Vec<f64>> = pairs.as_array().unwrap().iter().map(list).collect();
            let evidence = |c: ddpm_runner::metrics::verdict::Contrast| pairs.iter().map(|pair| c.of(pair[0], pair[1])).collect();
            relation.contrasts().into_iter().map(|contrast| Evidence::Seeds(evidence(contrast))).collect()
        };
        Some(Measurements { others: claim["others"].as_array().unwrap().iter().map(of_other).collect() })
    };
    let mut seen = std::collections::BTreeMap::new();
    for grid in grids.as_array().unwrap() {
        let claims = grid.as_array().unwrap();
        for (decision, claim) in decide(&claims.iter().map(measured).collect::<Vec<_>>()).into_iter().zip(claims) {
            let decision = decision.unwrap();
            assert_eq!(decision.verdict.name(), claim["verdict"], "{claim}");
            for (found, key) in [(decision.p, "p"), (decision.p_holm, "p_holm")] {
                let expected = claim[key].as_f64().unwrap();
                assert!((found - expected).abs() < 1e-9 + 1e-8 * expected, "{key} {found}: {claim}");
            }
            *seen.entry((claim["relation"].to_string(), decision.verdict.name())).or_insert(0) += 1;
        }
    }
    assert!(seen.len() == 9 && seen.values().all(|n| *n > 3), "{seen:?}");
}
