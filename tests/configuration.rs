//! Configurations: every key of every arm, mistyped and of the wrong type; grids: size, order, names.

mod arms;
mod support;
mod tuning;

use arms::{base, every_arm, keys};
use ddpm_runner::experiment::{Config, Experiment, RawConfig, asked, schema};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use tempfile::TempDir;

/// The map that holds the last key of `path`, and that key.
fn parent<'a>(tree: &'a mut Value, path: &str) -> (&'a mut Map<String, Value>, String) {
    let (parent, key) = path.rsplit_once('.').map_or(("", path), |(p, k)| (p, k));
    let pointer: String = parent.split('.').filter(|p| !p.is_empty()).map(|p| format!("/{p}")).collect();
    (tree.pointer_mut(&pointer).unwrap().as_object_mut().unwrap(), key.to_string())
}

/// The values of `key` everywhere in a tree.
fn values<'a>(tree: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    let children: Vec<&Value> = tree.as_object().map_or_else(Vec::new, |map| map.values().collect());
    found.extend(tree.get(key).and_then(Value::as_str));
    children.into_iter().chain(tree.as_array().into_iter().flatten()).for_each(|child| values(child, key, found));
}

/// A new schedule, objective, sampler, data set or feature network is tried in all of these tests, or this one fails.
#[test]
fn every_arm_is_among_those_that_are_tried() {
    let (schema, trees) = (schema::of::<RawConfig>(), every_arm());
    let mut tried = Vec::new();
    trees.iter().for_each(|tree| values(tree, "kind", &mut tried));
    // In the schema a kind is an object that names its constant.
    let mut kinds = Vec::new();
    fn constants<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
        found.extend(schema.pointer("/properties/kind/const").and_then(Value::as_str));
        schema
            .as_object()
            .into_iter()
            .flat_map(Map::values)
            .chain(schema.as_array().into_iter().flatten())
            .for_each(|s| constants(s, found));
    }
    constants(schema, &mut kinds);
    assert!(kinds.len() > 20 && kinds.contains(&"cosine"), "{kinds:?}");
    let missing: Vec<&&str> = kinds.iter().filter(|kind| !tried.contains(kind)).collect();
    assert!(missing.is_empty(), "{missing:?} are in no configuration of tests/arms.rs");
}

#[test]
fn a_mistyped_key_is_named_with_its_path_in_every_arm() {
    let mut tried = 0;
    for tree in every_arm() {
        let mut paths = Vec::new();
        keys(&tree, "", &mut paths);
        for path in paths {
            let mut wrong = tree.clone();
            let (map, key) = parent(&mut wrong, &path);
            let value = map.remove(&key).unwrap();
            map.insert(format!("{key}x"), value);
            let error = Config::checked(&wrong, "file.yaml").expect_err(&path).to_string();
            // A mistyped kind, or name of a choice, leaves no arm whose keys could be compared.
            let expected = if ["kind", "resolutions"].contains(&key.as_str()) {
                path.rsplit_once('.').unwrap().0.to_string()
            } else {
                format!("{path}x")
            };
            assert!(error.starts_with(&format!("file.yaml: {expected}")), "{path}: {error}");
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_path_in_every_arm() {
    for tree in every_arm() {
        let mut paths = Vec::new();
        keys(&tree, "", &mut paths);
        for path in paths {
            let mut wrong = tree.clone();
            let (map, key) = parent(&mut wrong, &path);
            map.insert(key, json!([{ "no": "value" }]));
            let error = Config::checked(&wrong, "file.yaml").expect_err(&path).to_string();
            assert!(error.starts_with(&format!("file.yaml: {path}")), "{path}: {error}");
        }
    }
}

#[test]
fn the_nearest_name_is_suggested() {
    let error = |path: &str, value: Value| {
        let mut tree = base();
        ddpm_runner::experiment::paths::set(&mut tree, path, value, "test").unwrap();
        Config::checked(&tree, "file.yaml").unwrap_err().to_string()
    };
    let schedule = error("diffusion.schedule", json!({ "kind": "linear", "beta_strat": 0.1 }));
    assert_eq!(schedule, "file.yaml: diffusion.schedule.beta_strat: unknown key (did you mean beta_start?)");
    assert_eq!(error("diffusion.prediction", json!("epps")), "file.yaml: diffusion.prediction: unknown name epps (did you mean eps?)");
    assert!(error("diffusion.schedule", json!("lineal")).contains("diffusion.schedule.kind: unknown name lineal (did you mean linear?)"));
    assert!(error("diffusion.variance", json!("learned")).contains("diffusion: objective simple does not train a learned variance"));
    assert!(error("diffusion.schedule", json!("jsd")).contains("prediction eps needs alpha_bar > 0"));
    assert!(
        error("sampling.sampler", json!({ "kind": "ddim", "eta": 2.0 }))
            .contains("sampling.sampler.eta: expected a number in [0, 1], got 2")
    );
    assert!(error("sampling.count", json!(5)).contains("sampling.count"));
    let weighted = |weight: Value| error("diffusion.objective", json!({ "kind": "weighted", "space": "x0", "weight": weight }));
    assert_eq!(weighted(json!("min-snt")), "file.yaml: diffusion.objective.weight.kind: unknown name min-snt (did you mean min-snr?)");
    assert_eq!(
        weighted(json!({ "kind": "min-snr", "gamma": -1.0 })),
        "file.yaml: diffusion.objective.weight.gamma: expected a positive number, got -1"
    );
    assert_eq!(weighted(json!({ "kind": "p2", "k": 0.0 })), "file.yaml: diffusion.objective.weight.k: expected a positive number, got 0");
}

/// A folder with a base and one grid.
fn folder(grid: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("bases/b.yaml", ddpm_runner::experiment::yaml::to_string(&base())), ("grids/g.yaml", grid.to_string())] {
        std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let path = dir.path().join("grids/g.yaml");
    (dir, path)
}

fn read(grid: &str) -> Result<Experiment, String> {
    let (_dir, path) = folder(grid);
    Experiment::read(&path, Some("b"), &[]).map_err(|e| e.to_string().replace(&path.display().to_string(), "g.yaml"))
}

#[test]
fn mistakes_in_a_grid_are_reported_where_they_stand() {
    let error = |text: &str| read(&format!("question: Why?\n{text}")).unwrap_err();
    assert_eq!(
        error("grid:\n  schedule: [linear, {kind: linear, beta_strat: 1}]"),
        "g.yaml: grid.schedule[1].beta_strat: unknown key (did you mean beta_start?)"
    );
    assert_eq!(
        error("grid:\n  row: [{objective: vlb, variance: leaned}]"),
        "g.yaml: grid.row[0].variance: unknown name leaned (did you mean learned?)"
    );
    assert_eq!(
        error("grid:\n  row: [{objektive: vlb}]"),
        "g.yaml: grid.row[0].objektive: neither an axis nor a path of the configuration (did you mean objective?)"
    );
    assert_eq!(
        error("grid:\n  predictoin: [eps]"),
        "g.yaml: grid.predictoin: neither an axis nor a path of the configuration (did you mean prediction?)"
    );
    assert_eq!(error("grid:\n  prediction: eps"), "g.yaml: grid.prediction: expected a list of at least one value");
    assert_eq!(error("gird: {}"), "g.yaml: gird: unknown key (did you mean grid?)");
    assert_eq!(error("grid: {}\nseeds: [1, 1]"), "g.yaml: seeds: 1 stands twice");
    assert_eq!(error("grid: {}\nseeds: []"), "g.yaml: seeds: expected at least one");
    assert_eq!(error("grid: {prediction: [eps]}\nexclude: [{prediction: eps}]"), "g.yaml: exclude: leaves no cell");
    assert!(error("grid: {steps: [1, 2], training.batch: [4, oops]}").starts_with("g.yaml: grid.training.batch[1]"));
    assert!(error(&format!("grid: {{}}\nseeds: {:?}", (0..20_000).collect::<Vec<u32>>())).contains("more than 10000 jobs"));
    assert!(error("grid: [").contains("not valid YAML"));
    assert!(error("grid:\n  steps: [1]\n  steps: [2]").contains("duplicate entry"));
    assert_eq!(error("grid: {learning_rate: [.nan]}"), "g.yaml: a number is infinite or not a number");
    // A value may be set in one place only, and each cell runs once.
    assert_eq!(error("grid: {steps: [1], training.steps: [2]}"), "g.yaml: grid.training.steps[0]: grid.steps[0] sets steps too");
    assert_eq!(
        error("grid: {schedule: [linear, quad], diffusion.schedule.beta_end: [0.01]}"),
        "g.yaml: grid.diffusion.schedule.beta_end[0]: grid.schedule[0] sets diffusion.schedule.beta_end too"
    );
    assert_eq!(error("grid: {steps: [1, 1]}"), "g.yaml: grid: the cells steps=1 and steps=1 are one configuration");
    assert_eq!(error("grid: {steps: [1]}\nexclude: [{steps: 2}]"), "g.yaml: exclude[0]: agrees with no combination of the axes' values");
    assert_eq!(
        error(
            "grid: {steps: [1, 2], batch_size: [{training.batch: 4}, {training.batch: 8}]}\nexclude: [{steps: 1, training.batch: 4}, {steps: 2, training.batch: 9}]"
        ),
        "g.yaml: exclude[1]: agrees with no combination of the axes' values"
    );
    assert_eq!(
        error("grid: {variance: [fixed-large, learned]}"),
        "g.yaml: diffusion: objective simple does not train a learned variance: choose objective hybrid or vlb, or a fixed variance (in the cell learned)"
    );
    assert_eq!(error("set: {learning_rate: -1}\ngrid: {steps: [1]}"), "g.yaml: set.learning_rate: expected a positive number, got -1");
    let paper = |row: &str| error(&format!("grid: {{steps: [1]}}\npaper: {{source: s, rows: [{row}]}}"));
    assert_eq!(
        paper("{cell: {step: 1}, says: {}}"),
        "g.yaml: paper.rows[0].cell.step: neither an axis nor a path of the configuration (did you mean steps?)"
    );
    assert_eq!(paper("{cell: {steps: 2}, says: {}}"), "g.yaml: paper.rows[0].cell: agrees with no cell");
    assert_eq!(paper("{cell: {steps: 1}, says: {fidd: '1'}}"), "g.yaml: paper.rows[0].says.fidd: unknown key (did you mean fid?)");
    assert_eq!(paper("{cell: {steps: 1}, say: {}}"), "g.yaml: paper.rows[0].say: unknown key (did you mean says?)");
    let (_dir, path) = folder("question: q\ngrid: {steps: [1]}");
    let flagged = Experiment::read(&path, Some("b"), &["training.steps=3".into()]).unwrap_err().to_string();
    assert_eq!(flagged, "--set training.steps=3: grid.steps[0] varies it");
}

/// Moments of a training are steps before its last one, or shares of it, and rise.
#[test]
fn moments_of_a_training_are_before_its_end() {
    let error = |at: &str| read(&format!("question: q\nset: {{evaluation.at: {at}}}\ngrid: {{}}")).unwrap_err();
    for (at, place, got) in
        [("[40]", 0, "40"), ("[1, 0]", 1, "0"), ("[1.0e-3]", 0, "0.001"), ("[0.5, 0.99]", 1, "0.99"), ("[-0.5]", 0, "-0.5")]
    {
        let expected = "expected a step from 1 on, before the last one, 40, which is always measured, or a share of them";
        assert_eq!(error(at), format!("g.yaml: set.evaluation.at[{place}]: {expected}, got {got}"));
    }
    assert_eq!(error("[0.5, 20]"), "g.yaml: set.evaluation.at: expected rising steps, got [20, 20]");
    assert!(error("[soon]").starts_with("g.yaml: set.evaluation.at"), "{}", error("[soon]"));
    let seeds: Vec<u64> = (0..1000).collect();
    let moments: Vec<u64> = (1..12).collect();
    let many = read(&format!("question: q\nset: {{evaluation.at: {moments:?}}}\ngrid: {{}}\nseeds: {seeds:?}")).unwrap_err();
    assert_eq!(many, "g.yaml: evaluation.at: 12000 scores of 1 cells are more than 10000 jobs: name fewer steps");
    let varied = read("question: q\ngrid: {evaluation.at: [[1], [2]]}").unwrap_err();
    assert_eq!(varied, "g.yaml: evaluation.at: expected the same moments in all cells: set them for all, they are no axis");
    let read = read("question: q\nset: {evaluation.at: [1, 0.5, 39]}\ngrid: {steps: [40, 60]}\nseeds: [3, 4]").unwrap();
    let asked: Vec<_> = asked(&read).iter().map(|asked| (asked.cell_index, asked.seed, asked.at)).collect();
    let along = |cell, seed, half| [Some(1), Some(half), Some(39), None].map(|at| (cell, seed, at));
    assert_eq!(asked, [along(0, 3, 20), along(0, 4, 20), along(1, 3, 30), along(1, 4, 30)].concat());
}

/// Cells that differ in nothing but the average keep each other's; others, and what the file itself says of it, stay as they are.
#[test]
fn cells_of_several_averages_share_a_training() {
    let kept = |grid: &str| -> Vec<(f64, Vec<f64>)> {
        let read = read(&format!("question: q\n{grid}")).unwrap();
        read.cells.iter().map(|cell| &cell.config.training.optimiser).map(|o| (o.ema_decay, o.ema_kept.clone())).collect()
    };
    let three = vec![0.5, 0.9, 0.99];
    assert_eq!(kept("grid: {ema_decay: [0.99, 0, 0.5, 0.9]}"), [0.99, 0.0, 0.5, 0.9].map(|decay| (decay, three.clone())));
    // The weights as trained are in every training: beside one average nothing more is kept.
    assert_eq!(kept("grid: {ema_decay: [0, 0.9]}"), [(0.0, vec![0.9]), (0.9, vec![])]);
    assert_eq!(kept("grid: {ema_decay: [0]}"), [(0.0, vec![])]);
    assert_eq!(kept("grid: {ema_decay: [0.5]}"), [(0.5, vec![])]);
    let rows = "grid: {row: [{ema_decay: 0.5, dropout: 0.0}, {ema_decay: 0.9, dropout: 0.1}, {ema_decay: 0.99, dropout: 0.1}]}";
    assert_eq!(kept(rows), [(0.5, vec![]), (0.9, vec![0.9, 0.99]), (0.99, vec![0.9, 0.99])]);
    // What is sampled and measured is nothing to the training.
    let samplers = "grid: {row: [{ema_decay: 0.9, sampler: ancestral}, {ema_decay: 0.99, sampler: ancestral}, {ema_decay: 0.9, sampler: ddim}, {ema_decay: 0, variance: fixed-small}]}";
    assert_eq!(kept(samplers), [0.9, 0.99, 0.9, 0.0].map(|decay| (decay, vec![0.9, 0.99])));
    let said = "set: {training.optimiser.ema_kept: [0.5, 0.9, 0.99]}\ngrid: {ema_decay: [0.5, 0.9]}";
    assert_eq!(kept(said), [0.5, 0.9].map(|decay| (decay, three.clone())));
    assert_eq!(
        read("question: q\nset: {training.optimiser.ema_kept: [0.5]}\ngrid: {ema_decay: [0, 0.9]}").unwrap_err(),
        "g.yaml: set.training.optimiser.ema_kept: expected the ema_decay 0.9 among them, got [0.5]"
    );
}

#[test]
fn mistakes_in_claims_are_reported_where_they_stand() {
    let grid = "question: Why?\ngrid: {prediction: [mu, eps], steps: [1, 2]}\nmetrics: [fid, kid]\n";
    let error = |claim: &str| read(&format!("{grid}claims: [{{sentence: s, metric: fid, {claim}}}]")).unwrap_err();
    let cell = "{prediction: eps, steps: 1}";
    for (claim, expected) in [
        ("best: {prediction: eps}".to_string(), "claims[0].best: expected one cell, 2 have these values: eps, steps=1; eps, steps=2"),
        ("best: {prediction: v}".into(), "claims[0].best: agrees with no cell"),
        (
            "best: {predictoin: eps}".into(),
            "claims[0].best.predictoin: neither an axis nor a path of the configuration (did you mean prediction?)",
        ),
        ("best: {}".into(), "claims[0].best: expected at least one key"),
        ("besst: {prediction: eps}".into(), "claims[0].besst: unknown key (did you mean best?)"),
        ("source: x".into(), "claims[0]: expected one of best, better and level"),
        (format!("best: {cell}, level: {cell}"), "claims[0]: expected one of best, better and level"),
        (format!("better: {cell}"), "claims[0].than: is missing beside better"),
        (format!("level: {cell}, within: 1"), "claims[0].with: is missing beside level"),
        (format!("better: {cell}, than: {cell}"), "claims[0].than: agrees with no other cell"),
        (format!("better: {cell}, than: {{steps: 2}}, within: 1"), "claims[0].within: belongs to level, this claim has better"),
        (format!("best: {cell}, than: {{steps: 2}}"), "claims[0].than: belongs to better, this claim has best"),
        (format!("level: {cell}, with: {{steps: 2}}"), "claims[0]: expected one of within and within_percent beside level"),
        (
            format!("level: {cell}, with: {{steps: 2}}, within: 1, within_percent: 1"),
            "claims[0]: expected one of within and within_percent beside level",
        ),
        (format!("level: {cell}, with: {{steps: 2}}, within: 0"), "claims[0].within: expected a positive number, got 0"),
        (
            format!("level: {cell}, with: {{steps: 2}}, within_percent: 100"),
            "claims[0].within_percent: expected more than 0 and less than 100, got 100",
        ),
    ] {
        let found = error(&claim);
        assert_eq!(found, format!("g.yaml: {expected}"), "{claim}");
    }
    let error = |claim: &str| read(&format!("{grid}claims: [{claim}]")).unwrap_err();
    assert_eq!(
        error(&format!("{{sentence: s, metric: kid, level: {cell}, with: {{steps: 2}}, within_percent: 5}}")),
        "g.yaml: claims[0].within_percent: expected within, since kid may be negative and a share of it is no margin"
    );
    assert_eq!(
        error(&format!("{{sentence: s, metric: recall, best: {cell}}}")),
        "g.yaml: claims[0].metric: expected one of the table's (fid, kid), got recall"
    );
    assert_eq!(error(&format!("{{sentence: ' ', metric: fid, best: {cell}}}")), "g.yaml: claims[0].sentence: expected a sentence");
    // Those that match a part: the other three, without the cell itself.
    let read = read(&format!("{grid}claims: [{{sentence: s, metric: fid, better: {cell}, than: {{prediction: eps}}}}, {{sentence: s, metric: fid, best: {cell}}}]")).unwrap();
    let others = |i: usize| read.file.claims[i].resolved(&read.cells).map(|about| (about.cell, about.others));
    assert_eq!((others(0), others(1)), (Ok((2, vec![3])), Ok((2, vec![0, 1, 3]))));
}

/// Table 2 is a part of Section 4: what is claimed of one is claimed of the other.
#[test]
fn section_4_claims_what_table_2_claims() {
    let claims = |name: &str| {
        let path = support::root().join(format!("experiments/grids/{name}.yaml"));
        Experiment::read(&path, None, &[]).unwrap().file.claims
    };
    assert!(claims("table2").len() == 7 && claims("section4") == claims("table2"));
}

fn shuffled_grid(axes: usize) -> impl Strategy<Value = (Vec<usize>, usize)> {
    (prop::collection::vec(1usize..4, axes), 1usize..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_grid_has_the_product_of_its_axes_in_order_and_every_job_a_name_of_its_own((sizes, seeds) in shuffled_grid(3)) {
        let names = ["steps", "channels", "learning_rate"];
        let value = |axis: usize, i: usize| match axis { 0 => json!(10 + i), 1 => json!(16 * (i + 1)), _ => json!(0.001 * (i + 1) as f64) };
        let axes: String = names.iter().zip(&sizes).enumerate()
            .map(|(a, (name, n))| format!("  {name}: {}\n", json!((0..*n).map(|i| value(a, i)).collect::<Vec<_>>()))).collect();
        let seeds: Vec<usize> = (0..seeds).collect();
        let experiment = read(&format!("question: q\ngrid:\n{axes}seeds: {seeds:?}\n")).unwrap();
        prop_assert_eq!(experiment.cells.len(), sizes.iter().product::<usize>());
        for (i, cell) in experiment.cells.iter().enumerate() {
            let places = [i / (sizes[1] * sizes[2]), i / sizes[2] % sizes[1], i % sizes[2]];
            for axis in 0..3 {
                prop_assert_eq!(&cell.axes[axis], &(names[axis].to_string(), value(axis, places[axis])));
            }
            prop_assert_eq!(cell.config.training.steps, 10 + places[0] as u64);
        }
        let shape = ddpm_model::network::ImageShape { height: 28, width: 28, channels: 1 };
        let jobs = ddpm_runner::experiment::jobs(&experiment, shape, "data").unwrap();
        let ids: std::collections::BTreeSet<_> = jobs.iter().map(|(_, job)| job.id.clone()).collect();
        prop_assert_eq!(ids.len(), experiment.cells.len() * seeds.len());
    }

    #[test]
    fn no_text_panics(text in "[a-z:\\[\\]{}\\- \n&*!|>'\"0-9.]{0,200}") {
        let _ = read(&text);
        let _ = read(&format!("question: q\ngrid:\n  {text}"));
        let _ = ddpm_runner::experiment::yaml::parse(&text, "t").map(|tree| Config::checked(&tree, "t"));
    }
}

/// Every grid that the project ships, on every base that needs no data from outside, and the paper's base by itself.
#[test]
fn shipped_experiments_are_whole() {
    let folder = |name: &str| -> Vec<PathBuf> {
        let mut files: Vec<_> =
            std::fs::read_dir(support::root().join("experiments").join(name)).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    };
    let mut cells = Vec::new();
    for grid in folder("grids") {
        for base in ["fashion-cpu", "fashion-smoke", "cifar10-paper", "cifar10-cpu"] {
            let read = Experiment::read(&grid, Some(base), &[]);
            // Only points have a law that is known.
            if grid.ends_with("langevin.yaml") {
                assert!(read.is_err_and(|e| e.to_string().contains("kl-divergence needs data whose law is known")));
                continue;
            }
            let experiment = read.unwrap_or_else(|e| panic!("{e}"));
            let side = if base.starts_with("cifar10") { 32 } else { 28 };
            // The resolutions named in `skips` belong to the 14x14 network.
            let fits = !(grid.ends_with("skips.yaml") && side == 32);
            let image = ddpm_model::network::ImageShape { height: side, width: side, channels: if side == 32 { 3 } else { 1 } };
            let checked = experiment.cells.iter().try_for_each(|c| c.config.check_images("t", image, 50_000, 10_000));
            assert_eq!(checked.is_ok(), fits, "{} {checked:?}", experiment.name);
            cells.push((experiment.name.clone(), experiment.cells.len()));
        }
    }
    let of = |name: &str| cells.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!((of("table2-fashion-cpu"), of("table1-cifar10-paper"), of("samplers-fashion-cpu")), (6, 2, 9));
    let paper =
        Config::checked(&ddpm_runner::experiment::yaml::read(&support::root().join("experiments/bases/cifar10-paper.yaml")).unwrap(), "b")
            .unwrap();
    let image = ddpm_model::network::ImageShape { height: 32, width: 32, channels: 3 };
    assert_eq!(paper.unet(image).parameter_count(), 35_746_307);
}

#[test]
fn the_rate_falls_to_nothing_as_named() {
    use ddpm_runner::experiment::Decay;
    let shares = |decay: Decay| [0, 500, 999].map(|step| decay.share(step, 1000));
    assert_eq!(shares(Decay::None), [1.0; 3]);
    assert_eq!(shares(Decay::Linear), [1.0, 0.5, 1.0 - 0.999]);
    let [first, middle, last] = shares(Decay::Cosine);
    assert!(first == 1.0 && (middle - 0.5).abs() < 1e-12 && (0.0..1e-5).contains(&last));
}

/// The rows of Table 1 are cells of Table 2.
#[test]
fn tables_share_their_jobs() {
    let ids = |grid: &str| -> Vec<Value> { support::jobs(grid, &[]).iter().map(|j| j["id"].clone()).collect() };
    let (one, two) = (ids("experiments/grids/table1.yaml"), ids("experiments/grids/table2.yaml"));
    assert_eq!((one.len(), two.len()), (2, 6));
    assert!(one.iter().all(|id| two.contains(id)));
    let samplers = support::jobs("experiments/grids/samplers.yaml", &[]);
    assert!(samplers.iter().all(|j| j["training_id"] == samplers[0]["training_id"]));
}

/// What an editor completes from describes every shipped grid and base as they were typed, and no other file.
#[test]
fn shipped_files_are_what_the_schemas_describe() {
    use ddpm_runner::experiment::{Base, GridFile, schema, yaml};
    let files = |folder: &str| {
        let files = std::fs::read_dir(support::root().join("experiments").join(folder)).unwrap();
        files.map(|file| yaml::read(&file.unwrap().path()).unwrap()).collect::<Vec<_>>()
    };
    let [grid, base] = [schema::of::<GridFile>().clone(), Base::schema()].map(|schema| schema::as_typed(&schema));
    let (grids, bases) = (files("grids"), files("bases"));
    assert!(grids.len() >= 8 && bases.len() >= 6);
    for (own, other, trees) in [(&grid, &base, &grids), (&base, &grid, &bases)] {
        for tree in trees {
            assert_eq!(schema::check(own, tree), Ok(()), "{tree}");
            assert!(schema::check(other, tree).is_err(), "{tree}");
        }
    }
}

/// What editors and people leave: a byte order mark is none of the text; an empty file, one value where a list stands, and names that make
/// too long a folder's are told in a sentence with their place; what is rarely meant is told before anything runs.
#[test]
fn files_are_read_as_people_leave_them() {
    let dir = tempfile::tempdir().unwrap();
    let plan = |name: &str, text: &str, base: &str| {
        let path = dir.path().join(format!("{name}.yaml"));
        std::fs::write(&path, text).unwrap();
        support::run(&["plan", path.to_str().unwrap(), "--base", base, "--results", support::NOWHERE])
    };
    let good = "question: q\ngrid: {steps: [100]}\n";
    let marked = dir.path().join("base.yaml");
    let base = std::fs::read_to_string(support::root().join("experiments/bases/fashion-smoke.yaml")).unwrap();
    std::fs::write(&marked, format!("\u{feff}{base}")).unwrap();
    for (text, base) in [(good.to_string(), "fashion-smoke"), (format!("\u{feff}{good}"), marked.to_str().unwrap())] {
        let output = plan("good", &text, base);
        assert!(output.status.success() && !support::stderr(&output).contains("warning"), "{}", support::stderr(&output));
    }
    let long = "x".repeat(255 - "-fashion-smoke".len());
    assert!(plan(&long[..200], good, "fashion-smoke").status.success());
    for (name, text, words) in [
        ("empty", "", "empty.yaml: expected keys and values, found nothing"),
        ("comments", "# later\n", "comments.yaml: expected keys and values, found nothing"),
        ("seeds", "question: q\ngrid: {steps: [1]}\nseeds: 3\n", "seeds.yaml: seeds: expected a list, got 3; a list of one is written [3]"),
        (&format!("{}y", &long[..241]), good, "together at most 255 bytes long, got 256"),
    ] {
        let output = plan(name, text, "fashion-smoke");
        assert!(output.status.code() == Some(4) && support::stderr(&output).contains(words), "{words}: {}", support::stderr(&output));
    }
    let doubtful = "question: q\nset: {training.optimiser.warmup_steps: 5000}\ngrid: {ema_decay: [0.9, 0.9999]}\n";
    let told = support::stderr(&plan("doubtful", doubtful, "fashion-smoke")).replace("\n   ", "");
    assert!(told.contains("warning: training.optimiser.ema_decay: after 40 steps an average with decay 0.9999 is still 100%"), "{told}");
    assert!(told.contains("(in the cells ema_decay=0.9999)") && told.contains("a warm-up of 5000 steps does not end in 40"), "{told}");
}
