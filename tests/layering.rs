//! The house: who may use whom. Read from `cargo metadata`, so that a new dependency in the wrong place fails here.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output =
        Command::new(env!("CARGO")).args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(support::root()).output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = |package: &Value| {
        let normal = package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null());
        normal.map(|d| d["name"].as_str().unwrap().to_string()).collect()
    };
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|p| (p["name"].as_str().unwrap().to_string(), names(p))).collect()
}

#[test]
fn crates_depend_in_one_direction() {
    let order = ["ddpm-core", "ddpm-kernels", "ddpm-model", "ddpm-runner"];
    let all = dependencies();
    assert_eq!(all.keys().collect::<Vec<_>>(), order);
    for (place, name) in order.iter().enumerate() {
        for dependency in &all[*name] {
            if let Some(other) = order.iter().position(|o| o == dependency) {
                assert!(other < place, "{name} uses {dependency}");
            }
        }
    }
}

#[test]
fn core_is_pure() {
    // libm: elementary functions in plain Rust, with the same digits whatever the processor and the C library. schemars describes types,
    // where the feature `schema` asks for it.
    assert_eq!(dependencies()["ddpm-core"], ["libm", "schemars", "serde", "thiserror"]);
}

#[test]
fn tables_and_the_command_line_are_the_runners_and_tensors_are_not() {
    let all = dependencies();
    let only = |names: &[&str], users: &[&str]| {
        for (package, dependencies) in all.iter().filter(|(package, _)| !users.contains(&package.as_str())) {
            assert!(!dependencies.iter().any(|d| names.contains(&d.as_str())), "{package} uses one of {names:?}");
        }
    };
    only(&["polars", "plotters", "clap", "serde_yaml", "anyhow", "indicatif", "image"], &["ddpm-runner"]);
    only(&["candle-core", "candle-nn"], &["ddpm-kernels", "ddpm-model"]);
}

/// The C library's elementary functions differ in their last digits from one processor, and one version, to another: numbers that are
/// reported come from `libm`. (Tensors' own, which are followed by a question mark, only lead to numbers in single precision.)
fn elementary(text: &str) -> Option<&str> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let of = |name: &&str| {
        let call = format!(".{name}()");
        code.match_indices(&call).any(|(at, _)| !code[at + call.len()..].starts_with('?'))
            || code.contains(&format!(".{name}(")) && *name == "powf"
    };
    ["exp", "exp_m1", "ln", "ln_1p", "sin", "cos", "tanh", "powf"].into_iter().find(|name| of(name))
}

/// One file knows the YAML library, and unsafe code stays in the kernels.
#[test]
fn what_only_some_files_may_do() {
    let mut files = Vec::new();
    let mut folders = vec![support::root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.display().to_string();
        assert!(!text.contains("serde_yaml::") || name.ends_with("experiment/yaml.rs"), "{name} uses serde_yaml");
        assert!(!text.contains("unsafe {") || name.contains("crates/kernels/"), "{name} has unsafe code");
        // The kernels have an exponential of their own; oracles are compared with a tolerance.
        let free = ["crates/kernels/", "/oracle/", "/tests/", "/benches/"].iter().any(|part| name.contains(part));
        assert!(free || elementary(&text).is_none(), "{name} uses {}: take libm's", elementary(&text).unwrap());
        assert!(text.lines().count() <= 420, "{name} is longer than a file should be");
    }
}
