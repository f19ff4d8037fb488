//! The networks that come with the program: they are those of their records, and every command takes them.

mod support;

use ddpm_model::checkpoint::description;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use support::*;

fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// The first images' bound is that of its record's 200, within what images differ by; a network of other weights is far from it.
#[test]
fn they_are_the_networks_of_their_records() {
    for name in ["fashion", "fashion-pixels"] {
        let data = root().join("crates/runner/data/pretrained");
        let record: Value = serde_json::from_slice(&fs::read(data.join(format!("{name}.record.json"))).unwrap()).unwrap();
        let weights = fs::read(data.join(format!("{name}.safetensors"))).unwrap();
        let described: Value = serde_json::from_str(&description(&weights).unwrap().unwrap()).unwrap();
        assert_eq!(described["training_id"], record["training_id"]);
        let of = |measured: &Value, key: &str| measured[key].as_f64().unwrap();
        let of_200 = &record["metrics"]["bits-per-dim"];
        let found = done(&["eval", &format!("pretrained:{name}"), "--images", "20", "--json"]);
        let of_20 = of(&serde_json::from_str::<Value>(&found).unwrap()["bits_per_dim"], "value");
        let deviation = of(of_200, "std_err") * (200f64 / 20.0).sqrt();
        assert!((of_20 - of(of_200, "value")).abs() < 3.0 * deviation, "{of_20} on 20 images, {of_200} on 200");
    }
}

/// Decided by the seed; other seeds and samplers give others.
#[test]
fn samples_are_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let draw = |name: &str, more: &[&str]| {
        let out = dir.path().join(format!("{name}.png"));
        let all = [&["sample", "pretrained:fashion", "--count", "3", "-o", text(&out), "--set"], more].concat();
        done(&all);
        fs::read(out).unwrap()
    };
    let few = "sampler={kind: ddim, steps: 4}";
    let images = [draw("a", &[few]), draw("b", &[few, "--seed", "5"]), draw("c", &["sampler={kind: ddim, steps: 5}"])];
    assert_eq!(images.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(draw("d", &[few]), images[0]);
}

/// What is exported comes back, and the average of an average is that average.
#[test]
fn export_and_fid_take_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(format!("{name}.png"));
    done(&["export", "diffusers", "pretrained:fashion-pixels", text(&at("theirs"))]);
    done(&["import", "diffusers", text(&at("theirs")), "-o", text(&at("back.safetensors"))]);
    done(&["export", "average", "pretrained:fashion-pixels", text(&at("average.safetensors"))]);
    done(&["export", "average", text(&at("average.safetensors")), text(&at("again.safetensors"))]);
    assert_eq!(fs::read(at("average.safetensors")).unwrap(), fs::read(at("again.safetensors")).unwrap());
    let draw = |checkpoint: &str| {
        let out = at("samples.png");
        done(&["sample", checkpoint, "--count", "2", "--seed", "3", "-o", text(&out), "--set", "sampler={kind: ddim, steps: 3}"]);
        fs::read(out).unwrap()
    };
    let drawn = draw("pretrained:fashion-pixels");
    assert!(drawn == draw(text(&at("back.safetensors"))) && drawn == draw(text(&at("average.safetensors"))));
    let fid = done(&["fid", "pretrained:fashion", "fashion-mnist", "--samples", "50", "--features", "own"]);
    assert!(fid.contains("50 against 9000 images"), "{fid}");
}

#[test]
fn another_name_is_refused_with_those_there_are() {
    let advice = "pretrained:mnist: expected pretrained:fashion or pretrained:fashion-pixels, or a checkpoint's path";
    for arguments in [&["sample", "pretrained:mnist"][..], &["eval", "pretrained:mnist"], &["fid", "pretrained:mnist", "fashion-mnist"]] {
        let output = run(arguments);
        assert!(output.status.code() == Some(4) && stderr(&output).contains(advice), "{arguments:?}: {}", stderr(&output));
    }
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    let output = run(&["export", "diffusers", "pretrained:fashion-pixels", text(&nowhere), "--raw"]);
    assert!(output.status.code() == Some(5) && stderr(&output).contains("leave out --raw"), "{}", stderr(&output));
    let output = run(&["export", "diffusers", "pretrained:fashion", text(&nowhere)]);
    assert!(output.status.code() == Some(5) && stderr(&output).contains("network.block_size: 1"), "{}", stderr(&output));
    assert!(!nowhere.exists());
}
