//! What people bring from other programs, as it really lies on their disks: diffusers' folders, statistics and samples in `.npz`, folders of
//! images. Each is read as it is meant, or refused with its name and what to do.

mod support;

use ddpm_core::schedule::BetaScale;
use ddpm_core::{Objective, Prediction, ReverseVariance, Sampler, Schedule, Setup};
use ddpm_model::checkpoint::{plain_bytes, write_state};
use ddpm_model::network::ImageShape;
use ddpm_model::network::{Downsample, Upsample};
use ddpm_model::train_state::TrainState;
use ddpm_model::{Network, diffusers};
use ddpm_runner::base::npz::Writer;
use ddpm_runner::experiment::{Config, RawConfig, yaml};
use ddpm_runner::interop::diffusers as theirs;
use ddpm_runner::store::{CheckpointMeta, FORMAT};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use support::*;

/// The paper's settings with another network, diffusion and sampler.
fn config(network: Network, diffusion: Setup, sampler: Sampler) -> Config {
    let tree = yaml::read(&root().join("experiments/bases/cifar10-paper.yaml")).unwrap();
    let mut raw = RawConfig::typed(&tree, "base").unwrap();
    (raw.network, raw.diffusion, raw.sampling.sampler) = (network, diffusion, sampler);
    Config::new(raw, "test").unwrap()
}

/// Weights of no meaning, no two alike.
fn weights(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) * 0.3).collect()
}

/// A checkpoint of such weights.
fn checkpoint(path: &Path, config: &Config, image: ImageShape) {
    let unet = config.unet(image);
    let state = TrainState::new(weights(unet.parameter_count()), config.training.optimiser.kept());
    let meta: CheckpointMeta = serde_json::from_value(json!({
        "format": FORMAT, "training_id": "t", "config": config, "seed": 3, "data": null, "image": image, "step": 0, "curve": [],
        "open": [0.0, 0.0, 0], "wall_s": 0.0,
    }))
    .unwrap();
    let text = serde_json::to_string(&meta).unwrap();
    write_state(&mut fs::File::create(path).unwrap(), unet.parameters(), &state, &text).unwrap();
}

fn image(height: usize, width: usize, channels: usize) -> ImageShape {
    ImageShape { height, width, channels }
}

fn plain() -> (Network, Setup) {
    let network =
        Network { channels: 8, multipliers: vec![1, 2], blocks: 1, attention: vec![4], dropout: 0.0, groups: 4, ..Network::cifar10() };
    let setup = Setup {
        timesteps: 4,
        schedule: Schedule::Linear { beta_start: 1e-4, beta_end: 0.3 },
        beta_scale: BetaScale::AsGiven,
        prediction: Prediction::Eps,
        variance: ReverseVariance::FixedLarge,
        objective: Objective::Simple {},
    };
    (network, setup)
}

/// A folder as diffusers saves it, of 8x8 images.
fn folder(dir: &Path) {
    let (network, setup) = plain();
    let unet = config(network.clone(), setup.clone(), Sampler::ancestral()).unet(image(8, 8, 3));
    let tensors = diffusers::export(&network, unet.parameters(), &weights(unet.parameter_count())).unwrap();
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), theirs::config(&network, image(8, 8, 3), 3).to_string()).unwrap();
    fs::write(dir.join("scheduler_config.json"), theirs::scheduler_config(&setup, &Sampler::ancestral()).unwrap().to_string()).unwrap();
    fs::write(dir.join(theirs::WEIGHTS), plain_bytes(&tensors).unwrap()).unwrap();
}

/// Sets a key of a JSON file.
fn set(path: PathBuf, key: &str, value: Value) {
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

fn import(dir: &Path, out: &Path) -> Output {
    run(&["import", "diffusers", text(dir), "-o", text(out)])
}

fn samples(checkpoint: &Path, out: &Path) -> Vec<u8> {
    let output = run(&["sample", text(checkpoint), "--seed", "5", "--count", "3", "-o", text(out)]);
    assert!(output.status.success(), "{}", stderr(&output));
    fs::read(out).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever can be said in diffusers' words comes back: exported and imported again, a checkpoint makes the same samples bit for bit.
    #[test]
    fn a_checkpoint_comes_back(
        (channels, groups) in prop::sample::select(vec![(8, 4), (16, 8), (12, 4)]),
        multipliers in prop::collection::vec(1usize..3, 0..3),
        attends in prop::collection::vec(any::<bool>(), 3),
        (high, wide) in (1usize..3, 1usize..3),
        grey in any::<bool>(),
        timesteps in 2usize..7,
        (schedule, scaled) in (0usize..3, any::<bool>()),
        prediction in prop::sample::select(vec![Prediction::Eps, Prediction::X0, Prediction::V]),
        variance in prop::sample::select(vec![ReverseVariance::FixedSmall, ReverseVariance::FixedLarge, ReverseVariance::LearnedRange]),
        (clip, ddim) in (any::<bool>(), any::<bool>()),
    ) {
        let multipliers = [vec![1], multipliers].concat();
        let levels = multipliers.len();
        let image = image(high << levels, wide << levels, if grey { 1 } else { 3 });
        let attention = (0..levels).filter(|level| attends[*level]).map(|level| image.height >> level).collect();
        let network = Network { channels, multipliers, blocks: 1, attention, dropout: 0.1, groups, ..Network::cifar10() };
        let schedule = match schedule {
            0 => Schedule::Linear { beta_start: 1e-5, beta_end: 0.0009 },
            1 => Schedule::Quad { beta_start: 1e-5, beta_end: 0.0009 },
            _ => Schedule::Cosine { s: 0.008, max_beta: 0.999 },
        };
        let beta_scale = if scaled { BetaScale::Per1000Steps } else { BetaScale::AsGiven };
        let objective = if variance == ReverseVariance::LearnedRange { Objective::hybrid() } else { Objective::Simple {} };
        let setup = Setup { timesteps, schedule, beta_scale, prediction, variance, objective };
        let ddim = ddim && !setup.variance.is_learned();
        let sampler = if ddim { Sampler::Ddim { eta: 0.0, clip, steps: None } } else { Sampler::Ancestral { clip, steps: None } };
        let config = config(network, setup, sampler);
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        checkpoint(&at("a.safetensors"), &config, image);
        let output = run(&["export", "diffusers", text(&at("a.safetensors")), text(&at("exported"))]);
        prop_assert!(output.status.success(), "{}", stderr(&output));
        let output = import(&at("exported"), &at("b.safetensors"));
        prop_assert_eq!((output.status.code(), stderr(&output).contains("DDIMScheduler")), (Some(0), ddim), "{}", stderr(&output));
        prop_assert_eq!(samples(&at("a.safetensors"), &at("a.png")), samples(&at("b.safetensors"), &at("b.png")));
    }
}

/// A folder in all the forms in which such folders are found: each makes the samples of the plain one.
#[test]
fn folders_are_read_as_they_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("plain"));
    let output = import(&at("plain"), &at("plain.safetensors"));
    assert!(output.status.success(), "{}", stderr(&output));
    // Like any other file of one's own.
    let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode();
    assert_eq!(mode("plain.safetensors"), mode("plain/config.json"));
    let expected = samples(&at("plain.safetensors"), &at("plain.png"));
    let same = |name: &str, told: &str, change: &dyn Fn(&Path)| {
        folder(&at(name));
        change(&at(name));
        let output = import(&at(name), &at("x.safetensors"));
        assert!(output.status.success() && stderr(&output).contains(told), "{name}: {}", stderr(&output));
        assert!(told.is_empty() == stderr(&output).is_empty(), "{name}: {}", stderr(&output));
        assert_eq!(samples(&at("x.safetensors"), &at("x.png")), expected, "{name}");
    };
    let network = |dir: &Path| dir.join("config.json");
    same("swish", "", &|dir| set(network(dir), "act_fn", json!("swish")));
    same("size of two", "", &|dir| set(network(dir), "sample_size", json!([8, 8])));
    same("null", "", &|dir| set(network(dir), "of_a_later_version", Value::Null));
    same("average", "passed over: decay, power (of diffusers'", &|dir| {
        set(network(dir), "decay", json!(0.9999));
        set(network(dir), "power", json!(0.75));
    });
    same("mark", "", &|dir| {
        for file in ["config.json", "scheduler_config.json"] {
            let text = fs::read_to_string(dir.join(file)).unwrap();
            fs::write(dir.join(file), format!("\u{feff}{text}")).unwrap();
        }
    });
    same("variant", "", &|dir| fs::rename(dir.join(theirs::WEIGHTS), dir.join("diffusion_pytorch_model.fp16.safetensors")).unwrap());
    same("pipeline", "", &|dir| {
        for (from, to) in [("config.json", "unet"), (theirs::WEIGHTS, "unet"), ("scheduler_config.json", "scheduler")] {
            fs::create_dir_all(dir.join(to)).unwrap();
            fs::rename(dir.join(from), dir.join(to).join(from)).unwrap();
        }
    });
    // What is not clipped stays so.
    folder(&at("unclipped"));
    set(at("unclipped/scheduler_config.json"), "clip_sample", json!(false));
    assert!(import(&at("unclipped"), &at("x.safetensors")).status.success());
    assert_ne!(samples(&at("x.safetensors"), &at("x.png")), expected);
    // Images are asked for when something needs them, and by name.
    let output = run(&["eval", text(&at("plain.safetensors"))]);
    assert!(output.status.code() == Some(5) && stderr(&output).contains("needs images; name its images with --set data="));
    let output = run(&["eval", text(&at("plain.safetensors")), "--set", "data=fashion-mnist"]);
    assert!(output.status.code() == Some(5) && stderr(&output).contains("of 8x8x3, those of fashion-mnist are 28x28x1"));
    let pictures = at("pictures");
    fs::create_dir(&pictures).unwrap();
    for i in 0..4u32 {
        let picture = image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([0, 1, 2].map(|c| byte(i, y, x, c))));
        picture.save(pictures.join(format!("{i}.png"))).unwrap();
    }
    let data = format!("data={{kind: folder, path: '{}', held_out: 2}}", pictures.display());
    let output = run(&["eval", text(&at("plain.safetensors")), "--set", &data]);
    assert!(output.status.success() && stdout(&output).contains("bits/dim on 2 held-out images"), "{}", stderr(&output));
    // From anywhere, without a base beside it.
    let output = ddpm().current_dir(dir.path()).args(["import", "diffusers", "plain"]).output().unwrap();
    assert!(output.status.success() && at("imported.safetensors").exists(), "{}", stderr(&output));
}

/// What is another network, another diffusion, or nothing of the kind is refused with its place.
#[test]
fn folders_of_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |code: i32, words: &str, change: &dyn Fn(&Path)| {
        let place = dir.path().join("x");
        folder(&place);
        change(&place);
        let output = import(&place, &dir.path().join("x.safetensors"));
        let said = stderr(&output);
        assert!(output.status.code() == Some(code) && said.contains(words) && said.contains(text(&place)), "{words}: {said}");
        assert!(!dir.path().join("x.safetensors").exists());
        fs::remove_dir_all(place).unwrap();
    };
    let scheduler = |key: &'static str, value: Value| move |dir: &Path| set(dir.join("scheduler_config.json"), key, value.clone());
    let put = |name: &'static str, bytes: &'static [u8]| move |dir: &Path| fs::write(dir.join(name), bytes).unwrap();
    refused(4, "rescale_betas_zero_snr: expected false, got true", &scheduler("rescale_betas_zero_snr", json!(true)));
    refused(4, "beta_shedule: is not understood", &scheduler("beta_shedule", json!("squaredcos_cap_v2")));
    refused(4, "beta_start: expected a number, got \"0.0001\"", &scheduler("beta_start", json!("0.0001")));
    refused(4, "expected DDPMScheduler or DDIMScheduler, got Euler", &scheduler("_class_name", json!("EulerDiscreteScheduler")));
    refused(4, "trained_betas: expected null, got [0.1", &scheduler("trained_betas", json!([0.1, 0.2])));
    refused(
        4,
        "out_channels: expected 6 where the variance is \"learned-range\", got 3",
        &scheduler("variance_type", json!("learned_range")),
    );
    refused(4, "is not JSON", &put("config.json", b"{"));
    refused(5, "is a web page", &put("config.json", b"<!DOCTYPE html>\n<html>"));
    refused(5, "is a Git LFS pointer", &put(theirs::WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"));
    refused(5, ": is empty", &put(theirs::WEIGHTS, b""));
    refused(5, "neither safetensors nor", &put(theirs::WEIGHTS, b"../good/diffusion_pytorch_model.safetensors"));
    refused(5, "from before PyTorch 1.6", &|dir| {
        fs::remove_file(dir.join(theirs::WEIGHTS)).unwrap();
        fs::write(dir.join("diffusion_pytorch_model.bin"), b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.").unwrap();
    });
    refused(5, "expected config.json, or unet/config.json", &|dir| fs::remove_file(dir.join("config.json")).unwrap());
    refused(5, "expected diffusion_pytorch_model.safetensors", &|dir| fs::remove_file(dir.join(theirs::WEIGHTS)).unwrap());
    // What diffusers has no word for.
    let (network, setup) = plain();
    let foreign = [
        (Network { block_size: 2, multipliers: vec![1], attention: vec![], ..network.clone() }, "network.block_size: 1"),
        (
            Network { downsample: Downsample::MaxPool, ..network.clone() },
            "network.downsample: max-pool; expected a network of network.downsample: conv",
        ),
        (
            Network { upsample: Upsample::TransposedConv, ..network },
            "network.upsample: transposed-conv; expected a network of network.upsample: nearest-conv",
        ),
    ];
    for (i, (network, told)) in foreign.into_iter().enumerate() {
        let from = dir.path().join(format!("foreign-{i}"));
        checkpoint(&from, &config(network, setup.clone(), Sampler::ancestral()), image(8, 8, 3));
        let output = run(&["export", "diffusers", text(&from), text(&dir.path().join("y"))]);
        let said = stderr(&output);
        assert!(output.status.code() == Some(5) && said.contains(told) && !dir.path().join("y").exists(), "{said}");
    }
}

/// Statistics and samples in `.npz`, features in other types: what `ddpm fid` takes them for, and what it says where they do not fit.
#[test]
fn arrays_are_compared_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let write = |name: &str, arrays: &[(&str, &[usize], &[f64])]| {
        let mut writer = Writer::new(fs::File::create(at(name)).unwrap());
        arrays.iter().for_each(|(name, shape, numbers)| writer.add(name, shape, numbers).unwrap());
        writer.finish().unwrap();
    };
    let identity = |scale: f64| [scale, 0.0, 0.0, scale];
    let other: (&str, &[usize], &[f64]) = ("arr_1", &[1], &[7.0]);
    write("a.npz", &[("mu", &[2], &[0.0, 0.0]), ("sigma", &[2, 2], &identity(1.0)), other]);
    write("B.NPZ", &[("mu", &[2], &[3.0, 4.0]), ("sigma", &[2, 2], &identity(4.0))]);
    write("three.npz", &[("mu", &[3], &[0.0; 3]), ("sigma", &[3, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])]);
    write("none.npz", &[other]);
    let fid = |a: &str, b: &str| run(&["fid", text(&at(a)), text(&at(b)), "--features", "own"]);
    // 25 + (1 - 2)^2 + (1 - 2)^2.
    assert!(stdout(&fid("a.npz", "B.NPZ")).starts_with("FID 27.000000 "));
    assert!(stdout(&fid("a.npz", "a.npz")).starts_with("FID 0.000000 "));
    // Samples as guided-diffusion leaves them, the same images in a folder, and features of both.
    let pixel = |i: u32, y: u32, x: u32| byte(i, y, x, 0);
    let mut writer = Writer::new(fs::File::create(at("samples_12x28x28x1.npz")).unwrap());
    let pixels: Vec<u8> = (0..12 * 784u32).map(|p| pixel(p / 784, p % 784 / 28, p % 28)).collect();
    writer.add("arr_0", &[12, 28, 28, 1], &pixels).unwrap();
    writer.finish().unwrap();
    fs::create_dir_all(at("images/deeper")).unwrap();
    for i in 0..12u32 {
        let name = format!("images/{}{i:02}.png", if i % 2 == 0 { "" } else { "deeper/" });
        image::GrayImage::from_fn(28, 28, |x, y| image::Luma([pixel(i, y, x)])).save(at(&name)).unwrap();
    }
    assert!(
        stdout(&fid("samples_12x28x28x1.npz", "images")).starts_with("FID 0.000000 (fashion-classifier"),
        "{:?}",
        fid("samples_12x28x28x1.npz", "images")
    );
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("one")).unwrap();
    fs::copy(at("images/00.png"), at("one/00.png")).unwrap();
    for (a, b, words) in [
        ("a.npz", "three.npz", "a.npz has 2 features, "),
        ("a.npz", "gone.npz", "gone.npz: is not there"),
        ("none.npz", "a.npz", "none.npz: expected arrays mu and sigma (statistics) or arr_0 (images), found arr_1"),
        ("empty", "a.npz", "empty: expected PNG, JPEG, WebP or BMP images, found none"),
        ("one", "a.npz", "one: expected at least 2 images, got 1"),
    ] {
        let output = fid(a, b);
        assert!(output.status.code() == Some(5) && stderr(&output).contains(words), "{words}: {}", stderr(&output));
    }
}
