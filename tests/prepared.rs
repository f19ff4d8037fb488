//! Data sets that are prepared once: by one of several processes, again after a change, and known to be damaged where they are.

mod support;

use ddpm_runner::base::data::{Cache, DataSource, Dataset, Files, Form};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use support::*;

/// `n` images of 16x16, each a file.
fn images(dir: &Path, n: usize) {
    fs::create_dir_all(dir).unwrap();
    (0..n).for_each(|i| picture(i, &dir.join(format!("{i:05}.png"))));
}

fn picture(i: usize, path: &Path) {
    image::GrayImage::from_fn(16, 16, |x, y| image::Luma([(i * 31) as u8 ^ (x * 16 + y) as u8])).save(path).unwrap();
}

/// The one prepared set in a cache; the cache itself while there is none.
fn set(cache: &Path) -> PathBuf {
    let sets: Vec<PathBuf> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(sets.len() <= 1, "{sets:?}");
    sets.into_iter().next().unwrap_or(cache.into())
}

fn load(dir: &Path, cache: &Path, form: Form) -> Dataset {
    DataSource::Folder(Files::all(dir)).load(&Cache::at(cache).every(Some(form))).unwrap()
}

fn verify(cache: &Path) -> Output {
    run(&["data", "verify", text(cache)])
}

/// Several at once: one prepares, the others wait for it, and all have the same.
#[test]
fn one_of_several_processes_prepares() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, cache) = (dir.path().join("images"), dir.path().join("cache"));
    images(&folder, 3000);
    let start = || {
        let words = ["data", "folder", text(&folder), "--cache", text(&cache)];
        ddpm().args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let outputs: Vec<Output> = [start(), start(), start()].into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert!(output.status.success() && output.stdout == outputs[0].stdout, "{}", stderr(output));
    }
    let prepared = outputs.iter().filter(|output| stderr(output).contains("3000 images are prepared in")).count();
    assert_eq!(prepared, 1);
    let of_memory = DataSource::Folder(Files::all(&folder)).load(&Cache::none()).unwrap().info.digest;
    assert!(stdout(&outputs[0]).contains(&of_memory[..16]) && stdout(&outputs[0]).contains("kept as bytes in "), "{}", stdout(&outputs[0]));
    let verified = verify(&cache);
    assert_eq!(verified.status.code(), Some(0));
    assert!(stdout(&verified).contains("3000 images of 16x16x1 as bytes, 768.0 kB, as it was written"), "{}", stdout(&verified));
}

/// Killed or asked to stop at any moment, and run again until it ends: what comes out is what would have. One that was asked to stop leaves
/// what it has.
#[test]
fn a_preparation_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (file, cache) = (dir.path().join("images.npy"), dir.path().join("cache"));
    let n = 100_000;
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({n}, 16, 16), }}");
    let pixels: Vec<u8> = (0..n * 256).map(|i| (i / 256 * 31 + i) as u8).collect();
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&pixels);
    fs::write(&file, bytes).unwrap();
    let images = || fs::metadata(set(&cache).join("images")).map_or(0, |is| is.len());
    let mut unfinished = 0;
    for round in 0..60 {
        let words = ["data", "numpy", text(&file), "--cache", text(&cache)];
        let mut child = ddpm().args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // It has gone further than it was.
        let before = if cache.exists() { images() } else { 0 };
        while child.try_wait().unwrap().is_none() && (!cache.exists() || images() <= before) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let signal = if round % 3 == 2 { "-KILL" } else { "-INT" };
        std::process::Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
        let status = child.wait().unwrap();
        unfinished += usize::from(stdout(&verify(&cache)).contains("unfinished: "));
        if status.success() && unfinished > 0 {
            break;
        }
        if status.success() {
            // Too quick, or too slow to tell it: once more.
            fs::remove_dir_all(&cache).unwrap();
        } else {
            assert!(signal == "-KILL" || status.code() == Some(130), "{status:?}");
        }
    }
    assert!(unfinished > 0, "none stopped in its midst");
    let load = |cache: &Cache| DataSource::Numpy(Files::all(&file)).load(cache).unwrap();
    let (found, whole) = (load(&Cache::at(&cache)), load(&Cache::none()));
    assert_eq!((found.info, found.train.all().unwrap()), (whole.info, whole.train.all().unwrap()));
}

/// Another image, another shard, another list: seen, and what was opened before stays what it was.
#[test]
fn changes_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("images");
    for form in [Form::Bytes, Form::Compressed] {
        let cache = dir.path().join(form.name());
        images(&folder, 20);
        let _ = fs::remove_file(folder.join("00020.png"));
        let before = load(&folder, &cache, form);
        let pixels = before.train.all().unwrap().into_owned();
        picture(77, &folder.join("00020.png"));
        let after = load(&folder, &cache, form);
        assert_eq!((before.train.len(), after.train.len()), (20, 21));
        assert_eq!(*before.train.all().unwrap(), pixels);
        assert_eq!(after.train.all().unwrap()[..pixels.len()], pixels);
        // One in another's place is not looked for at each start; `verify` finds it, and so does whoever prepares.
        picture(78, &folder.join("00020.png"));
        assert_eq!(load(&folder, &cache, form).info.digest, after.info.digest);
        let verified = verify(&cache);
        assert_eq!(verified.status.code(), Some(5));
        assert!(stdout(&verified).contains("the images that it was made from have changed"), "{}", stdout(&verified));
        fs::remove_dir_all(set(&cache)).unwrap();
        assert_ne!(load(&folder, &cache, form).info.digest, after.info.digest);
    }
    // However the folder is called, it is one set; what lies beside its images is nothing to it.
    let cache = dir.path().join("names");
    for name in [&folder, &folder.join("../images"), &folder.join(".")] {
        load(name, &cache, Form::Bytes);
        fs::create_dir_all(folder.join(".thumbs")).unwrap();
        fs::write(folder.join(".thumbs/x.png"), "no image").unwrap();
    }
    let first = fs::metadata(set(&cache).join("set.json")).unwrap().modified().unwrap();
    load(&folder, &cache, Form::Bytes);
    assert_eq!(fs::metadata(set(&cache).join("set.json")).unwrap().modified().unwrap(), first);
    // Those held out lie elsewhere, some prepared and some not: each changes the digest.
    let [few, cache] = ["few", "elsewhere"].map(|name| dir.path().join(name));
    images(&few, 3);
    let elsewhere = || {
        let held_out = serde_json::from_value(serde_json::json!({ "path": few })).unwrap();
        DataSource::Folder(Files { held_out, ..Files::all(&folder) })
    };
    let digests = |cache: &Cache| {
        picture(5, &few.join("00001.png"));
        let one = elsewhere().load(cache).unwrap().info.digest;
        fs::remove_file(few.join("00001.png")).unwrap();
        picture(6, &few.join("00001.png"));
        [one, elsewhere().load(cache).unwrap().info.digest]
    };
    let of_memory = digests(&Cache::none());
    assert_ne!(of_memory[0], of_memory[1]);
    assert_eq!(digests(&Cache::at(&cache)), of_memory);
    // The images to train on alone are prepared.
    let results = dir.path().join("results");
    let beside = Cache::beside(&results);
    load(&folder, &results.join("data"), Form::Bytes);
    assert_eq!(digests(&beside), of_memory);
    assert_eq!(fs::read_dir(results.join("data")).unwrap().count(), 1);
    let list = dir.path().join("list");
    let cache = dir.path().join("listed");
    let files = || {
        let held_out = serde_json::from_value(serde_json::json!({ "listed": list })).unwrap();
        DataSource::Folder(Files { held_out, ..Files::all(&folder) }).load(&Cache::at(&cache)).unwrap()
    };
    fs::write(&list, "00003.png\n").unwrap();
    let one = files();
    fs::write(&list, "00003.png\n00004.png\n").unwrap();
    let two = files();
    assert_eq!((one.held_out.len(), two.held_out.len()), (1, 2));
    assert_ne!(one.info.digest, two.info.digest);
    assert_eq!(*two.held_out.image(1).unwrap(), *one.train.image(3).unwrap());
    // Shards are known by their sizes and times; who opens a database leaves a file beside it, which changes nothing.
    let shards = dir.path().join("shards");
    fs::create_dir(&shards).unwrap();
    fs::copy(root().join("tests/golden/data/lmdb/data.mdb"), shards.join("data.mdb")).unwrap();
    let cache = dir.path().join("database");
    let load = || DataSource::Lmdb(Files::all(&shards)).load(&Cache::at(&cache)).unwrap().train.len();
    assert_eq!(load(), 27);
    let written = || fs::metadata(set(&cache).join("set.json")).unwrap().modified().unwrap();
    let first = written();
    fs::write(shards.join("lock.mdb"), "lock").unwrap();
    assert_eq!((load(), written()), (27, first));
    fs::copy(root().join("tests/golden/data/lmdb/data.mdb"), shards.join("data.mdb")).unwrap();
    assert_eq!(load(), 27);
    assert_ne!(written(), first);
}

/// Every file of a prepared set, shorter or other than it was: told by `verify`, and what can be told at once is made anew.
#[test]
fn damage_is_told_or_mended() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("images");
    images(&folder, 30);
    for form in [Form::Bytes, Form::Compressed] {
        let cache = dir.path().join(form.name());
        let whole = load(&folder, &cache, form);
        let names: Vec<PathBuf> = fs::read_dir(set(&cache)).unwrap().map(|entry| entry.unwrap().path()).collect();
        let names: Vec<PathBuf> = names.into_iter().filter(|path| !text(path).contains("claim-")).collect();
        // State, images, ends, fates; the split and what lies beside it; the digest.
        assert_eq!(names.len(), 7, "{names:?}");
        for path in &names {
            let (bytes, name) = (fs::read(path).unwrap(), path.file_name().unwrap().to_string_lossy().into_owned());
            if bytes.is_empty() {
                continue;
            }
            for cut in [true, false] {
                let mut file = fs::File::create(path).unwrap();
                let mut damaged = bytes.clone();
                let middle = damaged.len() / 2;
                damaged[middle] ^= 4;
                file.write_all(if cut { &bytes[..middle] } else { &damaged }).unwrap();
                drop(file);
                let verified = verify(&cache);
                let in_set = ["set.json", "images", "ends", "fates"].contains(&name.as_str());
                assert_eq!(verified.status.code(), Some(if in_set { 5 } else { 0 }), "{name}, {cut}: {}", stdout(&verified));
                // A flipped bit in the images is found by `verify` alone, or where it leaves no image.
                if !in_set || cut || name == "set.json" {
                    let again = load(&folder, &cache, form);
                    assert_eq!(again.train.all().unwrap(), whole.train.all().unwrap(), "{name}, {cut}");
                    assert_eq!(again.info, whole.info);
                    assert_eq!(verify(&cache).status.code(), Some(0), "{name}, {cut}");
                }
                fs::write(path, &bytes).unwrap();
            }
        }
    }
}

/// Images that are no files cannot be kept as files; a set may be given another form; the cache is not among the images.
#[test]
fn forms_and_places_are_chosen_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, there) = (dir.path().join("images"), dir.path().join("there"));
    images(&folder, 12);
    for form in [Form::Bytes, Form::Compressed, Form::Bytes] {
        assert!(load(&folder, &there, form).train.place().starts_with(&format!("kept as {} in ", form.name())));
    }
    let output = ddpm().args(["data", "folder", ".", "--cache", "cache"]).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("cache: lies in the folder of the images, .; --cache names another one"), "{}", stderr(&output));
    let cache = Cache::at(&dir.path().join("cache")).every(Some(Form::Compressed));
    let why = DataSource::Numpy(Files::all(&root().join("tests/golden/data/npy"))).load(&cache).unwrap_err();
    assert!(format!("{why:#}").ends_with("npy: expected bytes: its images are pixels, and no files"), "{why:#}");
    let output = run(&["data", "verify", "target/nowhere"]);
    assert_eq!((output.status.code(), stderr(&output).contains("target/nowhere: cannot be listed")), (Some(5), true));
}

/// An ablation with its images prepared has the same tables as one without, on several ranks too.
#[test]
fn tables_do_not_depend_on_where_images_are() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("images");
    images(&folder, 60);
    let table = |results: &str, more: &[&str]| {
        let results = dir.path().join(results);
        let data = format!("data={{kind: folder, path: '{}', held_out: {{fraction: 0.4}}}}", text(&folder));
        let words = [
            &["ablate", "tests/faults/grid.yaml", "--base", "fashion-smoke", "--set", &data, "--results", text(&results)][..],
            &["--set", "training.steps=4", "--set", "evaluation.held_out=4", "--set", "evaluation.train=4", "--set", "training.batch=8"],
            &["--set", "training.optimiser.clip_shards=2", "--set", "sampling.count=10", "--set", "network.attention=[8]"],
            more,
        ];
        let output = run(&words.concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let mut folders = fs::read_dir(results).unwrap().map(|entry| entry.unwrap().path());
        let report = folders.find(|folder| folder.join("metrics.csv").exists()).unwrap();
        ["metrics.csv", "terms.csv", "bounds.csv"].map(|name| fs::read_to_string(report.join(name)).unwrap())
    };
    let expected = table("memory", &[]);
    assert_eq!(table("prepared", &["--cache", text(&dir.path().join("bytes"))]), expected);
    let compressed = dir.path().join("compressed");
    // Prepared by itself first, in a form of its own. With an image overwritten in its place, whoever decoded the folder again would name
    // other jobs than the plan, or train on other pixels.
    let prepared = load_rule(&folder, &compressed);
    assert!(prepared.train.place().starts_with("kept as compressed in "));
    picture(999, &folder.join("00007.png"));
    assert_eq!(table("ranks", &["--cache", text(&compressed), "--ranks", "2"]), expected);
    assert_eq!(fs::read_dir(&compressed).unwrap().count(), 1);
}

fn load_rule(folder: &Path, cache: &Path) -> Dataset {
    let held_out = serde_json::from_value(serde_json::json!({ "fraction": 0.4 })).unwrap();
    DataSource::Folder(Files { held_out, ..Files::all(folder) }).load(&Cache::at(cache).every(Some(Form::Compressed))).unwrap()
}
