//! Weights of `UNet2DModel` of the Python library diffusers, which with the right configuration is the authors' network: names and
//! layouts, loss-free in both directions.

use crate::error::{Error, Result};
use crate::foreign::Tensors;
use crate::network::{Network, Skips, TimeEmbedding};
use crate::parameters::{Parameter, Weights};
use candle_core::Tensor;

/// Names of an attention's layers: ours, theirs, and theirs in files older than 2023.
const ATTENTION: [(&str, &str, &str); 5] = [
    ("norm", "group_norm", "group_norm"),
    ("q", "to_q", "query"),
    ("k", "to_k", "key"),
    ("v", "to_v", "value"),
    ("out", "to_out.0", "proj_attn"),
];

/// Whether their network can be this one; the error names the key that it has no word for.
pub fn check(network: &Network) -> Result<()> {
    let error = |key, expected: &str, got: String| Err(Error::Network { key, expected: expected.into(), got });
    if network.block_size != 1 {
        return error("block_size", "1, which is all that diffusers has", network.block_size.to_string());
    }
    if network.skips != Skips::All {
        return error("skips", "all, which is all that diffusers has", format!("{:?}", network.skips));
    }
    if network.time_embedding != TimeEmbedding::EveryBlock {
        return error("time_embedding", "every-block, which is all that diffusers has", format!("{:?}", network.time_embedding));
    }
    Ok(())
}

/// Their name of a parameter of a network with `levels` levels, and the one of older files.
fn names(ours: &str, levels: usize) -> [String; 2] {
    let (layer, part) = ours.rsplit_once('.').expect("a parameter belongs to a layer");
    let part = match part {
        "gamma" => "weight",
        "beta" => "bias",
        same => same,
    };
    let pieces: Vec<&str> = layer.split('.').collect();
    // Levels count from fine to coarse here on both ways, and from coarse to fine on their way up.
    let turned = |level: &str| levels - 1 - level.parse::<usize>().expect("a level's number");
    let block = |prefix: String, rest: &[&str], number: &str| -> [String; 2] {
        match rest {
            ["attention", part] => {
                let (_, now, once) = ATTENTION.iter().find(|(ours, ..)| ours == part).expect("an attention's layer");
                [now, once].map(|name| format!("{prefix}.attentions.{number}.{name}"))
            }
            [layer] => {
                let name = match *layer {
                    "time" => "time_emb_proj",
                    "shortcut" => "conv_shortcut",
                    same => same,
                };
                let name = format!("{prefix}.resnets.{number}.{name}");
                [name.clone(), name]
            }
            _ => unreachable!("{ours}: a residual block has layers and an attention"),
        }
    };
    let one = |name: &str| [name.to_string(), name.to_string()];
    let theirs = match &pieces[..] {
        ["time", "0"] => one("time_embedding.linear_1"),
        ["time", "1"] => one("time_embedding.linear_2"),
        ["stem"] => one("conv_in"),
        ["out", "norm"] => one("conv_norm_out"),
        ["out", "conv"] => one("conv_out"),
        ["down", level, "halve"] => one(&format!("down_blocks.{level}.downsamplers.0.conv")),
        ["up", level, "double"] => one(&format!("up_blocks.{}.upsamplers.0.conv", turned(level))),
        ["down", level, number, rest @ ..] => block(format!("down_blocks.{level}"), rest, number),
        ["up", level, number, rest @ ..] => block(format!("up_blocks.{}", turned(level)), rest, number),
        ["middle", "attention", part] => block("mid_block".into(), &["attention", part], "0"),
        ["middle", number, rest @ ..] => block("mid_block".into(), rest, number),
        _ => unreachable!("{ours}: a layer of a network that `check` has seen"),
    };
    theirs.map(|name| format!("{name}.{part}"))
}

/// Their shape of a parameter: convolutions `[out, in, rows, columns]`, dense layers and attention's `[out, in]`.
fn shape(parameter: &Parameter) -> Vec<usize> {
    match parameter.shape[..] {
        [rows, columns, from, to] if parameter.name.ends_with(".shortcut.weight") || rows > 1 => vec![to, from, rows, columns],
        [1, 1, from, to] => vec![to, from],
        _ => parameter.shape.clone(),
    }
}

/// `[rows, columns, in, out]` to `[out, in, rows, columns]`, or back.
fn turned(parameter: &Parameter, numbers: &[f32], to_theirs: bool) -> Vec<f32> {
    let [rows, columns, from, to] = parameter.shape[..] else { return numbers.to_vec() };
    let mut out = vec![0f32; numbers.len()];
    for tap in 0..rows * columns {
        for i in 0..from {
            for o in 0..to {
                let (ours, theirs) = ((tap * from + i) * to + o, (o * from + i) * rows * columns + tap);
                if to_theirs { out[theirs] = numbers[ours] } else { out[ours] = numbers[theirs] }
            }
        }
    }
    out
}

/// All numbers in our order from their tensors. Errors name what is missing, left over or of another shape.
pub fn import(network: &Network, parameters: &[Parameter], mut tensors: Tensors) -> Result<Vec<f32>> {
    check(network)?;
    let mut all = Vec::new();
    for parameter in parameters {
        let [now, once] = names(&parameter.name, network.multipliers.len());
        let name = if tensors.has(&now) { now } else { once };
        all.extend(turned(parameter, &tensors.take(&name, &shape(parameter))?, false));
    }
    tensors.finish()?;
    Ok(all)
}

/// Their tensors from all numbers in our order.
pub fn export(network: &Network, parameters: &[Parameter], numbers: &[f32]) -> Result<Vec<(String, Tensor)>> {
    check(network)?;
    let weights = Weights::from_numbers(parameters, numbers)?;
    let tensor = |(parameter, tensor): (&Parameter, Tensor)| {
        let [name, _] = names(&parameter.name, network.multipliers.len());
        let numbers = turned(parameter, &tensor.flatten_all()?.to_vec1::<f32>()?, true);
        Ok((name, Tensor::from_vec(numbers, shape(parameter), &candle_core::Device::Cpu)?))
    };
    parameters.iter().zip(weights.0).map(tensor).collect()
}
