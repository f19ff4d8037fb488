//! Whole experiments, pinned: tiny grids that together use every prediction, objective, variance, schedule, sampler, score and study
//! come out as they are committed under `tests/pinned`: with portable kernels to the last bit on any machine, with this machine's within
//! the tolerances below.
//!
//! `just pin` makes the committed files anew, and with them what `tests/golden/pinned.py`, a second program, computes of them. That the
//! numbers change is a decision: the commit says why. (`UPDATE_PINNED=1` writes what is found.)

mod second;
#[path = "../support.rs"]
mod support;
mod texts;

use ddpm_kernels::simd::Isa;
use ddpm_model::checkpoint;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::*;
use texts::differences;

/// Scores whose linear algebra is faer's, which takes the instructions that the processor has: to nine digits, not to the last bit.
const BY_LIBRARY: [&str; 4] = ["fid", "fid-held-out", "fid-infinity", "kid"];
const LIBRARY_TOLERANCE: f64 = 1e-9;

/// What is committed of a grid; the last where trainings are scored along their way.
const TABLES: [&str; 5] = ["metrics.csv", "bounds.csv", "terms.csv", "curves.csv", "along.csv"];

/// A grid, its base, and the folders of images that it reads: name, height, width, channels, number.
struct Pinned {
    grid: &'static str,
    base: &'static str,
    images: (u32, u32, u32, u32),
}

const TRAINING: Pinned = Pinned { grid: "training", base: "colour", images: (8, 12, 3, 25) };
/// The place of the first's cell whose products are of bf16.
const BF16_CELL: usize = 14;
/// Points that are drawn, and not read.
const PLANE: Pinned = Pinned { grid: "plane", base: "points", images: (1, 1, 2, 0) };
const ALONG: Pinned = Pinned { grid: "along", base: "points", images: (1, 1, 2, 0) };
const SAMPLING: Pinned = Pinned { grid: "sampling", base: "grey", images: (28, 28, 1, 90) };

fn draw(folder: &Path, (height, width, channels, n): (u32, u32, u32, u32)) {
    fs::create_dir_all(folder).unwrap();
    for i in 0..n {
        let path = folder.join(format!("{i:03}.png"));
        match channels {
            1 => image::GrayImage::from_fn(width, height, |x, y| image::Luma([byte(i, y, x, 0)])).save(path).unwrap(),
            _ => image::RgbImage::from_fn(width, height, |x, y| image::Rgb([0, 1, 2].map(|c| byte(i, y, x, c)))).save(path).unwrap(),
        }
    }
}

/// The program, on a grid's experiment in `dir`; a file there goes before the committed one.
fn command(pinned: &Pinned, dir: &Path, what: &str) -> Command {
    let committed = |name: &str| root().join(format!("tests/pinned/{name}.yaml"));
    let file = |name: &str| Some(dir.join(format!("{name}.yaml"))).filter(|own| own.exists()).unwrap_or_else(|| committed(name));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddpm"));
    command.current_dir(dir).arg(what).arg(file(pinned.grid)).arg("--base").arg(file(pinned.base)).args(["--results", "results"]);
    command
}

/// Runs a grid in `dir` with kernels up to `isa`.
fn ablate(pinned: &Pinned, dir: &Path, isa: &str, more: &[&str]) {
    draw(&dir.join(pinned.base), pinned.images);
    let output =
        command(pinned, dir, "ablate").args(["--jobs", "2"]).args(more).env("DDPM_ISA", isa).env("DDPM_CONV", "").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// The folder of a grid's tables.
fn report(pinned: &Pinned, dir: &Path) -> PathBuf {
    dir.join("results").join(format!("{}-{}", pinned.grid, pinned.base))
}

/// The folders in `dir`, by name.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_string()
}

/// A line for each picture, its size and a digest of its colours, for each chart and each set of samples.
fn pictures(results: &Path, report: &Path) -> String {
    let mut lines = Vec::new();
    for path in folders(&report.join("figures")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "svg")) {
        lines.push(format!("figures/{} {}\n", name(&path), digest(&fs::read(&path).unwrap())));
    }
    let sheets = ["samples.png", "progressive.png"].map(|sheet| report.join("figures").join(sheet));
    let of_runs = folders(&results.join("runs")).into_iter().flat_map(|run| folders(&run));
    for path in sheets.into_iter().chain(of_runs).filter(|path| path.extension().is_some_and(|e| e == "png")) {
        let picture = image::open(&path).unwrap().to_rgb8();
        let of = name(path.parent().unwrap());
        lines.push(format!("{of}/{} {}x{} {}\n", name(&path), picture.width(), picture.height(), digest(picture.as_raw())));
    }
    for path in folders(&results.join("samples")) {
        lines.push(format!("samples/{} {}\n", name(&path), digest(&images(&path))));
    }
    lines.concat()
}

/// The pixels of a file of samples.
fn images(path: &Path) -> Vec<u8> {
    checkpoint::read_u8(&fs::read(path).unwrap(), "images").unwrap().1
}

/// What records say beside the tables.
fn findings(results: &Path) -> String {
    let mut all = serde_json::Map::new();
    for run in folders(&results.join("runs")) {
        let record: Value = serde_json::from_str(&fs::read_to_string(run.join("record.json")).unwrap()).unwrap();
        let device = record["machine"]["device"].as_str().unwrap();
        assert!(device.starts_with("cpu ") && device.ends_with(" winograd"), "the convolutions' algorithm: {device}");
        let kept = ["training_id", "outcome", "progressive", "real", "findings"].map(|key| (key.to_string(), record[key].clone()));
        all.insert(name(&run).into(), Value::Object(kept.into_iter().filter(|(_, v)| !v.is_null()).collect()));
    }
    format!("{}\n", serde_json::to_string_pretty(&json!(all)).unwrap())
}

/// Every committed file of a grid as it is found, by its name.
fn found(pinned: &Pinned, dir: &Path) -> BTreeMap<String, String> {
    let (results, report) = (&dir.join("results"), report(pinned, dir));
    let read = |file: &str| fs::read_to_string(report.join(file)).unwrap();
    let tables = TABLES.iter().filter(|table| report.join(table).exists());
    let mut files: BTreeMap<String, String> = tables.map(|table| (table.to_string(), read(table))).collect();
    // Times and the machine are in one line.
    let page = read("README.md");
    let lines = page
        .lines()
        .filter(|line| !line.contains("trainings of together") && !line.contains("Choosing cost"))
        .map(|line| format!("{line}\n"));
    files.insert("page.md".into(), lines.collect());
    files.insert("pictures.txt".into(), pictures(results, &report));
    files.insert("findings.json".into(), findings(results));
    files
}

fn by_library(place: &str) -> bool {
    place.split([' ', ':', ',']).any(|word| BY_LIBRARY.contains(&word))
}

/// The study of the network's parts takes elementary functions from the system's library, whose last digit is the processor's.
const SYSTEM_TOLERANCE: f64 = 1e-5;

fn exact(place: &str) -> f64 {
    match place.split(' ').any(|word| word == "anatomy") {
        true => SYSTEM_TOLERANCE,
        false if by_library(place) => LIBRARY_TOLERANCE,
        false => 0.0,
    }
}

/// The portable kernels' results are those that are committed.
fn portable(pinned: &Pinned, dir: &Path) {
    ablate(pinned, dir, "portable", &[]);
    let committed = root().join("tests/pinned").join(pinned.grid);
    let found = found(pinned, dir);
    if std::env::var_os("UPDATE_PINNED").is_some() {
        fs::create_dir_all(&committed).unwrap();
        found.iter().for_each(|(file, text)| fs::write(committed.join(file), text).unwrap());
    }
    let mut all = Vec::new();
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(folders(&committed).iter().map(|path| name(path)).collect::<Vec<_>>(), names, "files of {}", pinned.grid);
    for (file, text) in &found {
        let expected = fs::read_to_string(committed.join(file)).unwrap();
        all.extend(differences(file, &expected, text, &exact));
    }
    let shown = all[..all.len().min(20)].join("\n");
    assert!(all.is_empty(), "{} of the pinned numbers of {} differ; tests/pinned/main.rs says what then:\n{shown}", all.len(), pinned.grid);
}

/// The pixels of each cell's and seed's samples, in the grid's order.
fn samples(pinned: &Pinned, dir: &Path) -> Vec<Vec<u8>> {
    let output = command(pinned, dir, "plan").arg("--json").output().unwrap();
    let plan: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let scored = plan["jobs"].as_array().unwrap().iter().filter(|job| job["study"].is_null());
    let id = |job: &Value| format!("{}.safetensors", job["sampling_id"].as_str().unwrap());
    scored.map(|job| images(&dir.join("results/samples").join(id(job)))).collect()
}

/// This machine's best kernels, and all between, come near to the portable ones.
fn others(pinned: &Pinned, dir: &Path, tolerance: &dyn Fn(&str) -> f64) {
    let portable = found(pinned, dir);
    let samples_of = |dir: &Path| samples(pinned, dir).concat();
    let expected = samples_of(dir);
    for isa in Isa::ALL.into_iter().skip(1).filter(|isa| isa.is_available()) {
        let other = tempfile::tempdir().unwrap();
        ablate(pinned, other.path(), isa.name(), &[]);
        let mut all = Vec::new();
        for (file, text) in found(pinned, other.path()) {
            if TABLES.contains(&&file[..]) || file.ends_with(".json") {
                all.extend(differences(&file, &portable[&file], &text, tolerance));
            }
        }
        assert!(all.is_empty(), "{}, {} numbers:\n{}", isa.name(), all.len(), all[..all.len().min(20)].join("\n"));
        let found = samples_of(other.path());
        let off = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert!(found.len() == expected.len() && off * 100 < found.len(), "{}: {off} of {} pixels", isa.name(), found.len());
    }
}

#[test]
fn trainings_samples_and_bounds() {
    let dir = tempfile::tempdir().unwrap();
    portable(&TRAINING, dir.path());
    second::trainings(&report(&TRAINING, dir.path()), &second::SEEDS, &samples(&TRAINING, dir.path()));
    // In bf16 a last digit of f32 decides which way a number is rounded.
    let bf16 = format!("cell {BF16_CELL}, ");
    others(&TRAINING, dir.path(), &|place| if place.contains(&bf16) { 2e-3 } else { 2e-5 });
}

#[test]
fn scores_and_studies() {
    let dir = tempfile::tempdir().unwrap();
    portable(&SAMPLING, dir.path());
    second::scores(&report(&SAMPLING, dir.path()));
    second::anatomy(&dir.path().join("results"));
    out_of_range(dir.path());
    others(&SAMPLING, dir.path(), &|_| 1e-3);
}

#[test]
fn points_whose_law_is_known() {
    let dir = tempfile::tempdir().unwrap();
    portable(&PLANE, dir.path());
    second::plane(&report(&PLANE, dir.path()), &dir.path().join("results"));
    // A point that is rounded to the next level may be in the next cell, and one of the arrows' four digits is the last.
    others(&PLANE, dir.path(), &|place| if ["divergence", "std_err"].iter().any(|word| place.contains(word)) { 0.05 } else { 1e-3 });
}

/// What records say of their jobs' scores, by the steps made, the average's decay and the seed.
fn by_moment(dir: &Path) -> BTreeMap<(u64, String, u64), Value> {
    let mut found = BTreeMap::new();
    for run in folders(&dir.join("results/runs")) {
        let record: Value = serde_json::from_str(&fs::read_to_string(run.join("record.json")).unwrap()).unwrap();
        let training = &record["config"]["training"];
        let step = record.get("at").unwrap_or(&training["steps"]).as_u64().unwrap();
        found.insert((step, training["optimiser"]["ema_decay"].to_string(), record["seed"].as_u64().unwrap()), record["metrics"].clone());
    }
    found
}

/// Scores along a training are those of shorter trainings, and averages that share one those of trainings of their own: to the last bit.
#[test]
fn scores_along_training() {
    let (dir, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    portable(&ALONG, dir.path());
    let together = by_moment(dir.path());
    assert_eq!((together.len(), folders(&dir.path().join("results/training")).len()), (3 * 4 * 2, 2));
    let text = fs::read_to_string(root().join("tests/pinned/along.yaml")).unwrap();
    let rows =
        "grid: {row: [{steps: 15, ema_decay: 0.5}, {steps: 7, ema_decay: 0.8}, {steps: 22, ema_decay: 0}, {steps: 30, ema_decay: 0.8}]}";
    let line = |line: &str| match line.split(':').next() {
        Some("grid") => format!("{rows}\n"),
        Some("set" | "figures") => String::new(),
        _ => format!("{line}\n"),
    };
    fs::write(apart.path().join("along.yaml"), text.lines().map(line).collect::<String>()).unwrap();
    ablate(&ALONG, apart.path(), "portable", &[]);
    let alone = by_moment(apart.path());
    assert_eq!((alone.len(), folders(&apart.path().join("results/training")).len()), (4 * 2, 4 * 2));
    for (moment, scores) in &alone {
        assert_eq!(together[moment], *scores, "{moment:?}");
    }
    others(&ALONG, dir.path(), &|place| if ["divergence", "std_err"].iter().any(|word| place.contains(word)) { 0.05 } else { 1e-3 });
    #[cfg(feature = "emulation")]
    {
        let device = tempfile::tempdir().unwrap();
        ablate(&ALONG, device.path(), "portable", &["--devices", "emulated", "--seeds", "0"]);
        let there = by_moment(device.path());
        assert_eq!(2 * there.len(), together.len());
        for (moment, scores) in there {
            let of = |scores: &Value| scores["bits-per-dim"]["value"].as_f64().unwrap();
            let (ours, theirs) = (of(&scores), of(&together[&moment]));
            assert!((ours - theirs).abs() < 1e-4 * theirs, "{moment:?}: {ours} {theirs}");
        }
    }
}

/// A score is as bad as can be where the samples left the range of images, and where it is blank for another reason it is not.
fn out_of_range(dir: &Path) {
    let mut left = 0;
    for run in folders(&dir.join("results/runs")) {
        let Ok(text) = fs::read_to_string(run.join("record.json")) else { continue };
        let record: Value = serde_json::from_str(&text).unwrap();
        let blanks = record["blanks"].as_object().unwrap();
        let outside = |(_, reason): &(&String, &Value)| reason.as_str().unwrap().starts_with("samples out of range");
        let expected: Vec<&String> = blanks.iter().filter(outside).map(|(metric, _)| metric).collect();
        let found: Vec<String> = serde_json::from_value(record.get("out_of_range").cloned().unwrap_or(json!([]))).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{}", run.display());
        left += usize::from(found.len() == 7 && blanks.len() == 7);
    }
    assert_eq!(left, 1);
}

/// The second seed's on a device: the CUDA kernels' source, compiled for the processor.
#[test]
#[cfg(feature = "emulation")]
fn trainings_samples_and_bounds_on_a_device() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(root().join("tests/pinned/training.yaml")).unwrap();
    let seeds = format!("seeds: [{}]", second::SEEDS[1]);
    let text: Vec<&str> = text.lines().map(|line| if line.starts_with("seeds:") { &seeds } else { line }).collect();
    fs::write(dir.path().join("training.yaml"), text.join("\n")).unwrap();
    ablate(&TRAINING, dir.path(), "portable", &["--devices", "emulated"]);
    second::trainings(&report(&TRAINING, dir.path()), &second::SEEDS[1..], &samples(&TRAINING, dir.path()));
    let page = fs::read_to_string(report(&TRAINING, dir.path()).join("README.md")).unwrap();
    assert!(page.contains("of sampling and scoring, on emulated"), "{page}");
}
