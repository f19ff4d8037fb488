//! The authors' U-Net (`diffusion_tf/models/unet.py`), channels last.

use crate::error::{Error, Result};
use crate::interpreter::{ConvCall, Interpreter, Normalise};
use crate::layers::{Builder, Conv, Dense, NEAR_ZERO, Norm};
use crate::network::{ImageShape, Network, Skip, TimeEmbedding, Upsample};
use crate::parameters::Parameter;
use crate::space_to_depth::{depth_to_space, space_to_depth};
use candle_core::Tensor;
use ddpm_core::embedding::timestep_embedding;
use ddpm_kernels::conv2d::{Frame, Resample};
use ddpm_kernels::pool::BlockPool;

/// The network: its layers and the indices of their parameters. It holds no weights.
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
    Block(Box<ResBlock>, Option<Box<Attention>>),
    Halve(Conv),
    /// What is pooled, and from which size.
    Pool(BlockPool, Frame),
}

#[derive(Clone, Debug)]
enum Up {
    /// Whether the block reads a connection from the way down.
    Block(bool, Box<ResBlock>, Option<Box<Attention>>),
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

/// Adds layers while it walks down and up.
struct Architect<'a> {
    builder: Builder,
    network: &'a Network,
    layers: u64,
    /// Sizes of the feature maps that skip connections carry.
    skips: Vec<Frame>,
}

impl Architect<'_> {
    /// The layers of the time embedding: those that all share, and the one that adds it to the input.
    fn time(&mut self) -> (Option<[Dense; 2]>, Option<Dense>) {
        let (ch, wide, b) = (self.network.channels, 4 * self.network.channels, &mut self.builder);
        if self.network.time_embedding == TimeEmbedding::None {
            return (None, None);
        }
        let time = [b.dense("time.0", ch, wide), b.dense("time.1", wide, wide)];
        let at_input = (self.network.time_embedding == TimeEmbedding::InputOnly).then(|| b.dense("time.input", wide, ch));
        (Some(time), at_input)
    }

    /// A residual block, with attention at the resolutions that have it. `map` becomes its result's size.
    fn attending_block(&mut self, name: &str, from: Frame, map: &mut Frame, multiplier: usize) -> (Box<ResBlock>, Option<Box<Attention>>) {
        let block = Box::new(self.block(name, from, self.network.channels * multiplier));
        map.c = self.network.channels * multiplier;
        let attends = self.network.attention.contains(&map.h);
        (block, attends.then(|| Box::new(self.attention(&format!("{name}.attention"), *map))))
    }

    /// The levels from the highest resolution to the lowest; `map` is the size at hand.
    fn down(&mut self, map: &mut Frame) -> Vec<Down> {
        let (network, mut down) = (self.network, Vec::new());
        self.skips.push(*map);
        for (level, multiplier) in network.multipliers.iter().enumerate() {
            for block in 0..network.blocks {
                let (block, attention) = self.attending_block(&format!("down.{level}.{block}"), *map, map, *multiplier);
                down.push(Down::Block(block, attention));
                self.skips.push(*map);
            }
            if level + 1 < network.multipliers.len() {
                down.push(match network.downsample.pool() {
                    None => Down::Halve(self.builder.conv(&format!("down.{level}.halve"), 3, *map, map.c, Resample::Halve, 1.0)),
                    Some(pool) => Down::Pool(pool, *map),
                });
                *map = Frame { h: map.h / 2, w: map.w / 2, ..*map };
                self.skips.push(*map);
            }
        }
        down
    }

    /// The levels back to the highest resolution: one block more each, and every one reads a skip connection unless that is cut.
    fn up(&mut self, map: &mut Frame) -> Vec<Up> {
        let (network, mut up) = (self.network, Vec::new());
        for (level, multiplier) in network.multipliers.iter().enumerate().rev() {
            for block in 0..=network.blocks {
                let skip = self.skips.pop().expect("one for each block on the way up");
                let kept = network.skips.kept(map.h);
                let from = Frame { c: map.c + if kept { skip.c } else { 0 }, ..*map };
                let (block, attention) = self.attending_block(&format!("up.{level}.{block}"), from, map, *multiplier);
                up.push(Up::Block(kept, block, attention));
            }
            if level > 0 {
                let (k, resample) = match network.upsample {
                    Upsample::NearestConv => (3, Resample::Double),
                    Upsample::TransposedConv => (4, Resample::Transposed),
                };
                up.push(Up::Double(self.builder.conv(&format!("up.{level}.double"), k, *map, map.c, resample, 1.0)));
                *map = Frame { h: map.h * 2, w: map.w * 2, ..*map };
            }
        }
        up
    }

    fn block(&mut self, name: &str, from: Frame, out: usize) -> ResBlock {
        let (b, groups, map) = (&mut self.builder, self.network.groups, Frame { c: out, ..from });
        self.layers += 1;
        ResBlock {
            norm1: b.norm(&format!("{name}.norm1"), from.c, groups),
            conv1: b.conv(&format!("{name}.conv1"), 3, from, out, Resample::Same, 1.0),
            time: (self.network.time_embedding == TimeEmbedding::EveryBlock)
                .then(|| b.dense(&format!("{name}.time"), 4 * self.network.channels, out)),
            norm2: b.norm(&format!("{name}.norm2"), out, groups),
            conv2: b.conv(&format!("{name}.conv2"), 3, map, out, Resample::Same, NEAR_ZERO),
            shortcut: (from.c != out).then(|| b.conv(&format!("{name}.shortcut"), 1, from, out, Resample::Same, 1.0)),
            layer: self.layers - 1,
        }
    }

    fn attention(&mut self, name: &str, map: Frame) -> Attention {
        let (b, c) = (&mut self.builder, map.c);
        let norm = b.norm(&format!("{name}.norm"), c, self.network.groups);
        let mut nin = |part: &str, scale| b.conv(&format!("{name}.{part}"), 1, map, c, Resample::Same, scale);
        let (q, k, v, out) = (nin("q", 1.0), nin("k", 1.0), nin("v", 1.0), nin("out", NEAR_ZERO));
        let pixels = map.h * map.w;
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
        let mut a = Architect { builder: Builder::default(), network, layers: 0, skips: Vec::new() };
        let (time, time_at_input) = a.time();
        let mut map = Frame { h: image.height / network.block_size, w: image.width / network.block_size, c: image.channels * area };
        let stem = a.builder.conv("stem", 3, map, ch, Resample::Same, 1.0);
        map.c = ch;
        let down = a.down(&mut map);
        let middle = (a.block("middle.0", map, map.c), a.attention("middle.attention", map), a.block("middle.1", map, map.c));
        let up = a.up(&mut map);
        assert!(a.skips.is_empty(), "{} connections are left", a.skips.len());
        let norm = a.builder.norm("out.norm", map.c, network.groups);
        let out = a.builder.conv("out.conv", 3, map, out_channels * area, Resample::Same, NEAR_ZERO);
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

    /// Its description.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The parameters in their fixed order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Number of trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(Parameter::len).sum()
    }

    /// Multiply-accumulates of one image's forward pass, as layers are defined: a convolution after nearest upsampling counts all of its nine taps
    /// for each pixel of the result, though 20 of 36 are saved by adding up taps beforehand ([`crate::Engine::executed_flops`]).
    pub fn macs(&self) -> u64 {
        self.macs
    }

    /// Floating-point operations of one image's forward pass: a multiplication and an addition for each multiply-accumulate.
    pub fn forward_flops(&self) -> f64 {
        2.0 * self.macs as f64
    }

    /// Floating-point operations of one image in a training step: the backward pass costs twice the forward pass.
    pub fn training_flops(&self) -> f64 {
        3.0 * self.forward_flops()
    }

    /// The block whose first convolution has this weight, or the layer by itself that has it.
    pub(crate) fn owner(&self, weight: usize) -> String {
        self.parameters[weight].name.trim_end_matches(".weight").trim_end_matches(".conv1").to_string()
    }

    /// The skip connections that are there, by their places: place p carries the features of the p-th layer of the way down, from 0.
    pub fn skips(&self) -> Vec<(usize, Skip)> {
        let frame = |conv: &Conv| {
            let (h, w) = conv.resample.output(conv.from.h, conv.from.w);
            Frame { h, w, c: conv.out }
        };
        let of = |conv: &Conv| (self.owner(conv.weight), frame(conv));
        let (mut carried, mut level) = (vec![of(&self.stem)], 0);
        for layer in &self.down {
            carried.push(match layer {
                Down::Block(block, _) => of(&block.conv1),
                Down::Halve(conv) => of(conv),
                Down::Pool(pool, from) => (format!("down.{level}.pool"), pool.output(*from)),
            });
            level += usize::from(!matches!(layer, Down::Block(..)));
        }
        let mut found = Vec::new();
        for layer in &self.up {
            if let Up::Block(kept, block, _) = layer {
                let (from, Frame { h, w, c }) = carried.pop().expect("one for each block on the way up");
                if *kept {
                    found.push((carried.len(), Skip { from, to: self.owner(block.conv1.weight), height: h, width: w, channels: c }));
                }
            }
        }
        found.reverse();
        found
    }

    /// Height, width and channels of the images.
    pub fn image(&self) -> ImageShape {
        self.image
    }

    /// Checks the images and converts them to the first layer's layout (space to depth).
    pub(crate) fn prepare(&self, xt: &Tensor, t: &[usize]) -> Result<Tensor> {
        let (b, h, width, c) = xt.dims4()?;
        let image = self.image;
        if (h, width, c, b) != (image.height, image.width, image.channels, t.len()) {
            return Err(Error::Shape {
                what: "images",
                expected: format!("[{}, {}, {}, {}]", t.len(), image.height, image.width, image.channels),
                got: format!("{:?}", xt.dims()),
            });
        }
        space_to_depth(xt, self.network.block_size)
    }

    /// Converts the last layer's output to images (depth to space).
    pub(crate) fn finish(&self, y: &Tensor) -> Result<Tensor> {
        depth_to_space(y, self.network.block_size, self.out_channels)
    }

    /// The gradient of [`UNet::finish`].
    pub(crate) fn finish_gradient(&self, dy: &Tensor) -> Result<Tensor> {
        space_to_depth(dy, self.network.block_size)
    }

    /// Size of the feature maps that enter and leave the layers.
    pub(crate) fn ends(&self) -> (Frame, Frame) {
        (self.stem.from, Frame { c: self.out.out, ..self.out.from })
    }

    /// What the authors feed for each step: \[B, channels\]. Steps begin at 1 here and at 0 there.
    pub(crate) fn embedding(&self, t: &[usize]) -> Result<Vec<f64>> {
        let mut numbers = Vec::with_capacity(t.len() * self.network.channels);
        for &t in t {
            assert!(t >= 1, "steps begin at 1");
            numbers.extend(timestep_embedding((t - 1) as f64, self.network.channels)?);
        }
        Ok(numbers)
    }

    /// Numbers of a step's embedding.
    pub(crate) fn time_channels(&self) -> usize {
        self.network.channels
    }

    /// Probability that a feature is dropped.
    pub(crate) fn dropout(&self) -> f64 {
        self.network.dropout
    }

    /// The stream's step of dropout layer `layer` at training step `step`.
    pub(crate) fn dropout_step(&self, step: u64, layer: u64) -> u64 {
        step * self.dropout_layers + layer
    }

    /// Walks through the network layer by layer, for an interpreter that computes or records it.
    pub(crate) fn describe<I: Interpreter>(&self, i: &mut I, x: I::Image) -> Result<I::Image> {
        let time = match &self.time {
            Some([first, second]) => Some(i.time(first, second)?),
            None => None,
        };
        let at_input = match (&self.time_at_input, &time) {
            (Some(dense), Some(time)) => Some(i.dense(dense, time)?),
            _ => None,
        };
        let mut h = i.conv(ConvCall { shift: at_input.as_ref(), ..ConvCall::of(&[&self.stem], &[x]) })?; // [B, H, W, ch]
        let mut skips = vec![h.clone()];
        for layer in &self.down {
            h = match layer {
                Down::Block(block, attention) => self.block(i, &[h], time.as_ref(), block, attention.as_deref())?, // [B, h, w, ch m]
                Down::Halve(conv) => i.conv(ConvCall::of(&[conv], &[h]))?,                                         // [B, h/2, w/2, C]
                Down::Pool(pool, _) => i.pool(*pool, &h)?,                                                         // likewise
            };
            skips.push(h.clone());
        }
        let (first, attention, second) = &self.middle;
        h = self.block(i, &[h], time.as_ref(), first, Some(attention))?; // [B, h, w, C], here and after the next
        h = self.block(i, &[h], time.as_ref(), second, None)?;
        let time = match (&self.time, &time) {
            (Some([first, second]), Some(time)) => Some(i.time_up(first, second, time)?),
            _ => None,
        };
        for layer in &self.up {
            h = match layer {
                Up::Block(kept, block, attention) => {
                    let skip = skips.pop().expect("one for each block on the way up");
                    let input = if *kept { vec![h, i.skip(skips.len(), &skip)?] } else { vec![h] }; // [B, h, w, C] and [B, h, w, C of the skip]
                    self.block(i, &input, time.as_ref(), block, attention.as_deref())? // [B, h, w, ch m]
                }
                Up::Double(conv) => i.conv(ConvCall::of(&[conv], &[h]))?, // [B, 2h, 2w, C]
            };
        }
        let norm = Some(Normalise { norm: &self.norm, silu: true });
        i.conv(ConvCall { norm, ..ConvCall::of(&[&self.out], &[h]) }) // [B, H, W, out]
    }

    /// A residual block on the concatenated `input` \[B, H, W, Ci\], followed by attention if there is any: \[B, H, W, Co\].
    fn block<I: Interpreter>(
        &self,
        i: &mut I,
        input: &[I::Image],
        time: Option<&I::Vector>,
        block: &ResBlock,
        attention: Option<&Attention>,
    ) -> Result<I::Image> {
        let shift = match (&block.time, time) {
            (Some(dense), Some(time)) => Some(i.dense(dense, time)?), // [B, Co]
            _ => None,
        };
        let norm = Some(Normalise { norm: &block.norm1, silu: true });
        let h = i.conv(ConvCall { norm, shift: shift.as_ref(), ..ConvCall::of(&[&block.conv1], input) })?; // [B, H, W, Co]
        let shortcut = match &block.shortcut {
            Some(conv) => vec![i.conv(ConvCall::of(&[conv], input))?],
            None => input.to_vec(),
        };
        let norm = Some(Normalise { norm: &block.norm2, silu: true });
        let dropout = (self.network.dropout > 0.0).then_some(block.layer);
        let h = i.conv(ConvCall { norm, dropout, residual: &shortcut, ..ConvCall::of(&[&block.conv2], &[h]) })?; // [B, H, W, Co]
        let Some(a) = attention else { return Ok(h) };
        let (norm, h) = (Some(Normalise { norm: &a.norm, silu: false }), [h]);
        let qkv = i.conv(ConvCall { norm, ..ConvCall::of(&[&a.q, &a.k, &a.v], &h) })?; // [B, H, W, 3 Co]
        let mixed = i.attend(&qkv)?; // [B, H, W, Co]
        i.conv(ConvCall { residual: &h, ..ConvCall::of(&[&a.out], &[mixed]) })
    }
}
