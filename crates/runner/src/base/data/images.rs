//! Images, wherever they are, and what they are known by.

use super::prepared::Pictures;
use anyhow::Result;
use ddpm_kernels::random::LONGEST_TABLE;
use ddpm_model::network::ImageShape;
use ddpm_model::tensor::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of images that are read together where all of them are: enough for every core, little beside a set.
const AT_ONCE: usize = 16 << 20;

/// Images of one split, `[n, H, W, C]` in bytes. Clones share the pixels.
#[derive(Clone, Debug)]
pub struct Images {
    /// The shape of each.
    pub shape: ImageShape,
    /// A class for each image, where the set has classes.
    pub labels: Vec<u8>,
    pixels: Pixels,
}

/// Where they are.
#[derive(Clone, Debug)]
enum Pixels {
    /// In memory, image after image.
    Memory(Arc<Vec<u8>>),
    /// In files: the images in these places of a prepared set.
    Prepared(Arc<Pictures>, Arc<Vec<u32>>),
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

impl DatasetInfo {
    /// What trainings on it are named by: the digest; of a set whose orders are not tables also that, since its trainings were other ones when
    /// they were.
    pub fn identity(&self) -> String {
        if self.train > LONGEST_TABLE { format!("{} in keyed orders", self.digest) } else { self.digest.clone() }
    }
}

/// A data set.
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
    pub(crate) fn new(name: &str, train: Images, held_out: Images, classes: Vec<String>) -> Result<Dataset> {
        let digest = digest(&train, &held_out, |_| Ok(()))?;
        let info = DatasetInfo { name: name.into(), shape: train.shape, train: train.len(), held_out: held_out.len(), classes, digest };
        Ok(Dataset { info, train, held_out, left_out: Vec::new() })
    }
}

/// SHA-256 over the shape, the number of images to train on, and all pixels. `tell` hears how many images have been read.
pub(super) fn digest(train: &Images, held_out: &Images, mut tell: impl FnMut(usize) -> Result<()>) -> Result<String> {
    let (shape, mut hash, mut read) = (train.shape, Sha256::new(), 0);
    hash.update(format!("{}x{}x{};{};", shape.height, shape.width, shape.channels, train.len()));
    let n = train.at_once();
    for part in train.chunks(n).chain(held_out.chunks(n)) {
        let part = part?;
        hash.update(&part);
        read += part.len() / shape.len();
        tell(read)?;
    }
    Ok(hex(&hash.finalize()))
}

impl Images {
    /// In memory, image after image, with a class for each or none.
    pub fn new(shape: ImageShape, pixels: Vec<u8>, labels: Vec<u8>) -> Images {
        Images { shape, labels, pixels: Pixels::Memory(Arc::new(pixels)) }
    }

    /// None, of a shape.
    pub fn none(shape: ImageShape) -> Images {
        Images::new(shape, Vec::new(), Vec::new())
    }

    /// Those in these places of a prepared set.
    pub(super) fn prepared(pictures: Arc<Pictures>, rows: Vec<u32>, labels: Vec<u8>) -> Images {
        Images { shape: pictures.shape(), labels, pixels: Pixels::Prepared(pictures, Arc::new(rows)) }
    }

    /// How they are kept, in a word.
    pub fn form(&self) -> &'static str {
        match &self.pixels {
            Pixels::Memory(_) => "memory",
            Pixels::Prepared(pictures, _) => pictures.form().name(),
        }
    }

    /// Whether they are held in this process's memory.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.pixels, Pixels::Memory(_))
    }

    /// Where they are, for a person.
    pub fn place(&self) -> String {
        match &self.pixels {
            Pixels::Memory(_) => "held in memory".into(),
            Pixels::Prepared(pictures, _) => format!("kept as {} in {}", pictures.form().name(), pictures.dir().display()),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match &self.pixels {
            Pixels::Memory(pixels) => pixels.len() / self.shape.len(),
            Pixels::Prepared(_, rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of one.
    pub fn image(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        let len = self.shape.len();
        match &self.pixels {
            Pixels::Memory(pixels) => Ok(Cow::Borrowed(&pixels[index * len..(index + 1) * len])),
            Pixels::Prepared(pictures, rows) => {
                let mut out = vec![0; len];
                pictures.read(rows[index] as usize, &mut out)?;
                Ok(Cow::Owned(out))
            }
        }
    }

    /// The bytes of some that follow one another; those that have to be decoded are, on all cores.
    pub fn bytes(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        let len = self.shape.len();
        match &self.pixels {
            Pixels::Memory(pixels) => Ok(Cow::Borrowed(&pixels[range.start * len..range.end * len])),
            Pixels::Prepared(pictures, rows) => {
                let mut out = vec![0; range.len() * len];
                pictures.read_all(&rows[range], &mut out)?;
                Ok(Cow::Owned(out))
            }
        }
    }

    /// How many images are little memory.
    pub fn at_once(&self) -> usize {
        (AT_ONCE / self.shape.len()).max(1)
    }

    /// The bytes of all of them.
    pub fn all(&self) -> Result<Cow<'_, [u8]>> {
        self.bytes(0..self.len())
    }

    /// The bytes of all of them, `n` images at a time.
    pub fn chunks(&self, n: usize) -> impl Iterator<Item = Result<Cow<'_, [u8]>>> {
        (0..self.len()).step_by(n).map(move |from| self.bytes(from..(from + n).min(self.len())))
    }

    /// The bytes of those at `indices`, in this order; what is not in memory is read and decoded on all cores.
    pub fn read(&self, indices: &[usize], out: &mut [u8]) -> Result<()> {
        let len = self.shape.len();
        match &self.pixels {
            Pixels::Memory(pixels) => {
                let images = indices.iter().map(|index| &pixels[index * len..(index + 1) * len]);
                out.chunks_exact_mut(len).zip(images).for_each(|(out, image)| out.copy_from_slice(image));
                Ok(())
            }
            Pixels::Prepared(pictures, rows) => {
                let places = out.par_chunks_exact_mut(len).zip(indices);
                places.try_for_each(|(out, index)| pictures.read(rows[*index] as usize, out))
            }
        }
    }

    /// The images at `indices` in [-1, 1], each mirrored where `flip` says so: `[n, H, W, C]`.
    pub fn tensor(&self, indices: &[usize], flip: impl Fn(usize) -> bool + Sync) -> Result<Tensor> {
        let mut pixels = vec![0; indices.len() * self.shape.len()];
        self.read(indices, &mut pixels)?;
        tensor(&pixels, self.shape, flip)
    }
}

/// The images with these bytes in [-1, 1] (byte / 127.5 - 1, as the authors), each mirrored where `flip` says so: `[n, H, W, C]`.
pub fn tensor(pixels: &[u8], shape: ImageShape, flip: impl Fn(usize) -> bool + Sync) -> Result<Tensor> {
    let mut numbers = vec![0f32; pixels.len()];
    numbers.par_chunks_mut(shape.len()).zip(pixels.par_chunks(shape.len())).enumerate().for_each(|(place, (numbers, image))| {
        let image = if flip(place) { Cow::Owned(mirrored(image, shape)) } else { Cow::Borrowed(image) };
        numbers.iter_mut().zip(image.iter()).for_each(|(number, byte)| *number = *byte as f32 / 127.5 - 1.0);
    });
    Ok(Tensor::from_vec(numbers, (pixels.len() / shape.len(), shape.height, shape.width, shape.channels), &Device::Cpu)?)
}

/// An image with its columns from right to left.
fn mirrored(image: &[u8], shape: ImageShape) -> Vec<u8> {
    let (width, channels) = (shape.width * shape.channels, shape.channels);
    let mut out = vec![0; image.len()];
    for (out, row) in out.chunks_exact_mut(width).zip(image.chunks_exact(width)) {
        let turned = row.chunks_exact(channels).rev();
        out.chunks_exact_mut(channels).zip(turned).for_each(|(out, pixel)| out.copy_from_slice(pixel));
    }
    out
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
    let images = |part: &[u8]| Images::new(shape, part.to_vec(), Vec::new());
    Dataset::new(name, images(&pixels[..(n - 3) * 16]), images(&pixels[(n - 3) * 16..]), Vec::new()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest covers the images, the split and their shape, which the numbers depend on, but not the name.
    #[test]
    fn a_digest_is_of_all_that_numbers_depend_on() {
        let a = few("a", 9, 1);
        let again = |shape, train: &[u8], held_out: &[u8]| {
            let images = |part: &[u8]| Images::new(shape, part.to_vec(), Vec::new());
            Dataset::new("b", images(train), images(held_out), Vec::new()).unwrap().info.digest
        };
        let (shape, train, held_out) = (a.info.shape, a.train.all().unwrap(), a.held_out.all().unwrap());
        let all = [&train[..], &held_out[..]].concat();
        assert_eq!(again(shape, &train, &held_out), a.info.digest);
        assert_ne!(again(shape, &all[..5 * 16], &all[5 * 16..]), a.info.digest);
        assert_ne!(again(ImageShape { height: 2, width: 8, channels: 1 }, &train, &held_out), a.info.digest);
        let mut other = held_out.to_vec();
        other[47] ^= 1;
        assert_ne!(again(shape, &train, &other), a.info.digest);
    }

    /// Trainings on small sets keep the names that they have always had; those on large ones have names of their own.
    #[test]
    fn large_sets_have_an_identity_of_their_own() {
        let small = few("a", 9, 1).info;
        assert_eq!(small.identity(), small.digest);
        let at = |train: usize| DatasetInfo { train, ..small.clone() }.identity();
        assert_eq!(at(LONGEST_TABLE), small.digest);
        assert_eq!(at(LONGEST_TABLE + 1), format!("{} in keyed orders", small.digest));
    }

    /// Byte / 127.5 - 1, each number in its place; mirrored, columns turn and channels do not.
    #[test]
    fn bytes_become_numbers_in_their_places() {
        let shape = ImageShape { height: 2, width: 3, channels: 2 };
        let images = Images::new(shape, (0..24).map(|i| i * 10).collect(), Vec::new());
        let tensor = images.tensor(&[1, 0], |place| place == 1).unwrap();
        assert_eq!(tensor.dims(), [2, 2, 3, 2]);
        let numbers = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let order: Vec<u8> = (12..24).chain([4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7]).collect();
        assert!(numbers.iter().zip(order).all(|(v, i)| (v - (i as f32 * 10.0 / 127.5 - 1.0)).abs() < 1e-6), "{numbers:?}");
        // And back: every byte.
        let shape = ImageShape { height: 16, width: 16, channels: 1 };
        let every = Images::new(shape, (0..=255).collect(), Vec::new());
        let tensor = every.tensor(&[0], |_| false).unwrap();
        assert_eq!(crate::base::picture::to_bytes(&tensor).unwrap(), every.all().unwrap().to_vec());
        let again = crate::base::picture::from_bytes(&every.all().unwrap(), shape).unwrap();
        assert_eq!(again.flatten_all().unwrap().to_vec1::<f32>().unwrap(), tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    }
}
