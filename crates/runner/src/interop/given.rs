//! Externally reproducible runs of a network and its sampler: noise and inputs are read from a file, and every step is written to one.

use crate::base::atomic;
use crate::base::error::Meaning;
use anyhow::{Context, Result, anyhow, bail, ensure};
use ddpm_model::Engine;
use ddpm_model::checkpoint::plain_bytes;
use ddpm_model::interop::foreign;
use ddpm_model::network::ImageShape;
use ddpm_model::sampling::Walk;
use ddpm_model::tensor::{DType, Device, Tensor, load};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Tensors of a safetensors file.
pub struct Given<'a> {
    path: &'a Path,
    tensors: HashMap<String, Tensor>,
}

impl<'a> Given<'a> {
    /// Reads all tensors of the safetensors file at `path`.
    pub fn read(path: &'a Path) -> Result<Given<'a>> {
        let mut start = Vec::new();
        let mut read = || File::open(path)?.take(64).read_to_end(&mut start);
        read().with_context(|| format!("{}: cannot be read", path.display())).needed()?;
        if let Some(what) = foreign(&start) {
            return Err(anyhow!("{}: {what}", path.display())).needed();
        }
        let tensors = load(path, &Device::Cpu).with_context(|| format!("{}: is not a safetensors file", path.display())).needed()?;
        Ok(Given { path, tensors })
    }

    /// The tensor of this name in f32, with dimensions as expected (none: any).
    fn take(&mut self, name: &str, expected: &[Option<usize>]) -> Result<Option<Tensor>> {
        let Some(tensor) = self.tensors.remove(name) else { return Ok(None) };
        let fits = tensor.dims().len() == expected.len() && tensor.dims().iter().zip(expected).all(|(n, e)| e.is_none_or(|e| e == *n));
        let words: Vec<String> = expected.iter().map(|e| e.map_or("any".into(), |n| n.to_string())).collect();
        ensure!(fits, "{}: {name}: expected [{}], got {:?}", self.path.display(), words.join(", "), tensor.dims());
        let tensor = tensor.to_dtype(DType::F32)?;
        let sum = tensor.abs()?.sum_all()?.to_scalar::<f32>()?;
        ensure!(!sum.is_nan(), "{}: {name}: holds numbers that are not finite", self.path.display());
        Ok(Some(tensor))
    }

    fn must(&mut self, name: &str, expected: &[Option<usize>]) -> Result<Tensor> {
        let path = self.path;
        self.take(name, expected)?.with_context(|| format!("{}: expected a tensor {name}", path.display()))
    }

    fn finish(self) -> Result<()> {
        match self.tensors.keys().min() {
            Some(name) => bail!("{}: {name} is not understood", self.path.display()),
            None => Ok(()),
        }
    }
}

/// What `--noise` gives: `x_T` `[n, H, W, C]`, and perhaps `z` `[steps, n, H, W, C]` in the order of the walk.
pub struct GivenNoise {
    x: Tensor,
    z: Option<Tensor>,
}

impl GivenNoise {
    /// For images of `shape`.
    pub fn read(path: &Path, shape: ImageShape) -> Result<GivenNoise> {
        let s = shape;
        let image = [Some(s.height), Some(s.width), Some(s.channels)];
        let mut given = Given::read(path)?;
        let x = given.must("x_T", &[&[None], &image[..]].concat())?;
        let z = given.take("z", &[&[None, Some(x.dim(0)?)], &image[..]].concat())?;
        given.finish()?;
        Ok(GivenNoise { x, z })
    }
}

/// Samples with the file's noise or, if `given` is none, with the seed's for `count` images, and writes every step to `dump`. Returns the
/// samples.
pub fn sample(mut walk: Walk, given: Option<GivenNoise>, count: usize, seed: u64, dump: Option<&Path>) -> Result<Tensor> {
    let n = given.as_ref().map_or(Ok(count), |g| g.x.dim(0))?;
    let steps = walk.nfe();
    let start = match &given {
        Some(given) => given.x.clone(),
        None => walk.noise(seed, None, 0, n)?,
    };
    let z = given.and_then(|given| given.z);
    if let Some(z) = &z {
        // The last step usually adds none; its row may be left out.
        ensure!(z.dim(0)? + 1 >= steps, "z: expected noise for {steps} steps, got {}", z.dim(0)?);
    }
    let noise = |walk: &Walk, place: usize| match &z {
        Some(z) => Ok(z.get(place)?),
        None => walk.noise(seed, Some(place), 0, n),
    };
    let (mut outputs, mut predictions, mut t) = (Vec::new(), Vec::new(), Vec::new());
    let samples = walk.walk(start, 0..steps, &noise, &mut |seen| {
        if dump.is_some() {
            outputs.push(seen.output.clone());
            predictions.push(seen.x0.clone());
            t.push(seen.t as f32);
        }
    })?;
    if let Some(path) = dump {
        let tensors = [
            ("t".to_string(), Tensor::new(t, &Device::Cpu)?),
            ("output".to_string(), Tensor::stack(&outputs, 0)?),
            ("x0".to_string(), Tensor::stack(&predictions, 0)?),
            ("samples".to_string(), samples.clone()),
        ];
        atomic::write(path, &plain_bytes(&tensors)?)?;
    }
    Ok(samples)
}

/// The network's output `[B, H, W, C']` for `x` `[B, H, W, C]` at `t` `[B]` (1..=T) of a file.
pub fn forward(engine: &mut Engine, s: ImageShape, timesteps: usize, input: &Path, out: &Path) -> Result<()> {
    let mut given = Given::read(input)?;
    let x = given.must("x", &[None, Some(s.height), Some(s.width), Some(s.channels)])?;
    let t = given.must("t", &[Some(x.dim(0)?)])?.to_vec1::<f32>()?;
    given.finish()?;
    if let Some(wrong) = t.iter().find(|t| t.fract() != 0.0 || **t < 1.0 || **t > timesteps as f32) {
        bail!("{}: t: expected whole steps in 1..={timesteps}, got {wrong}", input.display());
    }
    let t: Vec<usize> = t.iter().map(|t| *t as usize).collect();
    let output = engine.forward(&x, &t)?;
    atomic::write(out, &plain_bytes(&[("output".to_string(), output)])?)
}
