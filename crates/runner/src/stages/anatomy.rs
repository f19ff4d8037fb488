//! What the parts of a trained network do: skip connections and the time embedding by what it costs to take them away, frequencies by their
//! power.

use super::sample::stops;
use super::study::StudyContext;
use crate::base::data::Images;
use crate::base::stop;
use crate::experiment::Job;
use crate::metrics::spectrum::Spectrum;
use crate::store::progress::Stage;
use crate::store::{Anatomy, Findings, ShiftCourse, SkipErrors, Spectra, ToldErrors, Way};
use anyhow::Result;
use ddpm_core::sampler::even_steps;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::anatomy::{Change, Replacement, Shift};
use ddpm_model::network::{Skip, TimeEmbedding};
use ddpm_model::parameters::Weights;
use ddpm_model::sampling::{Walk, WalkStep};
use ddpm_model::tensor::{Device, Tensor};
use ddpm_model::{Diffusion, Network, UNet};
use rayon::prelude::*;
use std::ops::Range;

/// A trained network and the images whose noise it is to predict.
struct Subject<'a> {
    job: &'a Job,
    unet: UNet,
    weights: Weights,
    images: &'a Images,
    /// Of which split they are.
    split: &'static str,
    spectrum: Spectrum,
    /// Images that are seen together.
    chunks: Vec<Range<usize>>,
}

/// Errors of the predicted eps, band by band, and the shifts that were seen: means over images.
struct Seen {
    errors: Vec<f64>,
    shifts: Vec<Shift>,
}

/// Passes over all images for the changes of a network with so many skip connections, looked at at `n` steps: at each step one as it is, two
/// for each connection, and one for each other step that is told in each way.
pub fn passes(network: &Network, skips: usize, n: usize) -> usize {
    n * (1 + 2 * skips + ways(network).len() * n.saturating_sub(1))
}

/// In which ways a network can be told a wrong t.
fn ways(network: &Network) -> &'static [Way] {
    match network.time_embedding {
        TimeEmbedding::EveryBlock => &[Way::Down, Way::Up, Way::Both],
        TimeEmbedding::InputOnly => &[Way::Both],
        TimeEmbedding::None => &[],
    }
}

impl StudyContext<'_> {
    pub(super) fn anatomy(&mut self, n: usize, images: usize) -> Result<Findings> {
        let (job, data) = (self.job, self.data);
        let (split, source) = if data.held_out.len() >= images { ("held-out", &data.held_out) } else { ("training", &data.train) };
        let images = images.min(source.len());
        let unet = job.config.unet(data.info.shape);
        let weights = Weights::from_numbers(unet.parameters(), self.engine.weights())?;
        let chunks = chunks(images, job.config.evaluation.batch);
        let subject = Subject { job, unet, weights, images: source, split, spectrum: Spectrum::new(data.info.shape), chunks };
        let spectra = Some(self.spectra(&subject, n)?).filter(Spectra::is_finite);
        let anatomy = Some(self.changes(&subject, n, spectra)?).filter(Anatomy::is_finite);
        let blank = match &anatomy {
            None => Some("errors of the changed network are not finite"),
            Some(found) if found.spectra.is_none() => Some("the reverse process left every range, so that there are no spectra"),
            Some(_) => None,
        };
        Ok(Findings { anatomy, blank: blank.map(Into::into), ..Findings::default() })
    }

    /// What is lost by each change, at `n` steps.
    fn changes(&mut self, subject: &Subject, n: usize, spectra: Option<Spectra>) -> Result<Anatomy> {
        let process = &subject.diffusion().process;
        let mut steps = even_steps(process.timesteps(), n.min(process.timesteps()))?;
        // Where nothing of x_0 is left, an error of eps says nothing of the network.
        steps.retain(|t| process.alpha_bar(*t) > 0.0);
        let (skips, images, network) = (subject.unet.skips(), subject.count(), subject.unet.network());
        let (mut done, total) = (0, (passes(network, skips.len(), steps.len()) * images) as u64);
        self.reporter.begin();
        let mut see = |t: usize, skip, down, up| {
            let seen = subject.see(t, skip, (down, up))?;
            done += images as u64;
            self.reporter.tell(Stage::Evaluate, done, total, done, None)?;
            Ok::<_, anyhow::Error>(seen)
        };
        let empty = |(_, skip): &(usize, Skip)| SkipErrors {
            from: skip.from.clone(),
            to: skip.to.clone(),
            height: skip.height,
            width: skip.width,
            zeros: Vec::new(),
            next_image: Vec::new(),
        };
        let mut errors: Vec<SkipErrors> = skips.iter().map(empty).collect();
        let mut told: Vec<ToldErrors> = ways(network).iter().map(|way| ToldErrors { way: *way, errors: Vec::new() }).collect();
        let (mut intact, mut shifts) = (Vec::new(), Vec::<ShiftCourse>::new());
        for t in &steps {
            let plain = see(*t, None, *t, *t)?;
            for ((place, _), errors) in skips.iter().zip(&mut errors) {
                errors.zeros.push(see(*t, Some((*place, Replacement::Zeros)), *t, *t)?.errors);
                errors.next_image.push(see(*t, Some((*place, Replacement::NextImage)), *t, *t)?.errors);
            }
            for ToldErrors { way, errors } in &mut told {
                let mut row = Vec::new();
                for other in &steps {
                    let (down, up) = match way {
                        Way::Down => (*other, *t),
                        Way::Up => (*t, *other),
                        Way::Both => (*other, *other),
                    };
                    let errors = if other == t { plain.errors.clone() } else { see(*t, None, down, up)?.errors };
                    row.push(errors.iter().sum());
                }
                errors.push(row);
            }
            intact.push(plain.errors);
            for (i, shift) in plain.shifts.into_iter().enumerate() {
                if shifts.len() == i {
                    shifts.push(ShiftCourse { block: shift.block, size: Vec::new(), direction: Vec::new() });
                }
                shifts[i].size.push(shift.size);
                shifts[i].direction.push(shift.direction);
            }
        }
        let (bands, split) = (subject.spectrum.edges(), subject.split.to_string());
        Ok(Anatomy { images, split, steps, bands, intact, skips: errors, told, shifts, spectra })
    }

    /// Power along the reverse process, from the noise of the cell's samples, at `n` steps of its sampler; and of the images.
    fn spectra(&mut self, subject: &Subject, n: usize) -> Result<Spectra> {
        let (diffusion, config, seed) = (subject.diffusion(), &subject.job.config.sampling, subject.job.seed);
        let (steps, images) = (stops(config, diffusion, n)?, subject.count());
        let mut sums = vec![(Vec::new(), Vec::new()); steps.len()];
        self.reporter.begin();
        let mut walk = Walk::new(self.engine, diffusion, &config.sampler)?;
        for chunk in &subject.chunks {
            let (first, count) = (chunk.start, chunk.len());
            let start = walk.noise(seed, None, first, count)?;
            let mut seen: Vec<Option<(Tensor, Tensor)>> = vec![None; steps.len()];
            let mut wrong = None;
            let mut look = |at: &WalkStep| {
                if let Some(place) = steps.iter().position(|t| *t == at.t) {
                    // Of a step that is visited again, the last visit counts.
                    match diffusion.implied_eps(&vec![at.t; count], at.xt, at.output) {
                        Ok(eps) => seen[place] = Some((at.x0.clone(), eps)),
                        Err(error) => wrong = Some(error),
                    }
                }
            };
            walk.walk(start, 0..walk.nfe(), &|walk, place| walk.noise(seed, Some(place), first, count), &mut look)?;
            wrong.map_or(Ok(()), Err)?;
            for (found, sums) in seen.iter().zip(&mut sums) {
                if let Some((x0, eps)) = found {
                    add(&mut sums.0, &subject.parts(x0)?);
                    add(&mut sums.1, &subject.parts(eps)?);
                }
            }
            self.reporter.tell(Stage::Sample, chunk.end as u64, images as u64, (chunk.end * walk.nfe()) as u64, None)?;
        }
        let mut data = Vec::new();
        for chunk in &subject.chunks {
            add(&mut data, &subject.parts(&subject.images.tensor(&chunk.clone().collect::<Vec<_>>(), |_| false)?)?);
        }
        let mean = |sum: &Vec<f64>| subject.spectrum.densities(&sum.iter().map(|v| v / images as f64).collect::<Vec<_>>());
        Ok(Spectra {
            steps,
            data: mean(&data),
            x0: sums.iter().map(|(x0, _)| mean(x0)).collect(),
            eps: sums.iter().map(|(_, eps)| mean(eps)).collect(),
        })
    }
}

impl<'a> Subject<'a> {
    fn diffusion(&self) -> &'a Diffusion {
        self.job.config.diffusion()
    }

    /// How many images are looked at.
    fn count(&self) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.end)
    }

    /// All images at step `t` with one change. The noise of an image at a step is always the same.
    fn see(&self, t: usize, skip: Option<(usize, Replacement)>, told: (usize, usize)) -> Result<Seen> {
        let (diffusion, shape) = (self.diffusion(), self.images.shape);
        let random = Random::new(self.job.seed, Stream::Evaluation);
        let images = self.count() as f64;
        let mut whole = Seen { errors: Vec::new(), shifts: Vec::new() };
        for chunk in &self.chunks {
            stop::check()?;
            let n = chunk.len();
            let x0 = self.images.tensor(&chunk.clone().collect::<Vec<_>>(), |_| false)?;
            let eps = Tensor::from_vec(random.normals(t as u64, chunk.start, n, shape.len()), x0.dims(), &Device::Cpu)?;
            let batch = diffusion.batch(x0, eps, vec![t; n])?;
            let (told_down, told_up) = (vec![told.0; n], vec![told.1; n]);
            let (output, shifts) =
                self.unet.dissect(&self.weights, &batch.xt, Change { skip, told_down: &told_down, told_up: &told_up })?;
            // The output is read as what it is at the true step, whatever the network was told.
            let predicted = diffusion.implied_eps(&batch.t, &batch.xt, &output)?;
            add(&mut whole.errors, &self.parts(&(predicted - &batch.eps)?)?);
            let share = n as f64 / images;
            for (i, shift) in shifts.into_iter().enumerate() {
                match whole.shifts.get_mut(i) {
                    Some(sum) => {
                        sum.size += share * shift.size;
                        sum.direction += share * shift.direction;
                    }
                    None => whole.shifts.push(Shift { size: share * shift.size, direction: share * shift.direction, ..shift }),
                }
            }
        }
        whole.errors.iter_mut().for_each(|sum| *sum /= images);
        Ok(whole)
    }

    /// What each band adds to the mean square, summed over images `[n, H, W, C]`.
    fn parts(&self, images: &Tensor) -> Result<Vec<f64>> {
        let numbers = images.flatten_all()?.to_vec1::<f32>()?;
        let each: Vec<Vec<f64>> = numbers.par_chunks(self.images.shape.len()).map(|image| self.spectrum.parts(image)).collect();
        let mut sum = Vec::new();
        each.iter().for_each(|parts| add(&mut sum, parts));
        Ok(sum)
    }
}

fn add(sum: &mut Vec<f64>, parts: &[f64]) {
    sum.resize(parts.len(), 0.0);
    sum.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
}

/// So many images in parts of a batch at most; but two at least, for a connection to be given another image's features.
fn chunks(images: usize, batch: usize) -> Vec<Range<usize>> {
    let n = images.div_ceil(batch.max(2)).min(images / 2).max(1);
    (0..n).map(|i| images * i / n..images * (i + 1) / n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{Study, tiny};
    use crate::stages::evaluate::{BoundOf, bound};
    use crate::store::Store;
    use crate::store::progress::Reporter;
    use ddpm_core::likelihood::DecoderCdf;
    use ddpm_model::Engine;
    use ddpm_model::optimiser::Training;

    const SETS: [&str; 6] = [
        "timesteps=6",
        "beta_scale=as-given",
        "sampling.count=10",
        "training.optimiser.learning_rate=0.01",
        "evaluation.batch=3",
        "network.dropout=0.1",
    ];

    /// What a study of a network with random weights finds, and the terms of the bound on the same images.
    fn found(sets: &[&str], stops: usize, images: usize) -> (Anatomy, Vec<Option<f64>>) {
        let (dir, data) = (tempfile::tempdir().unwrap(), few("d", 20, 8));
        let job = tiny(&data, &[&SETS, sets].concat());
        let unet = job.config.unet(data.info.shape);
        let start = Training::new(unet.parameters(), job.config.training.optimiser.clone(), 7, Stream::Init);
        // Away from the start, where the last layer is all but 0.
        let noise = Random::new(3, Stream::Evaluation).normals(0, 0, 1, unet.parameter_count());
        let weights: Vec<f32> = start.weights().iter().zip(noise).map(|(w, z)| w + 0.05 * z).collect();
        let mut engine = Engine::with_weights(&unet, job.config.training.precision, weights).unwrap();
        // Three are held out; where more are asked for, training images are looked at.
        let source = if images > 3 { &data.train } else { &data.held_out };
        let of = BoundOf { images: source, n: images, batch: 64, decoder: DecoderCdf::Tanh, split: "held-out", weights: "" };
        let terms = bound(&mut engine, job.config.diffusion(), &of, job.seed, &mut Reporter::silent()).unwrap().1.terms;
        let (store, reporter) = (Store::new(dir.path()), &mut Reporter::silent());
        let mut context = StudyContext { store: &store, job: &job, data: &data, engine: &mut engine, net: None, reporter };
        let findings = context.run(&Study::Anatomy { stops, images }).unwrap();
        assert_eq!((findings.blank, findings.pictures.len()), (None, 0));
        (findings.anatomy.unwrap(), terms.iter().map(|term| term.mse_eps).collect())
    }

    /// With nothing changed the error is that of the bound's terms, measured by the engine on the same images and noise.
    #[test]
    fn the_intact_networks_error_is_that_of_the_bound() {
        for prediction in ["eps", "x0", "mu", "v"] {
            let (found, terms) = found(&[&format!("prediction={prediction}")], 3, if prediction == "v" { 3 } else { 7 });
            assert_eq!((&found.steps[..], &found.bands[..]), (&[1, 4, 6][..], &[0.0, 1.0, 2.0][..]));
            for (t, bands) in found.steps.iter().zip(&found.intact) {
                let (here, there) = (bands.iter().sum::<f64>(), terms[t - 1].unwrap());
                assert!((here - there).abs() < 1e-4 * there, "{prediction}, t = {t}: {here} {there}");
            }
            // Told the truth, the network is intact; told another step, it errs by another number.
            let tables: Vec<&Vec<Vec<f64>>> = found.told.iter().map(|told| &told.errors).collect();
            assert_eq!(found.told.iter().map(|told| told.way).collect::<Vec<_>>(), [Way::Down, Way::Up, Way::Both]);
            for (table, step) in tables.iter().flat_map(|table| (0..3).map(move |step| (table, step))) {
                assert_eq!(table[step][step], found.intact[step].iter().sum::<f64>());
                assert!((0..3).all(|other| other == step || table[step][other] != table[step][step]), "{prediction}");
            }
            assert!((0..3).all(|step| tables[0][step][(step + 1) % 3] != tables[1][step][(step + 1) % 3]));
            // One level of one block: the first layer's connection and the block's.
            let skips: Vec<(&str, &str)> = found.skips.iter().map(|skip| (&skip.from[..], &skip.to[..])).collect();
            assert_eq!(skips, [("stem", "up.0.1"), ("down.0.0", "up.0.0")]);
            let blocks: Vec<&str> = found.shifts.iter().map(|shift| &shift.block[..]).collect();
            assert_eq!(blocks, ["down.0.0", "middle.0", "middle.1", "up.0.0", "up.0.1"]);
            assert!(found.shifts.iter().all(|shift| shift.size.len() == 3 && shift.direction.len() == 3 && shift.size[0] > 0.0));
            let spectra = found.spectra.unwrap();
            assert_eq!((spectra.x0.len(), spectra.eps.len(), &spectra.steps[..]), (3, 3, &[6, 4, 1][..]));
            assert_eq!(found.split, if prediction == "v" { "held-out" } else { "training" });
        }
    }

    /// Where t is told nowhere or at the input alone, what hears nothing is not asked; at a step without signal an error says nothing.
    #[test]
    fn what_does_not_exist_is_left_out() {
        let (blind, _) = found(&["time_embedding=none", "skips=none"], 2, 4);
        assert_eq!((blind.told, blind.shifts, blind.skips), (vec![], vec![], vec![]));
        let (input, _) = found(&["time_embedding=input-only"], 2, 4);
        assert_eq!(input.told.iter().map(|told| told.way).collect::<Vec<_>>(), [Way::Both]);
        assert_ne!(input.told[0].errors[0][0], input.told[0].errors[0][1]);
        assert_eq!(input.shifts.iter().map(|shift| &shift.block[..]).collect::<Vec<_>>(), ["stem"]);
        let (jsd, _) = found(&["prediction=x0", "schedule=jsd"], 3, 4);
        assert_eq!((jsd.steps, jsd.spectra.unwrap().steps), (vec![1, 4], vec![6, 4, 1]));
    }

    /// All images once, each part at least two.
    #[test]
    fn parts_are_of_two_images_at_least() {
        for (images, batch) in [(2, 1), (3, 2), (7, 3), (64, 100), (64, 7), (5, 1)] {
            let parts = chunks(images, batch);
            assert!(parts.iter().all(|part| (2..=batch.max(3)).contains(&part.len())), "{parts:?}");
            assert_eq!(parts.into_iter().flatten().collect::<Vec<_>>(), (0..images).collect::<Vec<_>>());
        }
    }
}
