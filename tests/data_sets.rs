//! Data sets as the field's own programs write them (`tests/golden/data/make.py`): the same images, in whatever they come.

mod support;

use ddpm_runner::base::data::resample::Filter;
use ddpm_runner::base::data::split::{HeldOut, Rule};
use ddpm_runner::base::data::transform::{Channels, Transform};
use ddpm_runner::base::data::{Cache, DataSource, Dataset, Files, Form, ParquetFiles, Unfit};
use ddpm_runner::base::npz::Writer;
use proptest::prelude::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use support::*;

const HELD_OUT: usize = 6;

fn golden(name: &str) -> PathBuf {
    root().join("tests/golden/data").join(name)
}

fn expected(key: &str) -> Value {
    serde_json::from_str::<Value>(&fs::read_to_string(golden("expected.json")).unwrap()).unwrap()[key].clone()
}

/// The source that reads `path` as the form of this name.
fn source(form: &str, path: PathBuf, unfit: Unfit) -> DataSource {
    let files = Files { held_out: HeldOut::Last(HELD_OUT), unfit, ..Files::all(&path) };
    match form {
        "folder" => DataSource::Folder(files),
        "lmdb" => DataSource::Lmdb(files),
        "tar" => DataSource::Tar(files),
        "npz" | "npy" | "planes" => DataSource::Numpy(files),
        "parquet" => DataSource::Parquet(ParquetFiles::of(files)),
        _ => unreachable!("{form}"),
    }
}

trait Read {
    /// The set, or why there is none: the same in memory and prepared, at the first and at a later time.
    fn read(&self) -> anyhow::Result<Dataset>;
}

impl Read for DataSource {
    fn read(&self) -> anyhow::Result<Dataset> {
        let memory = self.load(&Cache::none());
        let dir = tempfile::tempdir().unwrap();
        for form in [Form::Bytes, Form::Compressed] {
            if (form, self.kind()) == (Form::Compressed, "numpy") {
                continue;
            }
            let cache = Cache::at(&dir.path().join(form.name())).every(Some(form));
            for _ in 0..2 {
                match (&memory, self.load(&cache)) {
                    (Ok(memory), Ok(prepared)) => {
                        assert_eq!((&memory.info, &memory.left_out), (&prepared.info, &prepared.left_out));
                        for (memory, prepared) in [(&memory.train, &prepared.train), (&memory.held_out, &prepared.held_out)] {
                            assert_eq!(memory.labels, prepared.labels);
                            assert!(prepared.place().starts_with(&format!("kept as {} in ", form.name())), "{}", prepared.place());
                            assert_eq!(memory.all().unwrap(), prepared.all().unwrap());
                        }
                    }
                    (Err(memory), Err(prepared)) => assert_eq!(format!("{memory:#}"), format!("{prepared:#}")),
                    (memory, prepared) => panic!("{:?}, {:?}", memory.as_ref().map(|m| &m.info), prepared.map(|p| p.info)),
                }
            }
        }
        memory
    }
}

/// A copy of a golden set in which to do harm.
fn copy(form: &str, to: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut look = vec![(golden(form), to.to_path_buf())];
    while let Some((from, to)) = look.pop() {
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
            let there = to.join(entry.file_name().unwrap());
            if entry.is_dir() {
                look.push((entry, there));
            } else {
                fs::copy(&entry, &there).unwrap();
                files.push(there);
            }
        }
    }
    files.sort();
    files
}

fn error(data: anyhow::Result<Dataset>) -> String {
    format!("{:#}", data.expect_err("refused"))
}

/// The same pixels in the same order, split in the same way where the form knows the classes; what is not read is told.
#[test]
fn every_form_has_the_same_images() {
    let names = ["cat", "dog", "owl"].map(String::from).to_vec();
    let numbers = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
    let forms = [
        ("folder", names.clone(), vec![]),
        ("parquet", names, vec![]),
        ("tar", numbers(3), vec!["27 .json".to_string()]),
        ("npz", numbers(3), vec![]),
        // Its labels begin at one.
        ("planes", numbers(4), vec![]),
        ("npy", vec![], vec![]),
        ("lmdb", vec![], vec![]),
    ];
    for (form, classes, left_out) in forms {
        let data = source(form, golden(form), Unfit::Refuse).read().unwrap();
        let split = if classes.is_empty() { "last" } else { "by_class" };
        assert_eq!(Value::from(data.info.digest.clone()), expected(split), "{form}");
        assert_eq!((data.train.len() + data.held_out.len(), data.held_out.len()), (27, HELD_OUT), "{form}");
        assert_eq!((&data.info.classes, &data.left_out, data.info.name.as_str()), (&classes, &left_out, form));
        let labels = data.train.labels.iter().map(|label| label - u8::from(form == "planes")).collect::<Vec<_>>();
        if !classes.is_empty() {
            assert_eq!(labels, [[0; 10].as_slice(), &[1; 7], &[2; 4]].concat(), "{form}");
        }
    }
}

/// A file by itself is a set too.
#[test]
fn one_file_is_a_set() {
    for (form, file, n) in [("tar", "000000.tar", 12), ("parquet", "train-00000-of-00002.parquet", 14), ("lmdb", "data.mdb", 27)] {
        let data = source(form, golden(form).join(file), Unfit::Refuse).read().unwrap();
        assert_eq!((data.train.len() + data.held_out.len(), data.info.name.as_str()), (n, file), "{form}");
    }
}

/// Splits lie beside each other as Hugging Face has them: some files of a folder are a set, prepared or not, and others are held out.
#[test]
fn some_files_of_a_folder_are_a_set() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a-set");
    std::fs::create_dir(&folder).unwrap();
    for (from, to) in [("train-00000-of-00002", "train-00000-of-00001"), ("train-00001-of-00002", "validation-00000-of-00001")] {
        let at = |dir: &Path, name: &str| dir.join(format!("{name}.parquet"));
        std::fs::copy(at(&golden("parquet"), from), at(&folder, to)).unwrap();
    }
    let files = |held_out| Files { held_out, ..Files::all(&folder.join("train-*")) };
    let elsewhere = HeldOut::By(Rule::Path(folder.join("validation-*.parquet")));
    let data = DataSource::Parquet(ParquetFiles::of(files(elsewhere))).read().unwrap();
    assert_eq!((data.train.len(), data.held_out.len(), data.info.name.as_str()), (14, 13, "a-set"));
    assert!(data.left_out.is_empty(), "{:?}", data.left_out);
    let whole = source("parquet", golden("parquet"), Unfit::Refuse).load(&Cache::none()).unwrap();
    let both = |data: &Dataset| data.train.len() + data.held_out.len();
    assert_eq!(both(&data), both(&whole));
    // A file that comes is seen.
    let cache = Cache::at(&dir.path().join("cache"));
    let count = || DataSource::Parquet(ParquetFiles::of(files(HeldOut::NONE))).load(&cache).unwrap().train.len();
    assert_eq!(count(), 14);
    std::fs::copy(folder.join("validation-00000-of-00001.parquet"), folder.join("train-00001-of-00001.parquet")).unwrap();
    assert_eq!(count(), 27);
}

/// By their names or from another place; the same images, in whatever form they come.
#[test]
fn images_are_held_out_by_name_or_lie_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let load = |held_out: HeldOut, path: PathBuf| DataSource::Folder(Files { held_out, ..Files::all(&path) }).read();
    let whole = load(HeldOut::NONE, golden("folder")).unwrap().train;
    // All cats but two, and back.
    let list = dir.path().join("test.txt");
    fs::write(&list, "cat/000.png\ncat/012.png\n").unwrap();
    let listed = load(HeldOut::By(Rule::Listed(list)), golden("folder")).unwrap();
    assert_eq!(*listed.held_out.all().unwrap(), [whole.image(0).unwrap(), whole.image(12).unwrap()].concat());
    assert_eq!((listed.train.len(), listed.held_out.labels), (25, vec![0, 0]));
    let share = |share: f64| load(HeldOut::By(Rule::Fraction(share)), golden("folder"));
    let some = share(0.3).unwrap();
    assert!((1..20).contains(&some.held_out.len()) && some.held_out.len() + some.train.len() == 27, "{:?}", some.info);
    assert!(error(share(1.0)).contains("expected images to train on, but all 27 are held out"));
    // In another folder.
    let [here, there] = ["here", "there"].map(|name| dir.path().join(name));
    copy("folder", &here);
    for class in ["cat", "dog", "owl"] {
        fs::create_dir_all(there.join(class)).unwrap();
    }
    for name in ["cat/012.png", "dog/021.png", "owl/026.png"] {
        fs::rename(here.join(name), there.join(name)).unwrap();
    }
    let elsewhere = || load(HeldOut::By(Rule::Path(there.clone())), here.clone());
    let data = elsewhere().unwrap();
    assert_eq!(*data.held_out.all().unwrap(), [12, 21, 26].map(|i| whole.image(i).unwrap()).concat());
    assert_eq!((data.train.len(), data.held_out.labels), (24, vec![0, 1, 2]));
    fs::remove_dir_all(there.join("owl")).unwrap();
    let why = error(elsewhere());
    assert!(why.contains("there: expected the classes of") && why.ends_with("cat, dog, owl, got cat, dog"), "{why}");
}

/// As it is typed into a base: what is wrong is told with its place.
#[test]
fn a_configuration_says_where_it_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let grid = dir.path().join("grid.yaml");
    fs::write(&grid, "question: q\nbase: fashion-smoke\ngrid: {prediction: [eps]}\n").unwrap();
    let plan = |data: &str| {
        let six = if data.contains("held_out") { "" } else { "held_out: 6, " };
        let data = format!("data={{kind: lmdb, path: tests/golden/data/lmdb, {six}{data}}}");
        run(&[
            "plan",
            text(&grid),
            "--base",
            "experiments/bases/fashion-smoke.yaml",
            "--results",
            NOWHERE,
            "--set",
            &data,
            "--set",
            "evaluation.held_out=2",
        ])
    };
    for (data, words) in [
        ("transform: {kind: resize, side: 0, filter: box}", "data.transform.side: expected a whole number of 1 to 4096, got 0"),
        ("transform: guided-diffusion", "data.transform.side: is missing"),
        ("transform: {kind: resize, side: 8, filter: sinc}", "data.transform.filter: unknown name sinc (known: box, bicubic, lanczos)"),
        ("unfit: leave", "data.unfit: unknown name leave (known: refuse, leave-out)"),
        ("column: image", "data.column: unknown key"),
        ("held_out: {fraction: 1.5}", "data.held_out.fraction: expected a number of 0 to 1, got 1.5"),
        ("held_out: {listd: x}", "data.held_out.listd: unknown name (did you mean listed?)"),
        ("held_out: -1", "data.held_out: expected a whole number of at least 0, got -1"),
        ("held_out: some", "data.held_out: expected a number, or a map with one of fraction, listed, path, got \"some\""),
    ] {
        let output = plan(data);
        assert!(output.status.code() == Some(4) && stderr(&output).contains(words), "{data}: {}", stderr(&output));
    }
    let output = plan("held_out: {listed: tests/none.txt}");
    assert!(output.status.code() == Some(5) && stderr(&output).contains("tests/none.txt: cannot be read"), "{}", stderr(&output));
    let output = plan("transform: {kind: resize, side: 28, filter: bicubic}, channels: grey");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// Columns that could be meant are named, and a name decides.
#[test]
fn a_column_is_found_or_asked_for() {
    let load = |column: Option<&str>, label: Option<&str>| {
        let [column, label] = [column, label].map(|name| name.map(String::from));
        DataSource::Parquet(ParquetFiles { column, label, ..ParquetFiles::of(Files::all(&golden("parquet"))) }).read()
    };
    assert_eq!(load(Some("image"), Some("label")).unwrap().info.classes, ["cat", "dog", "owl"]);
    let why = error(load(Some("picture"), None));
    assert!(why.contains("expected a column picture of image files, found 0 that may be it among image.bytes, image.path, label"), "{why}");
    let why = error(load(None, Some("fine_label")));
    assert!(why.contains("expected a column fine_label of whole numbers, found none"), "{why}");
}

/// An image that cannot be read ends it and is named, or is left out and counted; so is one of another size.
#[test]
fn unfit_images_are_named_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for (form, name) in [("folder", "cat/003.bmp"), ("tar", "000000.tar: 000003.bmp"), ("lmdb", "data.mdb: key 0003"), ("parquet", "row 3")]
    {
        let place = dir.path().join(form);
        let files = copy(form, &place);
        // The first bitmap, with a mark that no format has.
        let file = files.iter().find(|file| fs::read(file).unwrap().windows(6).any(|bytes| bytes == b"BMf\x09\0\0")).unwrap();
        let mut bytes = fs::read(file).unwrap();
        let at = bytes.windows(6).position(|bytes| bytes == b"BMf\x09\0\0").unwrap();
        bytes[at] = b'X';
        fs::write(file, bytes).unwrap();
        let why = error(source(form, place.clone(), Unfit::Refuse).read());
        assert!(why.contains(name) && why.contains("is not a PNG, JPEG, WebP or BMP image"), "{form}: {why}");
        let data = source(form, place, Unfit::LeaveOut).read().unwrap();
        assert_eq!(data.train.len() + data.held_out.len(), 26, "{form}");
        assert_eq!(data.left_out.last().unwrap(), "1 that cannot be read", "{form}");
    }
    let place = dir.path().join("sizes");
    copy("folder", &place);
    image::RgbImage::new(5, 4).save(place.join("dog/015.png")).unwrap();
    let why = error(source("folder", place.clone(), Unfit::Refuse).read());
    assert!(why.contains("dog/015.png: expected 28x28x3, as ") && why.ends_with("cat/000.png has, got 4x5x3"), "{why}");
    let data = source("folder", place.clone(), Unfit::LeaveOut).read().unwrap();
    assert_eq!((data.train.len(), data.left_out), (20, vec!["1 of a shape other than 28x28x3".to_string()]));
    // Or it is given the size of the others; and grey ones a colour.
    let transform = Transform::Resize { side: 28.try_into().unwrap(), filter: Filter::Lanczos };
    image::GrayImage::new(28, 28).save(place.join("dog/016.png")).unwrap();
    let sized = |channels| DataSource::Folder(Files { transform, channels, ..Files::all(&place) }).read();
    assert!(error(sized(None)).contains("dog/016.png: expected 28x28x3, as "));
    for (channels, n) in [(Channels::Colour, 3), (Channels::Grey, 1)] {
        let data = sized(Some(channels)).unwrap();
        assert_eq!((data.train.len(), data.info.shape.channels), (28, n));
    }
}

/// What lies where a set should be, and is none.
#[test]
fn other_files_are_called_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    for form in ["parquet", "lmdb", "tar"] {
        for (bytes, words) in
            [(&b"version https://git-lfs.github.com/spec/v1\n"[..], "Git LFS pointer"), (b"", "is empty"), (b"<html>", "web page")]
        {
            fs::write(&path, bytes).unwrap();
            let why = error(source(form, path.clone(), Unfit::Refuse).read());
            assert!(why.contains("x: ") && why.contains(words), "{form}: {why}");
        }
        fs::write(&path, vec![b'x'; 5000]).unwrap();
        let why = error(source(form, path.clone(), Unfit::Refuse).read());
        let words = ["is no Parquet file", "is not an LMDB database", "is no tar archive"];
        assert!(words.iter().any(|words| why.contains(words)), "{form}: {why}");
        let why = error(source(form, dir.path().join("nothing"), Unfit::Refuse).read());
        assert!(why.contains("nothing: "), "{why}");
    }
    let why = error(source("tar", golden("parquet"), Unfit::Refuse).read());
    assert!(why.contains("expected files that end in .tar or .tar.gz or .tgz, found none"), "{why}");
}

/// What tar files hold beside files, and behind their end.
#[test]
fn nothing_in_a_shard_is_passed_over_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tar");
    let picture = |level: u8| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_pixel(4, 4, image::Rgb([level; 3])).write_to(&mut bytes, image::ImageFormat::Bmp).unwrap();
        bytes.into_inner()
    };
    let header = |kind: tar::EntryType, size: usize| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header
    };
    let shard = |names: &[&str]| {
        let mut archive = tar::Builder::new(Vec::new());
        for name in names {
            let bytes = picture(0);
            archive.append_data(&mut header(tar::EntryType::Regular, bytes.len()), name, &bytes[..]).unwrap();
        }
        archive.into_inner().unwrap()
    };
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        DataSource::Tar(Files::all(&path)).read()
    };
    let two = shard(&["a.bmp", "b.bmp"]);
    assert_eq!(load(&two).unwrap().train.len(), 2);
    // Two archives in one file; a cut behind a picture that ends in zeros.
    assert!(error(load(&[&two[..], &two].concat())).contains("x.tar: goes on behind its end"));
    assert!(error(load(&two[..1024])).contains("x.tar: is cut short: it has no end"));
    // A folder as old archivers write it, and a link.
    let mut archive = tar::Builder::new(Vec::new());
    let mut folder = header(tar::EntryType::Regular, 0);
    folder.as_mut_bytes()[..3].copy_from_slice("é/".as_bytes());
    folder.set_cksum();
    archive.append(&folder, &[][..]).unwrap();
    let bytes = picture(3);
    archive.append_data(&mut header(tar::EntryType::Regular, bytes.len()), "é/a.bmp", &bytes[..]).unwrap();
    archive.append_link(&mut header(tar::EntryType::Link, 0), "b.bmp", "é/a.bmp").unwrap();
    let data = load(&archive.into_inner().unwrap()).unwrap();
    assert_eq!((data.train.len(), data.left_out), (1, vec!["1 links, or other special files".to_string()]));
}

/// LMDB does not write pages that are freed in the transaction that took them: a file may be shorter than its last page has it.
#[test]
fn a_database_may_be_shorter_than_its_last_page() {
    let dir = tempfile::tempdir().unwrap();
    let file = &copy("lmdb", dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    for at in [136, 4096 + 136] {
        bytes[at] += 3;
    }
    fs::write(file, bytes).unwrap();
    let data = source("lmdb", dir.path().to_path_buf(), Unfit::Refuse).read().unwrap();
    assert_eq!(Value::from(data.info.digest), expected("last"));
}

/// Some without a class; a list that names an image which is left out.
#[test]
fn what_is_not_kept_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npz");
    let mut writer = Writer::new(fs::File::create(&path).unwrap());
    writer.add("arr_0", &[3, 2, 2, 1], &[7u8; 12]).unwrap();
    writer.add("arr_1", &[3], &[0i64, -1, 2]).unwrap();
    writer.finish().unwrap();
    let data = DataSource::Numpy(Files::all(&path)).read().unwrap();
    assert_eq!((data.info.classes.len(), data.left_out), (0, vec!["the classes, which 1 of 3 images do not have".to_string()]));
    let place = dir.path().join("folder");
    copy("folder", &place);
    fs::write(place.join("cat/000.png"), "no picture").unwrap();
    let list = dir.path().join("test.txt");
    fs::write(&list, "cat/000.png\ncat/012.png\n").unwrap();
    let files = Files { held_out: HeldOut::By(Rule::Listed(list)), unfit: Unfit::LeaveOut, ..Files::all(&place) };
    let data = DataSource::Folder(files).read().unwrap();
    assert_eq!((data.train.len(), data.held_out.len(), data.left_out), (25, 1, vec!["1 that cannot be read".to_string()]));
}

/// A few bytes that would become gigabytes.
#[test]
fn a_picture_is_not_enlarged_beyond_bounds() {
    let dir = tempfile::tempdir().unwrap();
    image::GrayImage::new(20_000, 1).save(dir.path().join("a.png")).unwrap();
    for filter in [Filter::Box, Filter::Bicubic] {
        let transform = Transform::Resize { side: 4096.try_into().unwrap(), filter };
        let why = error(DataSource::Folder(Files { transform, ..Files::all(dir.path()) }).read());
        assert!(why.contains("a.png: expected a picture that has at most 67108864 pixels at a side of 4096, got 1x20000x1"), "{why}");
    }
}

/// Compressed shards are the same shards.
#[test]
fn shards_may_be_compressed() {
    let dir = tempfile::tempdir().unwrap();
    for file in copy("tar", dir.path()) {
        let mut packed =
            flate2::write::GzEncoder::new(fs::File::create(file.with_extension("tar.gz")).unwrap(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &fs::read(&file).unwrap()).unwrap();
        packed.finish().unwrap();
        fs::remove_file(file).unwrap();
    }
    let data = source("tar", dir.path().to_path_buf(), Unfit::Refuse).read().unwrap();
    assert_eq!(Value::from(data.info.digest), expected("by_class"));
}

proptest! {
    /// Wherever a file of a set is cut, the set is refused: nothing is read as less than it was.
    #[test]
    fn what_is_cut_is_refused(form in prop::sample::select(vec!["parquet", "lmdb", "tar", "npz", "npy"]), cut in any::<prop::sample::Index>(), which in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let files = copy(form, dir.path());
        let file = which.get(&files);
        let bytes = fs::read(file).unwrap();
        let cut = cut.index(bytes.len());
        fs::write(file, &bytes[..cut]).unwrap();
        let found = source(form, dir.path().to_path_buf(), Unfit::Refuse).read();
        // An archive is filled up with zeros to more than it needs: one block is enough.
        let whole = form == "tar" && bytes[cut..].iter().all(|byte| *byte == 0);
        prop_assert!(found.is_err() || whole, "{form} {} cut at {cut} of {}", file.display(), bytes.len());
        if let Err(error) = found {
            prop_assert!(format!("{error:#}").contains(file.file_name().unwrap().to_str().unwrap()), "{error:#}");
        }
    }

    /// Flipped bits: an error, or a set of images of one shape; never a panic, nor a set that is shorter without a word.
    #[test]
    fn what_is_damaged_is_an_error_or_a_set(form in prop::sample::select(vec!["parquet", "lmdb", "tar", "npz", "npy"]), flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4), which in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let files = copy(form, dir.path());
        let file = which.get(&files);
        let mut bytes = fs::read(file).unwrap();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        fs::write(file, &bytes).unwrap();
        if let Ok(data) = source(form, dir.path().to_path_buf(), Unfit::Refuse).read() {
            let told = form == "tar" && data.left_out != ["27 .json"];
            prop_assert!(data.train.len() + data.held_out.len() == 27 || told, "{form}: {:?}", data.info);
        }
    }
}
