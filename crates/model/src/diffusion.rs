//! The training side of a diffusion on tensors: noisy images in, a loss out. The coefficients are core's.

use crate::error::Result;
use candle_core::{DType, Device, Tensor};
use ddpm_core::likelihood::TANH_FLOOR;
use ddpm_core::parameterisation::Affine;
use ddpm_core::{Objective, Prediction, Process, Setup};
use std::f64::consts::{LN_2, PI};

/// A checked set-up and the tables that follow from it.
#[derive(Clone, Debug)]
pub struct Diffusion {
    /// The choices.
    pub setup: Setup,
    /// The forward process that they fix.
    pub process: Process,
}

/// A training batch: clean images, their noise, their steps and what they become.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[B, H, W, C]` in [-1, 1].
    pub x0: Tensor,
    /// As `x0`, standard normal.
    pub eps: Tensor,
    /// One step for each image, 1..=T.
    pub t: Vec<usize>,
    /// x_t, as `x0`.
    pub xt: Tensor,
}

/// A loss: its mean over the batch, to be differentiated, and each image's share, to be told.
#[derive(Clone, Debug)]
pub struct Loss {
    /// A scalar.
    pub mean: Tensor,
    /// One number per image, summed in f64 in a fixed order and rounded to the network's precision: bit-identical on every processor,
    /// which `mean` need not be.
    pub per_image: Vec<f64>,
}

impl Loss {
    /// From elementwise losses `[B, H, W, C]`; `mean` has type `dtype`.
    fn of(each: &Tensor, dtype: DType) -> Result<Loss> {
        let rows = each.detach().flatten_from(1)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let round = |v: f64| if dtype == DType::F32 { v as f32 as f64 } else { v };
        let per_image = rows.iter().map(|row| round(row.iter().sum::<f64>() / row.len() as f64)).collect();
        Ok(Loss { mean: each.mean_all()?.to_dtype(dtype)?, per_image })
    }

    /// Mean over the batch.
    pub fn value(&self) -> f64 {
        self.per_image.iter().sum::<f64>() / self.per_image.len() as f64
    }
}

impl Diffusion {
    /// Errors where the choices do not fit together.
    pub fn new(setup: Setup) -> Result<Diffusion> {
        Ok(Diffusion { process: setup.process()?, setup })
    }

    /// Channels that the network must end with: one output for each of the image's, and a second one where the variance is learned.
    pub fn out_channels(&self, image_channels: usize) -> usize {
        image_channels * if self.setup.variance.is_learned() { 2 } else { 1 }
    }

    /// x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (eq. 4), each image at its own step.
    pub fn batch(&self, x0: Tensor, eps: Tensor, t: Vec<usize>) -> Result<Batch> {
        let signal = per_image(&t, &x0, |t| self.process.q_sample_coefficients(t).0)?;
        let noise = per_image(&t, &x0, |t| self.process.q_sample_coefficients(t).1)?;
        let xt = (x0.broadcast_mul(&signal)? + eps.broadcast_mul(&noise)?)?;
        Ok(Batch { x0, eps, t, xt })
    }

    /// The objective for the network's output on a batch. The predicted x_0 is not clipped, as in the authors' training.
    pub fn loss(&self, output: &Tensor, batch: &Batch) -> Result<Loss> {
        let (first, second) = self.split(output, batch.x0.dim(3)?)?;
        let each = match self.setup.objective {
            Objective::Simple {} => self.simple(&first, batch)?,
            Objective::Weighted { .. } => {
                let weight = |t| self.setup.objective.error_weight(self.setup.prediction, &self.process, t);
                self.simple(&first, batch)?.broadcast_mul(&per_image(&batch.t, &first, weight)?)?
            }
            Objective::Vlb {} => self.bound_term(&first, second.as_ref(), batch)?,
            Objective::VlbRescaled {} => (self.bound_term(&first, second.as_ref(), batch)? * self.process.timesteps() as f64)?,
            Objective::Hybrid { lambda } => {
                let bound = self.bound_term(&first.detach(), second.as_ref(), batch)?;
                (self.simple(&first, batch)?.to_dtype(DType::F64)? + bound * (lambda * self.process.timesteps() as f64))?
            }
        };
        Loss::of(&each, output.dtype())
    }

    /// The network's output as (reading, second output); the latter where the variance is learned.
    pub fn split(&self, output: &Tensor, image_channels: usize) -> Result<(Tensor, Option<Tensor>)> {
        if !self.setup.variance.is_learned() {
            return Ok((output.clone(), None));
        }
        let half = |from| output.narrow(3, from, image_channels)?.contiguous();
        Ok((half(0)?, Some(half(image_channels)?)))
    }

    /// The noise that the network's output implies for images `xt`, each at its own step, in their shape.
    pub fn implied_eps(&self, t: &[usize], xt: &Tensor, output: &Tensor) -> Result<Tensor> {
        let (reading, _) = self.split(output, xt.dim(3)?)?;
        affine(|t| self.setup.prediction.convert(Prediction::Eps, &self.process, t), t, xt, &reading)
    }

    /// Squared errors of the predicted quantity: as the images.
    fn simple(&self, output: &Tensor, batch: &Batch) -> Result<Tensor> {
        let target =
            |part: fn((f64, f64)) -> f64| per_image(&batch.t, output, move |t| part(self.setup.prediction.target(&self.process, t)));
        let target = (batch.x0.broadcast_mul(&target(|c| c.0)?)? + batch.eps.broadcast_mul(&target(|c| c.1)?)?)?;
        Ok((output - target)?.sqr()?)
    }

    /// L_{t-1} of each element in bits, a one-sample Monte Carlo estimate, in the images' shape: the decoder at t = 1, a KL elsewhere.
    /// In f64 whatever the network's precision: single precision cannot resolve the decoder's tails or nearly equal variances.
    fn bound_term(&self, output: &Tensor, second: Option<&Tensor>, batch: &Batch) -> Result<Tensor> {
        let wide = |x: &Tensor| x.to_dtype(DType::F64);
        let (output, second, x0, xt) = (wide(output)?, second.map(wide).transpose()?, wide(&batch.x0)?, wide(&batch.xt)?);
        let to_mu = |t| self.setup.prediction.convert(Prediction::Mu, &self.process, t);
        let mean = affine(to_mu, &batch.t, &xt, &output)?;
        let log_sigma2 = |t| self.setup.variance.log_sigma2(&self.process, t);
        let offset = per_image(&batch.t, &output, |t| log_sigma2(t).offset)?;
        let log_sigma2 = match second {
            Some(r) => r.broadcast_mul(&per_image(&batch.t, &output, |t| log_sigma2(t).scale)?)?.broadcast_add(&offset)?,
            None => offset.broadcast_as(output.shape())?.contiguous()?,
        };
        let truth = affine(|t| Prediction::X0.convert(Prediction::Mu, &self.process, t), &batch.t, &xt, &x0)?;
        let log_posterior = per_image(&batch.t, &output, |t| self.process.log_sigma2_small(t))?;
        // (lv2 - lv1 - 1 + e^(lv1 - lv2) + (m1 - m2)^2 e^-lv2) / 2
        let d = log_sigma2.neg()?.broadcast_add(&log_posterior)?;
        let squared = ((truth - &mean)?.sqr()? * log_sigma2.neg()?.exp()?)?;
        let kl = (((d.exp()? - &d)? - 1.0)? + squared)?.affine(0.5 / LN_2, 0.0)?;
        // Each row is selected from the decoder or the KL, so that gradients of the unused branch cannot contaminate the other.
        let (first, later): (Vec<u32>, Vec<u32>) = (0..batch.t.len() as u32).partition(|i| batch.t[*i as usize] == 1);
        if first.is_empty() {
            return Ok(kl);
        }
        let pick = |x: &Tensor, rows: &[u32]| x.index_select(&Tensor::new(rows, &Device::Cpu)?, 0);
        let nats = decoder_log_likelihood(&pick(&x0, &first)?, &pick(&mean, &first)?, &(pick(&log_sigma2, &first)? * 0.5)?)?;
        let decoder = nats.affine(-1.0 / LN_2, 0.0)?;
        if later.is_empty() {
            return Ok(decoder);
        }
        // Back in the batch's order.
        let mut order = vec![0u32; batch.t.len()];
        for (place, row) in first.iter().chain(&later).enumerate() {
            order[*row as usize] = place as u32;
        }
        Ok(pick(&Tensor::cat(&[&decoder, &pick(&kl, &later)?], 0)?, &order)?)
    }
}

/// `[B, 1, 1, 1]` of one coefficient for each image's step, in the type of `like`.
fn per_image(t: &[usize], like: &Tensor, f: impl Fn(usize) -> f64) -> Result<Tensor> {
    let numbers: Vec<f64> = t.iter().map(|&t| f(t)).collect();
    Ok(Tensor::from_vec(numbers, (t.len(), 1, 1, 1), &Device::Cpu)?.to_dtype(like.dtype())?)
}

/// An affine map of (x_t, y) whose coefficients differ from image to image.
fn affine(map: impl Fn(usize) -> Affine, t: &[usize], xt: &Tensor, y: &Tensor) -> Result<Tensor> {
    let of_y = y.broadcast_mul(&per_image(t, y, |t| map(t).output)?)?;
    Ok((xt.broadcast_mul(&per_image(t, y, |t| map(t).xt)?)? + of_y)?)
}

/// ln p(x_0 | x_1) of each element with the authors' CDF approximation, floored as in their code.
fn decoder_log_likelihood(x: &Tensor, mean: &Tensor, log_sigma: &Tensor) -> Result<Tensor> {
    let (centred, inv_sigma) = ((x - mean)?, log_sigma.neg()?.exp()?);
    // Arguments beyond 12 are limited: the function is 0 or 1 there to the last digit, and its cube stays finite.
    let cdf = |shift: f64| -> candle_core::Result<Tensor> {
        let z = ((&centred + shift)? * &inv_sigma)?.clamp(-12.0, 12.0)?;
        let inner = ((z.sqr()? * &z)?.affine(0.044715, 0.0)? + &z)?;
        inner.affine((2.0 / PI).sqrt(), 0.0)?.tanh()?.affine(0.5, 0.5)
    };
    let (upper, lower) = (cdf(1.0 / 255.0)?, cdf(-1.0 / 255.0)?);
    let (ones, zeros) = (upper.ones_like()?, upper.zeros_like()?);
    let upper = x.gt(0.999)?.where_cond(&ones, &upper)?;
    let lower = x.lt(-0.999)?.where_cond(&zeros, &lower)?;
    Ok((upper - lower)?.maximum(TANH_FLOOR)?.log()?)
}
