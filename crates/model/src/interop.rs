//! Tensors that other programs wrote, read strictly: by name, with a known shape, each once.

use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor, pickle, safetensors};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Named tensors of a file that have not been taken yet.
#[derive(Debug, Default)]
pub struct Tensors(BTreeMap<String, Tensor>);

fn problem<T>(problem: String) -> Result<T> {
    Err(Error::Foreign { problem })
}

impl Tensors {
    /// Reads a `.safetensors` file or one written by `torch.save` (`.pth`, `.bin`), told apart by their first bytes. Only the tensors of
    /// a pickle are read; nothing in it is executed.
    pub fn read(path: &Path) -> Result<Tensors> {
        let mut start = Vec::new();
        let found = File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
        if let Err(e) = found {
            return problem(format!("{}: cannot be read: {e}", path.display()));
        }
        if let Some(what) = foreign(&start) {
            return problem(format!("{}: {what}", path.display()));
        }
        if !start.starts_with(b"PK") {
            return match safetensors::load(path, &Device::Cpu) {
                Ok(tensors) => Ok(Tensors(tensors.into_iter().collect())),
                Err(e) => problem(format!("{}: is neither safetensors nor a file of torch.save: {e}", path.display())),
            };
        }
        let read = guarded(|| {
            let file = pickle::PthTensors::new(path, None)?;
            let mut tensors = BTreeMap::new();
            for (name, info) in file.tensor_infos() {
                fits(path, name, info.layout.dims(), info.dtype)?;
                tensors.extend(file.get(name)?.map(|tensor| (name.clone(), tensor)));
            }
            Ok(tensors)
        });
        match read {
            Some(Ok(tensors)) => Ok(Tensors(tensors)),
            Some(Err(e)) => problem(format!("{}: cannot be read as tensors of torch.save: {e}", path.display())),
            None => problem(format!("{}: is damaged: its pickle does not describe tensors", path.display())),
        }
    }

    /// From tensors in memory.
    pub fn of(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Tensors {
        Tensors(tensors.into_iter().collect())
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The tensor's numbers in f32. Errors where it is missing, of another shape, or holds numbers that are not finite.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some(tensor) = self.0.remove(name) else { return problem(format!("tensor {name} is missing")) };
        if tensor.dims() != shape {
            return problem(format!("tensor {name}: expected {shape:?}, got {:?}", tensor.dims()));
        }
        let numbers = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        match numbers.iter().all(|v| v.is_finite()) {
            true => Ok(numbers),
            false => problem(format!("tensor {name} holds numbers that are not finite")),
        }
    }

    /// Adds those of another file. Errors where a name stands in both.
    pub fn merge(&mut self, other: Tensors) -> Result<()> {
        for (name, tensor) in other.0 {
            if self.0.contains_key(&name) {
                return problem(format!("tensor {name} stands in two files"));
            }
            self.0.insert(name, tensor);
        }
        Ok(())
    }

    /// Discards a tensor, if it is present.
    pub fn drop(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// All names must have been taken.
    pub fn finish(self) -> Result<()> {
        match self.0.keys().next() {
            Some(name) => problem(format!("tensor {name} and {} others belong to nothing", self.0.len() - 1)),
            None => Ok(()),
        }
    }
}

/// What a file is that begins like this, where it is nothing that is read here but is often found in its place; and what to do.
pub fn foreign(start: &[u8]) -> Option<&'static str> {
    let start = &start[..start.len().min(64)];
    let text = String::from_utf8_lossy(start).trim_start().to_lowercase();
    match start {
        [] => Some("is empty"),
        _ if text.starts_with("version https://git-lfs") => {
            Some("is a Git LFS pointer, not the file that it stands for; run `git lfs pull`")
        }
        _ if text.starts_with("<!doctype html") || text.starts_with("<html") => Some("is a web page, not the file; fetch it again"),
        _ if start.starts_with(LEGACY) => Some(
            "is a file of torch.save from before PyTorch 1.6, which is not read; in Python, torch.save(torch.load(FILE), FILE) makes it a newer one",
        ),
        // The length of a safetensors header may begin so too; the header follows it.
        [0x80, 2..=5, ..] if start.get(8) != Some(&b'{') => Some("is a Python pickle, not a file of torch.save"),
        _ => None,
    }
}

/// How files of `torch.save` began before PyTorch 1.6: a pickle of its magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The highest compression ratio that deflate can reach.
pub const DENSEST: u64 = 1032;

/// An error where a file of this size cannot hold a tensor of this shape: the reader would ask for the memory before it reads.
fn fits(path: &Path, name: &str, dims: &[usize], dtype: DType) -> Result<()> {
    let most = path.metadata().map_or(0, |m| m.len()).saturating_mul(DENSEST);
    let bytes = dims.iter().try_fold(dtype.size_in_bytes() as u64, |n, d| n.checked_mul(*d as u64));
    match bytes {
        Some(bytes) if bytes <= most => Ok(()),
        _ => problem(format!("{name} has a shape of {dims:?}, which a file of this size cannot hold")),
    }
}

/// The result of `read`, or none if it panics: these readers trust a file's headers when indexing, so a panic means a damaged file.
fn guarded<T>(read: impl FnOnce() -> Result<T> + std::panic::UnwindSafe) -> Option<Result<T>> {
    std::panic::catch_unwind(read).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a file's place is called by its name; what is read here is not.
    #[test]
    fn stand_ins_are_called_by_their_names() {
        for (start, words) in [
            (&b""[..], "is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
            (b"\n<!DOCTYPE html><html>", "web page"),
            (b"<HTML>", "web page"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M", "before PyTorch 1.6"),
            (b"\x80\x04\x95", "Python pickle"),
            (b"\x80\x04\x95\x05\0\0\0\0\0\0\0}", "Python pickle"),
        ] {
            assert!(foreign(start).is_some_and(|what| what.contains(words)), "{words}: {:?}", foreign(start));
        }
        for start in [&b"PK\x03\x04"[..], b"\x80\0\0\0\0\0\0\0{\"a\"", b"\x80\x02\x01\0\0\0\0\0{\"a\"", b"\x89PNG", b"\xff\xd8\xff"] {
            assert_eq!(foreign(start), None, "{start:?}");
        }
    }

    /// Ten bytes can hold 10,320 and no more.
    #[test]
    fn a_shape_fits_a_file_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ten");
        std::fs::write(&path, [0; 10]).unwrap();
        let of = |dims: &[usize], dtype| fits(&path, "w", dims, dtype).is_ok();
        assert_eq!([of(&[2580], DType::F32), of(&[2581], DType::F32), of(&[1290], DType::F64)], [true, false, true]);
        assert_eq!([of(&[2, 5160], DType::U8), of(&[3, 5160], DType::U8), of(&[usize::MAX, 2], DType::U8)], [true, false, false]);
        assert!(of(&[], DType::F32));
        let error = fits(&path, "w", &[3, 5160], DType::U8).unwrap_err().to_string();
        assert!(error.contains("w has a shape of [3, 5160]"), "{error}");
    }
}
