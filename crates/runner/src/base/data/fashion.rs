//! Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), MIT licence: the test file, embedded in the program.

use super::images::{Dataset, Images, sha256};
use anyhow::{Context, Result, ensure};
use ddpm_model::network::ImageShape;
use flate2::read::GzDecoder;
use std::io::Read;

const IMAGES: &[u8] = include_bytes!("../../../data/fashion-mnist/t10k-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../../data/fashion-mnist/t10k-labels-idx1-ubyte.gz");
const SUMS: &str = include_str!("../../../data/fashion-mnist/SHA256SUMS");
const CLASSES: [&str; 10] = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];
pub const SHAPE: ImageShape = ImageShape { height: 28, width: 28, channels: 1 };
/// The first 9,000 of the 10,000 images are trained on.
const TRAIN: usize = 9_000;

pub fn load() -> Result<Dataset> {
    let images = idx("t10k-images-idx3-ubyte.gz", IMAGES, &[10_000, 28, 28])?;
    let labels = idx("t10k-labels-idx1-ubyte.gz", LABELS, &[10_000])?;
    let split =
        |from: usize, to: usize| Images::new(SHAPE, images[from * SHAPE.len()..to * SHAPE.len()].to_vec(), labels[from..to].to_vec());
    let classes = CLASSES.iter().map(|c| c.to_string()).collect();
    Dataset::new("fashion-mnist", split(0, TRAIN), split(TRAIN, 10_000), classes)
}

/// The bytes of an IDX file after its header, which must announce unsigned bytes of `dims`.
fn idx(name: &str, compressed: &[u8], dims: &[u32]) -> Result<Vec<u8>> {
    let digest = sha256(compressed);
    ensure!(
        SUMS.lines().any(|line| line == format!("{digest}  {name}")),
        "embedded {name}: SHA-256 is {digest}, which SHA256SUMS does not list"
    );
    let mut bytes = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut bytes).with_context(|| format!("embedded {name}: not a gzip file"))?;
    let mut header = vec![0, 0, 8, dims.len() as u8];
    header.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    ensure!(
        bytes.starts_with(&header),
        "embedded {name}: expected the header {header:?}, got {:?}",
        &bytes[..header.len().min(bytes.len())]
    );
    let data = bytes.split_off(header.len());
    let expected = dims.iter().map(|d| *d as usize).product::<usize>();
    ensure!(data.len() == expected, "embedded {name}: expected {expected} bytes, got {}", data.len());
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read from the same files by Python's gzip module: `data[16:][image * 784 + row * 28 + column]`. The first image is an ankle
    /// boot, which a transposed reading would lay on its side.
    #[test]
    fn images_and_labels_are_what_another_program_reads() {
        let data = load().unwrap();
        assert_eq!(data.train.labels[..10], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]);
        let at = |row: usize, column: usize| data.train.image(0).unwrap()[row * 28 + column];
        assert_eq!([at(10, 20), at(20, 10), at(20, 24), at(24, 20)], [157, 126, 247, 0]);
        assert_eq!(data.held_out.labels[0], 6);
        assert_eq!(data.held_out.image(0).unwrap().iter().map(|v| *v as u32).sum::<u32>(), 88_086);
    }

    #[test]
    fn damage_is_named() {
        let error = |bytes: &[u8], dims: &[u32]| format!("{:#}", idx("t10k-labels-idx1-ubyte.gz", bytes, dims).unwrap_err());
        assert!(error(&LABELS[1..], &[10_000]).contains("which SHA256SUMS does not list"));
        assert!(error(LABELS, &[9_999]).contains("expected the header"));
    }
}
