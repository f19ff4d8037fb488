//! Features in a file: tensors in safetensors, with the network's name beside them.

use crate::base::atomic;
use crate::metrics::features::Features;
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

fn write(path: &Path, about: &FeaturesInfo, features: &Features) -> Result<()> {
    let tensor = |numbers: &[f32], width: usize| Tensor::from_slice(numbers, (features.n(), width), &Device::Cpu);
    let tensors = [
        ("features".to_string(), tensor(&features.rows, features.dim)?),
        ("probabilities".to_string(), tensor(&features.probabilities, features.classes)?),
    ];
    atomic::write(path, &checkpoint::to_bytes(&tensors, &serde_json::to_string(about)?)?)
}

/// Leaves features of the network called `net` in a file.
pub fn write_features(path: &Path, net: &str, features: &Features) -> Result<()> {
    write_keyed(path, net, "", features)
}

/// The same with a key, by which they are known again.
pub fn write_keyed(path: &Path, net: &str, key: &str, features: &Features) -> Result<()> {
    write(path, &FeaturesInfo { features: net.into(), key: key.into() }, features)
}

/// Features that were left with this key; those of another are an error.
pub fn read_keyed(path: &Path, key: &str) -> Result<Features> {
    let about = checkpoint::description(&fs::read(path)?)?.context("has no description")?;
    ensure!(serde_json::from_str::<FeaturesInfo>(&about)?.key == key, "holds features of something else");
    Ok(read_features(path)?.context("holds no features")?.0)
}

/// Features that someone stored: a tensor `features` `[n, d]`, perhaps `probabilities` `[n, classes]`, and the network's name where the
/// file says it. None where the file holds no such tensor.
pub fn read_features(path: &Path) -> Result<Option<(Features, Option<String>)>> {
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
    Ok(Some((features, about.map(|about| about.features))))
}
