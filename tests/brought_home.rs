//! Results that were brought home without the images that they were made of: told, drawn, sampled from and exported all the same.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use support::*;

/// A base on a folder of 8x8 pictures, and a grid of two cells.
fn small(dir: &Path) -> (PathBuf, PathBuf) {
    std::fs::create_dir(dir.join("images")).unwrap();
    for i in 0..40u32 {
        let picture = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(i * 37 + x * 11 + y * 53) as u8]));
        picture.save(dir.join(format!("images/{i:02}.png"))).unwrap();
    }
    let base = format!(
        "data: {{kind: folder, path: '{}', held_out: 12}}
diffusion: {{timesteps: 10, schedule: {{kind: linear, beta_end: 0.3}}, prediction: eps, variance: fixed-large, objective: simple}}
network: {{channels: 8, multipliers: [1, 2], blocks: 1, attention: [4], dropout: 0.0, groups: 4}}
training: {{steps: 4, batch: 8, flip: false, precision: f32, optimiser: {{learning_rate: 1.0e-3, warmup_steps: 2, ema_decay: 0.5}}}}
sampling: {{sampler: {{kind: ancestral}}, count: 16, batch: 8}}
evaluation: {{held_out: 12, train: 12, batch: 8}}
",
        dir.join("images").display()
    );
    std::fs::write(dir.join("base.yaml"), base).unwrap();
    std::fs::write(dir.join("grid.yaml"), "{question: 'Which | of <two>?', grid: {variance: [fixed-small, fixed-large]}}").unwrap();
    (dir.join("grid.yaml"), dir.join("base.yaml"))
}

/// What was brought home is told, drawn and sampled from without the images that it was made of.
#[test]
fn results_are_enough_where_the_images_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (grid, base) = small(dir.path());
    let ask = |command: &str, results: &str, more: &[&str]| {
        run(&[&[command, grid.to_str().unwrap(), "--base", base.to_str().unwrap(), "--results", &at(results)], more].concat())
    };
    let code = |output: &Output| (output.status.code(), stderr(output));
    let made = ask("ablate", "there", &[]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let report = |results: &str| {
        let folder = dir.path().join(results).join("grid-base");
        ["README.md", "index.html", "metrics.csv", "terms.csv"].map(|name| std::fs::read(folder.join(name)).unwrap())
    };
    assert!(String::from_utf8_lossy(&report("there")[0]).contains("\nWhich | of &lt;two>?\n"));
    let (before, states) = (report("there"), stdout(&ask("status", "there", &["--json"])));
    assert!(states.contains(r#""state": "done""#), "{states}");
    let planned = stdout(&ask("plan", "there", &[]));
    std::fs::rename(at("images"), at("away")).unwrap();
    std::fs::rename(at("there"), at("home")).unwrap();

    assert_eq!(stdout(&ask("status", "home", &["--json"])), states);
    std::fs::remove_file(dir.path().join("home/grid-base/metrics.csv")).unwrap();
    let drawn = ask("report", "home", &[]);
    assert_eq!((code(&drawn), report("home")), ((Some(0), String::new()), before.clone()));
    let again = ask("plan", "home", &[]);
    assert_eq!((again.status.code(), stdout(&again)), (Some(0), planned));
    assert!(stderr(&again).contains("images: cannot be listed") && stderr(&again).contains("taken from the store"), "{}", stderr(&again));
    // Where nothing can be written the table is shown all the same. Root may write anywhere, so it becomes someone else for this.
    let folder = dir.path().join("home/grid-base");
    let as_another = || {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_ddpm"), "report"]).arg(&folder).output()
    };
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    if let Ok(shown) = as_another()
        && !stderr(&shown).contains("setpriv:")
    {
        assert!(shown.status.code() == Some(0) && stderr(&shown).contains("only the table is shown"), "{}", stderr(&shown));
        let table = stdout(&drawn);
        assert!(!stdout(&shown).is_empty() && table.starts_with(stdout(&shown).trim_end()), "{table}\n{}", stdout(&shown));
    }
    // The folder says what it is a report of, whatever it is called.
    std::fs::rename(at("home/grid-base"), at("home/mine")).unwrap();
    std::fs::remove_file(dir.path().join("home/mine/metrics.csv")).unwrap();
    let drawn = run(&["report", &at("home/mine")]);
    assert_eq!(code(&drawn), (Some(0), String::new()));
    std::fs::rename(at("home/mine"), at("home/grid-base")).unwrap();
    // Its pages have its name.
    assert_eq!(report("home")[2..], before[2..]);

    let training = std::fs::read_dir(dir.path().join("home/training")).unwrap().next().unwrap().unwrap().path();
    let checkpoint = training.join("checkpoint.safetensors").to_str().unwrap().to_string();
    for (arguments, expected) in [
        (vec!["sample", &checkpoint, "--count", "2", "--out", &at("samples.png")], 0),
        (vec!["export", "diffusers", &checkpoint, &at("exported")], 0),
        (vec!["eval", &checkpoint], 5),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {}", stderr(&output));
    }
    // Other images are not taken for those that a checkpoint is of.
    let output = run(&["eval", &checkpoint, "--set", "data=fashion-mnist"]);
    assert!(
        output.status.code() == Some(5) && stderr(&output).contains("is for images of 8x8x1, those of fashion-mnist are 28x28x1"),
        "{}",
        stderr(&output)
    );
    // What would compute something needs them, and so does a grid that asks for more than is known.
    for (command, more) in [("ablate", &[][..]), ("report", &["--set", "sampling.count=17"]), ("status", &["--set", "sampling.count=17"])] {
        let output = ask(command, "home", more);
        assert!(output.status.code() == Some(5) && stderr(&output).contains("images: cannot be listed"), "{command}: {}", stderr(&output));
    }
    for (arguments, expected, words) in [
        (vec!["report", &at("home"), "--set", "timesteps=4"], 4, "got the results folder"),
        (vec!["report", &at("home")], 5, "holds no experiment.json"),
    ] {
        let output = run(&arguments);
        assert!(output.status.code() == Some(expected) && stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
    // Damaged, it is not believed.
    let manifest = dir.path().join("home/grid-base/experiment.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replacen("\"held_out\": 12", "\"held_out\": 13", 1)).unwrap();
    let output = ask("status", "home", &[]);
    assert!(output.status.code() == Some(5) && stderr(&output).contains("is damaged"), "{}", stderr(&output));
    assert_eq!(code(&run(&["report", &at("home/grid-base")])).0, Some(5));
    std::fs::rename(at("away"), at("images")).unwrap();
    assert_eq!(stdout(&ask("status", "home", &["--json"])), states);
}
