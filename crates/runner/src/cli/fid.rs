//! `ddpm fid`: scores between two sets of images, whatever they come as.

use super::cache::CacheArgs;
use crate::base::bar::Bar;
use crate::base::data::{Cache, DataSource, Images, arrays};
use crate::base::error::{ConfigError, Meaning};
use crate::base::exit::Exit;
use crate::base::npz::Npz;
use crate::base::text::{number, print};
use crate::experiment::SamplingConfig;
use crate::interop::{features, statistics};
use crate::metrics::Metric;
use crate::metrics::features::{BATCH, FeatureNet, FeatureSource, Features, INCEPTION_PATH};
use crate::metrics::frechet::Gaussian;
use crate::metrics::moments::Moments;
use crate::metrics::reference::{FEWEST, Reference, SplitFeatures};
use crate::metrics::score::{Effort, scores};
use crate::metrics::seen::{MOST_KEPT, Seen};
use crate::stages;
use crate::store::pretrained;
use crate::store::progress::Reporter;
use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use ddpm_model::inception::Resize;
use ddpm_model::network::ImageShape;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Fid {
    /// Samples: a folder or file of images (.npz with guided-diffusion's `arr_0` [n, H, W, C], .npy, .parquet, .tar, .mdb), fashion-mnist (its
    /// training images), a checkpoint or pretrained:fashion (which then makes them), statistics (.npz with `mu` and `sigma`), or features
    /// (.safetensors with a tensor `features` [n, d], and `probabilities` [n, classes] for the inception score)
    a: PathBuf,
    /// Reference: the same kinds
    b: PathBuf,
    /// Feature network
    #[arg(long, value_enum, default_value = "inception")]
    features: Net,
    /// Inception's weights: pytorch-fid's file, or the same tensors as safetensors
    #[arg(long, default_value = INCEPTION_PATH)]
    weights: PathBuf,
    /// How images are resized for Inception: `tensorflow1` as the authors and torch-fidelity, `pytorch` as pytorch-fid
    #[arg(long, value_parser = resize, default_value = "tensorflow1")]
    resize: Resize,
    /// Samples that a checkpoint makes
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    samples: u32,
    /// Also KID, precision, recall, FID at infinitely many samples, inception score, and the FID's standard error
    #[arg(long)]
    all: bool,
    /// Write A's statistics (.npz) or features (.safetensors)
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Net {
    /// InceptionV3 of 2015-12-05
    Inception,
    /// The project's own classifier for images of that size
    Own,
}

/// A file's extension in small letters; nothing where it has none.
fn extension(path: &Path) -> String {
    path.extension().map_or_else(String::new, |e| e.to_string_lossy().to_lowercase())
}

fn resize(name: &str) -> Result<Resize, String> {
    let all = [Resize::TensorFlow1, Resize::PyTorch];
    all.into_iter().find(|r| r.name() == name).ok_or_else(|| "expected tensorflow1 or pytorch".into())
}

/// One side of the comparison.
struct Side {
    moments: Moments,
    /// The features behind the moments, or some of them; none where statistics were given.
    features: Option<Features>,
    /// In which features, where that is known.
    net: Option<String>,
    /// How many images, where that is known.
    n: Option<usize>,
}

impl Fid {
    pub fn run(self) -> Result<Exit> {
        if let Some(path) = self.save.as_ref().filter(|path| !["npz", "safetensors"].contains(&extension(path).as_str())) {
            let problem = format!("expected a name that ends in .npz or .safetensors, got {}", path.display());
            return Err(ConfigError::new("--save", "", problem).into());
        }
        // Samples are compared as they are; of a large reference, and where only moments are needed, features are kept as far as they are used.
        let saved = self.save.as_ref().is_some_and(|path| extension(path) == "safetensors");
        let kept = if self.all || saved { usize::MAX } else { 0 };
        let (a, b) = (self.side(&self.a, kept).needed()?, self.side(&self.b, if self.all { MOST_KEPT } else { 0 }).needed()?);
        let (name_a, name_b) = (self.a.display(), self.b.display());
        let refused = |problem: String| Err(anyhow!(problem)).needed();
        if let (Some(one), Some(other)) = (&a.net, &b.net)
            && one != other
        {
            return refused(format!("{name_a} is in {one} features, {name_b} in {other}: they cannot be compared"));
        }
        let [d, other] = [&a, &b].map(|side| side.moments.mean().len());
        if d != other {
            return refused(format!("{name_a} has {d} features, {name_b} has {other}: they cannot be compared"));
        }
        let net = a.net.clone().or(b.net.clone()).unwrap_or_else(|| "unnamed".into());
        if let Some(path) = &self.save {
            match (extension(path).as_str(), &a.features) {
                ("npz", _) => statistics::write(path, &a.moments, &net)?,
                (_, Some(features)) => {
                    let seen = Seen { moments: a.moments.clone(), features: features.clone() };
                    features::write_features(path, &net, &seen)?
                }
                _ => return refused(format!("--save {}: {name_a} holds statistics, of which there are no features", path.display())),
            }
        }
        let gaussian = Gaussian::of(&b.moments).with_context(|| name_b.to_string()).needed()?;
        let fid = gaussian.distance(&a.moments).with_context(|| format!("{name_a} and {name_b}")).needed()?;
        let mut found = Vec::new();
        if self.all {
            for (name, side) in [(&name_a, &a), (&name_b, &b)] {
                let n = side.features.as_ref().map(Features::n);
                match n {
                    None => return refused(format!("--all needs features on both sides: {name} holds statistics")),
                    Some(n) if n < FEWEST => return refused(format!("{name}: expected at least {FEWEST} images for --all, got {n}")),
                    Some(_) => {}
                }
            }
            let (n, all) = (a.features.as_ref().map_or(0, Features::n), a.moments.n());
            if n < all {
                return refused(format!("--all needs the features of all samples: {name_a} holds those of {n} of {all}"));
            }
            let (samples, real) = (a.features.context("looked at")?, b.features.context("looked at")?);
            let what = format!("{net} features; {} images", samples.n());
            // There is one reference here: it stands for both splits, and is shown once.
            let reference = Reference {
                train: SplitFeatures { name: "reference", features: real, gaussian },
                held_out: SplitFeatures::of("reference", Seen::all(samples.clone()))?,
            };
            found = scores(&samples, &reference, &what, Effort::All, 0)?;
            found.retain(|(metric, _)| *metric != Metric::FidHeldOut);
        }
        if self.json {
            let all: serde_json::Map<_, _> = found.iter().map(|(m, v)| (m.name().to_string(), json!(v.as_ref().ok()))).collect();
            print(&format!("{}\n", serde_json::to_string_pretty(&json!({ "fid": fid, "features": net, "n": [a.n, b.n], "scores": all }))?));
            return Ok(Exit::Ok);
        }
        let count = |n: Option<usize>| n.map_or_else(|| "an unknown number".into(), |n| n.to_string());
        let counts = match (a.n, b.n) {
            (None, None) => String::new(),
            (n, other) => format!(", {} against {} images", count(n), count(other)),
        };
        print(&format!("FID {fid:.6} ({net} features{counts})\n"));
        for (metric, score) in found {
            match score {
                Ok(m) => print(&format!("{} {}\n", metric.heading(), number(m.value, m.std_err, metric.digits() + 2))),
                Err(reason) => print(&format!("{} – {reason}\n", metric.heading())),
            }
        }
        Ok(Exit::Ok)
    }

    fn net(&self, shape: ImageShape) -> Result<FeatureNet> {
        let source = match self.features {
            Net::Inception => FeatureSource::Inception { weights: self.weights.clone(), resize: self.resize },
            Net::Own => FeatureSource::Own {},
        };
        source
            .load(shape)?
            .with_context(|| format!("no own features for {}x{} images of {} channels", shape.height, shape.width, shape.channels))
    }

    /// One side; of images, the features of at most `kept` are.
    fn side(&self, path: &Path, kept: usize) -> Result<Side> {
        let named = || path.display().to_string();
        if pretrained(path)?.is_some() {
            return self.of_checkpoint(path, kept);
        }
        // The one set that is known by its name alone.
        let embedded = DataSource::FashionMnist {};
        if path.as_os_str() == embedded.kind() && !path.exists() {
            return self.of_set(path, &embedded, kept);
        }
        ensure!(path.exists(), "{}: is not there", path.display());
        if extension(path) == "npz" {
            let mut file = Npz::open(path).with_context(named)?;
            if statistics::are_in(&file) {
                let stored = statistics::stored(&mut file).with_context(named)?;
                return Ok(Side { moments: stored.moments, features: None, net: stored.features, n: stored.n });
            }
            let found = || file.names().join(", ");
            ensure!(
                arrays::are_in(&file),
                "{}: expected arrays mu and sigma (statistics) or arr_0 (images), found {}",
                path.display(),
                found()
            );
        }
        if let Some(set) = DataSource::at(path) {
            return self.of_set(path, &set, kept);
        }
        match extension(path).as_str() {
            "safetensors" => match features::read_features(path)? {
                Some((seen, net)) => of_seen(seen, net).with_context(named),
                None => self.of_checkpoint(path, kept),
            },
            _ => bail!("{}: expected a folder, or a file that ends in .npz, .npy, .parquet, .tar, .mdb or .safetensors", path.display()),
        }
    }

    /// Of the images to train on.
    fn of_set(&self, path: &Path, set: &DataSource, kept: usize) -> Result<Side> {
        let data = set.load(&self.cache.or(Cache::none()))?;
        if !data.left_out.is_empty() {
            eprintln!("{}: left out: {}", path.display(), data.left_out.join(", "));
        }
        self.of_images(&data.train, kept).with_context(|| path.display().to_string())
    }

    /// Of the samples that a checkpoint makes.
    fn of_checkpoint(&self, path: &Path, kept: usize) -> Result<Side> {
        let mut opened = super::checkpoint::open(path, &[])?;
        let (config, seed) = (opened.meta.config.clone(), opened.meta.seed);
        let sampling = SamplingConfig { count: self.samples as usize, ..config.sampling.clone() };
        let (made, _) = stages::sample(&mut opened.engine, config.diffusion(), &sampling, seed, &[], &mut Reporter::silent())?;
        if let Some(problem) = made.problem() {
            bail!("{}: {problem}", path.display());
        }
        self.of_images(&Images::new(opened.shape, made.bytes, Vec::new()), kept).with_context(|| path.display().to_string())
    }

    fn of_images(&self, images: &Images, kept: usize) -> Result<Side> {
        let (net, mut bar) = (self.net(images.shape)?, Bar::new("seen", images.len() as u64));
        ensure!(!images.is_empty(), "expected at least 2 images, got 0");
        let tell = |done| {
            bar.tell(done as u64);
            Ok(())
        };
        let seen = Seen::of(&net, (images.len(), kept), images.chunks(BATCH), images.shape, tell)?;
        drop(bar);
        of_seen(seen, Some(net.name))
    }
}

fn of_seen(Seen { moments, features }: Seen, net: Option<String>) -> Result<Side> {
    ensure!(features.are_finite() && moments.are_finite(), "features are not finite");
    let n = moments.n();
    ensure!(n > 1, "expected at least 2 images, got {n}");
    Ok(Side { moments, features: Some(features), net, n: Some(n) })
}
