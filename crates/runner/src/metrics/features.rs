//! Feature networks map images to feature vectors, which scores compare. Each has a name that goes into protocols.

use crate::base::data::sha256;
use crate::base::error::{ConfigError, Meaning};
use crate::metrics::inception_score::softmax;
use anyhow::{Context, Result, ensure};
use ddpm_kernels::gemm::F32;
use ddpm_model::classifier::{Classifier, Size};
use ddpm_model::inception::{FEATURES, Inception, LOGITS, Resize};
use ddpm_model::interop::Tensors;
use ddpm_model::network::ImageShape;
use ddpm_model::parameters::Weights;
use ddpm_model::{checkpoint, tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

/// SHA-256 and bytes of the published weights, where they are, and where this program looks for them.
pub const INCEPTION_SHA256: &str = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2";
/// Length of the published weights' file in bytes.
pub const INCEPTION_BYTES: u64 = 95_628_359;
/// URL of the published weights' file.
pub const INCEPTION_URL: &str =
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth";
/// Default path of the weights' file, relative to the working directory.
pub const INCEPTION_PATH: &str = "data/pt_inception-2015-12-05-6726825d.pth";
/// SHA-256 of the same weights without the classifier, as tests/parity/inception_features.py writes them.
const INCEPTION_FEATURES_SHA256: &str = "1187e428a82651e94409755c27b92440b550fcfcd0a628d7ad802b646edce2ed";

/// Classes of the embedded networks.
const CLASSES: usize = 10;
/// Images that the classifiers see at once.
pub const BATCH: usize = 100;

/// The feature network that samples are scored with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FeatureSource {
    /// A small classifier that this project trained on the same data set; none for other images.
    Own {},
    /// InceptionV3 of 2015-12-05.
    Inception {
        /// Its weights: pytorch-fid's file, or the same tensors as safetensors. Without `fc.*` there is no inception score.
        #[serde(default = "inception_path")]
        weights: PathBuf,
        /// How images are resized for it.
        #[serde(default)]
        resize: Resize,
    },
}

impl Default for FeatureSource {
    fn default() -> FeatureSource {
        FeatureSource::Own {}
    }
}

fn inception_path() -> PathBuf {
    INCEPTION_PATH.into()
}

/// An embedded classifier, written by `ddpm classifier`; the description inside holds the recipe and the accuracy that it reached.
struct Embedded {
    name: &'static str,
    shape: ImageShape,
    size: Size,
    bytes: &'static [u8],
}

const EMBEDDED: [Embedded; 2] = [
    Embedded {
        name: "fashion-classifier",
        shape: ImageShape { height: 28, width: 28, channels: 1 },
        size: Size::SMALL,
        bytes: include_bytes!("../../data/fashion-mnist/classifier.safetensors"),
    },
    Embedded {
        name: "cifar10-classifier",
        shape: ImageShape { height: 32, width: 32, channels: 3 },
        size: Size::MEDIUM,
        bytes: include_bytes!("../../data/cifar10/classifier.safetensors"),
    },
];

enum Kind {
    Classifier(Box<Classifier>, Weights, ImageShape),
    Inception(Box<Inception<F32>>, Resize),
}

/// A feature network with its weights.
pub struct FeatureNet {
    kind: Kind,
    /// Its name, the digest of its weights and how images are prepared: for protocols.
    pub name: String,
}

/// What a network sees in images.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Numbers in a row of `rows`.
    pub dim: usize,
    /// Number of classes; 1 if the network does not classify.
    pub classes: usize,
    /// `[n, dim]`.
    pub rows: Vec<f32>,
    /// `[n, classes]`: class probabilities.
    pub probabilities: Vec<f32>,
}

impl FeatureSource {
    /// The network for images of `shape`; none where the project has none. An error where weights are missing or foreign.
    pub fn load(&self, shape: ImageShape) -> Result<Option<FeatureNet>> {
        match self {
            FeatureSource::Own {} => match EMBEDDED.iter().find(|e| e.shape == shape) {
                Some(embedded) => Ok(Some(embedded.load()?)),
                None => Ok(None),
            },
            FeatureSource::Inception { weights, resize } => Ok(Some(FeatureNet::inception(weights, *resize).needed()?)),
        }
    }

    /// The network's name for images of `shape`, or `none`: part of what a job's scores depend on.
    pub fn name_for(&self, shape: ImageShape) -> Result<String> {
        match self {
            FeatureSource::Own {} => Ok(EMBEDDED.iter().find(|e| e.shape == shape).map_or_else(|| "none".into(), Embedded::full_name)),
            FeatureSource::Inception { weights, resize } => Ok(inception_name(&read_weights(weights).needed()?, *resize)),
        }
    }

    /// Numbers that the network sees in an image of `shape`; none where the project has no network for it.
    pub fn dimensions(&self, shape: ImageShape) -> Option<usize> {
        match self {
            FeatureSource::Own {} => EMBEDDED.iter().find(|e| e.shape == shape).map(|e| e.size.channels[2]),
            FeatureSource::Inception { .. } => Some(FEATURES),
        }
    }

    /// Whether the network can see such images.
    pub fn check(&self, origin: &str, shape: ImageShape) -> Result<(), ConfigError> {
        match self {
            FeatureSource::Inception { .. } if shape.channels != 1 && shape.channels != 3 => {
                let problem = format!("expected images of 1 or 3 channels for inception, got {}", shape.channels);
                Err(ConfigError::new(origin, "evaluation.features", problem))
            }
            FeatureSource::Inception { .. } | FeatureSource::Own {} => Ok(()),
        }
    }
}

impl Embedded {
    fn full_name(&self) -> String {
        format!("{} {}", self.name, &sha256(self.bytes)[..8])
    }

    fn load(&self) -> Result<FeatureNet> {
        let classifier = Classifier::new(self.size, self.shape, CLASSES);
        let weights = checkpoint::read_weights(self.bytes, classifier.parameters()).context("the embedded feature network")?;
        Ok(FeatureNet { kind: Kind::Classifier(Box::new(classifier), weights, self.shape), name: self.full_name() })
    }
}

/// What the embedded networks say of themselves: name, and recipe and accuracy as JSON text.
pub fn descriptions() -> Result<Vec<(String, String)>> {
    EMBEDDED.iter().map(|e| Ok((e.full_name(), checkpoint::description(e.bytes)?.context("the embedded feature network")?))).collect()
}

fn read_weights(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| {
        format!(
            "{}: the Inception weights cannot be read. `ddpm data inception` fetches them; where there is no network, fetch {INCEPTION_URL} \
             elsewhere ({INCEPTION_BYTES} bytes, SHA-256 {INCEPTION_SHA256}) and put the file there",
            path.display()
        )
    })
}

fn inception_name(bytes: &[u8], resize: Resize) -> String {
    let digest = sha256(bytes);
    let which = match &digest[..] {
        INCEPTION_SHA256 | INCEPTION_FEATURES_SHA256 => "inception 2015-12-05",
        _ => "inception with other weights",
    };
    format!("{which} {}, {} resize", &digest[..8], resize.name())
}

impl FeatureNet {
    /// InceptionV3 with the weights at `path`.
    pub fn inception(path: &Path, resize: Resize) -> Result<FeatureNet> {
        let name = inception_name(&read_weights(path)?, resize);
        let net = Inception::new(Tensors::read(path)?).with_context(|| path.display().to_string())?;
        Ok(FeatureNet { kind: Kind::Inception(Box::new(net), resize), name })
    }

    /// Numbers of a feature.
    pub fn dim(&self) -> usize {
        match &self.kind {
            Kind::Classifier(classifier, ..) => classifier.features(),
            Kind::Inception(..) => FEATURES,
        }
    }

    /// Whether it has features of images of `shape`: the classifiers know one shape only.
    pub fn sees(&self, shape: ImageShape) -> bool {
        match &self.kind {
            Kind::Classifier(_, _, expected) => shape == *expected,
            Kind::Inception(..) => true,
        }
    }

    /// Features of 8-bit images. `tell` hears how many are done.
    pub fn see(&self, bytes: &[u8], shape: ImageShape, mut tell: impl FnMut(usize) -> Result<()>) -> Result<Features> {
        ensure!(
            !bytes.is_empty() && bytes.len().is_multiple_of(shape.len()),
            "features of {} bytes in images of {}",
            bytes.len(),
            shape.len()
        );
        let mut seen = Features { dim: self.dim(), ..Features::default() };
        for part in self.parts(bytes.chunks(BATCH * shape.len()).map(|part| Ok(Cow::Borrowed(part))), shape) {
            let part = part?;
            seen.classes = part.classes;
            seen.rows.extend(part.rows);
            seen.probabilities.extend(part.probabilities);
            tell(seen.n())?;
        }
        Ok(seen)
    }

    /// Features of images that come in parts, of [`BATCH`] where memory is to be spared.
    pub fn parts<'a>(
        &self,
        parts: impl Iterator<Item = Result<Cow<'a, [u8]>>>,
        shape: ImageShape,
    ) -> impl Iterator<Item = Result<Features>> {
        parts.map(move |part| self.see_part(&part?, shape))
    }

    fn see_part(&self, part: &[u8], shape: ImageShape) -> Result<Features> {
        let dim = self.dim();
        match &self.kind {
            Kind::Classifier(classifier, weights, expected) => {
                ensure!(self.sees(shape), "{} sees images of {expected}, got {shape}", self.name);
                let part = classifier.forward(weights, &crate::base::picture::from_bytes(part, shape)?, None)?;
                let probabilities = softmax(&numbers(&part.logits)?, CLASSES);
                Ok(Features { dim, classes: CLASSES, rows: numbers(&part.features)?, probabilities })
            }
            Kind::Inception(net, resize) => {
                let part = net.see(part, (shape.height, shape.width, shape.channels), *resize)?;
                let n = part.features.len() / FEATURES;
                let (classes, probabilities) = part.logits.map_or_else(|| (1, vec![1.0; n]), |l| (LOGITS, softmax(&l, LOGITS)));
                Ok(Features { dim, classes, rows: part.features, probabilities })
            }
        }
    }
}

fn numbers(tensor: &tensor::Tensor) -> tensor::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1::<f32>()
}

impl Features {
    /// Each image's features.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.rows.chunks(self.dim)
    }

    /// One image's features.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.rows[i * self.dim..(i + 1) * self.dim]
    }

    /// The first `n` images, where there are as many.
    pub fn first(&self, n: usize) -> Option<Features> {
        let part = |numbers: &[f32], width: usize| numbers.get(..n * width).map(<[f32]>::to_vec);
        let (rows, probabilities) = (part(&self.rows, self.dim)?, part(&self.probabilities, self.classes)?);
        Some(Features { dim: self.dim, classes: self.classes, rows, probabilities })
    }

    /// Number of images.
    pub fn n(&self) -> usize {
        self.rows.len() / self.dim
    }

    /// Whether every number is finite.
    pub fn are_finite(&self) -> bool {
        self.rows.iter().chain(&self.probabilities).all(|v| v.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever changes what images look like to a network changes its name: names keep scores and stored features apart.
    #[test]
    fn a_name_is_of_weights_and_resizing() {
        let names =
            [(&b"a"[..], Resize::TensorFlow1), (b"a", Resize::PyTorch), (b"b", Resize::TensorFlow1)].map(|(w, r)| inception_name(w, r));
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
        assert!(EMBEDDED.iter().all(|e| e.full_name().ends_with(&sha256(e.bytes)[..8])));
    }

    /// The embedded classifier tells Fashion-MNIST's held-out images apart as well as its description says, which was measured when it
    /// was trained: it gets them as it got them then.
    #[test]
    fn the_embedded_classifier_is_as_good_as_it_says() {
        let data = crate::base::data::DataSource::FashionMnist {}.load(&crate::base::data::Cache::none()).unwrap();
        let net = FeatureSource::Own {}.load(data.info.shape).unwrap().unwrap();
        let mut told = Vec::new();
        let tell = |n| {
            told.push(n);
            Ok(())
        };
        let seen = net.see(&data.held_out.all().unwrap(), data.info.shape, tell).unwrap();
        assert_eq!((seen.dim, seen.n(), seen.classes), (96, 1000, CLASSES));
        let parts = (1..=1000usize.div_ceil(BATCH)).map(|i| (i * BATCH).min(1000));
        assert!(told.iter().copied().eq(parts), "{told:?}");
        let best = |row: &[f32]| (0..CLASSES).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        let right =
            seen.probabilities.chunks(CLASSES).zip(&data.held_out.labels).filter(|(row, label)| best(row) == **label as usize).count();
        let text = &descriptions().unwrap()[0].1;
        let said = serde_json::from_str::<serde_json::Value>(text).unwrap()["accuracy"].as_f64().unwrap();
        // One image may lie between two classes.
        assert!((right as f64 / 1000.0 - said).abs() < 1.5e-3, "{right} of 1000, said {said}");
    }

    #[test]
    fn rows_are_the_images() {
        let features =
            Features { dim: 2, classes: 3, rows: (0..8).map(|v| v as f32).collect(), probabilities: (0..12).map(|v| v as f32).collect() };
        assert_eq!((features.n(), features.row(0), features.row(3)), (4, &[0.0, 1.0][..], &[6.0, 7.0][..]));
        assert_eq!(features.iter().last(), Some(features.row(3)));
        let first = features.first(3).unwrap();
        assert_eq!((first.dim, first.classes, first.n(), first.probabilities.len()), (2, 3, 3, 9));
        assert_eq!((&first.rows[..], &first.probabilities[..]), (&features.rows[..6], &features.probabilities[..9]));
        assert!(features.first(4).is_some() && features.first(5).is_none());
    }
}
