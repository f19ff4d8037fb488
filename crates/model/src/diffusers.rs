//! Weights of `UNet2DModel` of the Python library diffusers, which with the right configuration is the authors' network: names and
//! layouts, loss-free in both directions.

use crate::error::{Error, Result};
use crate::interop::Tensors;
use crate::network::{Downsample, Network, Skips, TimeEmbedding, Upsample};
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

/// Whether diffusers has a word for this network; the error names the key that it has none for, and the value that it has.
pub fn check(network: &Network) -> Result<()> {
    let wrong = |key: &str, value: &str, got: String| {
        Err(Error::Foreign {
            problem: format!("diffusers has no word for network.{key}: {got}; expected a network of network.{key}: {value}"),
        })
    };
    if network.block_size != 1 {
        return wrong("block_size", "1", network.block_size.to_string());
    }
    if network.skips != Skips::All {
        return wrong("skips", "all", format!("{:?}", network.skips).to_lowercase());
    }
    if network.time_embedding != TimeEmbedding::EveryBlock {
        let got = if network.time_embedding == TimeEmbedding::None { "none" } else { "input-only" };
        return wrong("time_embedding", "every-block", got.into());
    }
    if network.downsample != Downsample::Conv {
        return wrong("downsample", Downsample::Conv.name(), network.downsample.name().into());
    }
    if network.upsample != Upsample::NearestConv {
        return wrong("upsample", Upsample::NearestConv.name(), network.upsample.name().into());
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
    // Here levels are numbered from fine to coarse on both paths; diffusers numbers its up path from coarse to fine.
    let reversed = |level: &str| levels - 1 - level.parse::<usize>().expect("a level's number");
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
        ["up", level, "double"] => one(&format!("up_blocks.{}.upsamplers.0.conv", reversed(level))),
        ["down", level, number, rest @ ..] => block(format!("down_blocks.{level}"), rest, number),
        ["up", level, number, rest @ ..] => block(format!("up_blocks.{}", reversed(level)), rest, number),
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
fn transposed(parameter: &Parameter, numbers: &[f32], to_theirs: bool) -> Vec<f32> {
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
        all.extend(transposed(parameter, &tensors.take(&name, &shape(parameter))?, false));
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
        let numbers = transposed(parameter, &tensor.flatten_all()?.to_vec1::<f32>()?, true);
        Ok((name, Tensor::from_vec(numbers, shape(parameter), &candle_core::Device::Cpu)?))
    };
    parameters.iter().zip(weights.0).map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> (Network, crate::UNet) {
        let network = Network { channels: 8, multipliers: vec![1, 2], blocks: 1, attention: vec![4], groups: 4, ..Network::cifar10() };
        let unet = crate::UNet::new(&network, crate::network::ImageShape { height: 8, width: 8, channels: 3 }, 3).unwrap();
        (network, unet)
    }

    /// Files older than 2023 call q, k, v and the last layer `query`, `key`, `value` and `proj_attn`.
    #[test]
    fn older_names_are_the_same_layers() {
        let (network, unet) = small();
        let numbers: Vec<f32> = (0..unet.parameter_count()).map(|i| i as f32).collect();
        let new = export(&network, unet.parameters(), &numbers).unwrap();
        let older = |name: &str| {
            [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]
                .iter()
                .fold(name.to_string(), |n, (a, b)| n.replace(a, b))
        };
        let old: Vec<(String, Tensor)> = new.iter().map(|(name, tensor)| (older(name), tensor.clone())).collect();
        assert_eq!(old.iter().zip(&new).filter(|(a, b)| a.0 != b.0).count(), 8 * (1 + 1 + 2));
        assert_eq!(import(&network, unet.parameters(), Tensors::of(old)).unwrap(), numbers);
        // One more is of another network.
        let more = new
            .into_iter()
            .chain([("other.weight".to_string(), Tensor::zeros(3, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap())]);
        let error = import(&network, unet.parameters(), Tensors::of(more)).unwrap_err().to_string();
        assert!(error.contains("tensor other.weight and 0 others belong to nothing"), "{error}");
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let (network, unet) = small();
        let mut numbers = vec![1f32; unet.parameter_count()];
        numbers[7] = f32::NAN;
        let tensors = export(&network, unet.parameters(), &numbers).unwrap();
        let error = import(&network, unet.parameters(), Tensors::of(tensors)).unwrap_err().to_string();
        assert!(error.contains("holds numbers that are not finite"), "{error}");
    }
}
