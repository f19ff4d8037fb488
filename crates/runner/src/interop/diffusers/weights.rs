//! The files of a folder that hold its weights, under the names that diffusers gives them.

use crate::base::text::unmarked;
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::interop::Tensors;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the files' names begin with.
const STEM: &str = "diffusion_pytorch_model";

/// The file that is written.
pub const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// Their formats, the safer one first.
const FORMATS: [&str; 2] = ["safetensors", "bin"];

/// The weights of a folder, and the files that hold them: one, or those that an index names. Where only a variant is there
/// (`diffusion_pytorch_model.fp16.safetensors`), that is taken; of several, none. Errors name what was expected and what is there.
pub fn weights(dir: &Path) -> Result<(Tensors, Vec<PathBuf>)> {
    let first = find(dir)?;
    let files = if first.extension().is_some_and(|e| e == "json") { shards(&first)? } else { vec![first] };
    let mut all = Tensors::default();
    for file in &files {
        all.merge(Tensors::read(file)?).with_context(|| file.display().to_string())?;
    }
    Ok((all, files))
}

fn find(dir: &Path) -> Result<PathBuf> {
    let names = list(dir)?;
    let plain = FORMATS.iter().flat_map(|format| [format!("{STEM}.{format}"), format!("{STEM}.{format}.index.json")]);
    if let Some(name) = plain.into_iter().find(|name| names.contains(name)) {
        return Ok(dir.join(name));
    }
    for format in FORMATS {
        let variants: Vec<&String> = names.iter().filter(|name| is_variant(name, format)).collect();
        match variants[..] {
            [] => {}
            [name] => return Ok(dir.join(name)),
            _ => {
                let names: Vec<&str> = variants.iter().map(|name| name.as_str()).collect();
                bail!("{}: expected one variant of the weights, found {}; move the others away", dir.display(), names.join(", "));
            }
        }
    }
    let found: Vec<&str> = names.iter().map(String::as_str).collect();
    bail!("{}: expected {WEIGHTS}, its .bin, or their .index.json; found {}", dir.display(), found.join(", "))
}

/// Whether a name is `STEM.VARIANT.FORMAT`, or the index of a variant's files, and not one of these files.
fn is_variant(name: &str, format: &str) -> bool {
    let Some(rest) = name.strip_prefix(STEM) else { return false };
    let single = rest.strip_prefix('.').and_then(|rest| rest.strip_suffix(&format!(".{format}"))).is_some_and(|v| !v.contains("-of-"));
    // `.FORMAT.index.VARIANT.json`, and as it was called before: `.FORMAT.VARIANT.index.json`.
    let index = rest
        .strip_prefix(&format!(".{format}."))
        .is_some_and(|rest| rest.strip_prefix("index.").is_some_and(|rest| rest.ends_with(".json")) || rest.ends_with(".index.json"));
    single || index
}

fn list(dir: &Path) -> Result<BTreeSet<String>> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<std::io::Result<_>>();
    read().with_context(|| format!("{}: cannot be listed", dir.display()))
}

/// The files that an index names, each once.
fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let named = || index.display().to_string();
    let text = fs::read_to_string(index).with_context(named)?;
    let value: Value = serde_json::from_str(unmarked(&text)).with_context(named)?;
    let map = value["weight_map"].as_object().with_context(|| format!("{}: expected an object weight_map", index.display()))?;
    let mut files = BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str().unwrap_or_default();
        let inside = Path::new(file).file_name().is_some_and(|name| name == file);
        ensure!(inside, "{}: weight_map: {tensor}: expected the name of a file in this folder, got {file:?}", index.display());
        files.insert(index.with_file_name(file));
    }
    Ok(files.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    use ddpm_model::checkpoint::plain_bytes;
    use ddpm_model::tensor::{Device, Tensor};

    fn put(dir: &Path, name: &str, tensors: &[(&str, f32)]) {
        let tensors: Vec<_> = tensors.iter().map(|(name, v)| (name.to_string(), Tensor::new(&[*v], &Device::Cpu).unwrap())).collect();
        fs::write(dir.join(name), plain_bytes(&tensors).unwrap()).unwrap();
    }

    fn taken(dir: &Path) -> Result<Vec<f32>> {
        let (mut tensors, _) = weights(dir)?;
        let numbers = ["a", "b"].iter().filter(|name| tensors.has(name)).collect::<Vec<_>>();
        Ok(numbers.into_iter().map(|name| tensors.take(name, &[1]).unwrap()[0]).collect())
    }

    /// The plain file before an index, safetensors before pickles, any of them before a variant; of two variants none.
    #[test]
    fn files_are_found_under_diffusers_names() {
        let dir = tempfile::tempdir().unwrap();
        let error = || format!("{:#}", taken(dir.path()).unwrap_err());
        fs::write(dir.path().join("other.txt"), "").unwrap();
        assert!(error().contains("expected diffusion_pytorch_model.safetensors") && error().ends_with("found other.txt"), "{}", error());
        put(dir.path(), "diffusion_pytorch_model.fp16.safetensors", &[("a", 1.0)]);
        assert_eq!(taken(dir.path()).unwrap(), [1.0]);
        put(dir.path(), "diffusion_pytorch_model.non_ema.safetensors", &[("a", 2.0)]);
        assert!(
            error().contains("found diffusion_pytorch_model.fp16.safetensors, diffusion_pytorch_model.non_ema.safetensors"),
            "{}",
            error()
        );
        let two = ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"];
        put(dir.path(), two[0], &[("a", 3.0)]);
        put(dir.path(), two[1], &[("b", 4.0)]);
        let index = |map: Value| fs::write(dir.path().join("diffusion_pytorch_model.safetensors.index.json"), map.to_string()).unwrap();
        index(serde_json::json!({"weight_map": {"a": two[0], "b": two[1]}}));
        assert_eq!(taken(dir.path()).unwrap(), [3.0, 4.0]);
        for bad in [serde_json::json!("../a"), serde_json::json!("/etc/passwd"), serde_json::json!(1)] {
            index(serde_json::json!({"weight_map": {"a": bad}}));
            assert!(error().contains("weight_map: a: expected the name of a file in this folder"), "{}", error());
        }
        index(serde_json::json!({"weight_map": {"a": two[0], "b": "gone.safetensors"}}));
        assert!(error().contains("gone.safetensors: cannot be read"), "{}", error());
        // A tensor in two files has two values.
        put(dir.path(), two[1], &[("a", 5.0), ("b", 4.0)]);
        index(serde_json::json!({"weight_map": {"a": two[0], "b": two[1]}}));
        assert!(error().contains("tensor a stands in two files"), "{}", error());
        put(dir.path(), WEIGHTS, &[("a", 6.0)]);
        assert_eq!(taken(dir.path()).unwrap(), [6.0]);
    }

    /// The index of a variant's files, under both names that diffusers has given it.
    #[test]
    fn variants_may_be_in_several_files() {
        for name in ["diffusion_pytorch_model.safetensors.index.fp16.json", "diffusion_pytorch_model.bin.fp16.index.json"] {
            let dir = tempfile::tempdir().unwrap();
            put(dir.path(), "diffusion_pytorch_model.fp16-00001-of-00001.safetensors", &[("a", 1.0)]);
            let map = serde_json::json!({"weight_map": {"a": "diffusion_pytorch_model.fp16-00001-of-00001.safetensors"}});
            fs::write(dir.path().join(name), map.to_string()).unwrap();
            assert_eq!(taken(dir.path()).unwrap(), [1.0], "{name}");
        }
    }
}
