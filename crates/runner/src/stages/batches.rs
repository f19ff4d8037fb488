//! Training batches, determined by the step alone.

use crate::base::data::{self, Dataset, Loader, Portions};
use crate::experiment::Job;
use anyhow::Result;
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::diffusion::Batch;
use ddpm_model::optimiser::Training;
use ddpm_model::process_group::ProcessGroup;
use ddpm_model::tensor::{self, Tensor};
use ddpm_model::{Diffusion, Engine};
use std::ops::Range;
use std::time::Duration;

/// Training batches by their step: which images, mirrored or not, at which t, with which noise.
pub struct Batches<'a> {
    data: &'a Dataset,
    diffusion: &'a Diffusion,
    seed: u64,
    /// Images in a shard.
    each: usize,
    /// The shards that are made here, and how many there are.
    mine: Range<usize>,
    shards: usize,
    flip: bool,
    loader: Loader,
}

impl<'a> Batches<'a> {
    /// The shards `mine` of every batch.
    pub fn new(data: &'a Dataset, diffusion: &'a Diffusion, job: &Job, mine: Range<usize>) -> Batches<'a> {
        let (t, shards) = (&job.config.training, job.config.training.optimiser.clip_shards);
        let each = t.batch / shards;
        let of_images = |n: usize| (n * each) as u64;
        let portions =
            Portions { every: t.batch as u64, first: of_images(mine.start), len: of_images(mine.len()), end: t.steps * t.batch as u64 };
        let loader = Loader::new(&data.train, job.seed, portions);
        Batches { data, diffusion, seed: job.seed, each, mine, shards, flip: t.flip, loader }
    }

    /// How long images have been waited for.
    pub fn waited(&self) -> Duration {
        self.loader.waited()
    }

    /// The shards of step `step`.
    fn shards(&mut self, step: u64) -> Result<Vec<Batch>> {
        let pixels = self.loader.portion(step)?;
        let each = self.each * self.data.info.shape.len();
        self.mine.clone().zip(pixels.chunks(each)).map(|(shard, pixels)| self.batch(step, shard * self.each, pixels)).collect()
    }

    /// The images with these bytes, the first of which is number `from` of step `step`.
    fn batch(&self, step: u64, from: usize, pixels: &[u8]) -> Result<Batch> {
        let shape = self.data.info.shape;
        let n = pixels.len() / shape.len();
        let stream = |stream| Random::new(self.seed, stream);
        let (flip, flips) = (self.flip, stream(Stream::Flip));
        let x0 = data::tensor(pixels, shape, |i| flip && flips.word(step, (from + i) as u64) & 1 == 1)?;
        let timesteps = stream(Stream::Timestep);
        let t = (0..n).map(|i| 1 + timesteps.below(step, (from + i) as u64, self.diffusion.process.timesteps())).collect();
        let noise = stream(Stream::TrainNoise).normals(step, from, n, shape.len());
        Ok(self.diffusion.batch(x0.clone(), Tensor::from_vec(noise, x0.dims(), &tensor::Device::Cpu)?, t)?)
    }

    /// One training step of a group that has shared the shards out; the mean loss of all of them and the gradient's norm.
    pub fn step(&mut self, engine: &mut Engine, training: &mut Training, group: &mut dyn ProcessGroup, step: u64) -> Result<(f64, f64)> {
        let batches = self.shards(step)?;
        let mut losses = Vec::new();
        let norm = training.update_in(group, |weights, shard, gradient| {
            let batch = &batches[shard - self.mine.start];
            let loss = |output: &Tensor| {
                let loss = self.diffusion.loss(output, batch)?;
                losses.push(loss.value());
                Ok(loss.mean)
            };
            let dropout = Some((Dropout::new(self.seed, shard * self.each), step));
            engine.gradient(weights, &batch.xt, &batch.t, dropout, loss, gradient)
        })?;
        let losses = group.gather(losses)?;
        Ok((losses.iter().sum::<f64>() / self.shards as f64, norm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;
    use std::collections::BTreeSet;

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A step's batch, of one shard.
    fn batch(batches: &mut Batches, step: u64) -> Batch {
        let mut shards = batches.shards(step).unwrap();
        assert_eq!(shards.len(), 1);
        shards.remove(0)
    }

    /// The images of steps `from..to`, by their first pixels, which may be at either end of a row.
    fn seen(batches: &mut Batches, from: u64, to: u64) -> Vec<u8> {
        let first = |x0: &[f32]| ((x0[0].min(x0[3]) + 1.0) * 127.5).round() as u8;
        (from..to).flat_map(|step| numbers(&batch(batches, step).x0).chunks(16).map(first).collect::<Vec<_>>()).collect()
    }

    /// Each epoch has every image once, in an order of its own, which the seed decides.
    #[test]
    fn epochs_are_permutations_of_their_own() {
        let data = few("d", 23, 13);
        let sets = ["training.batch=4", "training.steps=20"];
        let (job, other) = (tiny(&data, &sets), Job { seed: 8, ..tiny(&data, &sets) });
        let diffusion = job.config.diffusion();
        let mut batches = Batches::new(&data, diffusion, &job, 0..1);
        let epochs: Vec<Vec<u8>> = (0..4).map(|epoch| seen(&mut batches, 5 * epoch, 5 * epoch + 5)).collect();
        for (i, epoch) in epochs.iter().enumerate() {
            assert_eq!(epoch.iter().copied().collect::<BTreeSet<_>>(), (0..20).collect::<BTreeSet<u8>>(), "{epoch:?}");
            assert!(!epoch.is_sorted() && epochs[..i].iter().all(|earlier| earlier != epoch));
        }
        assert_ne!(seen(&mut Batches::new(&data, diffusion, &other, 0..1), 0, 5), epochs[0]);
        // Going back, as a resumed training does.
        assert_eq!(seen(&mut batches, 5, 10), epochs[1]);
    }

    /// t is uniform in 1..=T with both ends, about half of the images are mirrored where that is asked, none elsewhere; one is no
    /// function of the other, and the noise is normal and nowhere the same.
    #[test]
    fn steps_mirrors_and_noise_are_drawn_apart() {
        let data = few("d", 23, 13);
        let sets = ["training.batch=16", "training.steps=200", "timesteps=25", "beta_scale=per-1000-steps"];
        let (plain, mirrored) = (tiny(&data, &[&sets[..], &["training.flip=false"]].concat()), tiny(&data, &sets));
        let diffusion = plain.config.diffusion();
        let (mut batches, mut others) = (Batches::new(&data, diffusion, &plain, 0..1), Batches::new(&data, diffusion, &mirrored, 0..1));
        let pixels = data.train.all().unwrap();
        let (mut counts, mut both, mut flips, mut z) = ([0; 26], [0; 2], 0, Vec::new());
        for step in 0..200 {
            let (batch, other) = (batch(&mut batches, step), batch(&mut others, step));
            assert_eq!(batch.t, other.t);
            z.extend(numbers(&batch.eps));
            let (straight, perhaps) = (numbers(&batch.x0), numbers(&other.x0));
            for (place, (a, b)) in straight.chunks(16).zip(perhaps.chunks(16)).enumerate() {
                let image = pixels.chunks(16).find(|image| image[0] == ((a[0] + 1.0) * 127.5).round() as u8).unwrap();
                assert!(a.iter().zip(image).all(|(v, byte)| *v == *byte as f32 / 127.5 - 1.0));
                let turns = a != b;
                assert!(!turns || a.chunks(4).zip(b.chunks(4)).all(|(a, b)| a.iter().eq(b.iter().rev())));
                let t = batch.t[place];
                counts[t] += 1;
                flips += turns as usize;
                both[(t > 12) as usize] += turns as usize;
            }
        }
        // 3,200 draws: 128 of each t, five standard errors of 11; 1,600 flips, of 28; of those 48% at t <= 12.
        assert!(counts[0] == 0 && counts[1..].iter().all(|n| (70..190).contains(n)), "{counts:?}");
        assert!((1460..1740).contains(&flips), "{flips}");
        assert!((both[0] as f64 / flips as f64 - 0.48).abs() < 5.0 * (0.25f64 / 1600.0).sqrt(), "{both:?}");
        let n = z.len() as f64;
        assert!((z.iter().map(|v| *v as f64).sum::<f64>() / n).abs() < 5.0 / n.sqrt());
        let distinct: BTreeSet<u32> = z.iter().map(|v| v.to_bits()).collect();
        assert!(distinct.len() as f64 > 0.99 * n, "{} of {n}", distinct.len());
    }

    /// A shard is a part of the batch, whichever process makes it.
    #[test]
    fn shards_are_parts_of_the_batch() {
        let data = few("d", 23, 13);
        let job = |shards: &str| tiny(&data, &["training.batch=8", "training.steps=9", shards]);
        let (one, four) = (job("training.optimiser.clip_shards=1"), job("training.optimiser.clip_shards=4"));
        let diffusion = one.config.diffusion();
        let whole = batch(&mut Batches::new(&data, diffusion, &one, 0..1), 3);
        let parts = |mine| Batches::new(&data, diffusion, &four, mine).shards(3).unwrap();
        for cuts in [&[0, 4][..], &[0, 1, 4], &[0, 2, 3, 4]] {
            let parts: Vec<Batch> = cuts.windows(2).flat_map(|cut| parts(cut[0]..cut[1])).collect();
            let joined = |f: fn(&Batch) -> &Tensor| parts.iter().flat_map(|part| numbers(f(part))).collect::<Vec<f32>>();
            assert_eq!(joined(|b| &b.xt), numbers(&whole.xt));
            assert_eq!(joined(|b| &b.eps), numbers(&whole.eps));
            assert_eq!(parts.iter().flat_map(|part| part.t.clone()).collect::<Vec<usize>>(), whole.t);
        }
    }
}
