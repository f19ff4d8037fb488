//! The variational bound on real images, as the authors evaluate it: every step, one Monte-Carlo sample of noise for each.

use crate::base::data::Images;
use crate::metrics::Measured;
use crate::store::progress::{Reporter, Stage};
use crate::store::{BoundBreakdown, LogShare, TermAt, under};
use anyhow::Result;
use ddpm_core::likelihood::{Bound, DecoderCdf, bits, prior_term};
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::bound::{Observed, Term};
use ddpm_model::tensor::{Device, Tensor};
use ddpm_model::{Diffusion, Engine};
use rayon::prelude::*;

/// Batch size of the authors' evaluation, which drops the last incomplete batch.
const AUTHORS_BATCH: usize = 256;

/// Whose bound is measured.
pub struct BoundOf<'a> {
    /// The images.
    pub images: &'a Images,
    /// How many of them, the first ones.
    pub n: usize,
    /// Images in a pass.
    pub batch: usize,
    /// The decoder's distribution function.
    pub decoder: DecoderCdf,
    /// The split's name, for the protocol.
    pub split: &'a str,
    /// What the weights are, for the protocol.
    pub weights: &'a str,
}

/// The bound in bits/dim with its standard error over images, and what it is made of.
pub fn bound(
    engine: &mut Engine,
    diffusion: &Diffusion,
    of: &BoundOf,
    seed: u64,
    reporter: &mut Reporter,
) -> Result<(Measured, BoundBreakdown)> {
    let (timesteps, len) = (diffusion.process.timesteps(), of.images.shape.len());
    let random = Random::new(seed, Stream::Evaluation);
    let mut sums = vec![(Term::default(), 0.0); timesteps];
    let (mut totals, mut prior_sum) = (Vec::with_capacity(of.n), 0.0);
    reporter.begin();
    for first in (0..of.n).step_by(of.batch) {
        let n = of.batch.min(of.n - first);
        let x0 = of.images.tensor(&(first..first + n).collect::<Vec<_>>(), |_| false)?;
        let clean = x0.flatten_all()?.to_vec1::<f32>()?;
        let priors = clean.chunks(len).map(|image| {
            let mean_squared = image.iter().map(|v| (*v as f64).powi(2)).sum::<f64>() / len as f64;
            bits(prior_term(mean_squared, diffusion.process.alpha_bar(timesteps)))
        });
        let mut images: Vec<f64> = priors.collect();
        prior_sum += images.iter().sum::<f64>();
        for t in (1..=timesteps).rev() {
            let noise = Tensor::from_vec(random.normals(t as u64, first, n, len), x0.dims(), &Device::Cpu)?;
            let batch = diffusion.batch(x0.clone(), noise, vec![t; n])?;
            let output = engine.forward(&batch.xt, &batch.t)?.flatten_all()?.to_vec1::<f32>()?;
            let noisy = batch.xt.flatten_all()?.to_vec1::<f32>()?;
            let seen = clean.par_chunks(len).zip(noisy.par_chunks(len)).zip(output.par_chunks(output.len() / n));
            let terms: Vec<Term> = seen
                .map(|((x0, xt), output)| diffusion.term(&Observed { t, x0, xt, output, channels: of.images.shape.channels }, of.decoder))
                .collect();
            for (term, image) in terms.iter().zip(&mut images) {
                add(&mut sums[t - 1].0, term);
                sums[t - 1].1 += term.mse_x0.sqrt();
                *image += term.total();
            }
            let done = (first * timesteps + n * (timesteps - t + 1)) as u64;
            reporter.tell(Stage::Evaluate, done, (of.n * timesteps) as u64, done, None)?;
        }
        totals.extend(images);
    }
    let n = of.n as f64;
    let terms: Vec<TermAt> = sums.iter().enumerate().map(|(i, (sum, root))| at(i + 1, sum, *root, n)).collect();
    let bound = Bound {
        prior: prior_sum / n,
        variance_mismatch: terms.iter().map(|t| t.variance_mismatch).sum(),
        mean_error: terms.iter().map(|t| t.mean_error).sum(),
        decoder: terms.iter().map(|t| t.decoder).sum(),
    };
    let under = under(&diffusion.process, &terms, bound.prior + sums[0].0.decoder_fixed / n);
    let whole = of.n / AUTHORS_BATCH * AUTHORS_BATCH;
    let authors = (whole > 0 && whole < of.n).then(|| measured(of, &totals[..whole], timesteps));
    Ok((measured(of, &totals, timesteps), BoundBreakdown { bound, terms, under, authors }))
}

/// Mean and standard error over images.
fn measured(of: &BoundOf, totals: &[f64], timesteps: usize) -> Measured {
    let n = totals.len() as f64;
    let mean = totals.iter().sum::<f64>() / n;
    let variance = totals.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let decoder = match of.decoder {
        DecoderCdf::Tanh => "tanh",
        DecoderCdf::Erf => "erf",
    };
    let some = if totals.len() < of.n { format!(" (whole batches of {AUTHORS_BATCH})") } else { String::new() };
    Measured {
        value: mean,
        std_err: (totals.len() > 1).then(|| (variance / n).sqrt()),
        n: totals.len(),
        protocol: format!(
            "first {} {} images{some}, all {timesteps} steps, one noise sample each, x0 clipped, {decoder} decoder, {}",
            totals.len(),
            of.split,
            of.weights
        ),
    }
}

fn add(sum: &mut Term, term: &Term) {
    sum.variance_mismatch += term.variance_mismatch;
    sum.mean_error += term.mean_error;
    sum.decoder += term.decoder;
    sum.decoder_fixed += term.decoder_fixed;
    sum.mean_squared += term.mean_squared;
    sum.mse_x0 += term.mse_x0;
    sum.mse_eps += term.mse_eps;
    sum.log_share += term.log_share;
    sum.log_share_squared += term.log_share_squared;
}

fn at(t: usize, sum: &Term, roots: f64, n: f64) -> TermAt {
    let (mean, squared) = (sum.log_share / n, sum.log_share_squared / n);
    TermAt {
        t,
        variance_mismatch: sum.variance_mismatch / n,
        mean_error: sum.mean_error / n,
        decoder: sum.decoder / n,
        mean_squared: sum.mean_squared / n,
        mse_x0: sum.mse_x0 / n,
        rmse_x0: roots / n,
        mse_eps: Some(sum.mse_eps / n).filter(|v| v.is_finite()),
        learned: mean.is_finite().then(|| LogShare { mean, deviation: (squared - mean * mean).max(0.0).sqrt() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;
    use ddpm_model::Precision;
    use ddpm_model::network::ImageShape;
    use ddpm_model::optimiser::Training;

    fn of<'a>(images: &'a Images, n: usize) -> BoundOf<'a> {
        BoundOf { images, n, batch: 64, decoder: DecoderCdf::Tanh, split: "held-out", weights: "averaged weights" }
    }

    /// 1, 2 and 6: mean 3, variance 7, standard error sqrt(7 / 3).
    #[test]
    fn mean_and_error_are_the_textbooks() {
        let images = Images::none(ImageShape { height: 1, width: 1, channels: 1 });
        let of = of(&images, 3);
        let found = measured(&of, &[1.0, 2.0, 6.0], 40);
        assert_eq!((found.value, found.n), (3.0, 3));
        assert!((found.std_err.unwrap() - (7f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(
            found.protocol,
            "first 3 held-out images, all 40 steps, one noise sample each, x0 clipped, tanh decoder, averaged weights"
        );
        assert_eq!(measured(&of, &[1.0], 40).std_err, None);
    }

    /// Of 300 images the authors would have evaluated the first 256; and what the parts add up to is the whole.
    #[test]
    fn whole_batches_are_the_first() {
        let data = few("d", 303, 3);
        let job = tiny(&data, &["timesteps=2", "schedule={kind: linear, beta_start: 0.1, beta_end: 0.5}", "beta_scale=as-given"]);
        let unet = job.config.unet(data.info.shape);
        let start = Training::new(unet.parameters(), job.config.training.optimiser.clone(), 7, Stream::Init);
        let mut engine = Engine::with_weights(&unet, Precision::F32, start.weights().to_vec()).unwrap();
        let mut run = |n| bound(&mut engine, job.config.diffusion(), &of(&data.train, n), 7, &mut Reporter::silent()).unwrap();
        let ((all, split), (some, other)) = (run(300), run(256));
        let authors = split.authors.unwrap();
        assert_eq!((authors.value, authors.std_err, authors.n), (some.value, some.std_err, 256));
        assert!(authors.value != all.value && authors.protocol.contains("first 256 held-out images (whole batches of 256)"));
        assert_eq!(other.authors, None);
        assert!((split.bound.total() - all.value).abs() < 1e-12 * all.value);
    }
}
