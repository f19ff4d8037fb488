//! `ddpm compare` on small experiments: what differs, and differences worked out by hand from the tables.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;
use support::*;

/// A grid of two cells on the smoke base, small.
fn grid(dir: &Path, name: &str, seeds: &[u64], more: Value) -> std::path::PathBuf {
    let mut set = json!({ "steps": 4, "objective": "vlb", "sampling.count": 12, "evaluation.held_out": 3, "evaluation.train": 2 });
    set["sampler"] = json!({ "kind": "ddim", "steps": 3 });
    more.as_object().unwrap().iter().for_each(|(path, value)| set[path] = value.clone());
    let base = root().join("experiments/bases/fashion-smoke.yaml");
    let grid = json!({ "question": "q", "base": base, "set": set, "grid": { "prediction": ["mu", "eps"] }, "seeds": seeds,
        "metrics": ["inception-score", "bits-per-dim"] });
    let path = dir.join(format!("{name}.yaml"));
    fs::write(&path, grid.to_string()).unwrap();
    path
}

/// A job's scores of a metric by seed, from an experiment's table.
fn scores(results: &Path, experiment: &str, cell: &str, metric: &str) -> Vec<(f64, Option<f64>)> {
    let table = fs::read_to_string(results.join(experiment).join("metrics.csv")).unwrap();
    let rows = table.lines().filter(|line| line.contains(&format!(",{cell},")) && line.contains(&format!(",{metric},")));
    let number = |text: &str| text.parse::<f64>().ok();
    let of = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        (number(cells[5]).unwrap(), number(cells[6]))
    };
    rows.map(of).collect()
}

#[test]
fn differences_are_paired_and_what_is_shared_is_not_said() {
    let results = results();
    let dir = tempfile::tempdir().unwrap();
    let (two, one) = (grid(dir.path(), "two", &[3, 5], json!({})), grid(dir.path(), "one", &[5], json!({ "steps": 5 })));
    for path in [&two, &one] {
        let made = run(&["ablate", text(path), "--results", text(results.path())]);
        assert!(made.status.success(), "{}", stderr(&made));
    }
    let compare =
        |a: &str, b: &str, more: &[&str]| -> Output { run(&[&["compare", a, b, "--results", text(results.path())], more].concat()) };
    let compared = |a: &str, b: &str| -> Value {
        let output = compare(a, b, &["--json"]);
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    let near =
        |found: &Value, expected: f64| assert!((found.as_f64().unwrap() - expected).abs() < 1e-9 * expected.abs(), "{found} {expected}");
    let of = |comparison: &Value, metric: &str| {
        comparison["scores"].as_array().unwrap().iter().find(|of| of["metric"] == metric).unwrap().clone()
    };

    // Two cells with two seeds: Student's t with one degree of freedom.
    let found = compared("two-fashion-smoke:mu", "two-fashion-smoke:prediction=eps");
    assert_eq!((found.as_array().unwrap().len(), &found[0]["seeds"]), (1, &json!([3, 5])));
    assert_eq!(found[0]["differs"], json!([{ "path": "diffusion.prediction", "a": "mu", "b": "eps" }]));
    let bits = of(&found[0], "bits-per-dim");
    let [mu, eps] = ["mu", "eps"].map(|cell| scores(results.path(), "two-fashion-smoke", cell, "bits-per-dim"));
    let [first, second] = [0, 1].map(|seed| eps[seed].0 - mu[seed].0);
    near(&bits["a"], (mu[0].0 + mu[1].0) / 2.0);
    near(&bits["difference"], (first + second) / 2.0);
    near(&bits["half_width"], 12.706204736174694 * (first - second).abs() / 2.0);
    let shown = stdout(&compare("two-fashion-smoke:mu", "two-fashion-smoke: eps", &[]));
    assert!(shown.contains("diffusion.prediction  mu  eps\n") && !shown.contains("diffusion.objective"), "{shown}");
    assert!(shown.contains("2 seeds in common") && shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

    // The line as it is printed: means, difference, interval, and a mark where it is not told from none.
    let number = |value: &Value, digits: usize| format!("{:.digits$}", value.as_f64().unwrap());
    let mark = if bits["p"].as_f64().unwrap() > 0.05 { "≈ " } else { "" };
    let difference = format!("{mark}{:+.4} ± {:.4}", bits["difference"].as_f64().unwrap(), bits["half_width"].as_f64().unwrap());
    let line = shown.lines().find(|line| line.starts_with("bits/dim ↓")).unwrap();
    let words: Vec<&str> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(words[1..], [number(&bits["a"], 3), number(&bits["b"], 3), difference]);

    // Two experiments: the cells that both have, at the seed that both have, from the errors of measuring them.
    let found = compared("two-fashion-smoke", "one-fashion-smoke");
    assert_eq!((found.as_array().unwrap().len(), &found[1]["b"], &found[1]["seeds"]), (2, &json!("one-fashion-smoke: eps"), &json!([5])));
    assert_eq!(found[1]["differs"], json!([{ "path": "training.steps", "a": "4", "b": "5" }]));
    let (ours, theirs) = (eps[1], scores(results.path(), "one-fashion-smoke", "eps", "bits-per-dim")[0]);
    let bits = of(&found[1], "bits-per-dim");
    near(&bits["difference"], theirs.0 - ours.0);
    near(&bits["half_width"], 1.959963984540054 * (theirs.1.unwrap().powi(2) + ours.1.unwrap().powi(2)).sqrt());
    let inception = of(&found[1], "inception-score");
    assert!(inception["half_width"].is_null() && inception["reason"].as_str().unwrap().contains("one seed does not tell"), "{inception}");

    // Two runs, by name and by folder, of seeds that they do not share; and the samples of two that do.
    let ids: Vec<String> = planned(&["plan", text(&two), "--json", "--results", text(results.path())])
        .iter()
        .map(|job| job["id"].as_str().unwrap().to_string())
        .collect();
    let folder = results.path().join("runs").join(&ids[1]);
    let found = compared(&ids[0], text(&folder));
    assert!(found[0]["seeds"] == json!([]) && found[0]["differs"] == json!([]) && found[0]["a"] == ids[0], "{found}");
    assert!(of(&found[0], "bits-per-dim")["reason"] == "no seed in common");
    let picture = dir.path().join("both.png");
    let drawn = compare(&ids[0], "two-fashion-smoke:eps", &["--picture", text(&picture)]);
    assert!(drawn.status.success(), "{}", stderr(&drawn));
    let (width, height) = image::image_dimensions(&picture).unwrap();
    // Two sheets of eight images of 2 x 28 pixels and a line each.
    assert!(width > 2 * 8 * 57 && height > 2 * 57, "{width}x{height}");

    // One with one is compared, whatever they are called.
    let other = stdout(&compare("two-fashion-smoke:mu", "one-fashion-smoke:prediction=eps", &[]));
    assert!(other.contains("training.steps") && other.contains("diffusion.prediction"), "{other}");
    // What is not there, with what is.
    for (a, code, expected) in [
        ("two-fashion-smoke:x0", 4, "expected a cell, such as mu; eps, or path=value"),
        ("two-fashion-smoke:prediction=x0", 4, "expected a cell, such as mu; eps"),
        ("two-fashion-smok", 5, "did you mean two-fashion-smoke?"),
        (&ids[0], 4, "expected one cell of each, or some that both have"),
    ] {
        let output = compare(a, "one-fashion-smoke", &[]);
        assert_eq!(output.status.code(), Some(code), "{a}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{a}: {}", stderr(&output));
    }
}
