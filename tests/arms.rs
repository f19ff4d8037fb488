//! Configurations that together have every arm of every choice.
#![allow(dead_code)]

use super::support;
use ddpm_runner::experiment::Config;
use serde_json::{Value, json};

/// The smoke base.
pub fn base() -> Value {
    ddpm_runner::experiment::yaml::read(&support::root().join("experiments/bases/fashion-smoke.yaml")).unwrap()
}

/// Configurations that together have every arm of every choice, with all their keys written out.
pub fn every_arm() -> Vec<Value> {
    let set = |path: &str, value: Value| {
        let mut tree = base();
        ddpm_runner::experiment::paths::set(&mut tree, path, value, "test").unwrap();
        tree
    };
    let mut trees = vec![base()];
    for kind in ddpm_core::Schedule::all().map(|schedule| schedule.kind()) {
        let mut tree = set("diffusion.schedule", json!({ "kind": kind }));
        tree["diffusion"]["prediction"] = json!("x0");
        trees.push(tree);
    }
    for (objective, variance) in
        [("vlb", "learned"), ("vlb-rescaled", "learned-range"), ("simple", "fixed-small"), ("hybrid", "learned-range")]
    {
        let mut tree = set("diffusion.objective", json!({ "kind": objective }));
        tree["diffusion"]["variance"] = json!(variance);
        trees.push(tree);
    }
    for (space, weight) in [
        ("mu", json!({ "kind": "constant" })),
        ("x0", json!({ "kind": "min-snr", "gamma": 5.0 })),
        ("x0", json!({ "kind": "truncated-snr" })),
        ("eps", json!({ "kind": "p2", "k": 1.0, "gamma": 1.0 })),
        ("v", json!({ "kind": "constant" })),
        ("score", json!({ "kind": "snr" })),
    ] {
        trees.push(set("diffusion.objective", json!({ "kind": "weighted", "space": space, "weight": weight })));
    }
    for kind in ["ancestral", "ddim", "dpmpp-2m", "langevin"] {
        trees.push(set("sampling.sampler", json!({ "kind": kind, "steps": 5 })));
    }
    trees.push(set("evaluation.features", json!({ "kind": "inception", "weights": "x", "resize": "pytorch" })));
    trees.push(set("data", json!({ "kind": "cifar10", "path": "x" })));
    trees.push(set("data", json!({ "kind": "mixture-2d", "modes": [{ "mean": [0.5, 0.0], "std": 0.05 }] })));
    trees.push(set("data", json!({ "kind": "folder", "path": "x", "held_out": 3 })));
    for kind in ["lmdb", "tar", "numpy"] {
        let transform = json!({ "kind": "guided-diffusion", "side": 28 });
        let held_out = json!({ "fraction": 0.25 });
        trees.push(set("data", json!({ "kind": kind, "path": "x", "held_out": held_out, "transform": transform, "unfit": "leave-out" })));
    }
    let transform = json!({ "kind": "resize", "side": 28, "filter": "lanczos" });
    let parquet = json!({ "kind": "parquet", "path": "x", "held_out": 3, "column": "c", "label": "l", "transform": transform, "channels": "grey", "unfit": "leave-out" });
    trees.push(set("data", parquet));
    trees.push(set("network.skips", json!({ "resolutions": [7] })));
    trees.push(set("network.time_embedding", json!("none")));
    for downsample in ["average-pool", "max-pool"] {
        trees.push(set("network.downsample", json!(downsample)));
    }
    trees.push(set("network.upsample", json!("transposed-conv")));
    trees.push(set("training.optimiser.ema_kept", json!([0.375, 0.9])));
    trees.push(set("evaluation.at", json!([1, 2])));
    // Defaults written out, so that every key is there to be mistyped.
    trees.into_iter().map(|t| serde_json::to_value(Config::checked(&t, "test").unwrap_or_else(|e| panic!("{e}: {t}"))).unwrap()).collect()
}

/// Every key's path.
pub fn keys(tree: &Value, path: &str, found: &mut Vec<String>) {
    for (key, value) in tree.as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        keys(value, &path, found);
        found.push(path);
    }
}
