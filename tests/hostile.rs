//! Input that is wrong on purpose: no panic, no memory without bound, an error that says where. Longer with `PROPTEST_CASES=100000`.

mod support;

use ddpm_model::interop::Tensors;
use ddpm_model::tensor::{Device, Tensor};
use ddpm_runner::base::data::{Cache, DataSource};
use ddpm_runner::experiment::{Experiment, yaml};
use ddpm_runner::interop::statistics;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::*;

/// The committed grids and bases, as texts.
fn committed() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for kind in ["grids", "bases"] {
        let mut paths: Vec<PathBuf> = fs::read_dir(root().join("experiments").join(kind)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        found.extend(paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())));
    }
    found
}

/// What a person, or a fault, may do to a text.
#[derive(Clone, Debug)]
enum Edit {
    Replace(prop::sample::Index, String),
    Insert(prop::sample::Index, String),
    Delete(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let piece = prop_oneof![
        "[-:{}\\[\\],#&*!|>'\"%@ \\n\\t0-9a-z.]{1,6}",
        Just("&a [*a, *a]".to_string()),
        Just("!!binary x".to_string()),
        Just("<<: *a".to_string()),
        Just("1e999".to_string()),
        Just("-9223372036854775809".to_string()),
        Just("18446744073709551616".to_string()),
        Just(".nan".to_string()),
        Just("\u{feff}".to_string()),
        Just("\u{0}".to_string()),
        Just("../../etc/passwd".to_string()),
        any::<char>().prop_map(String::from),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
    ];
    let at = any::<prop::sample::Index>;
    let edit = prop_oneof![
        (at(), piece.clone()).prop_map(|(i, s)| Edit::Replace(i, s)),
        (at(), piece).prop_map(|(i, s)| Edit::Insert(i, s)),
        (at(), 1usize..40).prop_map(|(i, n)| Edit::Delete(i, n)),
        (at(), 1usize..40).prop_map(|(i, n)| Edit::Repeat(i, n)),
    ];
    prop::collection::vec(edit, 1..5)
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for edit in edits {
        let n = chars.len().max(1);
        let to = |from: usize, len: usize| (from + len).min(chars.len());
        match edit {
            Edit::Replace(i, s) => {
                drop(chars.splice(i.index(n).min(chars.len())..to(i.index(n), s.chars().count()), s.chars().collect::<Vec<_>>()))
            }
            Edit::Insert(i, s) => {
                drop(chars.splice(i.index(n).min(chars.len())..i.index(n).min(chars.len()), s.chars().collect::<Vec<_>>()))
            }
            Edit::Delete(i, len) => drop(chars.drain(i.index(n).min(chars.len())..to(i.index(n), *len))),
            Edit::Repeat(i, len) => {
                let part = chars[i.index(n).min(chars.len())..to(i.index(n), *len)].to_vec();
                chars.splice(i.index(n).min(chars.len())..i.index(n).min(chars.len()), part);
            }
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #[test]
    fn any_text_is_a_tree_or_an_error(text in "\\PC*") {
        let _ = yaml::parse(&text, "x");
    }

    #[test]
    fn edited_experiments_are_experiments_or_errors_with_a_place(which in any::<prop::sample::Index>(), edits in edits(), on_base in any::<bool>()) {
        let files = committed();
        let (path, text) = &files[which.index(files.len())];
        let dir = tempfile::tempdir().unwrap();
        let is_base = path.parent().unwrap().ends_with("bases");
        let (mut grid, mut base) = (files.iter().find(|(p, _)| p.ends_with("table2.yaml")).unwrap().1.clone(), None);
        if is_base {
            base = Some(edited(text, &edits));
        } else {
            grid = edited(text, &edits);
        }
        let grid_path = dir.path().join("g.yaml");
        fs::write(&grid_path, grid).unwrap();
        let base_path = match base {
            Some(base) => {
                let path = dir.path().join("b.yaml");
                fs::write(&path, base).unwrap();
                path
            }
            None => root().join("experiments/bases").join(if on_base { "fashion-smoke.yaml" } else { "cifar10-paper.yaml" }),
        };
        if let Err(error) = Experiment::read(&grid_path, base_path.to_str(), &[]) {
            prop_assert!(!error.origin.is_empty() && !error.problem.is_empty(), "{error:?}");
        }
    }
}

/// Texts that mean far more than they say, each to be refused within 1 GiB of address space beyond the program's own threads.
#[test]
fn bombs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let doubled: String = (1..60).fold("a0: &a0 [x, x]\n".into(), |text, i| text + &format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1));
    let deep = |open: &str, n: usize| format!("question: {}\n", open.repeat(n));
    let axes: String = (0..40).map(|i| format!("  row{i}: [{}]\n", "{steps: 1}, ".repeat(40))).collect();
    let many: String = (0..100_000).map(|i| format!("{i},")).collect();
    let wide: String = (0..30_000).map(|i| format!("{i}, ")).collect();
    let bombs = [
        ("aliases", doubled),
        ("depth", deep("[", 200_000)),
        ("maps", deep("{a: ", 100_000)),
        ("dashes", deep("\n- ", 1) + &"- ".repeat(100_000)),
        ("keys", deep("\n? ", 1) + &"? ".repeat(100_000)),
        ("path", format!("question: q\nset: {{data{}: 1}}\ngrid: {{steps: [1]}}\n", ".a".repeat(300_000))),
        ("axes", format!("question: q\ngrid:\n{axes}")),
        ("seeds", format!("question: q\ngrid: {{steps: [1]}}\nseeds: [{many}]\n")),
        ("values", format!("question: q\ngrid: {{steps: [{wide}]}}\n")),
        ("network", format!("question: q\nset: {{network.multipliers: [{}]}}\ngrid: {{seed: [1]}}\n", "1000000000, ".repeat(50_000))),
        ("length", "x".repeat(2 << 20)),
    ];
    for (name, text) in bombs {
        let path = dir.path().join(format!("{name}.yaml"));
        fs::write(&path, text).unwrap();
        // Two threads of 256 MiB of stack, 64 MiB of arena each, and the program itself lie in it too.
        let line = format!(
            "ulimit -v 2200000; exec '{}' plan '{}' --base experiments/bases/fashion-smoke.yaml --results {NOWHERE}",
            env!("CARGO_BIN_EXE_ddpm"),
            path.display()
        );
        let output = Command::new("sh").args(["-c", &line]).env("RAYON_NUM_THREADS", "2").current_dir(root()).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{name}: {}", stderr(&output).chars().take(500).collect::<String>());
        assert!(stderr(&output).len() < 4000 && stderr(&output).contains(&format!("{name}.yaml")), "{name}: {}", stderr(&output).len());
    }
}

/// A small good file of each kind that is read.
fn good(kind: &str, path: &Path) -> Vec<u8> {
    let arrays = || {
        let numbers: Vec<f64> = (0..9).map(|i| if i % 4 == 0 { 1.0 } else { 0.0 }).collect();
        vec![
            ("mu".to_string(), Tensor::from_vec(vec![0.0f64, 1.0, 2.0], 3, &Device::Cpu).unwrap()),
            ("sigma".to_string(), Tensor::from_vec(numbers, (3, 3), &Device::Cpu).unwrap()),
        ]
    };
    match kind {
        "npz" => Tensor::write_npz(&arrays(), path).unwrap(),
        "safetensors" => fs::write(path, ddpm_model::checkpoint::to_bytes(&arrays(), "{}").unwrap()).unwrap(),
        "png" => {
            image::GrayImage::from_fn(5, 4, |x, y| image::Luma([(x * y) as u8])).save_with_format(path, image::ImageFormat::Png).unwrap()
        }
        _ => unreachable!("{kind}"),
    }
    fs::read(path).unwrap()
}

fn read(kind: &str, path: &Path) {
    match kind {
        "npz" => drop(statistics::read(path)),
        "safetensors" => drop(Tensors::read(path)),
        "png" => drop(DataSource::at(path.parent().unwrap()).unwrap().load(&Cache::none())),
        _ => unreachable!("{kind}"),
    }
}

proptest! {
    /// Flipped bits, cuts and foreign bytes: an error or a file, never a panic.
    #[test]
    fn damaged_files_are_errors(kind in prop::sample::select(vec!["npz", "safetensors", "png"]), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in prop::option::of(any::<prop::sample::Index>())) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("x.{kind}"));
        let mut bytes = good(kind, &path);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&path, bytes).unwrap();
        read(kind, &path);
    }
}

/// A header that promises more than any memory: told from the file's size, before anything is asked for.
#[test]
fn oversized_headers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npz");
    let good = good("npz", &path);
    let at = good.windows(4).position(|w| w == b"(3, ").or_else(|| good.windows(3).position(|w| w == b"(3,")).expect("a shape");
    // The shape stands in a padded header: longer digits take the padding's place.
    let end = at + good[at..].iter().position(|b| *b == b'\n').unwrap();
    let mut header = String::from_utf8(good[at..end].to_vec()).unwrap();
    let long = header.len();
    header = header.replacen("(3,", "(9999999999999,", 1);
    header = header.trim_end().to_string();
    assert!(header.len() <= long, "{header:?}");
    let mut bytes = good.clone();
    bytes[at..end].copy_from_slice(format!("{header:long$}").as_bytes());
    fs::write(&path, bytes).unwrap();
    let error = format!("{:#}", statistics::read(&path).err().unwrap());
    assert!(error.contains("cannot hold"), "{error}");
    // And in safetensors: the header's own length, and a tensor beyond the file's end.
    let path = dir.path().join("x.safetensors");
    for bytes in [
        u64::MAX.to_le_bytes().to_vec(),
        [&64u64.to_le_bytes()[..], br#"{"a":{"dtype":"F32","shape":[99999999],"data_offsets":[0,9999]}}"#].concat(),
    ] {
        fs::write(&path, bytes).unwrap();
        assert!(Tensors::read(&path).is_err());
    }
}
