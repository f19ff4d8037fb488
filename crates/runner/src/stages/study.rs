//! Studies of one trained network: those of Section 4, which are pictures and scores along the reverse process.

use super::reference;
use super::sample::{keep, sample, stops};
use crate::base::data::{Dataset, Images};
use crate::base::{atomic, picture, stop};
use crate::experiment::{Job, MIXTURES, Study};
use crate::metrics::features::FeatureNet;
use crate::metrics::score::{Effort, scores};
use crate::metrics::weights_in_words;
use crate::store::progress::Reporter;
use crate::store::{Findings, Labels, ScoresAt, Shown, Store};
use anyhow::Result;
use ddpm_core::Sampler;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::network::ImageShape;
use ddpm_model::sampling::Walk;
use ddpm_model::tensor::{Device, Tensor};
use ddpm_model::{Diffusion, Engine};

/// Samples shown along the reverse process.
const SHOWN: usize = 8;

/// What a study works with.
pub struct StudyContext<'a> {
    pub store: &'a Store,
    pub job: &'a Job,
    pub data: &'a Dataset,
    pub engine: &'a mut Engine,
    pub net: Option<&'a FeatureNet>,
    pub reporter: &'a mut Reporter,
}

/// What a study of the score looks at.
pub(super) struct Asked<'a> {
    /// The steps.
    pub steps: Vec<usize>,
    /// Whose walks.
    pub samplers: &'a [Sampler],
    /// Samples whose ways are kept.
    pub paths: usize,
    /// Samples whose divergence is measured.
    pub samples: usize,
}

/// Images in rows, to become a picture, and what they are.
pub(super) struct Sheet {
    pub rows: usize,
    pub columns: usize,
    pub bytes: Vec<u8>,
    pub labels: Labels,
}

/// Names of so many columns or rows: `first`, then what `other` says of 1, 2, and so on.
pub(super) fn names(first: &str, n: usize, other: impl Fn(usize) -> String) -> Vec<String> {
    [first.to_string()].into_iter().chain((1..n).map(other)).collect()
}

impl<'a> StudyContext<'a> {
    /// Does `study` and leaves its pictures in the job's folder.
    pub fn run(&mut self, study: &Study) -> Result<Findings> {
        match study {
            Study::ReverseTime { stops } => self.reverse_time(*stops),
            Study::SharedLatents { at, images } => self.shared_latents(at, *images),
            Study::Interpolation { at, pairs } => self.interpolation(at, *pairs),
            Study::Anatomy { stops, images } => self.anatomy(*stops, *images),
            Study::ScoreField { at, samplers, paths, samples } => {
                let mut steps: Vec<usize> = at.iter().map(|share| self.step(*share).max(1)).collect();
                steps.sort_unstable_by(|a, b| b.cmp(a));
                steps.dedup();
                self.score_field(&Asked { steps, samplers, paths: *paths, samples: *samples })
            }
            Study::Neighbours { samples, neighbours, crop } => self.neighbours(*samples, *neighbours, *crop),
        }
    }

    fn shape(&self) -> ImageShape {
        self.data.info.shape
    }

    fn diffusion(&self) -> &'a Diffusion {
        self.job.config.diffusion()
    }

    /// The step at a share of T.
    fn step(&self, share: f64) -> usize {
        (share * self.job.config.diffusion.timesteps as f64).round() as usize
    }

    pub(super) fn show(&self, file: &str, caption: String, sheet: Sheet) -> Result<Shown> {
        assert_eq!(sheet.bytes.len(), sheet.rows * sheet.columns * self.shape().len(), "a full sheet");
        let picture = picture::grid(&sheet.bytes, self.shape(), sheet.columns, picture::scale_for(self.shape()));
        atomic::write(&self.store.run(&self.job.id).join(file), &picture::png(&picture)?)?;
        Ok(Shown { file: file.into(), caption, labels: sheet.labels })
    }

    fn reverse_time(&mut self, n: usize) -> Result<Findings> {
        let (diffusion, config, shape) = (self.diffusion(), &self.job.config.sampling, self.shape());
        let steps = stops(config, diffusion, n)?;
        let (samples, predicted) = sample(self.engine, diffusion, config, self.job.seed, &steps, self.reporter)?;
        let mut shown = Vec::new();
        let rows = SHOWN.min(config.count);
        for row in 0..rows {
            predicted.predictions.iter().for_each(|all| shown.extend_from_slice(&all[row * shape.len()..(row + 1) * shape.len()]));
        }
        let columns: Vec<String> = predicted.steps.iter().map(usize::to_string).collect();
        let caption = format!("x̂₀ predicted at {} steps of the reverse process (Figure 6).", predicted.steps.len());
        let labels = Labels { corner: "t =".into(), columns, ..Labels::default() };
        let sheet = Sheet { rows, columns: predicted.steps.len(), bytes: shown, labels };
        let mut findings = Findings { pictures: vec![self.show("predictions.png", caption, sheet)?], ..Findings::default() };
        match (self.net, samples.problem()) {
            (None, _) => findings.blank = Some("no feature network for these images".into()),
            (_, Some(problem)) => findings.blank = Some(problem),
            (Some(net), None) => match reference::load(Some(self.store), self.data, net, self.reporter)? {
                Err(reason) => findings.blank = Some(reason),
                Ok(reference) => {
                    let weights = weights_in_words(self.job.config.training.optimiser.ema_decay);
                    let what = format!("{} features; {} predictions of x0, {weights}, 8-bit", net.name, config.count);
                    for (t, bytes) in predicted.steps.iter().zip(&predicted.predictions) {
                        let features = net.see(bytes, shape, |_| stop::check())?;
                        let found = scores(&features, &reference, &what, Effort::Quick, self.job.seed)?;
                        let metrics = found.into_iter().filter_map(|(m, v)| Some((m, v.ok()?))).collect();
                        findings.scores.push(ScoresAt { t: *t, metrics });
                    }
                }
            },
        }
        // The walk has made the samples that the cell's scores need.
        if !self.store.samples(&self.job.sampling_id).exists() {
            keep(self.store, self.job, self.data, samples)?;
        }
        Ok(findings)
    }

    fn shared_latents(&mut self, at: &[f64], images: usize) -> Result<Findings> {
        let (diffusion, seed, config) = (self.diffusion(), self.job.seed, &self.job.config.sampling);
        let asked: Vec<usize> = at.iter().map(|share| self.step(*share)).collect();
        let mut walk = Walk::new(self.engine, diffusion, &config.sampler)?;
        let steps: Vec<usize> = asked.into_iter().map(|t| walk.visited(t)).collect();
        let (mut bytes, end) = (Vec::new(), walk.nfe());
        for t in &steps {
            let parting = walk.index_at(*t);
            // One chain for all, with the noise of image 0; then each with its own. Image 0 is the same in every row.
            let start = walk.noise(seed, None, 0, 1)?;
            let shared = walk.walk(start, 0..parting, &|walk, place| walk.noise(seed, Some(place), 0, 1), &mut |_| {})?;
            bytes.extend(picture::to_bytes(&shared)?);
            let many = shared.repeat((images, 1, 1, 1))?;
            let own = walk.walk(many, parting..end, &|walk, place| walk.noise(seed, Some(place), 0, images), &mut |_| {})?;
            bytes.extend(picture::to_bytes(&own)?);
        }
        let rows = steps.iter().map(|t| format!("t = {t}")).collect();
        let labels = Labels { columns: names("x_t", images + 1, |i| i.to_string()), rows, ..Labels::default() };
        let sheet = Sheet { rows: steps.len(), columns: images + 1, bytes, labels };
        let caption = "The x_t that all samples of a row share, and the samples (Figure 7).".to_string();
        Ok(Findings { pictures: vec![self.show("shared-latents.png", caption, sheet)?], ..Findings::default() })
    }

    fn interpolation(&mut self, at: &[f64], pairs: usize) -> Result<Findings> {
        let (diffusion, seed) = (self.diffusion(), self.job.seed);
        let images = if self.data.held_out.len() >= 2 * pairs { &self.data.held_out } else { &self.data.train };
        let pairs = pairs.min(images.len() / 2);
        let asked: Vec<usize> = at.iter().map(|share| self.step(*share)).collect();
        let mut walk = Walk::new(self.engine, diffusion, &self.job.config.sampling.sampler)?;
        let steps: Vec<usize> = asked.into_iter().map(|t| walk.visited(t)).collect();
        let mut bytes = Vec::new();
        for pair in 0..pairs {
            for t in &steps {
                let mixed = mixtures(images, diffusion, seed, pair, *t)?;
                let decoded = match t {
                    0 => mixed,
                    t => {
                        // All mixtures of a pair are decoded with the same noise.
                        let n = mixed.dim(0)?;
                        let noise = |walk: &Walk, place| Ok(walk.noise(seed, Some(place), pair, 1)?.repeat((n, 1, 1, 1))?);
                        let places = walk.index_at(*t)..walk.nfe();
                        walk.walk(mixed, places, &noise, &mut |_| {})?
                    }
                };
                bytes.extend_from_slice(&images.image(2 * pair)?);
                bytes.extend(picture::to_bytes(&decoded)?);
                bytes.extend_from_slice(&images.image(2 * pair + 1)?);
            }
        }
        let row = |pair: usize, t: &usize| match pairs {
            1 => format!("t = {t}"),
            _ => format!("pair {}, t = {t}", pair + 1),
        };
        let labels = Labels {
            corner: "λ =".into(),
            columns: names("source", MIXTURES + 4, |i| if i > MIXTURES + 2 { "source".into() } else { lambda(i - 1).to_string() }),
            rows: (0..pairs).flat_map(|pair| steps.iter().map(move |t| row(pair, t))).collect(),
            notes: Vec::new(),
        };
        let sheet = Sheet { rows: pairs * steps.len(), columns: MIXTURES + 4, bytes, labels };
        let spelled: Vec<String> = steps.iter().map(usize::to_string).collect();
        let caption = format!(
            "Two images on the outside and decoded mixtures of their x_t at t = {}, (1 − λ) x_t + λ x_t'; the noise of encoder and decoder is \
             the same for all λ (Figures 8, 9).",
            spelled.join(", ")
        );
        let file = format!("interpolation-{}.png", if steps.len() > 1 { "coarse-to-fine".into() } else { spelled.join("-") });
        Ok(Findings { pictures: vec![self.show(&file, caption, sheet)?], ..Findings::default() })
    }
}

/// The share of the second image in mixture number `i` of a pair.
fn lambda(i: usize) -> f64 {
    i as f64 / (MIXTURES + 1) as f64
}

/// Mixtures of a pair's x_t, (1 - λ) x_t + λ x_t' for λ = 0, 0.1, ..., 1: `[11, H, W, C]`. The encoder's noise is one for all λ and t.
fn mixtures(images: &Images, diffusion: &Diffusion, seed: u64, pair: usize, t: usize) -> Result<Tensor> {
    let mut both = images.tensor(&[2 * pair, 2 * pair + 1], |_| false)?;
    if t > 0 {
        let eps = Random::new(seed, Stream::Encode).normals(0, 2 * pair, 2, images.shape.len());
        both = diffusion.batch(both.clone(), Tensor::from_vec(eps, both.dims(), &Device::Cpu)?, vec![t; 2])?.xt;
    }
    let (a, b) = (both.narrow(0, 0, 1)?, both.narrow(0, 1, 1)?);
    let mixture = |i: usize| {
        let lambda = lambda(i);
        a.affine(1.0 - lambda, 0.0)? + b.affine(lambda, 0.0)?
    };
    Ok(Tensor::cat(&(0..MIXTURES + 2).map(mixture).collect::<ddpm_model::tensor::Result<Vec<_>>>()?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;
    use ddpm_model::optimiser::Training;

    /// A study that draws all samples stores them for the scores if there are none yet; existing ones are kept.
    #[test]
    fn a_walk_leaves_its_samples() {
        let (dir, data) = (tempfile::tempdir().unwrap(), few("d", 9, 1));
        let job = tiny(&data, &["timesteps=4", "beta_scale=as-given", "sampling.count=10"]);
        let unet = job.config.unet(data.info.shape);
        let training = Training::new(unet.parameters(), job.config.training.optimiser.clone(), 7, Stream::Init);
        let mut engine = Engine::with_weights(&unet, job.config.training.precision, training.weights().to_vec()).unwrap();
        let store = Store::new(dir.path());
        let mut run = |store: &Store| {
            let reporter = &mut Reporter::silent();
            let mut setting = StudyContext { store, job: &job, data: &data, engine: &mut engine, net: None, reporter };
            setting.run(&Study::ReverseTime { stops: 2 }).unwrap()
        };
        let findings = run(&store);
        assert!(findings.scores.is_empty() && findings.blank.is_some_and(|why| why.contains("no feature network")));
        let path = store.samples(&job.sampling_id);
        assert!(path.exists());
        std::fs::write(&path, b"theirs").unwrap();
        run(&store);
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
    }
}
