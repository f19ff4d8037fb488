//! Named tensors in safetensors files, read strictly: every key of the file is used, and used once.

use crate::error::{Error, Result};
use crate::optimiser::ROWS;
use crate::parameters::{Parameter, Weights};
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};

/// The rows of a training by their prefix in a file.
const PREFIXES: [&str; ROWS] = ["weight", "adam_m", "adam_v", "ema"];

/// The only key of the file's own metadata.
const METADATA: &str = "ddpm";

/// A file's bytes: `tensors` in f32 (bytes stay bytes), and a description of them.
pub fn to_bytes(tensors: &[(String, Tensor)], description: &str) -> Result<Vec<u8>> {
    serialised(tensors, HashMap::from([(METADATA.to_string(), description.to_string())]))
}

/// The same for other programs, without a description of ours but with the word for their layout.
pub fn plain_bytes(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    serialised(tensors, HashMap::from([("format".to_string(), "pt".to_string())]))
}

fn serialised(tensors: &[(String, Tensor)], metadata: HashMap<String, String>) -> Result<Vec<u8>> {
    let bytes: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            if tensor.dtype() == DType::U8 {
                return Ok((name.clone(), Dtype::U8, tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1::<u8>()?));
            }
            let numbers = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            Ok((name.clone(), Dtype::F32, tensor.dims().to_vec(), numbers.iter().flat_map(|v| v.to_le_bytes()).collect()))
        })
        .collect::<candle_core::Result<_>>()?;
    let views = bytes
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The description in a file's bytes.
pub fn description(bytes: &[u8]) -> Result<String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let found = metadata.metadata().as_ref().and_then(|m| m.get(METADATA)).cloned();
    found.ok_or_else(|| Error::Checkpoint { problem: format!("expected a description under the metadata key {METADATA:?}, found none") })
}

/// Names and shapes of the tensors in a file's bytes, by name.
pub fn shapes(bytes: &[u8]) -> Result<Vec<(String, Vec<usize>)>> {
    let mut found: Vec<_> =
        SafeTensors::deserialize(bytes)?.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
    found.sort();
    Ok(found)
}

/// The tensors of these names and shapes, in this order. Errors name what is missing, left over or of another shape.
pub fn from_bytes(bytes: &[u8], expected: &[(String, Vec<usize>)]) -> Result<Vec<Tensor>> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut left: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
    let mut found = Vec::with_capacity(expected.len());
    for (name, shape) in expected {
        let problem = |problem: String| Err(Error::Checkpoint { problem });
        let Some(view) = left.remove(name) else { return problem(format!("tensor {name} is missing")) };
        if view.shape() != shape.as_slice() || view.dtype() != Dtype::F32 {
            return problem(format!("tensor {name}: expected {shape:?} in F32, got {:?} in {:?}", view.shape(), view.dtype()));
        }
        let numbers: Vec<f32> = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        found.push(Tensor::from_vec(numbers, shape.as_slice(), &Device::Cpu)?);
    }
    match left.keys().next() {
        Some(name) => Err(Error::Checkpoint { problem: format!("tensor {name} and {} others belong to no parameter", left.len() - 1) }),
        None => Ok(found),
    }
}

/// The numbers of the f32 tensor of this name.
pub fn read_f32(bytes: &[u8], name: &str) -> Result<Vec<f32>> {
    let file = SafeTensors::deserialize(bytes)?;
    let problem = |problem: String| Error::Checkpoint { problem };
    let view = file.tensor(name).map_err(|_| problem(format!("tensor {name} is missing")))?;
    if view.dtype() != Dtype::F32 {
        return Err(problem(format!("tensor {name}: expected F32, got {:?}", view.dtype())));
    }
    Ok(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// The 8-bit tensor of this name and what it says of itself.
pub fn read_u8(bytes: &[u8], name: &str) -> Result<(Vec<usize>, Vec<u8>)> {
    let file = SafeTensors::deserialize(bytes)?;
    let problem = |problem: String| Error::Checkpoint { problem };
    let view = file.tensor(name).map_err(|_| problem(format!("tensor {name} is missing")))?;
    if view.dtype() != Dtype::U8 {
        return Err(problem(format!("tensor {name}: expected U8, got {:?}", view.dtype())));
    }
    Ok((view.shape().to_vec(), view.data().to_vec()))
}

/// A training's tensors, in the parameters' shapes.
pub fn state_tensors(parameters: &[Parameter], rows: &[Vec<f32>; ROWS]) -> Result<Vec<(String, Tensor)>> {
    let mut tensors = Vec::with_capacity(parameters.len() * PREFIXES.len());
    for (row, prefix) in rows.iter().zip(PREFIXES) {
        let named = parameters.iter().map(|p| format!("{prefix}.{}", p.name));
        tensors.extend(named.zip(Weights::from_numbers(parameters, row)?.0));
    }
    Ok(tensors)
}

/// The rows that [`state_tensors`] wrote.
pub fn read_states(bytes: &[u8], parameters: &[Parameter]) -> Result<[Vec<f32>; ROWS]> {
    let names: Vec<(String, Vec<usize>)> =
        PREFIXES.iter().flat_map(|prefix| parameters.iter().map(move |p| (format!("{prefix}.{}", p.name), p.shape.clone()))).collect();
    let mut tensors = from_bytes(bytes, &names)?.into_iter();
    let mut row = || Weights(tensors.by_ref().take(parameters.len()).collect()).numbers();
    Ok([row()?, row()?, row()?, row()?])
}

/// Weights alone, under their own names.
pub fn read_weights(bytes: &[u8], parameters: &[Parameter]) -> Result<Weights> {
    let names: Vec<(String, Vec<usize>)> = parameters.iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
    Ok(Weights(from_bytes(bytes, &names)?))
}
