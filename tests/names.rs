//! Names of trainings, samples and jobs: what they depend on, leaf by leaf of the configuration, and that no two things share one.

mod arms;
mod support;

use arms::{base, every_arm, keys};
use ddpm_model::network::ImageShape;
use ddpm_runner::experiment::{Asked, Config, Experiment, Job, RawConfig, Study, jobs};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The first of a job's names that changes; those after it change as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum First {
    Training,
    Samples,
    Job,
    None,
}

/// What each part of a configuration is for. A new section or key that stands nowhere here fails the test.
const PARTS: [(&str, First); 6] = [
    // The images themselves are known by their digest.
    ("data", First::None),
    ("diffusion", First::Training),
    ("network", First::Training),
    ("training", First::Training),
    ("sampling", First::Samples),
    ("evaluation", First::Job),
];

/// Whether the objective does not see the variance.
fn is_blind(config: &Value) -> bool {
    ["simple", "weighted"].contains(&config["diffusion"]["objective"]["kind"].as_str().unwrap())
}

fn part_of(path: &str, config: &Value) -> First {
    let section = path.split('.').next().unwrap();
    match path {
        // An objective that does not see the variance trains the same weights under any.
        "diffusion.variance" if is_blind(config) => First::Samples,
        // One training keeps several averages, of which one is sampled from.
        "training.optimiser.ema_decay" if config["training"]["optimiser"].get("ema_kept").is_some() => First::Samples,
        // What is measured at other steps is measured by other jobs.
        "evaluation.at" => First::None,
        // Features are known by their name, wherever their weights lie.
        _ if path.starts_with("evaluation.features") => First::None,
        _ => PARTS.iter().find(|(name, _)| *name == section).unwrap_or_else(|| panic!("{path} has no part")).1,
    }
}

fn job(config: &Config, seed: u64, study: Option<Study>, data: &str, features: &str) -> [String; 3] {
    let job = Job::new(config.clone(), seed, study, data, features);
    [job.training_id, job.sampling_id, job.id]
}

/// Which of the names differ.
fn changes(a: &[String; 3], b: &[String; 3]) -> [bool; 3] {
    [0, 1, 2].map(|i| a[i] != b[i])
}

/// The first name that differs. None of those after it may be the same.
fn first(a: &[String; 3], b: &[String; 3]) -> First {
    let changed = changes(a, b);
    assert!(changed.is_sorted(), "{a:?} {b:?}");
    match changed.iter().position(|changed| *changed) {
        Some(0) => First::Training,
        Some(1) => First::Samples,
        Some(_) => First::Job,
        None => First::None,
    }
}

/// Values that some leaf may have.
fn values(of: &Value) -> Vec<Value> {
    let mut all = vec![json!(null), json!(true), json!(false), json!(1), json!(0.375), json!(0.01), json!(2)];
    if let Some(n) = of.as_u64() {
        all.insert(0, json!(n + 1));
    }
    if let Some(list) = of.as_array() {
        all.insert(0, json!([list.clone(), vec![json!(3)]].concat()));
        all.insert(0, json!([list.clone(), list.clone()].concat()));
    }
    let mut words = vec!["eps", "mu", "x0", "v", "fixed-small", "fixed-large", "learned", "learned-range", "as-given", "per-1000-steps"];
    words.extend([
        "none",
        "all",
        "linear",
        "cosine",
        "hat",
        "corrected",
        "f32",
        "bf16",
        "every-block",
        "input-only",
        "conv",
        "average-pool",
        "max-pool",
        "nearest-conv",
        "transposed-conv",
        "tanh",
        "erf",
    ]);
    words.extend(["pytorch", "tensorflow1", "elsewhere", "refuse", "bicubic", "colour"]);
    all.extend(words.iter().map(|word| json!(word)));
    all.push(json!([0.9, 0.99]));
    all
}

fn pointer(path: &str) -> String {
    path.split('.').map(|key| format!("/{key}")).collect()
}

/// The tree with another value at `path`, and the configuration that it is: of all that fit there, the first that changes anything.
fn changed(tree: &Value, path: &str) -> Option<Config> {
    let old = tree.pointer(&pointer(path)).unwrap();
    values(old).into_iter().filter(|new| new != old).find_map(|new| {
        let mut other = tree.clone();
        *other.pointer_mut(&pointer(path)).unwrap() = new;
        let config: Config = serde_json::from_value(other).ok()?;
        (serde_json::to_value(&config).unwrap() != *tree).then_some(config)
    })
}

#[test]
fn every_leaf_changes_the_names_that_depend_on_it_and_no_others() {
    let (trees, mut tried, mut seen) = (every_arm(), BTreeMap::new(), BTreeSet::new());
    for tree in &trees {
        let config: Config = serde_json::from_value(tree.clone()).unwrap();
        let plain = job(&config, 0, None, "d", "f");
        let mut paths = Vec::new();
        keys(tree, "", &mut paths);
        for path in paths.iter().filter(|path| !tree.pointer(&pointer(path)).unwrap().is_object()) {
            // Another kind has other keys beside it: those of another arm.
            let others: Vec<Config> = match path.strip_suffix(".kind") {
                Some(choice) => {
                    let with = |arm: &Value| {
                        let mut other = tree.clone();
                        *other.pointer_mut(&pointer(choice)).unwrap() = arm.pointer(&pointer(choice))?.clone();
                        Some(other)
                    };
                    trees
                        .iter()
                        .filter_map(with)
                        .filter(|other| other != tree)
                        .filter_map(|other| serde_json::from_value(other).ok())
                        .collect()
                }
                // In some arms a leaf has one value only: a learned variance is sampled on all steps.
                None => changed(tree, path).into_iter().collect(),
            };
            seen.insert(path.clone());
            for other in others {
                let mut expected = part_of(path, tree);
                if path == "diffusion.objective.kind" {
                    expected = First::Training;
                }
                *tried.entry(path.clone()).or_insert(0) += 1;
                let named = job(&other, 0, None, "d", "f");
                if path == "training.optimiser.ema_kept" {
                    // What else a training keeps changes nothing of the samples.
                    assert_eq!(changes(&plain, &named), [true, false, false]);
                    continue;
                }
                let found = first(&plain, &named);
                // The kind of data is a word of every name.
                if path == "data.kind" {
                    assert_eq!(found, First::Training);
                } else {
                    assert_eq!(found, expected, "{path} of {tree}");
                }
            }
        }
    }
    // Every leaf that a configuration can have, by its full name.
    assert!(tried.len() > 50, "{tried:?}");
    let untried: Vec<&String> = seen.iter().filter(|path| !tried.contains_key(*path)).collect();
    assert!(untried.is_empty(), "no other value of {untried:?} in any arm");
    for path in ["network.dropout", "training.optimiser.clip_norm", "sampling.sampler.eta", "evaluation.decoder", "diffusion.schedule.tau"]
    {
        assert!(tried.contains_key(path), "{path}");
    }
}

#[test]
fn seed_data_and_features_change_theirs() {
    let config = Config::checked(&base(), "t").unwrap();
    let plain = job(&config, 0, None, "d", "f");
    assert_eq!(first(&plain, &job(&config, 1, None, "d", "f")), First::Training);
    // A seed of more than 32 bits is not its last 32.
    assert_eq!(first(&plain, &job(&config, 1 << 32, None, "d", "f")), First::Training);
    assert_eq!(first(&plain, &job(&config, 0, None, "e", "f")), First::Training);
    assert_eq!(first(&plain, &job(&config, 0, None, "d", "g")), First::Job);
    // The order of keys and the short way to write a kind change nothing.
    let mut reversed = Map::new();
    base().as_object().unwrap().iter().rev().for_each(|(k, v)| drop(reversed.insert(k.clone(), v.clone())));
    reversed["diffusion"]["schedule"] = json!({ "kind": "linear" });
    assert_eq!(first(&plain, &job(&Config::checked(&Value::Object(reversed), "t").unwrap(), 0, None, "d", "f")), First::None);
}

/// Cells that differ in the features alone are other jobs on the same samples; a report is named by everything that was set.
#[test]
fn features_and_settings_are_part_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let grid = dir.path().join("g.yaml");
    let weights = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, name).unwrap();
        path.display().to_string()
    };
    let (a, b) = (weights("a.pth"), weights("b.pth"));
    let features = format!(
        "[own, {{kind: inception, weights: {a}}}, {{kind: inception, weights: {a}, resize: pytorch}}, {{kind: inception, weights: {b}}}]"
    );
    std::fs::write(&grid, format!("question: q\nbase: x\ngrid: {{features: {features}}}\n")).unwrap();
    let base = support::root().join("experiments/bases/fashion-smoke.yaml");
    let read = |sets: &[&str]| Experiment::read(&grid, base.to_str(), &sets.iter().map(|s| s.to_string()).collect::<Vec<_>>()).unwrap();
    let jobs = jobs(&read(&[]), ImageShape { height: 28, width: 28, channels: 1 }, "d").unwrap();
    let mut ids: Vec<&str> = jobs.iter().map(|(_, job)| &job.id[..]).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(jobs.iter().all(|(_, job)| job.sampling_id == jobs[0].1.sampling_id));
    let names = [&["steps=4"][..], &["steps=4", "dropout=0.5"], &["steps=4", "dropout=0.25"], &["dropout=0.5", "steps=4"]]
        .map(|sets| read(sets).name);
    assert!((0..4).all(|i| names[..i].iter().all(|other| *other != names[i])), "{names:?}");
    assert_eq!(read(&[]).name, "g-fashion-smoke");
}

/// A study is a job of its own on the samples and weights of its cell; it depends on its own keys and on the features, on nothing that is
/// only scored.
#[test]
fn studies_have_names_of_their_own() {
    let config = Config::checked(&base(), "t").unwrap();
    let study = |tree: Value| -> Study { serde_json::from_value(tree).unwrap() };
    let kinds = [
        json!({ "kind": "reverse-time", "stops": 3 }),
        json!({ "kind": "shared-latents", "at": [1.0, 0.5], "images": 3 }),
        json!({ "kind": "interpolation", "at": [0.5], "pairs": 2 }),
        json!({ "kind": "neighbours", "samples": 3, "neighbours": 4, "crop": 5 }),
        json!({ "kind": "anatomy", "stops": 3, "images": 5 }),
        json!({ "kind": "score-field", "at": [0.5], "samplers": [{ "kind": "ddim", "eta": 0.5 }], "paths": 3, "samples": 50 }),
    ];
    let plain = job(&config, 0, None, "d", "f");
    let mut scored_otherwise = RawConfig::from(config.clone());
    scored_otherwise.evaluation.held_out += 1;
    let scored_otherwise = Config::new(scored_otherwise, "t").unwrap();
    let mut all = vec![plain[2].clone()];
    for kind in kinds {
        let name = |tree: &Value, config: &Config, features: &str| job(config, 0, Some(study(tree.clone())), "d", features);
        let here = name(&kind, &config, "f");
        assert_eq!(first(&plain, &here), First::Job);
        assert_eq!(first(&here, &name(&kind, &scored_otherwise, "f")), First::None);
        assert_eq!(first(&here, &name(&kind, &config, "g")), First::Job);
        all.push(here[2].clone());
        for key in kind.as_object().unwrap().keys().filter(|key| *key != "kind") {
            let mut other = kind.clone();
            other[key] = match &key[..] {
                "samplers" => json!([{ "kind": "ddim", "eta": 0.25 }]),
                _ if kind[key].is_array() => json!([0.25]),
                _ => json!(7),
            };
            all.push(name(&other, &config, "f")[2].clone());
        }
    }
    let n = all.len();
    all.sort();
    all.dedup();
    assert_eq!((n, all.len()), (1 + 6 + 14, n));
}

/// Averages of one training: it is named by all that it keeps, whichever is used, and samples by the one that they are made with, whatever
/// else was kept; the weights as trained cost no training.
#[test]
fn averages_share_a_training() {
    let with = |decay: f64, kept: &[f64]| {
        let mut raw = RawConfig::typed(&base(), "t").unwrap();
        (raw.training.optimiser.ema_decay, raw.training.optimiser.ema_kept) = (decay, kept.to_vec());
        job(&Config::new(raw, "t").unwrap(), 0, None, "d", "f")
    };
    let alone = with(0.9, &[]);
    assert_eq!(with(0.9, &[0.9]), alone);
    assert_eq!(first(&alone, &with(0.0, &[0.9])), First::Samples);
    assert_eq!(first(&alone, &with(0.0, &[])), First::Training);
    assert_eq!(changes(&alone, &with(0.9, &[0.5, 0.9])), [true, false, false]);
    assert_eq!(changes(&with(0.0, &[]), &with(0.0, &[0.5, 0.9])), [true, false, false]);
    for (a, b) in [(0.5, 0.9), (0.0, 0.9), (0.0, 0.5)] {
        assert_eq!(first(&with(a, &[0.5, 0.9]), &with(b, &[0.5, 0.9])), First::Samples);
    }
}

/// The scores after other steps are jobs of their own on the same training; what else is measured along it changes no name.
#[test]
fn scores_along_training_have_names_of_their_own() {
    let config = |at: Value| {
        let mut tree = base();
        tree["evaluation"]["at"] = at;
        Config::checked(&tree, "t").unwrap()
    };
    let named = |config: Config, at: Option<u64>| {
        let job = Job::named(config, Asked { cell_index: 0, seed: 0, study: None, at }, "d", "f");
        [job.training_id, job.sampling_id, job.id]
    };
    let (few, more) = (config(json!([10])), config(json!([0.25, 20])));
    assert_eq!((few.measured_at(), more.measured_at()), (vec![10], vec![10, 20]));
    let end = named(few.clone(), None);
    assert_eq!(end, job(&Config::checked(&base(), "t").unwrap(), 0, None, "d", "f"));
    assert_eq!(named(more.clone(), None), end);
    assert_eq!(named(few.clone(), Some(10)), named(more.clone(), Some(10)));
    assert_eq!(first(&end, &named(more.clone(), Some(10))), First::Samples);
    assert_eq!(first(&named(more.clone(), Some(20)), &named(more, Some(10))), First::Samples);
}

/// Over all grids that are shipped, on all bases: one name, one thing, and the other way round.
#[test]
fn no_two_things_share_a_name() {
    let folder = |name: &str| {
        let files = std::fs::read_dir(support::root().join("experiments").join(name)).unwrap();
        let mut paths: Vec<_> = files.map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let (mut by_name, mut by_content) = (BTreeMap::new(), BTreeMap::new());
    let mut once = |kind: &str, name: &str, content: Value| {
        let content = format!("{kind} {content}");
        let other = by_name.insert(format!("{kind} {name}"), content.clone());
        assert!(other.as_ref().is_none_or(|other| *other == content), "{name}: {content} and {}", other.unwrap());
        let other = by_content.insert(content.clone(), name.to_string());
        assert!(other.as_ref().is_none_or(|other| other == name), "{content}: {name} and {}", other.unwrap());
    };
    let mut count = 0;
    for grid in folder("grids") {
        for base in folder("bases") {
            let read = Experiment::read(&grid, Some(base.to_str().unwrap()), &["evaluation.features=own".into()]);
            // Four steps, to try out large images, are too few for some grids.
            if read.is_err() && base.ends_with("folder-256-smoke.yaml") {
                continue;
            }
            if grid.ends_with("langevin.yaml") && !base.ends_with("mixture-2d.yaml") {
                assert!(read.is_err_and(|e| e.to_string().contains("kl-divergence needs data whose law is known")));
                continue;
            }
            let experiment = read.unwrap_or_else(|e| panic!("{e}"));
            let data = base.file_stem().unwrap().to_str().unwrap();
            // What the images are does not matter here, but that sets differ: by their kind, as fashion-mnist does on two bases.
            let kind = experiment.cells[0].config.data.kind();
            let data = if kind == "folder" { data } else { kind };
            let image = ImageShape { height: 64, width: 64, channels: 3 };
            let then = experiment.with_first_candidates().unwrap().map_or_else(Vec::new, |next| jobs(&next, image, data).unwrap());
            for (_, job) in jobs(&experiment, image, data).unwrap().into_iter().chain(then) {
                let mut config = json!(job.config);
                config["data"] = json!(data);
                let mut evaluation = config.as_object_mut().unwrap().remove("evaluation").unwrap();
                evaluation.as_object_mut().unwrap().remove("at");
                config["training"]["optimiser"].as_object_mut().unwrap().remove("ema_kept");
                let study = job.study.as_ref().map(|study| json!(study));
                let looked_at = study.unwrap_or(evaluation);
                once("job", &job.id, json!([config, job.seed, job.at, looked_at]));
                once("samples", &job.sampling_id, json!([config, job.seed, job.at]));
                let mut trained = config.clone();
                let optimiser = &mut trained["training"]["optimiser"];
                *optimiser = json!([*optimiser, job.config.training.optimiser.kept()]);
                optimiser[0].as_object_mut().unwrap().retain(|key, _| !key.starts_with("ema_"));
                trained.as_object_mut().unwrap().remove("sampling");
                if is_blind(&trained) {
                    trained["diffusion"]["variance"] = json!(null);
                }
                once("training", &job.training_id, json!([trained, job.seed]));
                count += 1;
            }
        }
    }
    assert!(count > 500, "{count}");
}
