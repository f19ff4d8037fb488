//! Configurations: every key of every arm, mistyped and of the wrong type; grids: size, order, names.

mod arms;
mod support;

use arms::{base, every_arm, keys};
use ddpm_runner::base::error::ConfigError;
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

#[test]
fn mistakes_in_what_is_tuned_are_reported_where_they_stand() {
    let tuned =
        |tune: &str, more: &str| read(&format!("question: q\ngrid: {{prediction: [mu, eps]}}\nseeds: [0, 1, 2]\ntune: {{{tune}}}\n{more}"));
    let tune = |grid: &str, metric: &str, seeds: &str| format!("grid: {grid}, metric: {metric}, seeds: {seeds}");
    let rates = "{learning_rate: [0.1, 0.2]}";
    for (tune, more, expected) in [
        (tune("{}", "fid", "[5]"), "", "tune.grid: expected at least one axis"),
        (
            tune("{lerning_rate: [1]}", "fid", "[5]"),
            "",
            "tune.grid.lerning_rate: neither an axis nor a path of the configuration (did you mean learning_rate?)",
        ),
        (tune("{learning_rate: [0.1, -1]}", "fid", "[5]"), "", "tune.grid.learning_rate[1]: expected a positive number, got -1"),
        (tune("{prediction: [v, x0]}", "fid", "[5]"), "", "tune.grid.prediction: is an axis of grid too"),
        (
            tune("{sampling.count: [50, 100]}", "fid", "[5]"),
            "",
            "tune.grid.sampling.count: expected what makes a cell better, got sampling.count, with which it is scored unlike others",
        ),
        (
            tune("{sampling: [{sampler: ancestral, count: 50, batch: 50}]}", "fid", "[5]"),
            "",
            "tune.grid.sampling: expected what makes a cell better, got sampling, with which it is scored unlike others",
        ),
        (
            tune("{row: [{learning_rate: 0.1, evaluation.decoder: erf}]}", "fid", "[5]"),
            "",
            "tune.grid.row: expected what makes a cell better, got evaluation.decoder, with which it is scored unlike others",
        ),
        (
            tune("{diffusion.prediction: [v, x0]}", "fid", "[5]"),
            "",
            "tune.grid.diffusion.prediction[0]: grid.prediction[0] sets prediction too",
        ),
        (tune(rates, "fidd", "[5]"), "", "tune.metric: unknown name fidd (did you mean fid?)"),
        (
            tune(rates, "kl-divergence", "[5]"),
            "",
            "tune.metric: expected a score that every cell has, got kl-divergence: the cell (mu, learning_rate=0.1) has none",
        ),
        (
            tune(rates, "bits-per-dim-train", "[5]"),
            "set: {evaluation.train: 0}",
            "tune.metric: expected a score that every cell has, got bits-per-dim-train: the cell (mu, learning_rate=0.1) has none",
        ),
        (tune(rates, "fid", "[]"), "", "tune.seeds: expected at least one"),
        (tune(rates, "fid", "[5, 5]"), "", "tune.seeds: 5 stands twice"),
        (tune(rates, "fid", "[5, 1]"), "", "tune.seeds: expected others than the seeds that are reported (0-2), got 1"),
        (
            tune(rates, "fid", "[5]"),
            "claims: [{sentence: s, metric: fid, better: {prediction: mu}, than: {prediction: eps, learning_rate: 0.2}}]",
            "claims[0].than.learning_rate: is tried in every cell, and what is chosen is not known: leave it out",
        ),
        (
            tune("{row: [{training.optimiser.beta1: 0.1}, {dropout: 0.1}]}", "fid", "[5]"),
            "paper: {source: s, rows: [{cell: {prediction: mu, training.optimiser.beta1: 0.1}, says: {}}]}",
            "paper.rows[0].cell.training.optimiser.beta1: is tried in every cell, and what is chosen is not known: leave it out",
        ),
        (tune(rates, "fid", "[5]"), "claims: [{sentence: s, metric: fid, best: {prediction: v}}]", "claims[0].best: agrees with no cell"),
    ] {
        assert_eq!(tuned(&tune, more).unwrap_err(), format!("g.yaml: {expected}"), "{tune}");
    }
    // What is not known of a cell before the choice has to hold of every candidate.
    let study =
        "set: {data: mixture-2d}\nstudies: [{cell: {prediction: eps}, kinds: [{kind: score-field, samplers: [{kind: ddim, steps: 35}]}]}]";
    let error = tuned(&tune("{timesteps: [40, 30]}", "kl-divergence", "[5]"), study).unwrap_err();
    assert!(error.starts_with("g.yaml: studies[0].kinds[0].samplers[0]: "), "{error}");
    let many: Vec<usize> = (3..4000).collect();
    let error = tuned(&tune(rates, "fid", &format!("{many:?}")), "").unwrap_err();
    assert!(error.starts_with("g.yaml: tune.grid: 2 x 2 values times 3997 seeds are more than 10000 jobs"), "{error}");
}

/// Candidates are tried on seeds of their own, at the end alone, and the best of each cell is its cell in what follows, as the file has it.
#[test]
fn each_cell_gets_what_scores_best_in_it() {
    let text =
        "question: q\nset: {evaluation.at: [20]}\ngrid: {prediction: [mu, eps], row: [{dropout: 0.1}, {channels: 32}]}\nseeds: [0, 1, 2]
exclude: [{channels: 32, learning_rate: 0.3}]
tune: {grid: {learning_rate: [0.1, 0.2, 0.3], tried: [{training.optimiser.warmup_steps: 1}, {training.optimiser.warmup_steps: 2}]}, metric: inception-score, seeds: [7, 9]}
claims: [{sentence: s, metric: fid, better: {prediction: mu, dropout: 0.1}, than: {prediction: eps}}]\nmetrics: [fid]";
    let tuning = read(text).unwrap();
    assert_eq!((tuning.name.as_str(), tuning.cells.len(), tuning.file.seeds.as_slice()), ("g-b-tuning", 20, &[7, 9][..]));
    assert!(tuning.file.tune.is_none() && tuning.file.claims.is_empty() && tuning.choices.is_empty());
    let names: Vec<&str> = tuning.file.metrics.iter().map(|metric| metric.name()).collect();
    assert_eq!(names, ["inception-score", "fid"]);
    let tried: Vec<_> = asked(&tuning).iter().map(|asked| (asked.cell_index, asked.seed, asked.at)).collect();
    assert_eq!(tried, (0..20).flat_map(|cell| [(cell, 7, None), (cell, 9, None)]).collect::<Vec<_>>());
    // Places 0 to 5 are the candidates of the first cell, 6 to 9 of the second, which lacks a rate, and so on. More is better.
    let score = |cell: usize, seed: u64| match (cell, seed) {
        (4, 7) | (8, 9) | (10, _) => Some(9.0),
        (11..=15, 9) => None,
        (16..=19, _) => Some(1.0),
        _ => Some(2.0),
    };
    let chosen = tuning.chosen(|cell, seed| Ok::<_, ConfigError>(score(cell, seed))).unwrap().unwrap();
    assert_eq!((chosen.name.as_str(), chosen.file.seeds.as_slice(), chosen.file.claims.len()), ("g-b", &[0, 1, 2][..], 1));
    let labels: Vec<String> = chosen.cells.iter().map(|cell| cell.label()).collect();
    let label = |prediction: &str, row: &str, rate: f64, steps: usize| {
        format!("{prediction}, {row}, learning_rate={rate}, training.optimiser.warmup_steps={steps}")
    };
    let expected =
        [("mu", "dropout=0.1", 0.3, 1), ("mu", "channels=32", 0.2, 1), ("eps", "dropout=0.1", 0.1, 1), ("eps", "channels=32", 0.1, 1)];
    assert_eq!(labels, expected.map(|(prediction, row, rate, steps)| label(prediction, row, rate, steps)));
    for cell in &chosen.cells {
        let optimiser = &cell.config.training.optimiser;
        assert!(
            label("", "", optimiser.learning_rate, optimiser.warmup_steps as usize)[4..]
                == cell.label()[cell.label().find("learning").unwrap()..]
        );
        assert_eq!(cell.config.measured_at(), [20]);
    }
    let scores: Vec<Vec<Option<f64>>> = chosen.choices[2].candidates.iter().map(|candidate| candidate.scores.clone()).collect();
    let (best, lost) = (vec![Some(9.0), Some(9.0)], vec![Some(2.0), None]);
    assert_eq!(scores, [best, lost.clone(), lost.clone(), lost.clone(), lost.clone(), lost]);
    assert_eq!(
        chosen.choices.iter().map(|choice| (choice.candidates.len(), choice.chosen)).collect::<Vec<_>>(),
        [(6, 4), (4, 2), (6, 0), (4, 0)]
    );
    let moments = asked(&chosen).iter().filter(|asked| asked.at == Some(20)).count();
    assert_eq!((asked(&chosen).len(), moments), (24, 12));
    // What does not depend on it is known before; an error of a score is passed on; and nothing is chosen in an experiment without candidates.
    let first = tuning.with_first_candidates().unwrap().unwrap();
    assert!(
        first.cells.iter().all(|cell| cell.label().ends_with("learning_rate=0.1, training.optimiser.warmup_steps=1"))
            && first.name == "g-b"
    );
    let why = ConfigError::new("a", "b", "c");
    assert_eq!(tuning.chosen(|_, _| Err(why.clone())), Err(why));
    assert_eq!((chosen.with_first_candidates(), &first.aim), (Ok(None), &None));
    // A choice that was made before is known again, whatever else is said of the cells, and no other experiment is taken for one.
    let before = |change: &dyn Fn(&mut Experiment)| {
        let mut other = chosen.clone();
        change(&mut other);
        tuning.chosen_before(&other)
    };
    assert_eq!(before(&|_| {}).as_ref(), Some(&chosen));
    assert_eq!(before(&|other| other.file.question = "p".into()).as_ref(), Some(&chosen));
    assert_eq!(before(&|other| other.cells[0].config = other.cells[1].config.clone()), None);
    assert_eq!(before(&|other| other.file.tune.as_mut().unwrap().seeds = vec![7]), None);
    assert_eq!((tuning.chosen_before(&tuning), chosen.chosen_before(&chosen)), (None, None));
}

/// Candidates that differ in the average share a training; what is then run keeps no more than the one that was chosen, as if nothing had been
/// tuned.
#[test]
fn averages_that_were_not_chosen_are_not_kept() {
    let of = |grid: &str| read(&format!("question: q\n{grid}")).unwrap();
    let tuning = of("grid: {prediction: [mu, eps]}\ntune: {grid: {ema_decay: [0.5, 0.9]}, metric: fid, seeds: [7]}");
    let kept = |experiment: &Experiment| -> Vec<Vec<f64>> {
        experiment.cells.iter().map(|cell| cell.config.training.optimiser.kept().to_vec()).collect()
    };
    assert_eq!(kept(&tuning), vec![vec![0.5, 0.9]; 4]);
    let second = |cell: usize, _| Ok::<_, ConfigError>(Some([2.0, 1.0][cell % 2]));
    let chosen = tuning.chosen(second).unwrap().unwrap();
    assert_eq!(kept(&chosen), vec![vec![0.9]; 2]);
    let plain = of("set: {ema_decay: 0.9}\ngrid: {prediction: [mu, eps]}");
    assert!(chosen.cells.iter().zip(&plain.cells).all(|(chosen, plain)| chosen.config == plain.config));
    assert_eq!(tuning.chosen_before(&chosen), Some(chosen));
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
