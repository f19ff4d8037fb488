//! Named tensors in safetensors files, read strictly: every key of the file is used, and used once.
//!
//! Files written here carry a description and a BLAKE3 digest of it and of every tensor's name, type, shape and numbers, so that a
//! corrupted bit anywhere in their contents is detected on reading.

use crate::error::{Error, Result};
use crate::parameters::{Parameter, Weights};
use crate::train_state::{Average, FIRST_AVERAGE, TrainState};
use candle_core::{DType, Device, Tensor};
use half::f16;
use safetensors::tensor::{Metadata, TensorInfo, TensorView, View};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufWriter, Write};

/// The rows of a [`TrainState`] before its averages, by their prefix in a file.
const PREFIXES: [&str; FIRST_AVERAGE] = ["weight", "adam_m", "adam_v"];

/// The prefix of the moving average of the weights; with its decay where there are several.
const AVERAGE: &str = "ema";

/// The prefixes of all rows of a state with averages of these decays.
fn prefixes(decays: &[f64]) -> Vec<String> {
    let average = |decay: &f64| if decays.len() == 1 { AVERAGE.into() } else { format!("{AVERAGE}-{decay}") };
    PREFIXES.into_iter().map(String::from).chain(decays.iter().map(average)).collect()
}

/// The only key of the file's own metadata: the digest, a line feed, the description.
const METADATA: &str = "ddpm";

/// A tensor on its way into a file; its bytes are borrowed where they lie in the file's order already.
struct Entry<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl View for &Entry<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Numbers as the file has them: little-endian.
fn bytes_of(numbers: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(numbers))
    } else {
        Cow::Owned(numbers.iter().flat_map(|v| v.to_le_bytes()).collect())
    }
}

fn entries(tensors: &[(String, Tensor)]) -> Result<Vec<Entry<'static>>> {
    let entry = |(name, tensor): &(String, Tensor)| {
        let flat = tensor.flatten_all()?;
        let (dtype, bytes) = match tensor.dtype() {
            DType::U8 => (Dtype::U8, flat.to_vec1::<u8>()?),
            DType::F64 => (Dtype::F64, flat.to_vec1::<f64>()?.into_iter().flat_map(f64::to_le_bytes).collect()),
            _ => (Dtype::F32, bytes_of(&flat.to_dtype(DType::F32)?.to_vec1::<f32>()?).into_owned()),
        };
        Ok(Entry { name: name.clone(), dtype, shape: tensor.dims().to_vec(), bytes: Cow::Owned(bytes) })
    };
    tensors.iter().map(entry).collect()
}

fn state_entries<'a>(parameters: &[Parameter], state: &'a TrainState) -> Vec<Entry<'a>> {
    let prefixes = prefixes(&state.decays());
    let mut entries = Vec::with_capacity(parameters.len() * prefixes.len());
    for (row, prefix) in state.rows().into_iter().zip(prefixes) {
        let mut rest = row;
        for p in parameters {
            let (now, later) = rest.split_at(p.len());
            let name = format!("{prefix}.{}", p.name);
            entries.push(Entry { name, dtype: Dtype::F32, shape: p.shape.clone(), bytes: bytes_of(now) });
            rest = later;
        }
    }
    entries
}

/// Digest of a file's contents, with the tensors sorted by name.
fn digest<V: View>(description: &str, mut tensors: Vec<(&str, V)>) -> String {
    tensors.sort_by(|a, b| a.0.cmp(b.0));
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(description.as_bytes());
    for (name, view) in tensors {
        part(name.as_bytes());
        part(format!("{:?} {:?}", view.dtype(), view.shape()).as_bytes());
        part(&view.data());
    }
    hasher.finalize().to_hex().to_string()
}

fn metadata(description: &str, entries: &[Entry]) -> HashMap<String, String> {
    let digest = digest(description, entries.iter().map(|e| (e.name.as_str(), e)).collect());
    HashMap::from([(METADATA.to_string(), format!("{digest}\n{description}"))])
}

fn named<'a, 'b>(entries: &'a [Entry<'b>]) -> impl Iterator<Item = (&'a str, &'a Entry<'b>)> {
    entries.iter().map(|e| (e.name.as_str(), e))
}

/// The bytes of a file with the moving average alone, in half precision (11 bits of significand): an eighth of a checkpoint. Fails where
/// a weight is beyond half precision's largest number, 65504.
pub fn average_bytes(parameters: &[Parameter], average: &[f32], description: &str) -> Result<Vec<u8>> {
    let mut rest = average;
    let mut entries = Vec::with_capacity(parameters.len());
    for p in parameters {
        let (now, later) = rest.split_at(p.len());
        let halves: Vec<f16> = now.iter().map(|weight| f16::from_f32(*weight)).collect();
        let name = format!("{AVERAGE}.{}", p.name);
        if let Some(at) = halves.iter().position(|half| !half.is_finite()) {
            return Err(Error::Checkpoint { problem: format!("tensor {name}: {} does not fit half precision", now[at]) });
        }
        let bytes = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        entries.push(Entry { name, dtype: Dtype::F16, shape: p.shape.clone(), bytes: Cow::Owned(bytes) });
        rest = later;
    }
    Ok(safetensors::serialize(named(&entries), Some(metadata(description, &entries)))?)
}

/// A file's bytes: `tensors` in f32 (bytes stay bytes), and a description of them.
pub fn to_bytes(tensors: &[(String, Tensor)], description: &str) -> Result<Vec<u8>> {
    let entries = entries(tensors)?;
    Ok(safetensors::serialize(named(&entries), Some(metadata(description, &entries)))?)
}

/// The same for other programs: without our description, but with the `format` key that they expect.
pub fn plain_bytes(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    Ok(safetensors::serialize(named(&entries(tensors)?), Some(HashMap::from([("format".to_string(), "pt".to_string())])))?)
}

/// Writes a training's rows, in the parameters' shapes, and a description into `file`, without a copy of them in memory.
///
/// `safetensors::serialize_to_file` writes a file of its own and renames it over the path that it is given, so that a caller cannot sync what
/// it has written. The header is the library's here too; this puts it and the tensors where the caller says.
pub fn write_state(file: &mut impl Write, parameters: &[Parameter], state: &TrainState, description: &str) -> Result<()> {
    let mut entries = state_entries(parameters, state);
    let metadata = metadata(description, &entries);
    // The format's order where all have one type: that of the names.
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut end = 0;
    let infos = entries.iter().map(|entry| {
        let begin = end;
        end += entry.bytes.len();
        (entry.name.clone(), TensorInfo { dtype: entry.dtype, shape: entry.shape.clone(), data_offsets: (begin, end) })
    });
    let header = Metadata::new(Some(metadata), infos.collect())?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut header = serde_json::to_vec(&header).map_err(SafeTensorError::from)?;
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    entries.iter().try_for_each(|entry| file.write_all(&entry.bytes))?;
    Ok(file.flush()?)
}

/// The description in a file's bytes; none if the file is not one of ours. Fails if any of its contents differ from what was written.
pub fn description(bytes: &[u8]) -> Result<Option<String>> {
    let file = SafeTensors::deserialize(bytes)?;
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let Some(text) = header.metadata().as_ref().and_then(|m| m.get(METADATA)) else { return Ok(None) };
    let problem = |problem: &str| Error::Checkpoint { problem: problem.into() };
    let (written, description) = text.split_once('\n').ok_or_else(|| problem("has no digest: it is from an older version"))?;
    let tensors = file.tensors();
    if written != digest(description, tensors.iter().map(|(name, view)| (name.as_str(), view)).collect()) {
        return Err(problem("is damaged: its contents do not have the digest that was written with them"));
    }
    Ok(Some(description.to_string()))
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
    let tensor = |(view, (_, shape)): (TensorView, &(String, Vec<usize>))| {
        Ok(Tensor::from_vec(numbers(view.data()).collect::<Vec<_>>(), shape.as_slice(), &Device::Cpu)?)
    };
    views(&SafeTensors::deserialize(bytes)?, expected, Dtype::F32)?.into_iter().zip(expected).map(tensor).collect()
}

fn views<'a>(file: &SafeTensors<'a>, expected: &[(String, Vec<usize>)], dtype: Dtype) -> Result<Vec<TensorView<'a>>> {
    let mut left: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
    let mut found = Vec::with_capacity(expected.len());
    for (name, shape) in expected {
        let problem = |problem: String| Err(Error::Checkpoint { problem });
        let Some(view) = left.remove(name) else { return problem(format!("tensor {name} is missing")) };
        if view.shape() != shape.as_slice() || view.dtype() != dtype {
            return problem(format!("tensor {name}: expected {shape:?} in {dtype:?}, got {:?} in {:?}", view.shape(), view.dtype()));
        }
        found.push(view);
    }
    match left.keys().next() {
        Some(name) => Err(Error::Checkpoint { problem: format!("tensor {name} and {} others belong to no parameter", left.len() - 1) }),
        None => Ok(found),
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// The numbers of the tensor of this name, which may be of any floating-point type, in f32.
pub fn read_f32(bytes: &[u8], name: &str) -> Result<Vec<f32>> {
    let file = SafeTensors::deserialize(bytes)?;
    let problem = |problem: String| Error::Checkpoint { problem };
    let view = file.tensor(name).map_err(|_| problem(format!("tensor {name} is missing")))?;
    let dtype = match view.dtype() {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        other => return Err(problem(format!("tensor {name}: expected floating-point numbers, got {other:?}"))),
    };
    let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// The shape and the numbers of the 8-bit tensor of this name.
pub fn read_u8(bytes: &[u8], name: &str) -> Result<(Vec<usize>, Vec<u8>)> {
    let file = SafeTensors::deserialize(bytes)?;
    let problem = |problem: String| Error::Checkpoint { problem };
    let view = file.tensor(name).map_err(|_| problem(format!("tensor {name} is missing")))?;
    if view.dtype() != Dtype::U8 {
        return Err(problem(format!("tensor {name}: expected U8, got {:?}", view.dtype())));
    }
    Ok((view.shape().to_vec(), view.data().to_vec()))
}

/// The numbers of one F64 tensor.
pub fn read_f64(bytes: &[u8], name: &str) -> Result<Vec<f64>> {
    let file = SafeTensors::deserialize(bytes)?;
    let problem = |problem: String| Error::Checkpoint { problem };
    let view = file.tensor(name).map_err(|_| problem(format!("tensor {name} is missing")))?;
    if view.dtype() != Dtype::F64 {
        return Err(problem(format!("tensor {name}: expected F64, got {:?}", view.dtype())));
    }
    Ok(view.data().as_chunks::<8>().0.iter().map(|number| f64::from_le_bytes(*number)).collect())
}

/// The rows that [`write_state`] wrote, of averages of these decays.
pub fn read_state(bytes: &[u8], parameters: &[Parameter], decays: &[f64]) -> Result<TrainState> {
    let prefixes = prefixes(decays);
    let names: Vec<(String, Vec<usize>)> = prefixes.iter().flat_map(|prefix| prefixed(prefix, parameters)).collect();
    let file = SafeTensors::deserialize(bytes)?;
    let views = views(&file, &names, Dtype::F32)?;
    let mut parts = views.chunks_exact(parameters.len());
    let mut row = || parts.next().into_iter().flatten().flat_map(|view| numbers(view.data())).collect();
    let (theta, m, v) = (row(), row(), row());
    let averages = decays.iter().map(|decay| Average { decay: *decay, numbers: row() }).collect();
    Ok(TrainState { theta, m, v, averages })
}

/// The moving average in a file of [`average_bytes`]; none where the file holds more.
pub fn read_average(bytes: &[u8], parameters: &[Parameter]) -> Result<Option<Vec<f32>>> {
    let file = SafeTensors::deserialize(bytes)?;
    let ours = format!("{AVERAGE}.");
    if !file.names().iter().all(|name| name.starts_with(&ours)) {
        return Ok(None);
    }
    let views = views(&file, &prefixed(AVERAGE, parameters).collect::<Vec<_>>(), Dtype::F16)?;
    let halves = |view: TensorView<'_>| view.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect::<Vec<_>>();
    Ok(Some(views.into_iter().flat_map(halves).collect()))
}

/// Names and shapes of the parameters' numbers in a row.
fn prefixed<'a>(prefix: &'a str, parameters: &'a [Parameter]) -> impl Iterator<Item = (String, Vec<usize>)> + 'a {
    parameters.iter().map(move |p| (format!("{prefix}.{}", p.name), p.shape.clone()))
}

/// Weights alone, under their own names.
pub fn read_weights(bytes: &[u8], parameters: &[Parameter]) -> Result<Weights> {
    let names: Vec<(String, Vec<usize>)> = parameters.iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
    Ok(Weights(from_bytes(bytes, &names)?))
}
