//! CIFAR-10 in its official binary layout: records of a label and 3,072 bytes, channel after channel.

use super::images::{Dataset, Images, sha256};
use anyhow::{Context, Result, ensure};
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

pub fn load(path: &Path) -> Result<Dataset> {
    read(path, &FILES, RECORDS)
}

/// `files` of `records` images each; the test batch is held out.
fn read(path: &Path, files: &[(&str, &str)], records: usize) -> Result<Dataset> {
    let (mut train, mut held_out) = (Images::none(SHAPE), Images::none(SHAPE));
    let expected = records * RECORD;
    for &(name, digest) in files {
        let file = path.join(name);
        let bytes = fs::read(&file).with_context(|| {
            format!(
                "{}: cannot be read; expected the folder cifar-10-batches-bin of CIFAR-10's binary version \
                 (https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz, unpacked)",
                file.display()
            )
        })?;
        ensure!(bytes.len() == expected, "{}: expected {expected} bytes, got {}", file.display(), bytes.len());
        let found = sha256(&bytes);
        ensure!(found == digest, "{}: SHA-256 is {found}, expected {digest}: the file is damaged", file.display());
        decode(&bytes, if name == "test_batch.bin" { &mut held_out } else { &mut train });
    }
    Ok(Dataset::new("cifar10", train, held_out, CLASSES.iter().map(|c| c.to_string()).collect()))
}

/// Records to labels and channels-last pixels.
fn decode(records: &[u8], to: &mut Images) {
    for record in records.chunks_exact(RECORD) {
        to.labels.push(record[0]);
        for pixel in 0..1024 {
            to.pixels.extend((0..3).map(|channel| record[1 + channel * 1024 + pixel]));
        }
    }
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
        let mut images = Images::none(SHAPE);
        decode(&record, &mut images);
        let at = |y: usize, x: usize, c: usize| images.pixels[(y * 32 + x) * 3 + c];
        assert_eq!((images.labels[0], at(5, 9, 0), at(5, 10, 1), at(5, 11, 2)), (7, 10, 20, 30));
        assert_eq!(images.pixels.iter().map(|v| *v as u32).sum::<u32>(), 60);
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
        assert_eq!((data.held_out.labels, data.held_out.pixels[0]), (vec![5, 6], 50));
        assert_eq!((data.train.len(), data.train.image(3)[0]), (10, 20));
        for wrong in 0..6 {
            files[wrong].1 = "0";
            let error = format!("{:#}", read(dir.path(), &files, 2).unwrap_err());
            assert!(error.contains(&format!("{}: SHA-256 is", FILES[wrong].0)), "{error}");
            files[wrong].1 = &digests[wrong];
        }
    }
}
