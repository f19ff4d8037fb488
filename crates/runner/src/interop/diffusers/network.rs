//! `config.json`: the network.

use super::contract::{self, Key};
use super::reader::{Reader, counted};
use crate::base::error::ConfigError;
use ddpm_model::Network;
use ddpm_model::network::{Downsample, ImageShape, Skips, TimeEmbedding, Upsample};
use serde_json::{Map, Value, json};

/// What a `config.json` describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The network.
    pub network: Network,
    /// Its images.
    pub image: ImageShape,
    /// The channels of its output: those of the images, or twice as many where the variance is learned.
    pub out_channels: usize,
    /// Keys that were passed over, with why.
    pub idle: Vec<String>,
}

/// The network that a `config.json` describes.
pub fn network(config: &Value, origin: &str) -> Result<Found, ConfigError> {
    let reader = Reader::of(config, origin)?;
    let contract = contract::network();
    let class = reader.word("_class_name", contract.class)?;
    if class != contract.class {
        return reader.wrong("_class_name", format!("expected {}, got {class}", contract.class));
    }
    let idle = contract.check(&reader)?;
    let widths = widths(&reader)?;
    let channels = widths[0];
    // The authors': four times the first level's channels, which is what null stands for.
    let embedded = reader.map.get("time_embedding_dim").filter(|dim| !dim.is_null());
    if let Some(dim) = embedded.filter(|dim| dim.as_u64() != Some(4 * channels as u64)) {
        return reader.wrong("time_embedding_dim", format!("expected null or {}, got {dim}", 4 * channels));
    }
    let ((height, width), levels) = (size(&reader)?, widths.len());
    let down = attends(&reader, "down_block_types", "DownBlock2D", "AttnDownBlock2D", levels)?;
    let mut up = attends(&reader, "up_block_types", "UpBlock2D", "AttnUpBlock2D", levels)?;
    up.reverse();
    if down != up {
        return reader.wrong("up_block_types", "expected attention at the resolutions of down_block_types".into());
    }
    let network = Network {
        channels,
        multipliers: widths.iter().map(|w| w / channels).collect(),
        blocks: reader.count("layers_per_block", Some(2))?,
        attention: (0..levels).filter(|level| down[*level]).map(|level| height >> level).collect(),
        dropout: reader.number("dropout", 0.0)?,
        groups: reader.count("norm_num_groups", Some(32))?,
        block_size: 1,
        skips: Skips::All,
        time_embedding: TimeEmbedding::EveryBlock,
        downsample: Downsample::Conv,
        upsample: Upsample::NearestConv,
    };
    let image = ImageShape { height, width, channels: reader.count("in_channels", Some(3))? };
    network.check(image).map_err(|e| ConfigError::new(origin, "", e.to_string()))?;
    let out_channels = reader.count("out_channels", Some(3))?;
    if out_channels != image.channels && out_channels != 2 * image.channels {
        let (plain, learned) = (image.channels, 2 * image.channels);
        return reader.wrong("out_channels", format!("expected {plain}, or {learned} where the variance is learned, got {out_channels}"));
    }
    Ok(Found { network, image, out_channels, idle })
}

/// Height and width: one number for both, or a list of the two.
fn size(reader: &Reader) -> Result<(usize, usize), ConfigError> {
    let expected = "expected a positive number, or [height, width]";
    match reader.map.get("sample_size") {
        Some(Value::Array(list)) => match list.iter().map(counted).collect::<Option<Vec<_>>>().as_deref() {
            Some(&[height, width]) => Ok((height, width)),
            _ => reader.wrong("sample_size", format!("{expected}, got {}", Value::Array(list.clone()))),
        },
        Some(value) => counted(value).map_or_else(|| reader.wrong("sample_size", format!("{expected}, got {value}")), |n| Ok((n, n))),
        None => reader.wrong("sample_size", format!("{expected}, got nothing")),
    }
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

/// The `config.json` of a network for images of `image`.
pub fn config(network: &Network, image: ImageShape, out_channels: usize) -> Value {
    let levels = network.multipliers.len();
    let attends = |level: usize| network.attention.contains(&(image.height >> level));
    let kind = |level: usize, plain: &str, attending: &str| if attends(level) { attending.to_string() } else { plain.to_string() };
    let mut map = Map::new();
    map.insert("_class_name".into(), json!("UNet2DModel"));
    for (key, meaning) in contract::network().keys {
        if let Key::Implied { here, .. } = meaning {
            map.insert(key.into(), here);
        }
    }
    let size = if image.height == image.width { json!(image.height) } else { json!([image.height, image.width]) };
    let own = [
        ("time_embedding_dim", Value::Null),
        ("sample_size", size),
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
    use proptest::prelude::*;

    fn paper() -> (Network, ImageShape) {
        (Network::cifar10(), ImageShape { height: 32, width: 32, channels: 3 })
    }

    proptest! {
        /// Whatever the network, diffusers' description of it is of that network.
        #[test]
        fn what_is_written_is_read(
            (channels, groups) in (1usize..5, 1usize..5).prop_map(|(m, g)| (4 * m * g, 4 * g)),
            multipliers in prop::collection::vec(1usize..4, 1..5),
            attends in prop::collection::vec(any::<bool>(), 5),
            blocks in 1usize..4,
            dropout in 0.0..0.9f64,
            (high, wide) in (1usize..4, 1usize..4),
            grey in any::<bool>(),
            learned in any::<bool>(),
        ) {
            let multipliers = [vec![1], multipliers].concat();
            let levels = multipliers.len();
            let image = ImageShape { height: high << levels, width: wide << levels, channels: if grey { 1 } else { 3 } };
            let attention = (0..levels).filter(|level| attends[*level]).map(|level| image.height >> level).collect();
            let network_ = Network { channels, multipliers, blocks, attention, dropout, groups, ..Network::cifar10() };
            let out_channels = image.channels * if learned { 2 } else { 1 };
            let expected = Found { network: network_.clone(), image, out_channels, idle: Vec::new() };
            prop_assert_eq!(network(&config(&network_, image, out_channels), "c").unwrap(), expected);
        }
    }

    /// What cannot be read is an error that names its key.
    #[test]
    fn other_networks_are_refused() {
        let (net, image) = paper();
        let good = config(&net, image, 3);
        for (key, value) in [
            ("block_out_channels", json!([128, 200])),
            ("block_out_channels", json!([])),
            ("down_block_types", json!(["DownBlock2D"])),
            ("up_block_types", json!(["UpBlock2D", "UpBlock2D", "UpBlock2D", "AttnUpBlock2D"])),
            ("up_block_types", json!(["SkipUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"])),
            ("out_channels", json!(4)),
            ("out_channels", json!("3")),
            ("in_channels", json!(2.5)),
            ("sample_size", json!(-1)),
            ("sample_size", json!([32])),
            ("sample_size", json!([32, "32"])),
            ("sample_size", Value::Null),
            ("dropout", json!("0.1")),
            ("norm_num_groups", json!(0)),
            ("act_fn", json!("gelu")),
            ("time_embedding_dim", json!(128)),
            ("mid_block_type", Value::Null),
            ("_class_name", json!("UNet2DConditionModel")),
            ("cross_attention_dim", json!(768)),
        ] {
            let mut other = good.clone();
            other[key] = value;
            assert_eq!(network(&other, "c").unwrap_err().path, key);
        }
        assert_eq!(network(&json!([]), "c").unwrap_err().problem, "expected an object");
    }

    /// What diffusers leaves out has the value that its documentation gives; other words for the same are read as the same.
    #[test]
    fn what_is_left_out_has_their_default() {
        let (net, image) = paper();
        let mut map = config(&net, image, 3).as_object().unwrap().clone();
        let left_out =
            ["norm_num_groups", "dropout", "act_fn", "in_channels", "out_channels", "layers_per_block", "attention_legacy_order"];
        map.retain(|key, _| !left_out.contains(&key.as_str()));
        map.insert("class_embed_type".into(), Value::Null);
        let expected = Network { groups: 32, dropout: 0.0, blocks: 2, ..net };
        let read = |map: &Map<String, Value>| network(&Value::Object(map.clone()), "c");
        assert_eq!(read(&map).unwrap().network, expected);
        map.insert("act_fn".into(), json!("Swish"));
        map.insert("time_embedding_dim".into(), json!(512));
        map.insert("num_train_timesteps".into(), json!(1000));
        map.insert("sample_size".into(), json!([32, 32]));
        map.insert("decay".into(), json!(0.9999));
        let found = read(&map).unwrap();
        assert_eq!(
            (found.network, found.image, found.idle),
            (
                expected,
                image,
                ["decay (of diffusers' moving average)", "num_train_timesteps (of learned time embeddings)"].map(String::from).into()
            )
        );
        map.remove("norm_eps");
        let error = read(&map).unwrap_err();
        assert_eq!((error.path.as_str(), error.problem.as_str()), ("norm_eps", "expected 1e-6, got nothing, which stands for 0.00001"));
    }
}
