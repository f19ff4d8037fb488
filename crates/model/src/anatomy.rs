//! Forward passes with something changed inside the network, to see what each part of it does: evaluation only, tensor by tensor.

use crate::eager::{Eager, PassOptions};
use crate::error::Result;
use crate::interpreter::{ConvCall, Interpreter};
use crate::layers::Dense;
use crate::parameters::Weights;
use crate::unet::UNet;
use candle_core::{DType, Tensor};
use ddpm_kernels::pool::BlockPool;

/// What a skip connection carries in place of its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// Zeros.
    Zeros,
    /// The features of the next image of the batch; for the last one those of the first.
    NextImage,
}

/// What is changed in a pass.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// A skip connection by its place among [`UNet::skips`], and what it carries.
    pub skip: Option<(usize, Replacement)>,
    /// The steps that the way down and the middle are told, 1..=T, one for each image.
    pub told_down: &'a [usize],
    /// The steps that the way up is told.
    pub told_up: &'a [usize],
}

impl<'a> Change<'a> {
    /// None: the network as it is, told the steps `t`.
    pub fn none(t: &'a [usize]) -> Change<'a> {
        Change { skip: None, told_down: t, told_up: t }
    }
}

/// The time shift of a block beside the features that it is added to. Means over images.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// The block's name, or that of the first layer where only that one is told t.
    pub block: String,
    /// Root mean square of the shift over that of the features; 0 where these are 0.
    pub size: f64,
    /// Cosine of the angle between the shift and the features' mean over pixels, in [-1, 1]; 0 where either is 0.
    pub direction: f64,
}

impl UNet {
    /// The output for noisy images `xt` [B, H, W, C] with something changed, [B, H, W, out_channels], and the time shift of every block.
    pub fn dissect(&self, w: &Weights, xt: &Tensor, change: Change) -> Result<(Tensor, Vec<Shift>)> {
        let x = self.prepare(xt, change.told_down)?;
        let pass = |told| Eager::new(self, w, told, &x, PassOptions::default());
        let (down, up) = (pass(change.told_down), pass(change.told_up));
        let mut dissection = Dissection { unet: self, down, up, skip: change.skip, shifts: Vec::new() };
        let y = self.describe(&mut dissection, x.clone())?;
        Ok((self.finish(&y)?, dissection.shifts))
    }
}

/// A pass that changes something on its way.
struct Dissection<'a> {
    unet: &'a UNet,
    down: Eager<'a>,
    up: Eager<'a>,
    skip: Option<(usize, Replacement)>,
    shifts: Vec<Shift>,
}

impl Dissection<'_> {
    /// The shift `[B, C]` of a layer beside its features `[B, H, W, C]`.
    fn beside(&self, weight: usize, shift: &Tensor, features: &Tensor) -> Result<Shift> {
        let (shift, features) = (shift.to_dtype(DType::F64)?, features.to_dtype(DType::F64)?.flatten(1, 2)?);
        let each = |x: Tensor| -> Result<Vec<f64>> { Ok(x.to_vec1::<f64>()?) };
        let centre = features.mean(1)?;
        let product = each((&shift * &centre)?.sum(1)?)?;
        let (own, of_centre) = (each(shift.sqr()?.sum(1)?)?, each(centre.sqr()?.sum(1)?)?);
        // Of all pixels' features, and of as many shifts.
        let whole = each(features.sqr()?.sum((1, 2))?)?;
        let (n, pixels) = (product.len() as f64, features.dim(1)? as f64);
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let sizes = own.iter().zip(&whole).map(|(own, whole)| ratio((pixels * own).sqrt(), whole.sqrt()));
        let cosines = product.iter().zip(own.iter().zip(&of_centre)).map(|(product, (own, centre))| ratio(*product, (own * centre).sqrt()));
        Ok(Shift { block: self.unet.owner(weight), size: sizes.sum::<f64>() / n, direction: cosines.sum::<f64>() / n })
    }
}

impl Interpreter for Dissection<'_> {
    type Image = Tensor;
    type Vector = Tensor;

    fn time(&mut self, first: &Dense, second: &Dense) -> Result<Tensor> {
        self.down.time(first, second)
    }

    fn time_up(&mut self, first: &Dense, second: &Dense, _: &Tensor) -> Result<Tensor> {
        self.up.time(first, second)
    }

    fn skip(&mut self, place: usize, features: &Tensor) -> Result<Tensor> {
        match self.skip {
            Some((changed, Replacement::Zeros)) if changed == place => Ok(features.zeros_like()?),
            Some((changed, Replacement::NextImage)) if changed == place => {
                let b = features.dim(0)?;
                Ok(Tensor::cat(&[features.narrow(0, 1, b - 1)?, features.narrow(0, 0, 1)?], 0)?)
            }
            _ => Ok(features.clone()),
        }
    }

    fn dense(&mut self, dense: &Dense, x: &Tensor) -> Result<Tensor> {
        self.down.dense(dense, x)
    }

    fn conv(&mut self, call: ConvCall<Tensor, Tensor>) -> Result<Tensor> {
        let Some(shift) = call.shift else { return self.down.conv(call) };
        let weight = call.convs[0].weight;
        let features = self.down.conv(ConvCall { shift: None, ..call })?;
        self.shifts.push(self.beside(weight, shift, &features)?);
        Ok(features.broadcast_add(&shift.unsqueeze(1)?.unsqueeze(1)?)?)
    }

    fn pool(&mut self, kind: BlockPool, x: &Tensor) -> Result<Tensor> {
        self.down.pool(kind, x)
    }

    fn attend(&mut self, qkv: &Tensor) -> Result<Tensor> {
        self.down.attend(qkv)
    }
}
