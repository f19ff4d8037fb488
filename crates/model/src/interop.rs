//! Tensors that other programs wrote, read strictly: by name, with a known shape, each once.

use crate::error::{Error, Result};
use candle_core::npy::NpzTensors;
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
        let mut start = [0u8; 2];
        let found = File::open(path).and_then(|mut file| file.read_exact(&mut start));
        if let Err(e) = found {
            return problem(format!("{}: cannot be read: {e}", path.display()));
        }
        if &start != b"PK" {
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

/// The arrays of a NumPy `.npz` file, by name.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let read = guarded(|| {
        let file = NpzTensors::new(path)?;
        let mut names: Vec<String> = file.names().into_iter().cloned().collect();
        names.sort();
        let mut arrays = Vec::new();
        for name in names {
            let (shape, dtype) = file.get_shape_and_dtype(&name)?;
            fits(path, &name, shape.dims(), dtype)?;
            arrays.extend(file.get(&name)?.map(|tensor| (name, tensor)));
        }
        Ok(arrays)
    });
    match read {
        Some(Ok(arrays)) => Ok(arrays),
        Some(Err(e)) => problem(format!("is not an .npz file of NumPy arrays: {e}")),
        None => problem("is damaged: its headers do not describe arrays".into()),
    }
}

/// The highest compression ratio that deflate can reach.
const DENSEST: u64 = 1032;

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
