//! Real images as a feature network sees them, kept in the store: they depend on the data set and the network, on no job.

use super::features::{FeatureNet, Features};
use super::frechet::Gaussian;
use super::manifold::Manifold;
use super::moments::Moments;
use super::score::FEWEST;
use crate::data::{Dataset, Images, sha256};
use crate::progress::Reporter;
use crate::store::{Store, atomic};
use anyhow::{Context, Result, ensure};
use ddpm_model::checkpoint;
use ddpm_model::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// One split of a data set.
pub struct Split {
    /// `training` or `held-out`.
    pub name: &'static str,
    /// What the network sees.
    pub features: Features,
    /// Their moments, ready for distances.
    pub gaussian: Gaussian,
}

/// Both splits.
pub struct Reference {
    /// Images that were trained on.
    pub train: Split,
    /// Images that were not.
    pub held_out: Split,
}

impl Split {
    /// Of features at hand.
    pub fn of(name: &'static str, features: Features) -> Result<Split> {
        ensure!(features.are_finite(), "features of {name} images are not finite");
        let gaussian = Gaussian::of(&Moments::of(features.dim, features.iter()))?;
        Ok(Split { name, features, gaussian })
    }

    /// Their balls of nearest neighbours.
    pub fn manifold(&self) -> Manifold<'_> {
        Manifold::of(&self.features)
    }
}

impl Reference {
    /// Of a data set: read from the store where it is there, else computed and left there. None, with the reason, where there are too
    /// few images.
    pub fn load(store: Option<&Store>, data: &Dataset, net: &FeatureNet, reporter: &mut Reporter) -> Result<Result<Reference, String>> {
        let fewest = data.train.len(data.shape).min(data.held_out.len(data.shape));
        if fewest < FEWEST {
            return Ok(Err(format!("too few real images to compare with: expected {FEWEST} to train on and held out, got {fewest}")));
        }
        let mut split = |name: &'static str, images: &Images| -> Result<Split> {
            let key = sha256(format!("{} {name} {}", data.digest, net.name).as_bytes());
            let path = store.map(|store| store.root().join("features").join(format!("{}-{name}-{}.safetensors", data.name, &key[..8])));
            if let Some(path) = path.as_ref().filter(|path| path.exists()) {
                match read(path, &key) {
                    Ok(features) => return Split::of(name, features),
                    Err(why) => eprintln!("{}: {why:#}; the features are computed anew", path.display()),
                }
            }
            let n = images.len(data.shape) as u64;
            reporter.begin();
            let features = net.see(&images.pixels, data.shape, |done| reporter.tell("features", done as u64, n, done as u64, None))?;
            if let Some(path) = path {
                write(&path, &About { features: net.name.clone(), key }, &features)?;
            }
            Split::of(name, features)
        };
        Ok(Ok(Reference { train: split("training", &data.train)?, held_out: split("held-out", &data.held_out)? }))
    }
}

/// What a file of features says of itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    /// In which network's features.
    features: String,
    /// Digest of that and of the images.
    key: String,
}

fn write(path: &Path, about: &About, features: &Features) -> Result<()> {
    let tensor = |numbers: &[f32], width: usize| Tensor::from_slice(numbers, (features.n(), width), &Device::Cpu);
    let tensors = [
        ("features".to_string(), tensor(&features.rows, features.dim)?),
        ("probabilities".to_string(), tensor(&features.probabilities, features.classes)?),
    ];
    atomic::write(path, &checkpoint::to_bytes(&tensors, &serde_json::to_string(about)?)?)
}

/// Leaves features of the network called `net` in a file.
pub fn write_features(path: &Path, net: &str, features: &Features) -> Result<()> {
    write(path, &About { features: net.into(), key: String::new() }, features)
}

fn read(path: &Path, key: &str) -> Result<Features> {
    let about = checkpoint::description(&fs::read(path)?)?.context("has no description")?;
    ensure!(serde_json::from_str::<About>(&about)?.key == key, "holds features of something else");
    Ok(read_features(path)?.context("holds no features")?.0)
}

/// Features that someone stored: a tensor `features` `[n, d]`, perhaps `probabilities` `[n, classes]`, and the network's name where the
/// file says it. None where the file holds no such tensor.
pub fn read_features(path: &Path) -> Result<Option<(Features, Option<String>)>> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let shapes = checkpoint::shapes(&bytes).with_context(|| format!("{}: is not a safetensors file", path.display()))?;
    let of = |name: &str| shapes.iter().find(|(n, _)| n == name).map(|(_, shape)| shape.clone());
    let Some(shape) = of("features") else { return Ok(None) };
    let numbers = |name: &str| checkpoint::read_f32(&bytes, name).with_context(|| path.display().to_string());
    ensure!(shape.len() == 2 && shape[1] > 0, "{}: expected features [n, d], got {shape:?}", path.display());
    let mut features = Features { dim: shape[1], classes: 1, rows: numbers("features")?, probabilities: vec![1.0; shape[0]] };
    if let Some(of_classes) = of("probabilities") {
        ensure!(
            of_classes.len() == 2 && of_classes[0] == shape[0],
            "{}: expected probabilities [{}, classes], got {of_classes:?}",
            path.display(),
            shape[0]
        );
        features.classes = of_classes[1];
        features.probabilities = numbers("probabilities")?;
    }
    let about = checkpoint::description(&bytes).with_context(|| path.display().to_string())?;
    let about = about.and_then(|text| serde_json::from_str::<About>(&text).ok());
    Ok(Some((features, about.map(|about| about.features))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::few;
    use ddpm_model::network::ImageShape;

    /// Features stored for one data set or one network are no other's.
    #[test]
    fn stored_features_are_of_their_images_and_their_network() {
        use crate::metrics::features::FeatureSource;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let wide = |seed: u8| {
            let small = few("d", 30, seed);
            let shape = ImageShape { height: 28, width: 28, channels: 1 };
            let images = |n: usize, from: usize| Images {
                pixels: (0..n * 784).map(|i| small.train.pixels[(from + i) % 400]).collect(),
                labels: Vec::new(),
            };
            Dataset::new("d", shape, images(12, 0), images(11, 77), Vec::new())
        };
        let net = |name: &str| {
            let mut own = FeatureSource::Own {}.load(ImageShape { height: 28, width: 28, channels: 1 }).unwrap().unwrap();
            own.name = name.into();
            own
        };
        let load = |data: &Dataset, net: &FeatureNet| Reference::load(Some(&store), data, net, &mut Reporter::silent()).unwrap().unwrap();
        let count = || std::fs::read_dir(dir.path().join("features")).unwrap().count();
        let (a, b) = (wide(3), wide(5));
        let first = load(&a, &net("one"));
        assert_eq!(count(), 2);
        assert_ne!(first.train.features.rows, first.held_out.features.rows);
        assert_ne!(load(&b, &net("one")).train.features.rows, first.train.features.rows);
        assert_eq!(count(), 4);
        load(&a, &net("two"));
        assert_eq!(count(), 6);
        // Read again, not computed: what stands in the file is what comes.
        let again = load(&a, &net("one"));
        assert_eq!((again.train.features.rows, again.held_out.features.rows), (first.train.features.rows, first.held_out.features.rows));
        assert_eq!(count(), 6);
    }
}
