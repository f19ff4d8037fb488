//! JSON files with a checksum that detects damage: the first line of the object is a digest of all the others.

use super::atomic;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::path::Path;

const OPENING: &str = "{\n  \"blake3\": \"";
const CLOSING: &str = "\",\n";

/// Writes `value`, which must be an object with a field, with its digest.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    let rest = text.strip_prefix("{\n").context("an object with at least one field")?;
    let digest = blake3::hash(rest.as_bytes()).to_hex();
    atomic::write(path, format!("{OPENING}{digest}{CLOSING}{rest}\n").as_bytes())
}

/// Reads one; none where there is no file, an error where it is not what was written.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("{}: cannot be read", path.display())),
    };
    open(&text).with_context(|| path.display().to_string()).map(Some)
}

fn open<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    let sealed = || {
        let rest = text.strip_prefix(OPENING.as_bytes())?;
        let (digest, rest) = rest.split_at_checked(blake3::OUT_LEN * 2)?;
        Some((digest, rest.strip_prefix(CLOSING.as_bytes())?.strip_suffix(b"\n")?))
    };
    let (digest, rest) = sealed().context("is damaged or of an older version: it does not begin with its digest")?;
    ensure!(blake3::hash(rest).to_hex().as_bytes() == digest, "is damaged: its contents do not have the digest that was written with them");
    let mut object = b"{\n".to_vec();
    object.extend(rest);
    serde_json::from_slice(&object).context("is not a record of this version")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn every_damage_is_told(value in prop::collection::btree_map("[a-z]{1,8}", any::<f64>().prop_filter("JSON has no others", |v| v.is_finite()), 1..20), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.json");
            write(&path, &value).unwrap();
            prop_assert_eq!(read::<BTreeMap<String, f64>>(&path).unwrap(), Some(value.clone()));
            let bytes = fs::read(&path).unwrap();
            // Any reader of JSON can read it.
            let any: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(any.as_object().unwrap().len(), value.len() + usize::from(!value.contains_key("blake3")));
            let mut flipped = bytes.clone();
            flipped[at.index(bytes.len())] ^= 1 << bit;
            fs::write(&path, &flipped).unwrap();
            prop_assert!(read::<BTreeMap<String, f64>>(&path).is_err());
            fs::write(&path, &bytes[..at.index(bytes.len())]).unwrap();
            prop_assert!(read::<BTreeMap<String, f64>>(&path).is_err());
        }
    }
}
