//! The score of a mixture's noised points, exact and learned, and walks that follow each of them from the same noise.

use super::sample::out_of_range;
use super::study::{Asked, StudyContext};
use crate::base::data::Mixture2d;
use crate::base::{picture, stop};
use crate::experiment::brief;
use crate::metrics::divergence::Cells;
use crate::store::progress::Stage;
use crate::store::{Arrow, FieldAt, Findings, ScoreField, Walks, WalksOf};
use anyhow::{Context, Result};
use ddpm_core::oracle::MixtureData;
use ddpm_core::sampler::{Noise, Step};
use ddpm_core::{Process, Sampler};
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::sampling::{Walk, WalkStep};
use ddpm_model::tensor::{Device, Tensor};
use ddpm_model::{Diffusion, Engine};
use rayon::prelude::*;
use std::array;

/// Arrows in a row and in a column.
const ARROWS: usize = 15;
/// Points behind a number of how well the score was learned.
const POINTS: usize = 4096;
/// Places that are kept of a path, and samples whose ends are.
const STOPS: usize = 40;
const ENDS: usize = 1000;

/// Evaluations of the network at one step beside those of the walks.
pub fn passes_at_a_step() -> usize {
    ARROWS * ARROWS + POINTS
}

/// Scores, the exact one of points whose law is known and the network's.
struct Scores<'a> {
    law: MixtureData<2>,
    diffusion: &'a Diffusion,
}

impl StudyContext<'_> {
    pub(super) fn score_field(&mut self, asked: &Asked) -> Result<Findings> {
        let job = self.job;
        let mixture = job.config.data.mixture().context("a study of the score is of points whose law is known")?;
        let scores = Scores { law: mixture.law(), diffusion: job.config.diffusion() };
        let mut fields = Vec::new();
        for t in &asked.steps {
            stop::check()?;
            fields.push(self.field(&scores, *t)?);
        }
        let cells = Cells::of(mixture);
        self.reporter.begin();
        let total = (asked.samplers.len() * asked.samples) as u64;
        let mut walks = Vec::new();
        for (i, sampler) in asked.samplers.iter().enumerate() {
            let found = self.walks(&scores, &cells, sampler, asked)?;
            let done = ((i + 1) * asked.samples) as u64;
            self.reporter.tell(Stage::Sample, done, total, done * found.evaluations as u64, None)?;
            walks.push(found);
        }
        let found = Some(ScoreField { modes: modes(mixture), fields, walks }).filter(ScoreField::is_finite);
        let blank = found.is_none().then(|| "the learned score is not finite".to_string());
        Ok(Findings { score_field: found, blank, ..Findings::default() })
    }

    /// Arrows over all that has mass, and how far the learned score is from the exact one where x_t is.
    fn field(&mut self, scores: &Scores, t: usize) -> Result<FieldAt> {
        let (signal, noise) = scores.diffusion.process.q_sample_coefficients(t);
        let reach = signal + 1.5 * noise;
        let place = |i: usize| reach * (2.0 * (i as f64 + 0.5) / ARROWS as f64 - 1.0);
        let grid: Vec<[f64; 2]> = (0..ARROWS * ARROWS).map(|i| [place(i % ARROWS), place(i / ARROWS)]).collect();
        let (exact, learned) = (scores.exact(t, &grid), scores.learned(self.engine, t, &grid)?);
        let arrow = |((at, exact), learned)| Arrow { at, exact, learned }.rounded();
        let arrows = grid.iter().copied().zip(exact).zip(learned).map(arrow).collect();
        let random = Random::new(self.job.seed, Stream::Evaluation);
        let (clean, eps) = (random.normals(0, 0, POINTS, 2), random.normals(t as u64, 0, POINTS, 2));
        let point = |i: usize| {
            let of = |numbers: &[f32]| [numbers[2 * i] as f64, numbers[2 * i + 1] as f64];
            // Modes in turn, as often as their weights say: no luck in which ones are met.
            let x0 = scores.law.draw((i as f64 + 0.5) / POINTS as f64, of(&clean));
            array::from_fn(|d| signal * x0[d] + noise * of(&eps)[d])
        };
        let points: Vec<[f64; 2]> = (0..POINTS).map(point).collect();
        let (exact, learned) = (scores.exact(t, &points), scores.learned(self.engine, t, &points)?);
        let squares = |of: &mut dyn Iterator<Item = [f64; 2]>| of.map(|[x, y]| x * x + y * y).sum::<f64>();
        let differences = &mut exact.iter().zip(&learned).map(|(a, b)| array::from_fn(|d| a[d] - b[d]));
        Ok(FieldAt { t, signal, noise, arrows, error: squares(differences) / squares(&mut exact.iter().copied()) })
    }

    /// Walks of one sampler with both scores.
    fn walks(&mut self, scores: &Scores, cells: &Cells, sampler: &Sampler, asked: &Asked) -> Result<WalksOf> {
        let (seed, batch) = (self.job.seed, self.job.config.sampling.batch);
        let mut walk = Walk::new(self.engine, scores.diffusion, sampler)?;
        let evaluations = walk.nfe();
        let kept = |place: usize| place * STOPS / evaluations != (place + 1) * STOPS / evaluations;
        let (mut exact, mut learned) = (Paths::default(), Paths::default());
        for first in (0..asked.samples).step_by(batch) {
            let n = batch.min(asked.samples - first);
            let paths = asked.paths.saturating_sub(first).min(n);
            let start = walk.noise(seed, None, first, n)?;
            let noise = |walk: &Walk, place| walk.noise(seed, Some(place), first, n);
            // The exact score's.
            let mut xs = points(&start)?;
            let mut before = Vec::new();
            exact.begin(&xs[..paths]);
            for (place, step) in walk.steps().iter().enumerate() {
                stop::check()?;
                let z = match step.noise {
                    Noise::Fixed(0.0) => vec![[0.0; 2]; n],
                    _ => points(&noise(&walk, place)?)?,
                };
                before = scores.step(step, sampler.clips(), &mut xs, &before, &z);
                if kept(place) {
                    exact.see(&xs[..paths]);
                }
            }
            exact.end(&xs);
            // The network's: what it sees is where the walk has come to.
            learned.begin(&points(&start)?[..paths]);
            let (mut place, mut wrong) = (0, None);
            let mut look = |at: &WalkStep| {
                if place > 0 && kept(place - 1) {
                    match at.xt.narrow(0, 0, paths.max(1)).map_err(Into::into).and_then(|xt| points(&xt)) {
                        Ok(xs) => learned.see(&xs[..paths]),
                        Err(error) => wrong = Some(error),
                    }
                }
                place += 1;
            };
            let ended = walk.walk(start, 0..evaluations, &noise, &mut look)?;
            wrong.map_or(Ok(()), Err)?;
            let ended = points(&ended)?;
            learned.see(&ended[..paths]);
            learned.end(&ended);
        }
        Ok(WalksOf { sampler: name(sampler), evaluations, exact: exact.walks(cells, "exact")?, learned: learned.walks(cells, "learned")? })
    }
}

fn modes(mixture: &Mixture2d) -> Vec<([f64; 2], f64)> {
    mixture.modes.iter().map(|mode| (mode.mean, mode.std)).collect()
}

/// A sampler as cells name it.
fn name(sampler: &Sampler) -> String {
    let mut value = serde_json::json!(sampler);
    value.as_object_mut().into_iter().for_each(|keys| keys.retain(|_, value| !value.is_null()));
    brief(&value)
}

/// `[n, 1, 1, 2]` as points.
fn points(of: &Tensor) -> Result<Vec<[f64; 2]>> {
    Ok(of.flatten_all()?.to_vec1::<f32>()?.chunks_exact(2).map(|p| [p[0] as f64, p[1] as f64]).collect())
}

/// Points as `[n, 1, 1, 2]`.
fn tensor(points: &[[f64; 2]]) -> Result<Tensor> {
    let numbers = points.iter().flatten().map(|v| *v as f32).collect();
    Ok(Tensor::from_vec(numbers, (points.len(), 1, 1, 2), &Device::Cpu)?)
}

impl Arrow {
    /// To what can be seen: four digits after the point.
    fn rounded(self) -> Arrow {
        Arrow { at: rounded(self.at), exact: rounded(self.exact), learned: rounded(self.learned) }
    }
}

fn rounded(point: [f64; 2]) -> [f64; 2] {
    point.map(|v| (v * 1e4).round() / 1e4)
}

impl Scores<'_> {
    fn process(&self) -> &Process {
        &self.diffusion.process
    }

    /// The exact score times sqrt(1 - alpha_bar_t).
    fn exact(&self, t: usize, points: &[[f64; 2]]) -> Vec<[f64; 2]> {
        points.par_iter().map(|x| self.law.best_eps(self.process(), t, *x).map(|eps| -eps)).collect()
    }

    /// The network's.
    fn learned(&self, engine: &mut Engine, t: usize, points: &[[f64; 2]]) -> Result<Vec<[f64; 2]>> {
        let (xt, t) = (tensor(points)?, vec![t; points.len()]);
        let output = engine.forward(&xt, &t)?;
        let eps = self::points(&self.diffusion.implied_eps(&t, &xt, &output)?)?;
        Ok(eps.into_iter().map(|eps| eps.map(|v| -v)).collect())
    }

    /// A step of a sampler from `xs` with the exact score and noise `z`. Returns the x_0 that it predicts; `before` are those of the step before,
    /// none at first. Where the variance is learned, it is the best one that is round.
    fn step(&self, step: &Step, clips: bool, xs: &mut [[f64; 2]], before: &[[f64; 2]], z: &[[f64; 2]]) -> Vec<[f64; 2]> {
        let (process, t) = (self.process(), step.t);
        let from_x0 = self.diffusion.setup.prediction.from_x0(process, t);
        let each = xs.par_iter_mut().enumerate().map(|(i, x)| {
            let known = self.law.x0_given_xt(process, t, *x);
            let Ok(output) = from_x0.apply(&*x, &known.mean);
            let x0 = if clips { known.mean.map(|v| v.clamp(-1.0, 1.0)) } else { known.mean };
            let Ok(mean) = step.mean(&*x, &x0, before.get(i), &output);
            let sigma = match step.noise {
                Noise::Fixed(sigma) => sigma,
                Noise::Learned(_) => self.law.optimal_sigma2(process, t, *x).sqrt(),
            };
            *x = array::from_fn(|d| mean[d] + sigma * z[i][d]);
            x0
        });
        each.collect()
    }
}

/// Paths of samples, and where all of them end.
#[derive(Default)]
struct Paths {
    /// Of the first samples.
    paths: Vec<Vec<[f64; 2]>>,
    /// How many of them came before this batch.
    first: usize,
    ended: Vec<[f64; 2]>,
}

impl Paths {
    fn begin(&mut self, xs: &[[f64; 2]]) {
        self.first = self.paths.len();
        self.paths.extend(xs.iter().map(|x| vec![rounded(*x)]));
    }

    /// Where this batch's have come to.
    fn see(&mut self, xs: &[[f64; 2]]) {
        self.paths[self.first..].iter_mut().zip(xs).for_each(|(path, x)| path.push(rounded(*x)));
    }

    fn end(&mut self, xs: &[[f64; 2]]) {
        self.ended.extend(xs);
    }

    fn walks(self, cells: &Cells, score: &str) -> Result<Walks> {
        let n = self.ended.len();
        let square = self.ended.iter().flatten().map(|v| v * v).sum::<f64>() / (2 * n) as f64;
        let blank = out_of_range(Some(square.sqrt()).filter(|rms| rms.is_finite()));
        let divergence = match &blank {
            Some(_) => None,
            None => Some(cells.divergence(&picture::to_bytes(&tensor(&self.ended)?)?, &format!("{n} samples, {score} score, 8-bit"))),
        };
        let paths = Some(self.paths).filter(|paths| paths.iter().flatten().flatten().all(|v| v.is_finite()));
        let mut ends: Vec<[f64; 2]> = self.ended.into_iter().take(ENDS).map(rounded).collect();
        ends.retain(|end| end.iter().all(|v| v.is_finite()));
        Ok(Walks { paths, ends, divergence, blank })
    }
}

#[cfg(test)]
mod tests;
