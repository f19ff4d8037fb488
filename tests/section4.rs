//! All of Section 4 on the smoke base: studies, shared samples, published tables; checkpoints and scores to and from other programs.

mod support;

use ddpm_kernels::random::{Random, Stream};
use ddpm_model::checkpoint::plain_bytes;
use ddpm_model::inception::{Resize, tensor_shapes};
use ddpm_model::network::ImageShape;
use ddpm_model::tensor::{Device, Tensor, load};
use ddpm_runner::metrics::features::FeatureSource;
use ddpm_runner::metrics::frechet::Gaussian;
use ddpm_runner::metrics::moments::Moments;
use std::fs;
use std::path::{Path, PathBuf};
use support::*;

const GRID: &str = "experiments/grids/section4.yaml";
/// One cell with all studies.
const SMALL: [&str; 4] = ["steps=5", "evaluation.held_out=2", "evaluation.train=2", "sampling.count=12"];

fn ddpm_in(arguments: &[&str], paths: &[&Path]) -> std::process::Output {
    let paths: Vec<&str> = paths.iter().map(|p| p.to_str().unwrap()).collect();
    run(&[arguments, &paths[..]].concat())
}

fn checkpoint(results: &Path) -> PathBuf {
    let mut trainings: Vec<_> = fs::read_dir(results.join("training")).unwrap().map(|e| e.unwrap().path()).collect();
    trainings.sort();
    let eps = trainings.into_iter().find(|p| p.to_str().unwrap().contains("-eps-simple-")).unwrap();
    eps.join("checkpoint.safetensors")
}

#[test]
fn studies_share_what_they_are_made_of_and_the_page_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["ablate", GRID, "--base", "fashion-smoke", "--results", dir.path().to_str().unwrap(), "--jobs", "2"];
    SMALL.iter().for_each(|set| arguments.extend(["--set", set]));
    let first = run(&arguments);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert!(stderr(&first).contains("11 jobs, 0 done, 11 to do"), "{}", stderr(&first));
    // Six cells, six sets of samples: the five studies of one cell use its own.
    assert_eq!(fs::read_dir(dir.path().join("samples")).unwrap().count(), 6);
    assert_eq!(fs::read_dir(dir.path().join("features")).unwrap().count(), 2);
    let report = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).find(|p| p.join("README.md").exists()).unwrap();
    let page = fs::read_to_string(report.join("README.md")).unwrap();
    for part in [
        "**Two scales**: the published IS and FID are in Inception's features",
        "(Table 1)",
        "(Table 3)",
        "(Table 4)",
        "BigGAN",
        "| 36 of 40 | 0.11994 |",
        "Figure 7",
        "Figures 8, 9",
        "Figures 12, 15",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for name in ["reverse-time", "rate-distortion", "eps-simple-fixed-large-shared-latents", "eps-simple-fixed-large-neighbours-features"] {
        assert!(report.join(format!("figures/{name}.png")).exists(), "{name}");
    }
    // x_T shared and nothing else: the first image of every row has the same noise all the way, so it is the same image.
    let runs = fs::read_dir(dir.path().join("runs")).unwrap().map(|e| e.unwrap().path().join("shared-latents.png"));
    let shared = image::open(runs.into_iter().find(|path| path.exists()).unwrap()).unwrap().to_rgb8();
    // With the x_t that a row shares before its eight images, in four rows; the report names them around it.
    assert_eq!(shared.dimensions(), (9 * 57 + 1, 4 * 57 + 1));
    let named = image::open(report.join("figures/eps-simple-fixed-large-shared-latents.png")).unwrap();
    assert!(named.width() > shared.width() && named.height() > shared.height());
    let tile = |row: u32, column: u32| -> Vec<_> {
        (0..28 * 2 * 28 * 2).map(|i| shared.get_pixel(1 + column * 57 + i % 56, 1 + row * 57 + i / 56).0).collect()
    };
    assert!((1..4).all(|row| tile(row, 1) == tile(0, 1) && tile(row, 0) != tile(0, 0)) && tile(0, 2) != tile(0, 1));
    let again = run(&arguments);
    assert!(stderr(&again).contains("11 jobs, 11 done, 0 to do") && stdout(&again) == stdout(&first));
    outside(&checkpoint(dir.path()), dir.path());
}

/// A walk from a file's noise is the walk of the seed that made it; a network is the same from outside.
fn outside(checkpoint: &Path, dir: &Path) {
    let (png, first, second, noise) =
        (dir.join("a.png"), dir.join("a.safetensors"), dir.join("b.safetensors"), dir.join("noise.safetensors"));
    let made = ddpm_in(&["sample", "--count", "3"], &[checkpoint, Path::new("--dump"), &first, Path::new("--out"), &png]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let dumped = load(&first, &Device::Cpu).unwrap();
    assert_eq!((dumped["output"].dims(), dumped["t"].dims()), (&[40, 3, 28, 28, 1][..], &[40][..]));
    // The seed's own noise, given in a file, makes the seed's samples: x_T, and z place by place.
    let random = Random::new(0, Stream::Sample);
    let normals = |place: u64| Tensor::from_vec(random.normals(place, 0, 3, 784), (3, 28, 28, 1), &Device::Cpu).unwrap();
    let z = Tensor::stack(&(1..40).map(normals).collect::<Vec<_>>(), 0).unwrap();
    fs::write(&noise, plain_bytes(&[("x_T".to_string(), normals(0)), ("z".to_string(), z)]).unwrap()).unwrap();
    let given = ddpm_in(&["sample"], &[checkpoint, Path::new("--noise"), &noise, Path::new("--dump"), &second, Path::new("--out"), &png]);
    assert_eq!(given.status.code(), Some(0), "{}", stderr(&given));
    let samples = |path: &Path| load(path, &Device::Cpu).unwrap()["samples"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(samples(&second), samples(&first));
    // Another seed, other samples.
    let other = ddpm_in(&["sample", "--count", "3", "--seed", "1"], &[checkpoint, Path::new("--dump"), &second, Path::new("--out"), &png]);
    assert_eq!(other.status.code(), Some(0), "{}", stderr(&other));
    assert_ne!(samples(&second), samples(&first));
    // Deterministic steps need no z: DDIM from a given x_T, twice.
    let x = dumped["x0"].get(0).unwrap();
    fs::write(&noise, plain_bytes(&[("x_T".to_string(), x.clone())]).unwrap()).unwrap();
    let ddim = |out: &Path| {
        let sampler = "sampler={kind: ddim, steps: 5}";
        let given = ddpm_in(
            &["sample", "--set", sampler],
            &[checkpoint, Path::new("--noise"), &noise, Path::new("--dump"), out, Path::new("--out"), &png],
        );
        assert_eq!(given.status.code(), Some(0), "{}", stderr(&given));
        load(out, &Device::Cpu).unwrap()
    };
    let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (a, b) = (ddim(&first), ddim(&second));
    assert_eq!(numbers(&a["samples"]), numbers(&b["samples"]));
    assert_eq!(a["t"].to_vec1::<f32>().unwrap(), [40.0, 30.0, 21.0, 11.0, 1.0]);
    // The first step's output is the network's for x_T.
    let (input, output) = (dir.join("in.safetensors"), dir.join("out.safetensors"));
    let t = Tensor::new(vec![a["t"].to_vec1::<f32>().unwrap()[0]; 3], &Device::Cpu).unwrap();
    fs::write(&input, plain_bytes(&[("x".to_string(), x.clone()), ("t".to_string(), t)]).unwrap()).unwrap();
    let arguments =
        |input: &Path| ddpm_in(&["eval", "forward", "--checkpoint"], &[checkpoint, Path::new("--input"), input, Path::new("-o"), &output]);
    assert_eq!(arguments(&input).status.code(), Some(0));
    assert_eq!(numbers(&load(&output, &Device::Cpu).unwrap()["output"]), numbers(&a["output"].get(0).unwrap()));
    // What does not fit is named.
    let wrong = Tensor::new(vec![41f32; 3], &Device::Cpu).unwrap();
    fs::write(&input, plain_bytes(&[("x".to_string(), x), ("t".to_string(), wrong)]).unwrap()).unwrap();
    assert!(stderr(&arguments(&input)).contains("expected whole steps in 1..=40, got 41"));
    assert!(stderr(&arguments(&dir.join("none"))).contains("none: cannot be read"));
}

fn features(path: &Path, n: usize, d: usize, shift: f32) {
    let rows: Vec<f32> = (0..n * d).map(|i| ((i * 7919) % 101) as f32 / 50.0 + shift).collect();
    let tensor = Tensor::from_vec(rows, (n, d), &Device::Cpu).unwrap();
    fs::write(path, plain_bytes(&[("features".to_string(), tensor)]).unwrap()).unwrap();
}

/// Distances between whatever sets come as; and every way in which they cannot be had.
#[test]
fn sets_of_images_are_compared_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    features(&path("a.safetensors"), 40, 3, 0.0);
    features(&path("b.safetensors"), 40, 3, 0.5);
    let fid = |arguments: &[&str], a: &str, b: &str| ddpm_in(&[&["fid"], arguments].concat(), &[&path(a), &path(b)]);
    // A shift of 0.5 in each of 3 numbers costs 3 x 0.25.
    let shifted = fid(&["--json", "--save", path("a.npz").to_str().unwrap()], "a.safetensors", "b.safetensors");
    let found: serde_json::Value = serde_json::from_str(&stdout(&shifted)).unwrap();
    assert!((found["fid"].as_f64().unwrap() - 0.75).abs() < 1e-6, "{found}");
    // Statistics stand for features.
    let stored: serde_json::Value = serde_json::from_str(&stdout(&fid(&["--json"], "a.npz", "b.safetensors"))).unwrap();
    assert!((stored["fid"].as_f64().unwrap() - found["fid"].as_f64().unwrap()).abs() < 1e-9);
    // A is what is scored, B what it is scored against: a handful of points about one of B's lie in its ball, and B's others in none of
    // theirs.
    let narrow: Vec<f32> = (0..120).map(|i| ((15 + i % 3) * 7919 % 101) as f32 / 50.0 + 0.5 + (i / 3) as f32 * 1e-4).collect();
    let tensor = Tensor::from_vec(narrow, (40, 3), &Device::Cpu).unwrap();
    fs::write(path("narrow.safetensors"), plain_bytes(&[("features".to_string(), tensor)]).unwrap()).unwrap();
    let both: serde_json::Value = serde_json::from_str(&stdout(&fid(&["--all", "--json"], "narrow.safetensors", "b.safetensors"))).unwrap();
    let score = |name: &str| both["scores"][name]["value"].as_f64().unwrap();
    assert!((score("fid") - both["fid"].as_f64().unwrap()).abs() < 1e-9 && score("fid") > 0.1, "{both}");
    assert!(score("precision") > 0.9 && score("recall") < 0.5, "{both}");
    let all = stdout(&fid(&["--all"], "a.safetensors", "b.safetensors"));
    assert!(all.contains("KID") && all.contains("precision") && all.contains("FID∞"), "{all}");
    assert!(all.contains("IS ↑ – these features come without class probabilities"), "{all}");
    let refused = |arguments: &[&str], a: &str, b: &str, words: &str| {
        let output = fid(arguments, a, b);
        assert!(output.status.code() == Some(5) && stderr(&output).contains(words), "{words}: {}", stderr(&output));
    };
    refused(&["--all"], "a.npz", "b.safetensors", "a.npz holds statistics");
    features(&path("wide.safetensors"), 40, 4, 0.0);
    refused(&[], "a.safetensors", "wide.safetensors", "wide.safetensors has 4: they cannot be compared");
    features(&path("nan.safetensors"), 40, 3, f32::NAN);
    refused(&[], "nan.safetensors", "a.safetensors", "features are not finite");
    fs::write(path("cut.safetensors"), &fs::read(path("a.safetensors")).unwrap()[..200]).unwrap();
    refused(&[], "cut.safetensors", "a.safetensors", "cut.safetensors: is not a safetensors file");
    fs::create_dir(path("empty")).unwrap();
    refused(&[], "empty", "a.safetensors", "empty: expected PNG, JPEG, WebP or BMP images, found none");
    refused(&[], "nowhere", "a.safetensors", "nowhere: is not there");
    fs::create_dir(path("mixed")).unwrap();
    for (name, side) in [("a.png", 28), ("b.png", 30)] {
        image::GrayImage::new(side, side).save(path("mixed").join(name)).unwrap();
    }
    refused(&["--features", "own"], "mixed", "a.safetensors", "b.png: expected 28x28");
    fs::remove_file(path("mixed/b.png")).unwrap();
    refused(&[], "mixed", "a.safetensors", "`ddpm data inception` fetches them");
    fs::write(path("bad.pth"), b"PK\x03\x04 no archive").unwrap();
    refused(&["--weights", path("bad.pth").to_str().unwrap()], "mixed", "a.safetensors", "bad.pth: cannot be read as tensors");
}

/// A file of Inception weights that no one has trained, without its classifier.
fn untrained_inception(path: &Path) {
    let tensors = tensor_shapes().into_iter().filter(|(name, _)| !name.starts_with("fc.")).map(|(name, shape)| {
        let n = shape.iter().product::<usize>();
        let scale = (6.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
        let numbers: Vec<f32> = match &name[..] {
            name if name.ends_with("bn.weight") || name.ends_with("running_var") => vec![1.0; n],
            _ => (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 * 2.0 - 1.0) * scale).collect(),
        };
        (name, Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap())
    });
    fs::write(path, plain_bytes(&tensors.collect::<Vec<_>>()).unwrap()).unwrap();
}

/// Images are made as large as Inception wants them by the rule that is asked for, which is the authors' where none is.
#[test]
fn images_are_resized_by_the_rule_that_is_named() {
    const SHAPE: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };
    let dir = tempfile::tempdir().unwrap();
    let (weights, folders) = (dir.path().join("inception.safetensors"), ["a", "b"].map(|name| dir.path().join(name)));
    untrained_inception(&weights);
    for (first, folder) in folders.iter().enumerate() {
        fs::create_dir(folder).unwrap();
        for i in 0..2 {
            let pixel = |x, y| image::Rgb([0, 1, 2].map(|c| byte(2 * first as u32 + i, y, x, c)));
            image::RgbImage::from_fn(32, 32, pixel).save(folder.join(format!("{i}.png"))).unwrap();
        }
    }
    let told = |rule: &[&str]| -> f64 {
        let output = ddpm_in(&[&["fid", "--json", "--weights", weights.to_str().unwrap()], rule].concat(), &[&folders[0], &folders[1]]);
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str::<serde_json::Value>(&stdout(&output)).unwrap()["fid"].as_f64().unwrap()
    };
    let expected = |resize: Resize| -> f64 {
        let net = FeatureSource::Inception { weights: weights.clone(), resize }.load(SHAPE).unwrap().unwrap();
        let moments = [0, 2].map(|first| {
            let every =
                (0..2).flat_map(|i| (0..32).flat_map(move |y| (0..32).flat_map(move |x| (0..3).map(move |c| byte(first + i, y, x, c)))));
            let features = net.see(&every.collect::<Vec<u8>>(), SHAPE, |_| Ok(())).unwrap();
            Moments::of(features.dim, features.iter())
        });
        Gaussian::of(&moments[1]).unwrap().distance(&moments[0]).unwrap()
    };
    let [ours, theirs] = [Resize::TensorFlow1, Resize::PyTorch].map(expected);
    assert!((ours - theirs).abs() > 1e-2 * ours, "{ours} {theirs}");
    let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * b;
    assert!(near(told(&[]), ours) && near(told(&["--resize", "pytorch"]), theirs));
}

/// Neighbours by a crop, as in Figure 12: in pixels they are those of the middle, of whole images of another size; in features too.
#[test]
fn neighbours_by_their_middles() {
    const SIDE: u32 = 32;
    const CROP: u32 = 9;
    let dir = tempfile::tempdir().unwrap();
    let (images, weights, grid) = (dir.path().join("images"), dir.path().join("inception.safetensors"), dir.path().join("grid.yaml"));
    untrained_inception(&weights);
    fs::create_dir(&images).unwrap();
    for i in 0..10u32 {
        let pixel = |x: u32, y: u32, c: u32| ((x * 7 + y * 13 + c * 29 + 1).wrapping_mul(i * i * 31 + 17) >> 2) as u8;
        let image = image::RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([0, 1, 2].map(|c| pixel(x, y, c))));
        image.save(images.join(format!("{i}.png"))).unwrap();
    }
    let kind = "{kind: neighbours, samples: 2, neighbours: 4, crop";
    let studies = format!("studies: [{{cell: {{objective: simple}}, kinds: [{kind}: {CROP}}}, {kind}: 33}}]}}]");
    fs::write(&grid, format!("question: Near?\nbase: fashion-smoke\ngrid: {{objective: [simple]}}\nmetrics: [bits-per-dim]\n{studies}\n"))
        .unwrap();
    let data = format!("data={{kind: folder, path: {}, held_out: 2}}", images.display());
    let features = format!("evaluation.features={{kind: inception, weights: {}}}", weights.display());
    let settings = [
        &data[..],
        &features,
        "network.attention=[8]",
        "steps=2",
        "training.batch=4",
        "sampling.count=10",
        "evaluation.held_out=2",
        "evaluation.train=2",
    ];
    let mut arguments =
        vec!["ablate", grid.to_str().unwrap(), "--base", "experiments/bases/fashion-smoke.yaml", "--results", dir.path().to_str().unwrap()];
    settings.iter().for_each(|set| arguments.extend(["--set", set]));
    let made = run(&arguments);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(stderr(&made).contains("images of 32x32 have no crop of 33x33"), "{}", stderr(&made));
    let runs: Vec<PathBuf> = fs::read_dir(dir.path().join("runs")).unwrap().map(|e| e.unwrap().path()).collect();
    let sheet = |space: &str| {
        let name = format!("neighbours-{space}-crop-{CROP}.png");
        let path = runs.iter().map(|run| run.join(&name)).find(|path| path.exists()).unwrap_or_else(|| panic!("{name}"));
        image::open(path).unwrap().to_rgb8()
    };
    let (pixels, features) = (sheet("pixels"), sheet("features"));
    assert_eq!(pixels.dimensions(), features.dimensions());
    // Tiles of one scale with a line of one pixel around each; the first is the sample.
    let scale = ((pixels.width() - 1) / 5 - 1) / SIDE;
    let tile = |of: &image::RgbImage, row: u32, column: u32| {
        let corner = |at: u32| 1 + at * (SIDE * scale + 1);
        image::RgbImage::from_fn(SIDE, SIDE, |x, y| *of.get_pixel(corner(column) + x * scale, corner(row) + y * scale))
    };
    let distance = |a: &image::RgbImage, b: &image::RgbImage| -> u64 {
        let inside = |at: u32| ((SIDE - CROP) / 2..(SIDE - CROP) / 2 + CROP).contains(&at);
        let both = a.enumerate_pixels().zip(b.pixels()).filter(|((x, y, _), _)| inside(*x) && inside(*y));
        both.flat_map(|((_, _, a), b)| a.0.into_iter().zip(b.0)).map(|(a, b)| (a.abs_diff(b) as u64).pow(2)).sum()
    };
    let real: Vec<image::RgbImage> = (0..10).map(|i| image::open(images.join(format!("{i}.png"))).unwrap().to_rgb8()).collect();
    for row in 0..2 {
        let sample = tile(&pixels, row, 0);
        assert!(tile(&features, row, 0) == sample);
        let found: Vec<u64> = (1..5).map(|column| distance(&sample, &tile(&pixels, row, column))).collect();
        assert!(found.is_sorted(), "{found:?}");
        // Of the ten images two are held out: at most two are nearer than the last of those found and not among them.
        let nearer = real.iter().filter(|image| distance(&sample, image) < found[3]).count();
        assert!((3..=5).contains(&nearer), "{nearer} of {found:?}");
        // Training images, each once: the last two by name are held out.
        let near: Vec<usize> =
            (1..5).map(|column| real[..8].iter().position(|image| *image == tile(&features, row, column)).unwrap()).collect();
        assert!((0..4).all(|i| !near[..i].contains(&near[i])), "{near:?}");
    }
}
