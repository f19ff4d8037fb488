//! `config.json`: the network.

use super::reader::Reader;
use crate::base::error::ConfigError;
use ddpm_model::Network;
use ddpm_model::network::{ImageShape, Skips, TimeEmbedding};
use serde_json::{Map, Value, json};

/// Keys of `config.json` that must have one value for the network to be the authors'.
fn fixed() -> Vec<(&'static str, Value)> {
    vec![
        ("center_input_sample", json!(false)),
        ("time_embedding_type", json!("positional")),
        ("time_embedding_dim", Value::Null),
        ("freq_shift", json!(1)),
        ("flip_sin_to_cos", json!(false)),
        ("mid_block_type", json!("UNetMidBlock2D")),
        ("mid_block_scale_factor", json!(1)),
        ("downsample_padding", json!(0)),
        ("downsample_type", json!("conv")),
        ("upsample_type", json!("conv")),
        ("act_fn", json!("silu")),
        ("attention_head_dim", Value::Null),
        ("attn_norm_num_groups", Value::Null),
        ("norm_eps", json!(1e-6)),
        ("resnet_time_scale_shift", json!("default")),
        ("add_attention", json!(true)),
        ("class_embed_type", Value::Null),
        ("num_class_embeds", Value::Null),
        ("num_train_timesteps", Value::Null),
    ]
}

/// What diffusers takes where a key is absent and its own default is not the authors'.
const DEFAULTS_THAT_DIFFER: [(&str, &str); 4] =
    [("flip_sin_to_cos", "true"), ("freq_shift", "0"), ("downsample_padding", "1"), ("attention_head_dim", "8")];

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

/// The network that a `config.json` describes, its images and its output channels.
pub fn network(config: &Value, origin: &str) -> Result<(Network, ImageShape, usize), ConfigError> {
    let Some(map) = config.as_object() else { return Err(ConfigError::new(origin, "", "expected an object")) };
    let reader = Reader { origin, map };
    check_fixed(&reader)?;
    let widths = widths(&reader)?;
    let channels = widths[0];
    let (size, levels) = (reader.count("sample_size")?, widths.len());
    let down = attends(&reader, "down_block_types", "DownBlock2D", "AttnDownBlock2D", levels)?;
    let mut up = attends(&reader, "up_block_types", "UpBlock2D", "AttnUpBlock2D", levels)?;
    up.reverse();
    if down != up {
        return reader.wrong("up_block_types", "expected attention at the resolutions of down_block_types".into());
    }
    let groups = if map.contains_key("norm_num_groups") { reader.count("norm_num_groups")? } else { 32 };
    let network = Network {
        channels,
        multipliers: widths.iter().map(|w| w / channels).collect(),
        blocks: reader.count("layers_per_block")?,
        attention: (0..levels).filter(|level| down[*level]).map(|level| size >> level).collect(),
        dropout: map.get("dropout").and_then(Value::as_f64).unwrap_or(0.0),
        groups,
        block_size: 1,
        skips: Skips::All,
        time_embedding: TimeEmbedding::EveryBlock,
    };
    let image = ImageShape { height: size, width: size, channels: reader.count("in_channels")? };
    network.check(image).map_err(|e| ConfigError::new(origin, "", e.to_string()))?;
    let out = reader.count("out_channels")?;
    if out != image.channels && out != 2 * image.channels {
        return reader.wrong(
            "out_channels",
            format!("expected {0}, or {1} where the variance is learned, got {out}", image.channels, 2 * image.channels),
        );
    }
    Ok((network, image, out))
}

/// Keys that have one value here, and keys that nothing here stands for.
fn check_fixed(reader: &Reader) -> Result<(), ConfigError> {
    let map = reader.map;
    if let Some(class) = map.get("_class_name").filter(|c| **c != json!("UNet2DModel")) {
        return reader.wrong("_class_name", format!("expected UNet2DModel, got {class}"));
    }
    for (key, value) in fixed() {
        let found = map.get(key).cloned();
        let absent = DEFAULTS_THAT_DIFFER.iter().find(|(k, _)| *k == key).filter(|_| found.is_none());
        if let Some((_, default)) = absent {
            return reader.wrong(key, format!("expected {value}, got nothing, which stands for {default}"));
        }
        // Absent and null mean the default; where that is the authors' value both are as good.
        match found {
            None | Some(Value::Null) if key != "norm_eps" => {}
            Some(found) if same(&found, &value) => {}
            other => {
                return reader.wrong(key, format!("expected {value}, got {}", other.unwrap_or(json!("nothing, which stands for 1e-5"))));
            }
        }
    }
    let read =
        ["sample_size", "in_channels", "out_channels", "block_out_channels", "layers_per_block", "down_block_types", "up_block_types"];
    let known = |key: &str| read.contains(&key) || ["norm_num_groups", "dropout"].contains(&key) || fixed().iter().any(|(k, _)| *k == key);
    if let Some((key, value)) = map.iter().find(|(key, value)| !key.starts_with('_') && !known(key) && !value.is_null()) {
        return reader.wrong(key, format!("is not understood (it is {value})"));
    }
    Ok(())
}

/// Channels of each level, multiples of the first.
fn widths(reader: &Reader) -> Result<Vec<usize>, ConfigError> {
    let widths: Vec<usize> = reader
        .list("block_out_channels")?
        .iter()
        .map(|v| match v.as_u64() {
            Some(n) if n > 0 && n <= 1 << 20 => Ok(n as usize),
            _ => reader.wrong("block_out_channels", format!("expected positive numbers, got {v}")),
        })
        .collect::<Result<_, _>>()?;
    let channels = widths[0];
    if let Some(width) = widths.iter().find(|w| !w.is_multiple_of(channels)) {
        return reader.wrong("block_out_channels", format!("expected multiples of the first, {channels}, got {width}"));
    }
    Ok(widths)
}

/// Whether each level's blocks attend, by the names under `key`.
fn attends(reader: &Reader, key: &str, plain: &str, attending: &str, levels: usize) -> Result<Vec<bool>, ConfigError> {
    let list = reader.list(key)?;
    if list.len() != levels {
        return reader.wrong(key, format!("expected {levels} blocks, as block_out_channels has, got {}", list.len()));
    }
    let one = |v: &Value| match v.as_str() {
        Some(name) if name == plain => Ok(false),
        Some(name) if name == attending => Ok(true),
        _ => reader.wrong(key, format!("expected {plain} or {attending}, got {v}")),
    };
    list.iter().map(one).collect()
}

/// The `config.json` of a network for square images of `image`.
pub fn config(network: &Network, image: ImageShape, out_channels: usize) -> Value {
    let levels = network.multipliers.len();
    let attends = |level: usize| network.attention.contains(&(image.height >> level));
    let kind = |level: usize, plain: &str, attending: &str| if attends(level) { attending.to_string() } else { plain.to_string() };
    let mut map = Map::new();
    map.insert("_class_name".into(), json!("UNet2DModel"));
    map.extend(fixed().into_iter().map(|(key, value)| (key.to_string(), value)));
    let own = [
        ("sample_size", json!(image.height)),
        ("in_channels", json!(image.channels)),
        ("out_channels", json!(out_channels)),
        ("block_out_channels", json!(network.multipliers.iter().map(|m| m * network.channels).collect::<Vec<_>>())),
        ("layers_per_block", json!(network.blocks)),
        ("down_block_types", json!((0..levels).map(|l| kind(l, "DownBlock2D", "AttnDownBlock2D")).collect::<Vec<_>>())),
        ("up_block_types", json!((0..levels).rev().map(|l| kind(l, "UpBlock2D", "AttnUpBlock2D")).collect::<Vec<_>>())),
        ("norm_num_groups", json!(network.groups)),
        ("dropout", json!(network.dropout)),
    ];
    map.extend(own.map(|(key, value)| (key.to_string(), value)));
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paper() -> (Network, ImageShape) {
        (Network::cifar10(), ImageShape { height: 32, width: 32, channels: 3 })
    }

    #[test]
    fn what_is_written_is_read() {
        let (network_, image) = paper();
        let large = (Network::large(), ImageShape { height: 256, width: 256, channels: 3 });
        for (net, image) in [(network_, image), large] {
            for out in [3, 6] {
                assert_eq!(network(&config(&net, image, out), "c").unwrap(), (net.clone(), image, out));
            }
        }
    }

    /// Every key that makes another network is an error that names it.
    #[test]
    fn other_networks_are_refused() {
        let (net, image) = paper();
        let good = config(&net, image, 3);
        for (key, _) in fixed() {
            let mut other = good.clone();
            other[key] = json!(0.123);
            let error = network(&other, "c").unwrap_err();
            assert_eq!(error.path, key, "{error}");
        }
        for (key, default) in DEFAULTS_THAT_DIFFER {
            let mut other = good.clone();
            other.as_object_mut().unwrap().remove(key);
            let error = network(&other, "c").unwrap_err();
            assert!(error.path == key && error.problem.contains(default), "{error}");
        }
        for (key, value) in [
            ("block_out_channels", json!([128, 200])),
            ("block_out_channels", json!([])),
            ("down_block_types", json!(["DownBlock2D"])),
            ("up_block_types", json!(["UpBlock2D", "UpBlock2D", "UpBlock2D", "AttnUpBlock2D"])),
            ("up_block_types", json!(["SkipUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"])),
            ("out_channels", json!(4)),
            ("sample_size", json!(-1)),
            ("_class_name", json!("UNet2DConditionModel")),
            ("cross_attention_dim", json!(768)),
        ] {
            let mut other = good.clone();
            other[key] = value;
            assert_eq!(network(&other, "c").unwrap_err().path, key);
        }
    }

    /// What diffusers leaves out has the value that its documentation gives.
    #[test]
    fn what_is_left_out_has_their_default() {
        let (net, image) = paper();
        let mut map = config(&net, image, 3).as_object().unwrap().clone();
        map.retain(|key, _| !["norm_num_groups", "dropout", "act_fn"].contains(&key.as_str()));
        map.insert("class_embed_type".into(), Value::Null);
        map.insert("_of_another_program".into(), json!(1));
        let read = network(&Value::Object(map.clone()), "c").unwrap().0;
        assert_eq!(read, Network { groups: 32, dropout: 0.0, ..net });
        map.remove("norm_eps");
        assert!(network(&Value::Object(map), "c").unwrap_err().problem.contains("stands for 1e-5"));
    }
}
