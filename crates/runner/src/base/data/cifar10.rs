//! CIFAR-10. Its binary version has records of a label and 3,072 bytes, channel after channel; the others are brought into that form.

use super::entries::Fit;
use super::images::{Dataset, Images, sha256};
use super::parquet;
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::network::ImageShape;
use std::fs;
use std::path::Path;

/// The files and their SHA-256.
const FILES: [(&str, &str); 6] = [
    ("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
    ("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
    ("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
    ("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
    ("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    ("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
];
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
pub const SHAPE: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };
const RECORDS: usize = 10_000;
const RECORD: usize = 1 + 3 * 1024;

/// Reads the set in any form in which it is had, which all give the same images in the same order: the folder of the binary version, of the
/// python version (`data_batch_1` and so on), or of Hugging Face's Parquet. Every batch is known by its digest.
pub fn load(path: &Path) -> Result<Dataset> {
    read(path, &FILES, RECORDS)
}

/// `files` of `records` images each; the test batch is held out.
fn read(path: &Path, files: &[(&str, &str)], records: usize) -> Result<Dataset> {
    let places = [path.join("plain_text"), path.to_path_buf()];
    let shards = places.iter().find(|place| parquet_in(place));
    let batches = match shards {
        Some(shards) => rows(shards, files, records)?,
        None => {
            let python = path.join(pickle_of(files[0].0)).exists();
            files.iter().map(|(name, digest)| batch(path, name, digest, records, python)).collect::<Result<_>>()?
        }
    };
    let (mut train, mut held_out) = <(Vec<Vec<u8>>, Vec<Vec<u8>>)>::default();
    for ((name, _), batch) in files.iter().zip(batches) {
        if *name == "test_batch.bin" { &mut held_out } else { &mut train }.push(batch);
    }
    Dataset::new("cifar10", decode(&train), decode(&held_out), CLASSES.iter().map(|c| c.to_string()).collect())
}

/// The records of one batch of the binary or the python version.
fn batch(path: &Path, name: &str, digest: &str, records: usize, python: bool) -> Result<Vec<u8>> {
    let file = path.join(if python { pickle_of(name) } else { name });
    let bytes = fs::read(&file).with_context(|| {
        format!(
            "{}: cannot be read; expected a folder of CIFAR-10: cifar-10-batches-bin, as \
             https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz has it, cifar-10-batches-py, or Hugging Face's with Parquet files",
            file.display()
        )
    })?;
    let bytes = if python { unpickled(&bytes, records).with_context(|| file.display().to_string())? } else { bytes };
    let expected = records * RECORD;
    ensure!(bytes.len() == expected, "{}: expected {expected} bytes, got {}", file.display(), bytes.len());
    let found = sha256(&bytes);
    let what = if python { "the digest of its records" } else { "SHA-256" };
    ensure!(found == digest, "{}: {what} is {found}, expected {digest}: the file is damaged", file.display());
    Ok(bytes)
}

/// The python version's name for a file of the binary one.
fn pickle_of(name: &str) -> &str {
    name.trim_end_matches(".bin")
}

/// The records in a pickle as Python 2 wrote it: under `labels` a list of small integers, under `data` an array whose numbers are one string
/// of bytes. Nothing is executed; what is found is judged by its digest.
fn unpickled(pickle: &[u8], records: usize) -> Result<Vec<u8>> {
    let what = "is not a batch of CIFAR-10's python version";
    let after = |mark: &[u8]| {
        let found = pickle.windows(mark.len()).position(|bytes| bytes == mark);
        found.map(|at| &pickle[at + mark.len()..]).context(what)
    };
    let planes = records * (RECORD - 1);
    // BINSTRING and its length.
    let data = after(&[&b"T"[..], &(planes as u32).to_le_bytes()].concat())?;
    let data = data.get(..planes).context("is cut short")?;
    // SHORT_BINSTRING; then BINPUT, EMPTY_LIST, MARK, BININT1 and APPENDS.
    let (mut rest, mut labels) = (after(b"U\x06labels")?, Vec::with_capacity(records));
    while labels.len() < records {
        rest = match rest {
            [b'K', label, rest @ ..] => {
                labels.push(*label);
                rest
            }
            [b'q', _, rest @ ..] | [b']' | b'(' | b'e', rest @ ..] => rest,
            _ => bail!(what),
        };
    }
    Ok(labels.iter().zip(data.chunks(RECORD - 1)).flat_map(|(label, planes)| std::iter::once(label).chain(planes)).copied().collect())
}

fn parquet_in(path: &Path) -> bool {
    let is_shard = |file: &fs::DirEntry| file.path().extension().is_some_and(|e| e == "parquet");
    fs::read_dir(path).is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| is_shard(&file))))
}

/// The records of each batch from Parquet, where they lie in another order: the order of the archive that they were made of.
fn rows(path: &Path, files: &[(&str, &str)], records: usize) -> Result<Vec<Vec<u8>>> {
    let (mut found, mut block) = (vec![None; files.len()], Vec::with_capacity(records * RECORD));
    parquet::each(path, None, None, &mut |entry| {
        let (shape, pixels) = Fit::default().picture(&entry).with_context(|| entry.place.clone())?;
        ensure!(shape == SHAPE, "{}: expected {SHAPE}, got {shape}", entry.place);
        let class = entry.class.and_then(|class| u8::try_from(class).ok());
        block.push(class.with_context(|| format!("{}: expected a class", entry.place))?);
        block.extend((0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3)));
        if block.len() == records * RECORD {
            let digest = sha256(&block);
            let place = files.iter().position(|(_, known)| *known == digest);
            let place = place.with_context(|| format!("{}: the {records} rows up to here are no batch of CIFAR-10", entry.place))?;
            ensure!(found[place].is_none(), "{}: the {records} rows up to here stand here twice", entry.place);
            found[place] = Some(std::mem::take(&mut block));
        }
        Ok(())
    })?;
    ensure!(block.is_empty(), "{}: expected batches of {records} rows, got one of {}", path.display(), block.len() / RECORD);
    let missing = |(batch, (name, _)): (Option<Vec<u8>>, &(&str, &str))| {
        batch.with_context(|| format!("{}: expected the images of {}, which are in no file", path.display(), pickle_of(name)))
    };
    found.into_iter().zip(files).map(missing).collect()
}

/// Batches of records to labels and channels-last pixels.
fn decode(batches: &[Vec<u8>]) -> Images {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for record in batches.iter().flat_map(|batch| batch.chunks_exact(RECORD)) {
        labels.push(record[0]);
        for pixel in 0..1024 {
            pixels.extend((0..3).map(|channel| record[1 + channel * 1024 + pixel]));
        }
    }
    Images::new(SHAPE, pixels, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One pixel away from the middle in each channel: a transposed or channel-first reading would put it elsewhere.
    #[test]
    fn rows_columns_and_channels_keep_their_places() {
        let mut record = vec![0u8; RECORD];
        record[0] = 7;
        for (channel, value) in [(0, 10), (1, 20), (2, 30)] {
            record[1 + channel * 1024 + 5 * 32 + 9 + channel] = value;
        }
        let images = decode(&[record]);
        let pixels = images.all().unwrap();
        let at = |y: usize, x: usize, c: usize| pixels[(y * 32 + x) * 3 + c];
        assert_eq!((images.labels[0], at(5, 9, 0), at(5, 10, 1), at(5, 11, 2)), (7, 10, 20, 30));
        assert_eq!(pixels.iter().map(|v| *v as u32).sum::<u32>(), 60);
    }

    /// Hugging Face's rows, in the order of the archive that they were made of, are put into that of the batches.
    #[test]
    fn rows_of_parquet_are_put_in_order() {
        let shards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data/cifar10");
        let record = |r: usize| std::iter::once(r as u8 % 10).chain((0..3072).map(move |k| (40 * r + k % 37) as u8)).collect::<Vec<u8>>();
        let digests: Vec<String> = (0..6).map(|i| sha256(&[record(2 * i), record(2 * i + 1)].concat())).collect();
        let files: Vec<(&str, &str)> = FILES.iter().zip(&digests).map(|((name, _), digest)| (*name, &digest[..])).collect();
        let data = read(&shards, &files, 2).unwrap();
        assert_eq!((&data.train.labels[..], &data.held_out.labels[..]), (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9][..], &[0, 1][..]));
        let image = data.train.image(3).unwrap();
        assert_eq!((image[3 * 5], image[3 * 5 + 1]), (120 + 5, (120 + (1024 + 5) % 37) as u8));
        let error = |files: &[(&str, &str)]| format!("{:#}", read(&shards, files, 2).unwrap_err());
        assert!(error(&files[..5]).contains("row 1: the 2 rows up to here are no batch of CIFAR-10"), "{}", error(&files[..5]));
        let more = [&files[..], &[("other.bin", "0")]].concat();
        assert!(error(&more).contains("expected the images of other, which are in no file"), "{}", error(&more));
    }

    #[test]
    fn a_short_or_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |dir: &Path| format!("{:#}", load(dir).unwrap_err());
        assert!(error(dir.path()).contains("data_batch_1.bin: cannot be read"));
        fs::write(dir.path().join("data_batch_1.bin"), [0; 100]).unwrap();
        assert!(error(dir.path()).contains("expected 30730000 bytes, got 100"));
        fs::write(dir.path().join("data_batch_1.bin"), vec![0; RECORDS * RECORD]).unwrap();
        assert!(error(dir.path()).contains("the file is damaged"));
    }

    /// The five batches in their order are trained on, the test batch is held out, and each is checked by its own digest.
    #[test]
    fn the_test_batch_is_held_out() {
        let dir = tempfile::tempdir().unwrap();
        let record = |label: u8| [vec![label], vec![10 * label; RECORD - 1]].concat();
        let write = |name: &str, labels: [u8; 2]| {
            let bytes = labels.map(record).concat();
            fs::write(dir.path().join(name), &bytes).unwrap();
            sha256(&bytes)
        };
        let digests: Vec<String> = (0..6).map(|i| write(FILES[i].0, [i as u8, i as u8 + 1])).collect();
        let mut files: Vec<(&str, &str)> = FILES.iter().zip(&digests).map(|((name, _), digest)| (*name, &digest[..])).collect();
        let data = read(dir.path(), &files, 2).unwrap();
        assert_eq!(data.train.labels, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
        assert_eq!((&data.held_out.labels[..], data.held_out.image(0).unwrap()[0]), (&[5, 6][..], 50));
        assert_eq!((data.train.len(), data.train.image(3).unwrap()[0]), (10, 20));
        // The python version of the same, as Python 2 wrote it: a list is put down in pieces.
        let pickle = tempfile::tempdir().unwrap();
        for (i, (name, _)) in FILES.iter().enumerate() {
            let planes = [i as u8, i as u8 + 1].map(|label| vec![10 * label; RECORD - 1]).concat();
            let bytes = [
                &b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x01xq\x03U\x06labelsq\x04]q\x05(K"[..],
                &[i as u8],
                b"e(K",
                &[i as u8 + 1],
                b"eU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07T",
                &(planes.len() as u32).to_le_bytes(),
                &planes,
                b"tbu.",
            ];
            fs::write(pickle.path().join(pickle_of(name)), bytes.concat()).unwrap();
        }
        let again = read(pickle.path(), &files, 2).unwrap();
        assert_eq!((again.info.digest, again.train.labels), (data.info.digest.clone(), data.train.labels.clone()));
        let last = pickle.path().join("test_batch");
        let bytes = fs::read(&last).unwrap();
        fs::write(&last, &bytes[..bytes.len() - 10]).unwrap();
        assert!(format!("{:#}", read(pickle.path(), &files, 2).unwrap_err()).contains("test_batch: is cut short"));
        fs::write(&last, b"\x80\x02}.").unwrap();
        assert!(format!("{:#}", read(pickle.path(), &files, 2).unwrap_err()).contains("test_batch: is not a batch of CIFAR-10"));
        for wrong in 0..6 {
            files[wrong].1 = "0";
            let error = format!("{:#}", read(dir.path(), &files, 2).unwrap_err());
            assert!(error.contains(&format!("{}: SHA-256 is", FILES[wrong].0)), "{error}");
            files[wrong].1 = &digests[wrong];
        }
    }
}
