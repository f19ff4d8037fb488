//! Features in a file: tensors in safetensors, with the network's name beside them.

use crate::base::atomic;
use crate::metrics::features::Features;
use crate::metrics::moments::Moments;
use crate::metrics::seen::Seen;
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::checkpoint;
use ddpm_model::interop::foreign;
use ddpm_model::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// What a file of features says of itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeaturesInfo {
    /// In which network's features.
    features: String,
    /// Digest of that and of the images.
    key: String,
}

/// The moments of all images, where the features of some are kept.
const MEAN: &str = "mean";
const SCATTER: &str = "scatter";
const COUNT: &str = "images";

fn write(path: &Path, about: &FeaturesInfo, seen: &Seen) -> Result<()> {
    let Seen { moments, features } = seen;
    let tensor = |numbers: &[f32], width: usize| Tensor::from_slice(numbers, (features.n(), width), &Device::Cpu);
    let mut tensors = vec![
        ("features".to_string(), tensor(&features.rows, features.dim)?),
        ("probabilities".to_string(), tensor(&features.probabilities, features.classes)?),
    ];
    if !seen.is_whole() {
        let dim = features.dim;
        tensors.push((COUNT.into(), Tensor::from_slice(&[moments.n() as f64], 1, &Device::Cpu)?));
        tensors.push((MEAN.into(), Tensor::from_slice(moments.mean(), dim, &Device::Cpu)?));
        tensors.push((SCATTER.into(), Tensor::from_slice(moments.scatter(), (dim, dim), &Device::Cpu)?));
    }
    atomic::write(path, &checkpoint::to_bytes(&tensors, &serde_json::to_string(about)?)?)
}

/// Leaves features of the network called `net` in a file.
pub fn write_features(path: &Path, net: &str, seen: &Seen) -> Result<()> {
    write_keyed(path, net, "", seen)
}

/// The same with a key, by which they are known again.
pub fn write_keyed(path: &Path, net: &str, key: &str, seen: &Seen) -> Result<()> {
    write(path, &FeaturesInfo { features: net.into(), key: key.into() }, seen)
}

/// Features that were left with this key; those of another are an error.
pub fn read_keyed(path: &Path, key: &str) -> Result<Seen> {
    let about = checkpoint::description(&fs::read(path)?)?.context("has no description")?;
    ensure!(serde_json::from_str::<FeaturesInfo>(&about)?.key == key, "holds features of something else");
    Ok(read_features(path)?.context("holds no features")?.0)
}

/// Features that someone stored: a tensor `features` `[n, d]`, perhaps `probabilities` `[n, classes]`, and the network's name where the
/// file says it. Where they are those of some images of a large set, of our own, its moments stand beside them. None where the file holds no
/// such tensor.
pub fn read_features(path: &Path) -> Result<Option<(Seen, Option<String>)>> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    if let Some(what) = foreign(&bytes) {
        bail!("{}: {what}", path.display());
    }
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
    let about = about.and_then(|text| serde_json::from_str::<FeaturesInfo>(&text).ok());
    let seen = match of(SCATTER) {
        // In our own files alone is it known what is meant.
        Some(shape) if about.is_some() => {
            let numbers = |name: &str| checkpoint::read_f64(&bytes, name).with_context(|| path.display().to_string());
            let (count, mean, scatter) = (numbers(COUNT)?, numbers(MEAN)?, numbers(SCATTER)?);
            let dim = features.dim;
            ensure!(
                shape == [dim, dim] && mean.len() == dim && count.len() == 1 && count[0] >= features.n() as f64,
                "{}: expected the moments of features of {dim} numbers, got {shape:?}",
                path.display()
            );
            Seen { moments: Moments::from_scatter(count[0] as usize, mean, scatter), features }
        }
        _ => Seen::all(features),
    };
    Ok(Some((seen, about.map(|about| about.features))))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::metrics::seen::Seeing;

    /// All that was seen, or some of it with the moments of all, to the last bit; and under its key alone.
    #[test]
    fn what_was_seen_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let rows = (0..90).map(|i| (i * 37 % 101) as f32 / 7.0).collect();
        let features = Features { dim: 3, classes: 2, rows, probabilities: (0..60).map(|i| i as f32).collect() };
        for most in [7, 30] {
            let mut seeing = Seeing::new(30, most);
            seeing.take(&features);
            let seen = seeing.end();
            write_keyed(&path, "a net", "k", &seen).unwrap();
            let read = read_keyed(&path, "k").unwrap();
            assert_eq!((read.features.n(), read.moments.n()), (most, 30));
            assert_eq!((&read.features.rows, &read.features.probabilities), (&seen.features.rows, &seen.features.probabilities));
            assert_eq!((read.moments.mean(), read.moments.scatter()), (seen.moments.mean(), seen.moments.scatter()));
            assert_eq!(read_features(&path).unwrap().unwrap().1.as_deref(), Some("a net"));
            assert!(read_keyed(&path, "other").is_err());
        }
    }
}
