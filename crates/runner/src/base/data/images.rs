//! Images in memory, and what they are known by.

use ddpm_model::network::ImageShape;
use ddpm_model::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Images of one split, `[n, H, W, C]` in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// The shape of each.
    pub shape: ImageShape,
    /// All pixels, image after image.
    pub pixels: Vec<u8>,
    /// A class for each image, where the set has classes.
    pub labels: Vec<u8>,
}

/// What is known of a data set, its images aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetInfo {
    /// Its name in protocols and tables.
    pub name: String,
    /// The shape of every image.
    pub shape: ImageShape,
    /// How many images there are to train on.
    pub train: usize,
    /// How many are never trained on.
    pub held_out: usize,
    /// The classes' names, where there are any.
    pub classes: Vec<String>,
    /// SHA-256 over the shape and all pixels: what the numbers depend on.
    pub digest: String,
}

/// A data set in memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What is known of it.
    pub info: DatasetInfo,
    /// Images to train on.
    pub train: Images,
    /// Images never trained on.
    pub held_out: Images,
    /// What lies beside the images and is not read: how many of which kind, for a person.
    pub left_out: Vec<String>,
}

impl Dataset {
    /// Of images of one shape.
    pub(crate) fn new(name: &str, train: Images, held_out: Images, classes: Vec<String>) -> Dataset {
        let shape = train.shape;
        let mut hash = Sha256::new();
        hash.update(format!("{}x{}x{};{};", shape.height, shape.width, shape.channels, train.len()));
        hash.update(&train.pixels);
        hash.update(&held_out.pixels);
        let digest = hex(&hash.finalize());
        let info = DatasetInfo { name: name.into(), shape, train: train.len(), held_out: held_out.len(), classes, digest };
        Dataset { info, train, held_out, left_out: Vec::new() }
    }
}

impl Images {
    /// None yet, of a shape.
    pub fn none(shape: ImageShape) -> Images {
        Images { shape, pixels: Vec::new(), labels: Vec::new() }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.shape.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The bytes of one.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.shape.len()..(index + 1) * self.shape.len()]
    }

    /// The images at `indices` in [-1, 1] (byte / 127.5 - 1, as the authors), each mirrored where `flip` says so: `[n, H, W, C]`.
    pub fn tensor(&self, indices: &[usize], flip: impl Fn(usize) -> bool) -> ddpm_model::tensor::Result<Tensor> {
        let shape = self.shape;
        let mut numbers = Vec::with_capacity(indices.len() * shape.len());
        for (place, &index) in indices.iter().enumerate() {
            let mirror = flip(place);
            for row in self.image(index).chunks(shape.width * shape.channels) {
                for x in 0..shape.width {
                    let from = if mirror { shape.width - 1 - x } else { x } * shape.channels;
                    numbers.extend(row[from..from + shape.channels].iter().map(|b| *b as f32 / 127.5 - 1.0));
                }
            }
        }
        Tensor::from_vec(numbers, (indices.len(), shape.height, shape.width, shape.channels), &Device::Cpu)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// `n` images of 4x4 grey pixels for tests, no two alike and none its own mirror image; the last three are held out.
#[cfg(test)]
pub(crate) fn few(name: &str, n: usize, seed: u8) -> Dataset {
    let shape = ImageShape { height: 4, width: 4, channels: 1 };
    let pixels: Vec<u8> =
        (0..n * 16).map(|i| if i % 16 == 0 { (i / 16) as u8 } else { ((i % 16 * 29) as u8).wrapping_mul(seed) }).collect();
    let images = |part: &[u8]| Images { pixels: part.to_vec(), ..Images::none(shape) };
    Dataset::new(name, images(&pixels[..(n - 3) * 16]), images(&pixels[(n - 3) * 16..]), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest covers the images, the split and their shape, which the numbers depend on, but not the name.
    #[test]
    fn a_digest_is_of_all_that_numbers_depend_on() {
        let a = few("a", 9, 1);
        let again = |shape, train: &[u8], held_out: &[u8]| {
            let images = |part: &[u8]| Images { pixels: part.to_vec(), ..Images::none(shape) };
            Dataset::new("b", images(train), images(held_out), Vec::new()).info.digest
        };
        let (shape, all) = (a.info.shape, [&a.train.pixels[..], &a.held_out.pixels[..]].concat());
        assert_eq!(again(shape, &a.train.pixels, &a.held_out.pixels), a.info.digest);
        assert_ne!(again(shape, &all[..5 * 16], &all[5 * 16..]), a.info.digest);
        assert_ne!(again(ImageShape { height: 2, width: 8, channels: 1 }, &a.train.pixels, &a.held_out.pixels), a.info.digest);
        let mut other = a.held_out.pixels.clone();
        other[47] ^= 1;
        assert_ne!(again(shape, &a.train.pixels, &other), a.info.digest);
    }

    /// Byte / 127.5 - 1, each number in its place; mirrored, columns turn and channels do not.
    #[test]
    fn bytes_become_numbers_in_their_places() {
        let shape = ImageShape { height: 2, width: 3, channels: 2 };
        let images = Images { pixels: (0..24).map(|i| i * 10).collect(), ..Images::none(shape) };
        let tensor = images.tensor(&[1, 0], |place| place == 1).unwrap();
        assert_eq!(tensor.dims(), [2, 2, 3, 2]);
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let order: Vec<u8> = (12..24).chain([4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7]).collect();
        assert!(numbers.iter().zip(order).all(|(v, i)| (v - (i as f32 * 10.0 / 127.5 - 1.0)).abs() < 1e-6), "{numbers:?}");
        // And back: every byte.
        let shape = ImageShape { height: 16, width: 16, channels: 1 };
        let every = Images { pixels: (0..=255).collect(), ..Images::none(shape) };
        let tensor = every.tensor(&[0], |_| false).unwrap();
        assert_eq!(crate::base::picture::to_bytes(&tensor).unwrap(), every.pixels);
        let again = crate::base::picture::from_bytes(&every.pixels, shape).unwrap();
        assert_eq!(again.flatten_all().unwrap().to_vec1::<f32>().unwrap(), tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    }
}
