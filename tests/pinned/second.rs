//! The pinned experiments as `tests/golden/pinned.py` computes them, in PyTorch and double precision from the same YAML files, beside the
//! tables that this program leaves.

use super::texts::csv;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The seeds of the trainings: the second has more than 32 bits.
pub const SEEDS: [u64; 2] = [0, 1099511627779];

/// A table's rows by their headings.
type Rows = Vec<BTreeMap<String, String>>;

fn rows(path: &Path) -> Rows {
    let mut all = csv(&fs::read_to_string(path).unwrap()).into_iter();
    let headings = all.next().unwrap();
    all.map(|row| headings.iter().cloned().zip(row).collect()).collect()
}

/// The rows that agree with all of `wanted`.
fn of<'a>(rows: &'a Rows, wanted: &[(&str, &str)]) -> Vec<&'a BTreeMap<String, String>> {
    rows.iter().filter(|row| wanted.iter().all(|(key, value)| row[*key] == *value)).collect()
}

fn near(what: &str, found: &str, expected: &Value, tolerance: f64) {
    let (found, expected): (f64, f64) = (found.parse().unwrap(), expected.as_f64().unwrap());
    assert!((found - expected).abs() <= tolerance * (1e-2 + expected.abs()), "{what}: {found}, the second program says {expected}");
}

fn golden() -> Value {
    serde_json::from_str(&fs::read_to_string(super::support::root().join("tests/golden/pinned.json")).unwrap()).unwrap()
}

/// Losses, gradient norms and every term of both bounds of each cell and seed, and the last of its `samples`.
pub fn trainings(report: &Path, seeds: &[u64], samples: &[Vec<u8>]) {
    let (curves, bounds, terms) = (rows(&report.join("curves.csv")), rows(&report.join("bounds.csv")), rows(&report.join("terms.csv")));
    let golden = golden();
    let all = golden["training"].as_array().unwrap();
    assert_eq!(all.len(), samples.len() / seeds.len() * SEEDS.len());
    let of_seeds = all.iter().enumerate().filter(|(i, _)| seeds.contains(&SEEDS[i % SEEDS.len()]));
    for ((place, expected), sample) in of_seeds.zip(samples) {
        let (cell, seed) = ((place / SEEDS.len()).to_string(), SEEDS[place % SEEDS.len()].to_string());
        let here = [("cell", &cell[..]), ("seed", &seed[..])];
        // Products of bf16 have three digits, and sums of them a little more.
        let (tolerance, loose) = if place / SEEDS.len() == super::BF16_CELL { (2e-3, 0.1) } else { (1e-5, 0.01) };
        let course = of(&curves, &here);
        assert_eq!(course.len(), expected["course"].as_array().unwrap().len());
        for (row, expected) in course.iter().zip(expected["course"].as_array().unwrap()) {
            let what = |name: &str| format!("cell {cell}, seed {seed}, step {}: {name}", row["step"]);
            near(&what("loss"), &row["loss"], &expected[0], tolerance);
            near(&what("gradient norm"), &row["gradient_norm"], &expected[1], tolerance);
        }
        for metric in ["bits-per-dim", "bits-per-dim-train"] {
            let (expected, here) = (&expected[metric], [here[0], here[1], ("metric", metric)]);
            let bound = of(&bounds, &here);
            assert_eq!(bound.len(), 1);
            near(&format!("cell {cell}, seed {seed}: {metric}"), &bound[0]["total"], &expected["total"], tolerance);
            near(&format!("cell {cell}, seed {seed}: prior of {metric}"), &bound[0]["prior"], &expected["prior"], 1e-6);
            let terms = of(&terms, &here);
            assert_eq!(terms.len(), expected["terms"].as_array().unwrap().len());
            for (row, expected) in terms.iter().zip(expected["terms"].as_array().unwrap()) {
                for name in ["log_share", "log_share_deviation"] {
                    assert_eq!(row[name].is_empty(), expected.get(name).is_none(), "cell {cell}, t {}: {name}", row["t"]);
                }
                for (name, expected) in expected.as_object().unwrap() {
                    near(&format!("cell {cell}, seed {seed}, t {}: {name}", row["t"]), &row[name], expected, tolerance);
                }
            }
        }
        let expected = bytes(expected["sample"].as_str().unwrap());
        let found = &sample[sample.len() - expected.len()..];
        let off = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        let furthest = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        // Single precision moves what lies between two levels.
        assert!(
            off as f64 <= loose * found.len() as f64 && furthest <= 1,
            "cell {cell}, seed {seed}: {off} pixels off by up to {furthest}"
        );
    }
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    (0..hexadecimal.len()).step_by(2).map(|i| u8::from_str_radix(&hexadecimal[i..i + 2], 16).unwrap()).collect()
}

/// Every score of each cell, of its own samples, whose pixels may differ by a level here and there; blanks where it has none.
pub fn scores(report: &Path) {
    let (metrics, golden) = (rows(&report.join("metrics.csv")), golden());
    for (cell, expected) in golden["sampling"].as_array().unwrap().iter().enumerate() {
        for metric in ["inception-score", "fid", "fid-held-out", "fid-infinity", "kid", "precision", "recall"] {
            let found = of(&metrics, &[("cell", &cell.to_string()), ("metric", metric)]);
            assert_eq!(found.len(), 1, "{metric}");
            match expected.get(metric) {
                Some(expected) => near(&format!("cell {cell}: {metric}"), &found[0]["value"], expected, 1e-4),
                None => assert!(found[0]["value"].is_empty() && !found[0]["blank"].is_empty(), "cell {cell}: {metric}"),
            }
        }
    }
}

/// What is exact of points whose law is known: the points, their divergence, the score, and where walks that follow it end.
pub fn plane(report: &Path, results: &Path) {
    let golden: Value = serde_json::from_str(&fs::read_to_string(super::support::root().join("tests/golden/plane.json")).unwrap()).unwrap();
    let real = image::open(report.join("real.png")).unwrap().to_rgb8();
    let drawn = real.pixels().map(|pixel| [pixel.0[0], pixel.0[1]]);
    let held_out: Vec<[u8; 2]> = serde_json::from_value(golden["held_out"].clone()).unwrap();
    assert_eq!((held_out.len(), drawn.take(200).collect::<Vec<_>>()), (200, held_out));
    // To three digits, as the page says it.
    let entropy = format!("an entropy of {:.3} bits/dim", golden["entropy"].as_f64().unwrap());
    assert!(fs::read_to_string(report.join("README.md")).unwrap().contains(&entropy), "{entropy}");
    let runs = fs::read_dir(results.join("runs")).unwrap().map(|run| run.unwrap().path());
    let records = runs.map(|run| serde_json::from_str::<Value>(&fs::read_to_string(run.join("record.json")).unwrap()).unwrap());
    let (studies, scored): (Vec<Value>, Vec<Value>) = records.partition(|record| record["findings"].is_object());
    assert_eq!((studies.len(), scored.len()), (1, 4));
    for record in &scored {
        near("held-out points", &record["real"]["kl-divergence"]["value"].to_string(), &golden["real"], 1e-9);
    }
    let found = &studies[0]["findings"]["score_field"];
    let pair = |value: &Value| [0, 1].map(|d| value[d].as_f64().unwrap());
    let close = |a: &Value, b: &Value, tolerance: f64| {
        let (a, b) = (pair(a), pair(b));
        assert!((0..2).all(|d| (a[d] - b[d]).abs() <= tolerance * (1.0 + b[d].abs())), "{a:?}, the second program says {b:?}");
    };
    for (field, expected) in found["fields"].as_array().unwrap().iter().zip(golden["arrows"].as_array().unwrap()) {
        assert_eq!(field["t"], expected["t"]);
        for (i, at) in expected["at"].as_array().unwrap().iter().enumerate() {
            let arrow = &field["arrows"][16 * i];
            close(&arrow["at"], at, 6e-5);
            close(&arrow["exact"], &expected["exact"][i], 6e-5);
        }
    }
    let (walks, all) = (found["walks"].as_array().unwrap(), golden["walks"].as_array().unwrap());
    assert_eq!((walks.len(), all.len()), (3, 3));
    for (walks, expected) in walks.iter().zip(all) {
        let ends = walks["exact"]["ends"].as_array().unwrap();
        assert_eq!(ends.len(), 150);
        ends.iter().zip(expected["ends"].as_array().unwrap()).for_each(|(found, expected)| close(found, expected, 6e-5));
        near(&walks["sampler"].to_string(), &walks["exact"]["divergence"]["value"].to_string(), &expected["divergence"], 1e-9);
    }
}

/// What errors of the study of the network's parts may differ by, in single precision and double: in a band by itself there are fewer digits
/// than in the sum over all.
const SUMS: f64 = 1e-5;
const BANDS: f64 = 5e-5;

/// Every number of the study of the network's parts, but for the reverse process.
pub fn anatomy(results: &Path) {
    let records = fs::read_dir(results.join("runs")).unwrap().map(|run| run.unwrap().path());
    let record = records.filter(|run| run.file_name().unwrap().to_str().unwrap().starts_with("anatomy-")).collect::<Vec<_>>();
    let [run] = &record[..] else { panic!("one study of the network's parts: {record:?}") };
    let record: Value = serde_json::from_str(&fs::read_to_string(run.join("record.json")).unwrap()).unwrap();
    let (found, golden) = (&record["findings"]["anatomy"], golden());
    let expected = &golden["anatomy"];
    assert_eq!(found["steps"], expected["steps"]);
    let numbers = |value: &Value| value.as_array().unwrap().clone();
    let mut compared = 0;
    let mut all_near = |what: &str, found: &Value, expected: &Value, tolerance: f64| {
        let (found, expected) = (numbers(found), numbers(expected));
        assert_eq!(found.len(), expected.len(), "{what}");
        for (found, expected) in found.iter().zip(&expected) {
            near(what, &found.to_string(), expected, tolerance);
            compared += 1;
        }
    };
    for step in 0..numbers(&found["steps"]).len() {
        all_near("intact", &found["intact"][step], &expected["intact"][step], BANDS);
        for change in ["zeros", "next_image"] {
            for (place, skip) in numbers(&found["skips"]).iter().enumerate() {
                all_near(&format!("skip {place}, {change}"), &skip[change][step], &expected[change][step][place], BANDS);
            }
        }
        for (place, way) in ["down", "up", "both"].into_iter().enumerate() {
            assert_eq!(found["told"][place]["way"], way);
            all_near(&format!("t told {way}"), &found["told"][place]["errors"][step], &expected[way][step], SUMS);
        }
        for (block, shift) in numbers(&found["shifts"]).iter().enumerate() {
            let here = Value::from(vec![shift["size"][step].clone(), shift["direction"][step].clone()]);
            // A mean over pixels whose numbers cancel has fewer digits in single precision.
            all_near(&format!("shift {block}"), &here, &expected["shifts"][step][block], 1e-3);
        }
    }
    // Each change is one that these tolerances tell from none, and from the other that its connection has.
    let number = |value: &Value| value.as_f64().unwrap();
    let apart = |a: &Value, b: &Value| (number(a) - number(b)).abs() / (1e-2 + number(b).abs());
    let furthest = |a: &Value, b: &Value| numbers(a).iter().zip(numbers(b)).map(|(a, b)| apart(a, &b)).fold(0.0, f64::max);
    for step in 0..3 {
        let intact = &expected["intact"][step];
        for (zeros, next_image) in numbers(&expected["zeros"][step]).iter().zip(numbers(&expected["next_image"][step])) {
            let least = furthest(zeros, intact).min(furthest(&next_image, intact)).min(furthest(zeros, &next_image));
            assert!(least > 100.0 * BANDS, "{least}");
        }
        for way in ["down", "up", "both"] {
            let row = &expected[way][step];
            assert!((0..3).all(|told| told == step || apart(&row[told], &row[step]) > 3.0 * SUMS), "t told {way}: {row}");
        }
    }
    // Six bands, for 28 pixels have 20 cycles along their diagonal; four connections; three steps told in each of three ways; eight blocks.
    assert_eq!(compared, 3 * (6 + 2 * 4 * 6 + 9 + 8 * 2));
}
