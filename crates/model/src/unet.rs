//! The authors' U-Net (`diffusion_tf/models/unet.py`), channels last.

use crate::error::{Error, Result};
use crate::layers::{Builder, Conv, Dense, Map, NEAR_ZERO, Norm};
use crate::network::{ImageShape, Network, TimeEmbedding};
use crate::parameters::{Parameter, Weights};
use candle_core::{Device, Tensor};
use candle_nn::ops::{silu, softmax};
use ddpm_core::embedding::timestep_embedding;
use ddpm_kernels::Kernel;
use ddpm_kernels::conv2d::Resize;
use ddpm_kernels::dropout::Dropout;

/// The network: what its layers are and where their parameters stand. It holds no numbers.
#[derive(Clone, Debug)]
pub struct UNet {
    network: Network,
    image: ImageShape,
    out_channels: usize,
    parameters: Vec<Parameter>,
    macs: u64,
    dropout_layers: u64,
    time: Option<[Dense; 2]>,
    time_at_input: Option<Dense>,
    stem: Conv,
    down: Vec<Down>,
    middle: (ResBlock, Attention, ResBlock),
    up: Vec<Up>,
    norm: Norm,
    out: Conv,
}

#[derive(Clone, Debug)]
enum Down {
    Block(Box<ResBlock>, Option<Attention>),
    Halve(Conv),
}

#[derive(Clone, Debug)]
enum Up {
    /// Whether the block reads a connection from the way down.
    Block(bool, Box<ResBlock>, Option<Attention>),
    Double(Conv),
}

#[derive(Clone, Debug)]
struct ResBlock {
    norm1: Norm,
    conv1: Conv,
    time: Option<Dense>,
    norm2: Norm,
    conv2: Conv,
    shortcut: Option<Conv>,
    layer: u64,
}

#[derive(Clone, Debug)]
struct Attention {
    norm: Norm,
    q: Conv,
    k: Conv,
    v: Conv,
    out: Conv,
}

/// How a pass is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// Which kernels.
    pub kernel: Kernel,
    /// The dropout stream at a training step; none outside training.
    pub dropout: Option<(Dropout, u64)>,
}

/// Adds layers while it walks down and up.
struct Architect<'a> {
    builder: Builder,
    network: &'a Network,
    layers: u64,
}

impl Architect<'_> {
    fn block(&mut self, name: &str, from: Map, out: usize) -> ResBlock {
        let (b, groups, map) = (&mut self.builder, self.network.groups, Map { channels: out, ..from });
        self.layers += 1;
        ResBlock {
            norm1: b.norm(&format!("{name}.norm1"), from.channels, groups),
            conv1: b.conv(&format!("{name}.conv1"), 3, from, out, Resize::Same, 1.0),
            time: (self.network.time_embedding == TimeEmbedding::EveryBlock)
                .then(|| b.dense(&format!("{name}.time"), 4 * self.network.channels, out)),
            norm2: b.norm(&format!("{name}.norm2"), out, groups),
            conv2: b.conv(&format!("{name}.conv2"), 3, map, out, Resize::Same, NEAR_ZERO),
            shortcut: (from.channels != out).then(|| b.conv(&format!("{name}.shortcut"), 1, from, out, Resize::Same, 1.0)),
            layer: self.layers - 1,
        }
    }

    fn attention(&mut self, name: &str, map: Map) -> Attention {
        let (b, c) = (&mut self.builder, map.channels);
        let norm = b.norm(&format!("{name}.norm"), c, self.network.groups);
        let mut nin = |part: &str, scale| b.conv(&format!("{name}.{part}"), 1, map, c, Resize::Same, scale);
        let (q, k, v, out) = (nin("q", 1.0), nin("k", 1.0), nin("v", 1.0), nin("out", NEAR_ZERO));
        let pixels = map.height * map.width;
        b.macs += (2 * pixels * pixels * c) as u64;
        Attention { norm, q, k, v, out }
    }
}

impl UNet {
    /// The network for images of `image`, with `out_channels` channels at the end (twice the image's where the variance is learned).
    /// Errors name the key of [`Network`] that does not fit.
    pub fn new(network: &Network, image: ImageShape, out_channels: usize) -> Result<UNet> {
        network.check(image)?;
        let (ch, area) = (network.channels, network.block_size * network.block_size);
        let mut a = Architect { builder: Builder::default(), network, layers: 0 };
        let wide = 4 * ch;
        let (time, time_at_input) = match network.time_embedding {
            TimeEmbedding::None => (None, None),
            TimeEmbedding::EveryBlock => (Some([a.builder.dense("time.0", ch, wide), a.builder.dense("time.1", wide, wide)]), None),
            TimeEmbedding::InputOnly => {
                let time = [a.builder.dense("time.0", ch, wide), a.builder.dense("time.1", wide, wide)];
                (Some(time), Some(a.builder.dense("time.input", wide, ch)))
            }
        };
        let mut map =
            Map { height: image.height / network.block_size, width: image.width / network.block_size, channels: image.channels * area };
        let stem = a.builder.conv("stem", 3, map, ch, Resize::Same, 1.0);
        map.channels = ch;
        let mut skips = vec![map];
        let mut down = Vec::new();
        let levels = network.multipliers.len();
        for (level, multiplier) in network.multipliers.iter().enumerate() {
            for block in 0..network.blocks {
                let name = format!("down.{level}.{block}");
                let res = a.block(&name, map, ch * multiplier);
                map.channels = ch * multiplier;
                let attention = network.attention.contains(&map.height).then(|| a.attention(&format!("{name}.attention"), map));
                down.push(Down::Block(Box::new(res), attention));
                skips.push(map);
            }
            if level + 1 < levels {
                down.push(Down::Halve(a.builder.conv(&format!("down.{level}.halve"), 3, map, map.channels, Resize::Halve, 1.0)));
                map = Map { height: map.height / 2, width: map.width / 2, ..map };
                skips.push(map);
            }
        }
        let middle = (a.block("middle.0", map, map.channels), a.attention("middle.attention", map), a.block("middle.1", map, map.channels));
        let mut up = Vec::new();
        for (level, multiplier) in network.multipliers.iter().enumerate().rev() {
            for block in 0..=network.blocks {
                let name = format!("up.{level}.{block}");
                let skip = skips.pop().expect("one for each block on the way up");
                let kept = network.skips.kept(map.height);
                let from = Map { channels: map.channels + if kept { skip.channels } else { 0 }, ..map };
                let res = a.block(&name, from, ch * multiplier);
                map.channels = ch * multiplier;
                let attention = network.attention.contains(&map.height).then(|| a.attention(&format!("{name}.attention"), map));
                up.push(Up::Block(kept, Box::new(res), attention));
            }
            if level > 0 {
                up.push(Up::Double(a.builder.conv(&format!("up.{level}.double"), 3, map, map.channels, Resize::Double, 1.0)));
                map = Map { height: map.height * 2, width: map.width * 2, ..map };
            }
        }
        assert!(skips.is_empty(), "{} connections are left", skips.len());
        let norm = a.builder.norm("out.norm", map.channels, network.groups);
        let out = a.builder.conv("out.conv", 3, map, out_channels * area, Resize::Same, NEAR_ZERO);
        Ok(UNet {
            network: network.clone(),
            image,
            out_channels,
            parameters: a.builder.parameters,
            macs: a.builder.macs,
            dropout_layers: a.layers,
            time,
            time_at_input,
            stem,
            down,
            middle,
            up,
            norm,
            out,
        })
    }

    /// The parameters in their fixed order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Number of trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(Parameter::len).sum()
    }

    /// Multiply-accumulates of one image's forward pass. Training costs about six FLOPs for each.
    pub fn macs(&self) -> u64 {
        self.macs
    }

    /// Height, width and channels of the images.
    pub fn image(&self) -> ImageShape {
        self.image
    }

    /// The output for noisy images `xt` `[B, H, W, C]` at steps `t` (1..=T, one for each image): `[B, H, W, out_channels]`.
    pub fn forward(&self, w: &Weights, xt: &Tensor, t: &[usize], pass: Pass) -> Result<Tensor> {
        let (b, h, width, c) = xt.dims4()?;
        let image = self.image;
        if (h, width, c, b) != (image.height, image.width, image.channels, t.len()) {
            return Err(Error::Network {
                key: "images",
                expected: format!("[{}, {}, {}, {}]", t.len(), image.height, image.width, image.channels),
                got: format!("{:?}", xt.dims()),
            });
        }
        let kernel = pass.kernel;
        let time = self.embed(w, t, xt, kernel)?;
        let at_input = match (&self.time_at_input, &time) {
            (Some(dense), Some(time)) => Some(dense.apply(w, time, kernel)?),
            _ => None,
        };
        let mut h = self.stem.apply(w, &space_to_depth(xt, self.network.block_size)?, at_input.as_ref(), kernel)?;
        let mut skips = vec![h.clone()];
        for layer in &self.down {
            h = match layer {
                Down::Block(block, attention) => self.block(w, &h, time.as_ref(), block, attention.as_ref(), pass)?,
                Down::Halve(conv) => conv.apply(w, &h, None, kernel)?,
            };
            skips.push(h.clone());
        }
        let (first, attention, second) = &self.middle;
        h = self.block(w, &h, time.as_ref(), first, Some(attention), pass)?;
        h = self.block(w, &h, time.as_ref(), second, None, pass)?;
        for layer in &self.up {
            h = match layer {
                Up::Block(kept, block, attention) => {
                    let skip = skips.pop().expect("one for each block on the way up");
                    let input = if *kept { Tensor::cat(&[&h, &skip], 3)? } else { h };
                    self.block(w, &input, time.as_ref(), block, attention.as_ref(), pass)?
                }
                Up::Double(conv) => conv.apply(w, &h, None, kernel)?,
            };
        }
        let out = self.out.apply(w, &self.norm.apply(w, &h, true, kernel)?, None, kernel)?;
        depth_to_space(&out, self.network.block_size, self.out_channels)
    }

    /// `[B, 4 channels]`, after the SiLU that precedes every projection.
    fn embed(&self, w: &Weights, t: &[usize], like: &Tensor, kernel: Kernel) -> Result<Option<Tensor>> {
        let Some([first, second]) = &self.time else { return Ok(None) };
        let mut numbers = Vec::with_capacity(t.len() * self.network.channels);
        for &t in t {
            assert!(t >= 1, "steps begin at 1");
            numbers.extend(timestep_embedding((t - 1) as f64, self.network.channels)?);
        }
        let embedding = Tensor::from_vec(numbers, (t.len(), self.network.channels), &Device::Cpu)?.to_dtype(like.dtype())?;
        let hidden = silu(&first.apply(w, &embedding, kernel)?)?;
        Ok(Some(silu(&second.apply(w, &hidden, kernel)?)?))
    }

    fn block(
        &self,
        w: &Weights,
        x: &Tensor,
        time: Option<&Tensor>,
        block: &ResBlock,
        attention: Option<&Attention>,
        pass: Pass,
    ) -> Result<Tensor> {
        let kernel = pass.kernel;
        let time = match (&block.time, time) {
            (Some(dense), Some(time)) => Some(dense.apply(w, time, kernel)?),
            _ => None,
        };
        let h = block.conv1.apply(w, &block.norm1.apply(w, x, true, kernel)?, time.as_ref(), kernel)?;
        let mut h = block.norm2.apply(w, &h, true, kernel)?;
        if let (Some((dropout, step)), true) = (pass.dropout, self.network.dropout > 0.0) {
            h = dropout.apply(&h, step * self.dropout_layers + block.layer, self.network.dropout)?;
        }
        let h = block.conv2.apply(w, &h, None, kernel)?;
        let h = match &block.shortcut {
            Some(conv) => (conv.apply(w, x, None, kernel)? + h)?,
            None => (x + h)?,
        };
        match attention {
            Some(attention) => attend(w, &h, attention, kernel),
            None => Ok(h),
        }
    }
}

/// Attention of one head over all pixels, added to its input. The sums run as matrix products, the softmax over whole rows.
fn attend(w: &Weights, x: &Tensor, a: &Attention, kernel: Kernel) -> Result<Tensor> {
    let (b, h, width, c) = x.dims4()?;
    let normal = a.norm.apply(w, x, false, kernel)?;
    let rows = |conv: &Conv| -> Result<Tensor> { Ok(conv.apply(w, &normal, None, kernel)?.reshape((b, h * width, c))?) };
    let (q, k, v) = (rows(&a.q)?, rows(&a.k)?, rows(&a.v)?);
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * (c as f64).powf(-0.5))?;
    // candle's softmax_last_dim has no gradient; this one has.
    let mixed = softmax(&scores, 2)?.matmul(&v)?.reshape((b, h, width, c))?;
    Ok((x + a.out.apply(w, &mixed, None, kernel)?)?)
}

/// `[B, H, W, C]` to `[B, H/s, W/s, s s C]`, TensorFlow's order: row in the block, column in the block, channel.
fn space_to_depth(x: &Tensor, s: usize) -> Result<Tensor> {
    if s == 1 {
        return Ok(x.clone());
    }
    let (b, h, w, c) = x.dims4()?;
    Ok(x.reshape((b, h / s, s, w / s, s, c))?.permute((0, 1, 3, 2, 4, 5))?.contiguous()?.reshape((b, h / s, w / s, s * s * c))?)
}

/// The inverse of [`space_to_depth`], to `c` channels.
fn depth_to_space(x: &Tensor, s: usize, c: usize) -> Result<Tensor> {
    if s == 1 {
        return Ok(x.clone());
    }
    let (b, h, w, _) = x.dims4()?;
    Ok(x.reshape((b, h, w, s, s, c))?.permute((0, 1, 3, 2, 4, 5))?.contiguous()?.reshape((b, h * s, w * s, c))?)
}
