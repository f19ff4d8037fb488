//! Training of the feature network: the recipe behind the embedded weights.

use crate::base::data::Dataset;
use anyhow::{Result, ensure};
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::random::{Random, Stream};
use ddpm_model::checkpoint;
use ddpm_model::classifier::{Classifier, Size};
use ddpm_model::network::ImageShape;
use ddpm_model::optimiser::{EpsilonMode, Optimiser, Training};
use ddpm_model::parameters::Weights;
use ddpm_model::tensor::{D, Device, Tensor};
use serde::Serialize;

const BATCH: usize = 100;
const SMOOTHING: f64 = 0.1;

/// What differs between data sets.
pub struct Hyperparameters {
    /// The network.
    pub size: Size,
    /// Random shifts by up to this many pixels.
    shift: usize,
    /// Share of the features that are dropped in training.
    dropout: f64,
    /// Decoupled weight decay.
    decay: f64,
    /// Passes over the training images.
    pub epochs: u64,
}

impl Hyperparameters {
    /// For images of `shape`: grey ones are clothes, coloured ones photographs.
    pub fn of(shape: ImageShape) -> Hyperparameters {
        match shape.channels {
            1 => Hyperparameters { size: Size::SMALL, shift: 2, dropout: 0.3, decay: 0.0, epochs: 30 },
            _ => Hyperparameters { size: Size::MEDIUM, shift: 4, dropout: 0.1, decay: 0.05, epochs: 28 },
        }
    }
}

/// What stands beside the weights in their file.
#[derive(Debug, Serialize)]
pub struct Recipe {
    /// The command that made the file.
    pub command: String,
    /// Digest of the data set.
    pub data: String,
    /// Images that the accuracy was measured on.
    pub held_out: usize,
    /// Fraction of them that were classified correctly.
    pub accuracy: f64,
}

/// Trains with `hyper`: random shifts and flips, a learning rate that decays linearly to 0, weight decay, dropout on the features and
/// label smoothing. Returns the file's bytes (the weights' moving average) and its recipe. `report` is called after each epoch.
pub fn train(data: &Dataset, hyper: &Hyperparameters, seed: u64, mut report: impl FnMut(u64, f64, f64)) -> Result<(Vec<u8>, Recipe)> {
    ensure!(!data.info.classes.is_empty(), "{}: a classifier needs labelled images", data.info.name);
    let (classifier, epochs) = (Classifier::new(hyper.size, data.info.shape, data.info.classes.len()), hyper.epochs);
    let optimiser = Optimiser {
        learning_rate: 2e-3,
        warmup_steps: 100,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        epsilon_mode: EpsilonMode::Corrected,
        clip_norm: Some(1.0),
        clip_shards: 1,
        ema_decay: 0.998,
        ema_kept: Vec::new(),
    };
    let mut training = Training::new(classifier.parameters(), optimiser.clone(), seed, Stream::Classifier);
    // Parameters begin from the stream's first steps; what follows comes from steps far behind them.
    let random = Random::new(seed, Stream::Classifier);
    let dropout = Dropout::new(seed, 0);
    let n = data.train.len();
    let batches = (n / BATCH) as u64;
    for epoch in 0..epochs {
        let order = random.permutation((1 << 32) + epoch, n);
        let mut sum = 0.0;
        for (batch, indices) in order.chunks_exact(BATCH).enumerate() {
            let step = epoch * batches + batch as u64;
            let word = |place: usize| random.word((2 << 32) + step, place as u64);
            let images = data.train.tensor(indices, |place| word(place) & 1 == 1)?;
            let shift = |place: usize, bits: u32| ((word(place) >> bits) & 0xff) as usize % (2 * hyper.shift + 1);
            let images = shifted(&images, hyper.shift, |place| (shift(place, 8), shift(place, 16)))?;
            let labels: Vec<u32> = indices.iter().map(|i| data.train.labels[*i] as u32).collect();
            let rate = 1.0 - step as f64 / (epochs * batches) as f64;
            training.scale_rate(rate);
            training.shrink(rate * optimiser.rate(step) * hyper.decay);
            let mut value = 0.0;
            training.update_traced(|w, _| {
                let seen = classifier.forward(w, &images, Some((dropout, step, hyper.dropout)))?;
                let loss = Classifier::loss(&seen.logits, &labels, SMOOTHING)?;
                value = loss.to_scalar::<f32>()? as f64;
                Ok(loss)
            })?;
            sum += value;
        }
        report(
            epoch + 1,
            sum / batches as f64,
            accuracy(&classifier, &Weights::from_numbers(classifier.parameters(), training.average())?, data)?,
        );
    }
    let average = Weights::from_numbers(classifier.parameters(), training.average())?;
    let recipe = Recipe {
        command: format!("ddpm classifier {} --epochs {epochs} --seed {seed}", data.info.name),
        data: data.info.digest.clone(),
        held_out: data.held_out.len(),
        accuracy: accuracy(&classifier, &average, data)?,
    };
    let tensors: Vec<(String, Tensor)> = classifier.parameters().iter().map(|p| p.name.clone()).zip(average.0).collect();
    Ok((checkpoint::to_bytes(&tensors, &serde_json::to_string(&recipe)?)?, recipe))
}

/// Fraction of the held-out images that are classified correctly.
pub fn accuracy(classifier: &Classifier, weights: &Weights, data: &Dataset) -> Result<f64> {
    let n = data.held_out.len();
    let indices: Vec<usize> = (0..n).collect();
    let mut right = 0;
    for part in indices.chunks(BATCH) {
        let seen = classifier.forward(weights, &data.held_out.tensor(part, |_| false)?, None)?;
        let guesses = seen.logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        right += guesses.iter().zip(part).filter(|(guess, i)| **guess == data.held_out.labels[**i] as u32).count();
    }
    Ok(right as f64 / n as f64)
}

/// Each image moved by (rows, columns) - `most`, black (-1) flowing in.
fn shifted(images: &Tensor, most: usize, by: impl Fn(usize) -> (usize, usize)) -> Result<Tensor> {
    let (b, h, w, c) = images.dims4()?;
    let from = images.flatten_all()?.to_vec1::<f32>()?;
    let mut to = vec![-1f32; from.len()];
    for image in 0..b {
        let (dy, dx) = by(image);
        for y in 0..h {
            let source = y + dy;
            if source < most || source >= h + most {
                continue;
            }
            for x in 0..w {
                let column = x + dx;
                if column >= most && column < w + most {
                    let at = |y: usize, x: usize| ((image * h + y) * w + x) * c;
                    let (a, z) = (at(source - most, column - most), at(y, x));
                    to[z..z + c].copy_from_slice(&from[a..a + c]);
                }
            }
        }
    }
    Ok(Tensor::from_vec(to, (b, h, w, c), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::{Cache, DataSource, Images};

    /// A part of Fashion-MNIST: its first `n` images, and held-out ones.
    fn part(n: usize, held_out: usize) -> Dataset {
        let data = DataSource::FashionMnist {}.load(&Cache::default()).unwrap();
        let first =
            |images: &Images, n: usize| Images::new(images.shape, images.bytes(0..n).unwrap().into_owned(), images.labels[..n].to_vec());
        Dataset { train: first(&data.train, n), held_out: first(&data.held_out, held_out), ..data }
    }

    /// The losses of the recipe's first epochs as this program had them when the test was written: other shifts, mirrors, rates or masks
    /// give others, far beyond what rounding does. (Portable and AVX2 kernels differ by 1e-7.)
    #[test]
    fn the_recipe_stays_what_it_is() {
        let (data, mut told) = (part(300, 40), Vec::new());
        let hyper = Hyperparameters { epochs: 3, ..Hyperparameters::of(data.info.shape) };
        let (bytes, recipe) = train(&data, &hyper, 0, |epoch, loss, accuracy| told.push((epoch, loss, accuracy))).unwrap();
        assert_eq!((recipe.held_out, recipe.accuracy, told.len(), told[0].0), (40, told[2].2, 3, 1));
        assert_eq!(recipe.command, format!("ddpm classifier {} --epochs 3 --seed 0", data.info.name));
        let described = checkpoint::description(&bytes).unwrap().unwrap();
        assert_eq!(described, serde_json::to_string(&recipe).unwrap());
        for ((i, loss, _), expected) in told.iter().zip([2.354295, 2.303537, 2.205074]) {
            assert!((loss - expected).abs() < 1e-5, "epoch {i}: {loss}, expected {expected}");
        }
    }

    #[test]
    fn shifts_move_rows_and_columns() {
        // Two images of 3x4 with two channels; no two numbers alike.
        let numbers: Vec<f32> = (0..48).map(|v| v as f32).collect();
        let images = Tensor::from_vec(numbers.clone(), (2, 3, 4, 2), &Device::Cpu).unwrap();
        let moved = shifted(&images, 2, |image| [(2, 2), (1, 4)][image]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(moved[..24], numbers[..24]);
        for (y, x, c) in (0..24).map(|i| (i / 8, i / 2 % 4, i % 2)) {
            // One row down, two columns to the left.
            let expected = if y >= 1 && x + 2 < 4 { numbers[24 + (y - 1) * 8 + (x + 2) * 2 + c] } else { -1.0 };
            assert_eq!(moved[24 + y * 8 + x * 2 + c], expected, "{y} {x} {c}");
        }
    }
}
